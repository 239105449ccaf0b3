"""Runnable papers: one file per paper, with its experiments in `EXPERIMENTS`."""
