"""Learning rules, one file each, and the modules that they share. The registry finds rules by their `PRESETS`."""
