"""Environments, one file or folder each, and wrappers of any environment. The registry finds them by their `PRESETS`."""
