"""Particle worlds: one physics, one file a scenario."""
