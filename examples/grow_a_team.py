"""A team grows: three predators start a team of four that hunts more prey among more obstacles, with all their weights.

Actors and critics are graphs, so that no weight depends on the size of the team. A first layer takes its rows by the names
of the observed fields (adapted); every other weight is the same (loaded).

python -m examples.grow_a_team
"""

from pathlib import Path

import jax

import headstart as hs
from headstart.report import read_curve

SMALL = hs.Tag(adversaries=3, prey=1, obstacles=2, policy="random", horizon=50)
LARGE = hs.Tag(adversaries=4, prey=2, obstacles=3, policy="random", horizon=50)
LEARNER = hs.DDPG(
    critic="agnn", actor="agnn", shared=True, embedding=16, blocks=1, hidden=(32,), actor_lr=3e-3, critic_lr=3e-3,
    batch=128, warmup=1_250, num_envs=25, train_every=25,
)  # fmt: skip


class Table(hs.Watcher):
    """Prints what a run does with each weight that it starts from."""

    def begin(self, manifest):
        """At the beginning of the run."""
        for name, happened, about in manifest["start"]:
            print(f"{happened:15} {name:58} {about}")


def main(out: str = "runs/grow", steps: int = 40_000, episodes: int = 200, **settings):
    """Train three, then four that start with their weights. Prints the table of the weights and the mean returns of four;
    returns these: {"fresh": of random weights, "grown": of the weights of three, "trained": after some more training}."""
    settings |= {"evaluations": 1, "episodes": episodes}
    three = hs.train(SMALL, LEARNER, Path(out) / "three", steps=steps, **settings)
    guide, grown = hs.WarmStart(three, networks=("actor", "critic")), Path(out) / "grown"
    hs.train(LARGE, LEARNER, grown, guidance=guide, steps=steps // 5, worth=0, watchers=[Table()], **settings)
    params = jax.vmap(LEARNER.make(LARGE.spec).init)(jax.random.split(jax.random.key(0), 8))
    fresh = hs.TeamPolicy(LARGE.spec, LEARNER, params, tuple(range(8)), LARGE)
    curve = read_curve(grown).returns.mean(0)
    found = {"fresh": hs.score(fresh, LARGE, episodes).mean(), "grown": curve[0], "trained": curve[-1]}
    for name, value in found.items():
        print(f"{name}: return {value:.1f}")
    return found


if __name__ == "__main__":
    main()
