"""A scripted teacher: a short controller that steers to landmarks teaches a team, which then outperforms it.

python -m examples.controller
"""

import jax.numpy as jnp

import headstart as hs

ENV = hs.Spread(agents=3)


def controller(obs):
    """{"agent": [.. A O]} -> {"agent": [.. A 5]}: agent i steers to landmark i, along the longer axis, braking on the way."""
    x = obs["agent"]
    velocity, landmarks = x[..., 0:2], x[..., 4:10].reshape(*x.shape[:-1], 3, 2)
    goal = jnp.stack([landmarks[..., i, i, :] for i in range(3)], -2)
    wish = goal - 0.5 * velocity
    right, up = wish[..., 0], wish[..., 1]
    nothing = jnp.full(right.shape, 0.05)
    return {"agent": jnp.stack([nothing, -right, right, -up, up], -1)}


def main(out: str = "runs/controller", steps: int = 200_000, **settings):
    """Train with the controller as the teacher; returns the team."""
    guide = hs.Distill(teacher=hs.Scripted(controller, ENV.spec), loss="ce", scale=3.0)
    return hs.train(ENV, hs.PPO(), out, steps=steps, guidance=[guide], **settings)


if __name__ == "__main__":
    team = main(seeds=3)
    print(hs.score(team, ENV, episodes=200))
