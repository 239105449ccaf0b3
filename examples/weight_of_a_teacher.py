"""How much should a team listen to its teacher, and how fast should it learn? Every combination trains in one program.

python -m examples.weight_of_a_teacher
"""

from pathlib import Path

import headstart as hs

SMALL, LARGE = hs.Spread(agents=3), hs.Spread(agents=4)
LEARNER = hs.PPO(num_envs=16, rollout=25)


def main(out: str = "runs/weight", steps: int = 40_000, seeds: int = 2, **settings):
    """Train three agents and sweep over four that they teach; prints each point's return, the best first. Returns the sweep."""
    three = hs.train(SMALL, LEARNER, Path(out) / "three", steps=2 * steps, **{"evaluations": 1} | settings)
    over = {"guidance.alpha": [0.0, 0.3, 0.9], "learner.lr": [1e-3, 5e-3]}
    guide = hs.Distill(three, schedule="constant")
    found = hs.sweep(
        LARGE, LEARNER, Path(out) / "sweep", over, guidance=guide, steps=steps, seeds=seeds, **{"worth": 0} | settings
    )
    for name, point in sorted(found.points.items(), key=lambda item: -item[1].returns.mean()):
        print(f"{name}: return {point.returns.mean():.1f}")
    return found


if __name__ == "__main__":
    main()
