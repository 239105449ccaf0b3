"""Train the teams that come with headstart, and write them into the package.

    python -m benchmarks.zoo RUNS [NAME ..]

Each recipe is a few commands of the command line, run in the directory RUNS; what is already there is not trained again.
Of a team, the first seed is kept. Its return is measured in fresh greedy episodes, and the interval is that of the mean over
episodes.
"""

import argparse
import contextlib
import dataclasses
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from headstart import __version__
from headstart.cli.main import main as headstart
from headstart.report.stats import interval
from headstart.storage import files, places, schema
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved_demos import load_teacher
from headstart.training.run import episode_scores

EPISODES = 1000
"""In which a team is measured."""


class Recipe(NamedTuple):
    """What an entry is, and the commands that make it; the last one writes the entry's directory, `--out`."""

    title: str
    commands: tuple[str, ...]


def _navigation(agents: int, steps: int = 500_000) -> Recipe:
    learner = f"--learner maddpg --learner.shared --steps {steps}"
    command = f"headstart train spread --env.agents {agents} {learner} --evaluations 5 --out runs/spread-{agents}"
    return Recipe(f"{agents} agents cover {agents} landmarks", (command,))


RECIPES = {
    "spread-3": _navigation(3),
    "spread-4": _navigation(4),
    "spread-6": _navigation(6),
    "spread-demonstrations": Recipe(
        "recorded episodes of spread-3",
        ("headstart record zoo:spread-3 --episodes 200 --greedy --actions --compact --out demos/spread-demonstrations",),
    ),
    "tag-leader": Recipe(
        "one predator that hunts alone, to lead novices",
        (
            "headstart train tag-random --env.adversaries 1 --learner maddpg --learner.batch 256 --learner.warmup 5000 "
            "--learner.train-every 25 --learner.num-envs 25 --steps 150000 --evaluations 5 --out runs/tag-leader",
        ),
    ),
    "speaker-listener-expert": Recipe(
        "a central controller that sees the goal and moves the listener",
        (
            "headstart train centralized:speaker-listener --learner maddpg --learner.gamma 0.9 --learner.actor-lr 1e-3 "
            "--learner.critic-lr 1e-3 --learner.clip 0.1 --learner.batch 64 --learner.gradient-steps 5 --learner.warmup 2000 "
            "--learner.train-every 25 --learner.num-envs 25 --steps 250000 --evaluations 5 --out runs/speaker-listener-expert",
        ),
    ),
    "speaker-listener-students": Recipe(
        "a speaker and a listener, taught by the central controller",
        (
            "headstart train speaker-listener --learner imitator --guidance cesma --teacher zoo:speaker-listener-expert "
            "--steps 150000 --evaluations 5 --out runs/speaker-listener-students",
        ),
    ),
    "treasure": Recipe(
        "four collectors and a bank",
        (
            "headstart train treasure --env.collectors 4 --env.banks 1 --learner maac --learner.shared --learner.batch 128 "
            "--learner.hidden 64 64 --learner.embedding 64 --learner.capacity 250000 --learner.tau 0.01 --steps 240000 "
            "--evaluations 5 --out runs/treasure",
        ),
    ),
    "3m": Recipe(
        "three marines against three, with a memory",
        (
            "headstart train smax:3m --learner ippo --learner.core gru --learner.hidden 64 64 --learner.lr 1e-3 "
            "--learner.num-envs 32 --learner.rollout 64 --learner.epochs 5 --learner.entropy 0.005 "
            "--learner.no-after-death --steps 750000 --evaluations 5 --out runs/3m",
        ),
    ),
    "walker2d-slave": Recipe(
        "Walker2d within a wide range of heights, which is easier than a narrow one",
        (
            "headstart train mujoco:Walker2d-v3 --learner ppo --learner.hidden 64 64 64 --learner.num-envs 8 "
            "--learner.rollout 256 --learner.epochs 10 --learner.minibatches 32 --learner.lr 3e-4 --learner.entropy 0 "
            "--learner.obs-norm --steps 250000 --evaluations 5 --out runs/walker2d-slave",
        ),
    ),
}
"""{name: how it is made}, in an order in which teachers come first."""


def make(name: str, runs: Path, trained: Path = places.TRAINED) -> dict[str, Any]:
    """Make an entry in `trained`/NAME; returns the content of its zoo.json."""
    recipe = RECIPES[name]
    runs.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(runs):
        for words in map(shlex.split, recipe.commands):
            out = Path(words[words.index("--out") + 1])
            if not out.exists():
                headstart(words[1:])
            elif (out / "run.json").exists() and not (out / "policy.json").exists():
                headstart(["resume", str(out)])
        made = load_teacher(out)
    if isinstance(made, Demos):
        write, episodes, about = lambda to: _copied(runs / out, to), len(made), _recorded(made)
    else:
        assert isinstance(made, TeamPolicy)
        first = _first_seed(made)
        write, episodes, about = first.write, EPISODES, episode_scores(first, first.env, EPISODES)
    target = trained / name
    shutil.rmtree(target, ignore_errors=True)
    with places.made_at_once(target) as staged:
        entry = {
            "title": recipe.title,
            "env": _environment(recipe),
            "learner": _learner(recipe),
            "commands": list(recipe.commands),
            "seed": made.notes["seed"][0] if isinstance(made, Demos) else made.seeds[0],
            "env_steps": made.env_steps,
            "episodes": episodes,
            "means": {name: _interval(np.asarray(x).reshape(-1)) for name, x in about.items()},
            "headstart": __version__,
            "of": write(staged),
        }
        files.write_json(staged / "zoo.json", entry, schema.Zoo)
    return entry


def _first_seed(team: TeamPolicy) -> TeamPolicy:
    return dataclasses.replace(team, params=jax.tree.map(lambda x: x[:1], team.params), seeds=team.seeds[:1])


def _copied(recording: Path, to: Path) -> str:
    """Copy the files of demonstrations as they were recorded; returns their digest."""
    for name in ("demos.json", "demos.safetensors"):
        shutil.copyfile(recording / name, to / name)
    return files.digest_of(files.read_json(to / "demos.json", schema.Demonstrations))


def _recorded(demos: Demos) -> dict[str, np.ndarray]:
    """{"return": [M], event: [M]} of recorded episodes."""
    return {"return": np.concatenate(list(demos.returns.values()), -1).mean(-1, dtype=np.float64), **demos.events}


def _environment(recipe: Recipe) -> str:
    return _training(recipe)[2]


def _learner(recipe: Recipe) -> str:
    words = _training(recipe)
    return words[words.index("--learner") + 1]


def _training(recipe: Recipe) -> list[str]:
    """The words of the recipe's last training, or of that of the team which it records."""
    words = shlex.split(recipe.commands[-1])
    return words if words[1] == "train" else _training(RECIPES[words[2].removeprefix(places.ZOO)])


def _interval(x: np.ndarray) -> list[float]:
    """Mean and 95 % bounds of the mean over episodes, to four digits behind the point."""
    found = interval(x, np.mean)
    return [round(float(found[name]), 4) for name in ("iqm", "low", "high")]


def main() -> None:
    """Make the named entries, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description="Train the teams that come with headstart.")
    parser.add_argument("runs", type=Path, help="where they are trained; finished runs there are taken as they are")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of: {', '.join(RECIPES)} (all of them by default)")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in RECIPES]:
        parser.error(f"no recipe named {', '.join(unknown)}; there are: {', '.join(RECIPES)}")
    for name in asked.names or RECIPES:
        entry = make(name, asked.runs.resolve())
        size = sum(path.stat().st_size for path in (places.TRAINED / name).iterdir())
        print(f"{name}: {entry['means']}, {entry['env_steps']:,} env-steps, {size / 1e3:.1f} kB", flush=True)


if __name__ == "__main__":
    main()
