"""Environments that run in Python, outside JAX: worker processes step them, and JAX calls the host once a step.

    env > bridge > running > pool > crew > process   in the run's process; only `env` and `bridge` need JAX
    worker > chance, openers > team > clock, masks, roles, spaces > reading    in a worker process, which starts without JAX

`frames`, `layout` and `pictures` are what both sides agree on.
"""
