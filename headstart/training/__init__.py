"""A run on disk: configuration, compiled programs, session, directory."""
