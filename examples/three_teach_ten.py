"""Three agents teach ten: the ten begin with their weights, ask them what they would do, do both, or neither.

A run may have several guides. Here the first gives the weights to begin with, and the second goes on teaching, less and less.

python -m examples.three_teach_ten
"""

from pathlib import Path

import headstart as hs
from examples.with_and_without import compared, tell

THREE, TEN = hs.Spread(agents=3), hs.Spread(agents=10)
LEARNER = hs.PPO(num_envs=16, rollout=25, lr=3e-3)


def main(out: str = "runs/three-teach-ten", steps: int = 40_000, **settings):
    """Train three, then ten in four ways; prints and returns the mean returns of ten."""
    three = hs.train(THREE, LEARNER, Path(out) / "three", steps=2 * steps, **{"evaluations": 1} | settings)
    weights, answers = hs.WarmStart(three), hs.Distill(three, alpha=0.5, alpha_end=0.02)
    guides = {
        "begin with their weights": [weights],
        "ask them": [answers],
        "do both": [weights, answers],
        "do neither": [],
    }
    runs = {name: (LEARNER, guide) for name, guide in guides.items()}
    return tell(compared(TEN, runs, Path(out), steps=steps, **settings))


if __name__ == "__main__":
    main()
