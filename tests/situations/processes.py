"""Kind "whole": trainings and command lines from beginning to end, all slow."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import jax
import numpy as np
import toy_envs

import headstart as hs
from situations.table import refused, right

PPO = hs.PPO(num_envs=2, rollout=4, minibatches=1, epochs=1, hidden=(4,))
DDPG = hs.DDPG(num_envs=2, train_every=4, warmup=8, batch=4, capacity=64, hidden=(4,))
MATCH = hs.PettingZoo("toy_envs:Match", workers=1)
TINY = "--learner ippo --learner.num-envs 2 --learner.rollout 4 --learner.minibatches 1 --learner.hidden 4 --steps 16"
COMMAND = [*TINY.split(), "--evaluations", "1", "--episodes", "2", "--out", "run"]


def trained(env, learner=PPO, **settings) -> hs.TeamPolicy:
    with tempfile.TemporaryDirectory() as place:
        given = {"steps": 32, "evaluations": 1, "episodes": 3, "progress": False} | settings
        return hs.train(env, learner, Path(place, "run"), **given)


def workers() -> int:
    """Worker processes of this process."""
    listed = subprocess.run(["ps", "-o", "args", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return listed.count("headstart.envs.host.worker")


@right("whole", "a central controller of an environment in Python", slow=True)
def _():
    team = trained(hs.centralized(MATCH))
    return list(team.spec.roles)


@right("whole", "agents of an environment in Python in two groups", slow=True)
def _():
    team = trained(hs.regrouped(MATCH, "agent", {"a": [1], "b": [0]}))
    return list(team.spec.roles)


@right("whole", "two trainings of one environment in two threads, and no worker left after them", slow=True)
def _():
    failed = []

    def go(seed):
        try:
            trained(MATCH, first_seed=seed)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=go, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not failed and not workers(), (failed, workers())
    return "both trained"


@right("whole", "a seed alone and the seed among others", slow=True)
def _():
    env, out = hs.Spread(agents=2, horizon=5), []
    for learner in (PPO, DDPG):
        among = trained(env, learner, seeds=3, steps=64)
        alone = trained(env, learner, first_seed=2, steps=64)
        pairs = zip(jax.tree.leaves(among.place(2)), jax.tree.leaves(alone.place(0)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs), type(learner).__name__
        out.append(type(learner).__name__)
    return f"the same bits: {', '.join(out)}"


@right("whole", "agents that must differ although they see the same: greedy and sampled returns", slow=True)
def _():
    team = trained(hs.PettingZoo("situations.odd:Differ", workers=1), hs.PPO(num_envs=4, rollout=8, minibatches=1), steps=128)
    greedy, sampled = (hs.score(team, team.env, 16, sample).mean() for sample in (False, True))
    assert greedy == 0 and sampled > 1
    return f"greedy {greedy:.1f}, sampled {sampled:.1f}"


def command(words: list[str], files: dict[str, str] | None = None, within: str = "work", **env: str | None):
    """(exit code, last line) of the command line in a directory with some files."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place, within)
        here.mkdir()
        for name, source in (files or {}).items():
            shutil.copy(source, here / name)
        kept = {name: value for name, value in (os.environ | env).items() if value is not None}
        program = "import sys; from headstart.cli.main import main; sys.exit(main())"
        done = subprocess.run([sys.executable, "-c", program, *words], cwd=here, env=kept, capture_output=True)
    out, err = (text.decode(errors="replace").strip().splitlines() for text in (done.stdout, done.stderr))
    assert done.returncode == 0 or len(err) == 1, err
    said = out + err
    return done.returncode, said[-1] if said else ""


@right("whole", "a directory with a colon in its name", slow=True)
def _():
    words = ["train", "pettingzoo:mine:Match", "--use", "mine", *COMMAND]
    code, said = command(words, {"mine.py": toy_envs.__file__}, "2026-11-25_12:30:00")
    assert code == 0, said
    return said


@right("whole", "help where the output is not UTF-8", slow=True)
def _():
    for encoding in ("cp1252", "latin-1", "ascii"):
        code, said = command(["train", "--help"], PYTHONIOENCODING=encoding)
        assert code == 0, said
    return said


@right("whole", "no home directory", slow=True)
def _():
    code, said = command(["train", "spread", *COMMAND], HOME="/nowhere", JAX_COMPILATION_CACHE_DIR=None)
    assert code == 0, said
    return said


@right("whole", "an environment of more numbers than it says, from the command line", slow=True)
def _():
    words = ["train", "pettingzoo:rude_envs:Rude", "--env.options", '{"how": "wider"}', "--use", "rude_envs", *COMMAND]
    tests = str(Path(toy_envs.__file__).parent)
    code, said = command(words, PYTHONPATH=os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    assert code == 2 and "agent_1's observation must be numbers of shape (3,)" in said, said
    return said


@refused("whole", "a run directory that holds something already", "already holds", slow=True)
def _():
    with tempfile.TemporaryDirectory() as place:
        Path(place, "mine.txt").touch()
        hs.train(hs.Spread(2, horizon=5), PPO, place, steps=32, progress=False)
