"""Files and arrays on disk: written whole or not at all, refused in one clear line if damaged."""
