"""MuJoCo's walkers as pure functions: the whole state of the physics goes into a step and comes out of it.

env > simulator > tasks        only `env` needs JAX; `picture` draws
"""
