"""Environments that run in Python, outside JAX: worker processes that step them, and the one call a step that asks.

`spaces`, `team`, `layout` and `worker` need no JAX, so a worker process starts without it.
"""
