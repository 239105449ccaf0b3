"""The papers, runnable: one file a paper, its experiments in `EXPERIMENTS`."""
