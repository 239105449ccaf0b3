"""Odd command lines: true commands with odd flags and odd values."""

import dataclasses
from typing import Any

from fuzz.mutate import Rng, one_of
from headstart import registry

VALUES = [
    "nan", "inf", "-inf", "1e12", "1000000000000", "-1", "0", "1", "2", "3", "0.5", "", " ", "None", "True", "[1,2]", "{}", "é",
    "0x10", "1_000", "9" * 5000, "new/x", "~", "a:b", "y=", "--", "-", "spread", "runs/run", "1e-320", "١", "x" * 5000,
    "\udcff", "a b", "8 8", "65536", "100000", "2147483647", "2147483648", "18446744073709551616",
]  # fmt: skip
DIRECTORIES = ["run", "cut", "taught", "team", "experiment", "nowhere", ".", "", "/", "/dev/null", "run/run.json", "~", "run/"]
RUN_FLAGS = ["--steps", "--seeds", "--first-seed", "--evaluations", "--episodes", "--until", "--out", "--use", "--teacher"]
FLAGS = {
    "evaluate": ["--episodes", "--env", "--adapt", "--sample", "--accept-changed", "--use"],
    "render": ["--out", "--seed", "--episode", "--accept-changed"],
    "report": ["--out", "--accept-changed"],
    "resume": ["--accept-changed", "--use"],
    "reproduce": ["--scale", "--arms", "--seeds", "--out"],
    "demo": ["--out"],
    "list": ["--use"],
}
ENVS = ["spread", "navigation", "tag", "adversary", "reference", "speaker-listener", "treasure"]
"""Environments that open nothing outside this process."""


def _fields(prefix: str, part: Any) -> list[str]:
    return [f"--{prefix}.{field.name.replace('_', '-')}" for field in dataclasses.fields(part)]


def drawn(rng: Rng) -> list[str]:
    """The arguments of a command."""
    command = one_of(rng, ["train"] * 6 + ["evaluate", "render", "report", "resume", "reproduce", "list", "demo", "trian", ""])
    words = [command]
    flags = list(FLAGS.get(command, RUN_FLAGS))
    if command == "train":
        env, learner = one_of(rng, ENVS), one_of(rng, ["maddpg", "ippo", "mappo", "dqn", "vdn"])
        guide = one_of(rng, [None, None, "knowru", "dagger", "warm_start"])
        words += [env, "--learner", learner] if rng.random() < 0.9 else [env]
        flags += _fields("env", registry.preset("env", env)) * 2 + _fields("learner", registry.preset("learner", learner)) * 2
        if guide:
            words += ["--guidance", guide, "--teacher", one_of(rng, DIRECTORIES)]
            flags += _fields("guidance", registry.preset("guidance", guide))
        if rng.random() < 0.8:
            words += ["--steps", "400", "--out", "out"]
    elif command == "reproduce":
        words += [one_of(rng, ["knowru/spread-6", "knowru/spread-7", "cesma/navigation-3", "x", ""]), "--scale", "smoke"]
    elif command in FLAGS and command not in ("list", "demo"):
        words += [one_of(rng, DIRECTORIES) for _ in range(int(rng.integers(1, 3)) if command == "report" else 1)]
    for _ in range(int(rng.integers(0, 4))):
        flag = one_of(rng, [*flags, one_of(rng, ["--help", "--no-such", "-x", "--", "--env.agents.x"])])
        value = one_of(rng, VALUES)
        words += one_of(rng, [[flag, value], [flag, value], [f"{flag}={value}"], [flag], [value]])
    return words
