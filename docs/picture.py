"""Draw the README's picture from an experiment: `python docs/picture.py RUNS/EXPERIMENT docs/spread-6.png`."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Circle

from headstart.experiments.report import replay_of

COLORS = {"maddpg": "#7a8590", "maddpg+init": "#2f6fc7", "knowru": "#d9512c", "knowru-constant": "#b8860b"}
TEAMS = {"maddpg": "alone", "knowru-constant": "taught"}


def main(experiment: Path, out: Path) -> None:
    """Learning curves on the left, the paths of two teams on the right."""
    report = json.loads((experiment / "report.json").read_text())
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), width_ratios=(1.9, 1, 1), layout="constrained", dpi=110)
    for name, arm in report["arms"].items():
        curve = arm["curve"]
        axes[0].plot(curve["env_steps"], curve["iqm"], color=COLORS[name], label=name)
        axes[0].fill_between(curve["env_steps"], curve["low"], curve["high"], color=COLORS[name], alpha=0.15, linewidth=0)
    axes[0].set(xlabel="env-steps of the team of six", ylabel="return of an episode")
    axes[0].legend(frameon=False, loc="lower right")
    axes[0].spines[["top", "right"]].set_visible(False)
    for place, (name, what) in zip(axes[1:], TEAMS.items(), strict=True):
        replay = replay_of(experiment / "stages" / report_stage(report, name), name)
        assert replay is not None
        paths(place, replay)
        place.set_title(f"{what} ({name}): return {replay['score'][-1]:.0f}", fontsize=10)
    figure.savefig(out)


def report_stage(report: dict, arm: str) -> str:
    """The name of the stage that an arm is measured on."""
    return report["arms"][arm]["stages"][-1]["name"]


def paths(axes, replay: dict) -> None:
    """Landmarks, every agent's path, and where it ended."""
    reach = 1.6
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    for i, entity in enumerate(replay["entities"]):
        xs, ys = zip(*(frame[i] for frame in replay["frames"]), strict=True)
        color, agent = entity["colors"][0], entity["kind"] == "agent"
        if agent:
            axes.plot(xs, ys, color=color, alpha=0.5, linewidth=1)
        axes.add_patch(Circle((xs[-1], ys[-1]), entity["radius"], color=color, alpha=0.7 if agent else 1, linewidth=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
