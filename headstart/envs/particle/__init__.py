"""Particle worlds: one physics, one file per scenario."""
