"""Environments that run in Python, outside JAX: worker processes step them, and JAX calls the host once a step.

`spaces`, `team`, `layout` and `worker` need no JAX, so a worker process starts without it.
"""
