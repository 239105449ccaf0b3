"""Experiments: their definition, their runs and their reports."""
