"""Runnable papers: one file or folder per paper, with its experiments in `EXPERIMENTS`."""
