"""Teaching methods, one file each, and the modules that they share. The registry finds methods by their `PRESETS`."""
