"""A trained team as a value, and scripted and fitted teachers."""
