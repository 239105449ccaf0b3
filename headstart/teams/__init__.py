"""A trained team as a value, and everything that can teach."""
