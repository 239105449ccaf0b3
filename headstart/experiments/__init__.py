"""Experiments: what they are, how they run, how they are reported."""
