"""Host environments that are rude: what they return, how they end, hang, and what they do to the process around them.

Values are read in this process; no test here trains but those at the end, which are marked as slow.
"""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import rude_envs
import toy_envs
from gymnasium import spaces as gym_spaces
from probes import small
from rude_envs import ENTIRE, FLAGS, INFOS, LATE, MASKS, OBSERVATIONS, REWARDS, Rude
from test_host import all_gone, needs_proc, pool_of, steps
from toy_envs import Match

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.scope import current, interruptible, scope
from headstart.core.spec import Discrete, decode_spec, encode_spec
from headstart.envs.host import crew, frames, masks, reading
from headstart.envs.host.openers import Alone
from headstart.envs.host.pool import Pool, look
from headstart.envs.host.team import HostTeam
from headstart.envs.pettingzoo import PettingZoo
from headstart.learners.ppo import PPO
from headstart.training import run, session
from headstart.training.watch import Watcher

OPENER = PettingZoo.opener
SPEC = HostTeam(Match()).spec
ZEROS = np.zeros(6, np.float32)


def rude(how: str, lanes: int = 2, workers: int = 1, timeout: float = 20.0, **options) -> Pool:
    settings = {"id": "rude_envs:Rude", "options": {"how": how, **options}, "horizon": 0}
    return Pool(OPENER, settings, SPEC, lanes, workers, timeout)


def refused(made: Pool, count: int = LATE, lanes: int = 2) -> str:
    """The one line with which a reset and some steps are refused."""
    with pytest.raises(HeadstartError) as caught:
        steps(made, count, lanes)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2 * frames.LONGEST_TEXT
    return str(caught.value)


# ------------------------------------------------------------------ what they return

WORDS = {
    "wider": "agent_1's observation must be numbers of shape (3,), not float32 of shape (4,) [0.0, 0.0, 0.0, 0.0]",
    "narrower": "agent_1's observation must be numbers of shape (3,), not float32 of shape (2,) [0.0, 0.0]",
    "deeper": "agent_1's observation must be numbers of shape (3,), not float32 of shape (3, 3)",
    "turned": "agent_1's observation must be numbers of shape (3,), not float32 of shape (1, 3, 2) [[[",
    "nan": "agent_1's observation must be finite in single precision, not float32 of shape (3,) [0.0, nan, 0.0]",
    "infinite": "agent_1's observation must be finite in single precision, not float32 of shape (3,) [0.0, inf, 0.0]",
    "beyond": "agent_1's observation must be finite in single precision, not",
    "none": "agent_1's observation must be numbers of shape (3,), not None",
    "words": "agent_1's observation must be numbers of shape (3,), not 'abc'",
    "texts": "agent_1's observation must be numbers of shape (3,), not a list of 3",
    "ragged": "agent_1's observation must be numbers of shape (3,), not a list of 3",
    "objects": "agent_1's observation must be numbers of shape (3,), not object of shape (3,) [1, None, 2]",
    "complex": "agent_1's observation must be numbers of shape (3,), not complex128 of shape (3,)",
    "dates": "agent_1's observation must be numbers of shape (3,), not datetime64[s] of shape (3,)",
    "dict": "agent_1's observation must be numbers of shape (3,), not a dict of 1",
    "nasty": "agent_1's observation must be numbers of shape (3,), not a Nasty",
    "two rewards": "agent_1's reward must be one number, not float64 of shape (2,) [1.0, 1.0]",
    "no reward": "agent_1's reward must be one number, not None",
    "reward in words": "agent_1's reward must be one number, not '1.0'",
    "nan reward": "agent_1's reward must be finite in single precision, not nan",
    "infinite reward": "agent_1's reward must be finite in single precision, not inf",
    "reward beyond": "agent_1's reward must be one number, not 1000",
    "nasty reward": "agent_1's reward must be one number, not a Nasty",
    "flag in words": "agent_1's truncation must be True or False, not 'False'",
    "flag none": "agent_1's truncation must be True or False, not None",
    "two flags": "agent_1's truncation must be True or False, not a list of 2",
    "half a flag": "agent_1's truncation must be True or False, not 0.5",
    "info none": "agent_1's info must be a dict, not None",
    "info list": "agent_1's info must be a dict, not a list of 1",
    "wide mask": "agent_1's action mask must be 3 zeros and ones, not float64 of shape (4,)",
    "mask in words": "agent_1's action mask must be 3 zeros and ones, not '101'",
    "mask of twos": "agent_1's action mask must be 3 zeros and ones, not a list of 3",
    "ragged mask": "agent_1's action mask must be 3 zeros and ones, not",
    "returns none": "step must return 5 values (observations, rewards, terminations, truncations, infos), not None",
    "returns four": "step must return 5 values (observations, rewards, terminations, truncations, infos), not a tuple of 4",
    "returns six": "step must return 5 values (observations, rewards, terminations, truncations, infos), not a tuple of 6",
    "observations in a list": "the observations must be a dict of the agents, not a list of 2",
    "rewards none": "the rewards must be a dict of the agents, not None",
    "terminations none": "the terminations must be a dict of the agents, not None",
    "infos in a list": "the infos must be a dict of the agents, not a list of 1",
    "nobody seen": "the observations must have agent_0, which plays, not only nobody",
    "one unseen": "the observations must have agent_1, which plays, not only agent_0",
    "one unpaid": "the rewards must have agent_1, which plays, not only agent_0",
    "all at once": "the terminations must have agent_0, which plays, not only __all__",
    "sneaks off": "agent_1 has left `agents` without being terminated or truncated",
}


def test_every_rude_value_has_its_line():
    assert WORDS.keys() == {*OBSERVATIONS, *REWARDS, *FLAGS, *INFOS, *MASKS, *ENTIRE, "sneaks off"}


@pytest.mark.parametrize("how", WORDS)
def test_a_value_that_does_not_fit_is_refused_with_its_agent_and_step(how):
    team = HostTeam(Rude(how))
    team.reset(7)
    for _ in range(LATE - 1):
        team.step(ZEROS)
    with pytest.raises(HeadstartError) as caught:
        team.step(ZEROS)
    assert str(caught.value).startswith(WORDS[how]) and "\n" not in str(caught.value)
    assert team.moment == "step 3 (seed 7)"
    assert team.reset(7).shape == (team.width,), "a reset begins anew"


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda told: told[0], "reset must return 2 values (observations, infos), not a dict of 2"),
        (lambda told: (*told, 1), "reset must return 2 values (observations, infos), not a tuple of 3"),
        (lambda told: (None, {}), "the observations must be a dict of the agents, not None"),
        (
            lambda told: ({"agent_0": told[0]["agent_0"]}, {}),
            "the observations must have agent_1, which plays, not only agent_0",
        ),
        (
            lambda told: (told[0] | {"agent_1": [1.0]}, {}),
            "agent_1's observation must be numbers of shape (3,), not a list of 1",
        ),
    ],
)
def test_a_reset_is_read_as_strictly(change, words):
    class Resets(Match):
        def reset(self, seed=None, options=None):
            return change(super().reset(seed))

    with pytest.raises(HeadstartError) as caught:
        HostTeam(Resets()).reset(0)
    assert str(caught.value) == words


@pytest.mark.parametrize("agents,words", [(None, "`agents` must list who plays, not None"), ([], "nobody plays after reset")])
def test_somebody_must_play(agents, words):
    class Empty(Match):
        def reset(self, seed=None, options=None):
            told = super().reset(seed)
            self.agents = agents
            return told

    with pytest.raises(HeadstartError, match=words):
        HostTeam(Empty()).reset(0)


@pytest.mark.parametrize("shown", [(2, 5), (-1, 5), (0, 4), (0, 8), (0.5, 6), (1,), (0, 5, 5), (float("nan"), 5)])
def test_a_choice_that_is_not_there_is_refused(shown, monkeypatch):
    """An index from the end would otherwise be taken for another choice."""
    monkeypatch.setattr(rude_envs.Chooser, "shown", shown)
    with pytest.raises(HeadstartError, match=r"agent_0's observation must be (a )?whole number"):
        HostTeam(rude_envs.Chooser()).reset(0)


def test_a_team_of_nobody_is_refused():
    class Nobody(Match):
        spaces_of = {}

    with pytest.raises(HeadstartError, match=r"^Nobody has nobody in possible_agents$"):
        HostTeam(Nobody())


def test_parts_of_an_observation_are_named():
    space = gym_spaces.Dict({"own": gym_spaces.Box(0, 1, (2,)), "pair": gym_spaces.Tuple([gym_spaces.Discrete(3)] * 2)})
    for value, part, words in (
        ({"own": [1, 2, 3], "pair": (0, 0)}, "['own']", "numbers of shape (2,), not a list of 3"),
        ({"own": [1, 2], "pair": (0, 3)}, "['pair']['1']", "a whole number from 0 to 2, not 3"),
        ({"own": [1, 2], "pair": (0,)}, "['pair']", "a tuple of 2, not a tuple of 1"),
        ({"own": [1, 2]}, "", "a dict with own, pair, not a dict of 1"),
    ):
        with pytest.raises(reading.Wrong) as caught:
            reading.flat(space, value)
        assert (caught.value.part, str(caught.value)) == (part, words)


def test_harmless_habits_are_read_as_before():
    """Rewards in arrays of one, flags of NumPy, axes of length 1, lists, no infos at all, Gymnasium's tuple of masks."""
    box = gym_spaces.Box(0, 1, (3,))
    for value in ([1, 2, 3], np.array([[1, 2, 3]]), np.array([[1.0], [2.0], [3.0]]), (1, np.float64(2), True + 2)):
        np.testing.assert_array_equal(reading.flat(box, value), [1, 2, 3])
    assert [reading.number(x) for x in (1, True, np.float32(2), np.array([3.0]), np.array(4))] == [1, 1, 2, 3, 4]
    assert [reading.flag(x) for x in (True, np.bool_(True), 1, np.array([0]), 0.0)] == [True, True, True, False, False]
    given = (np.array([1, 0]), np.array([1, 0, 0]))
    np.testing.assert_array_equal(masks.read(given, Discrete((2, 3))), [1, 0, 1, 0, 0])

    class Terse(Match):
        def step(self, actions):
            return (*super().step(actions)[:4], None)

    polite, terse = HostTeam(Match()), HostTeam(Terse())
    np.testing.assert_array_equal(polite.reset(3), terse.reset(3))
    np.testing.assert_array_equal(polite.step(ZEROS), terse.step(ZEROS))


def test_gymnasium_environments_of_the_old_interface_are_told_in_one_line():
    class Old:
        spec = observation_space = action_space = None

        def reset(self, seed):
            return np.zeros(3)

        def step(self, action):
            return np.zeros(3), 0.0, False, {}

    alone = Alone(Old())
    with pytest.raises(HeadstartError, match=r"reset must return 2 values \(observation, info\), not float64 of shape \(3,\)"):
        alone.reset(0)
    with pytest.raises(HeadstartError, match=r"step must return 5 values .*, not a tuple of 4"):
        alone.step({"agent_0": 0})


def test_the_line_names_environment_agent_and_step():
    line = refused(rude("wider"))
    start = (
        "the environment rude_envs:Rude failed in step 3 (seed 0): agent_1's observation must be numbers of shape (3,), not "
    )
    assert line.startswith(start)


def test_an_environment_that_fails_at_once_is_refused_as_its_spec_is_read():
    """Before a program is compiled for it, which would take a minute."""
    start = "^the environment rude_envs:Rude failed in step 1 \\(seed 0\\): agent_1's reward must be one number"
    with pytest.raises(HeadstartError, match=start):
        _ = PettingZoo("rude_envs:Rude", {"how": "two rewards", "late": 1}).spec


def test_agents_that_come_in_another_order_in_every_process_are_sorted():
    settings = {"id": "rude_envs:Shuffled", "options": {}, "horizon": 0}
    spec = look(OPENER, settings, 20.0)
    assert list(spec.roles) == list("abcdefgh")
    assert len(Pool(OPENER, settings, spec, 2, 2).reset(np.arange(2))) == 2


def test_environments_that_draw_from_global_generators_have_them_to_themselves():
    """Their episodes depend on their seeds alone: not on the run, the worker processes, or the environments beside them."""
    settings = {"id": "rude_envs:Careless", "options": {}, "horizon": 0}
    made = lambda lanes, workers: Pool(OPENER, settings, SPEC, lanes, workers)
    one, again, two, alone = made(3, 1), made(3, 1), made(3, 3), made(1, 1)
    seeds = np.arange(3)
    for number in range(12):  # two episodes and more
        if number == 0:
            rows = [pool.reset(seeds) for pool in (one, again, two)] + [alone.reset(seeds[:1])]
        else:
            act = lambda lanes: np.zeros((lanes, 6), np.float32)
            rows = [pool.step(act(3), seeds + number, True) for pool in (one, again, two)]
            rows.append(alone.step(act(1), seeds[:1] + number, True))
        for other in rows[1:]:
            np.testing.assert_array_equal(rows[0][: len(other)], other)
    assert len(np.unique(rows[0][:, 0])) == 3, "they draw"


# ------------------------------------------------------------------ how they end

ENDS = {
    "sys.exit": r"failed in step 3 \(seed 0\): SystemExit: 3 \(.*rude_envs.py, line \d+\)$",
    "os._exit": r"ended with exit code 0 in a step$",
    "abort": r"was ended by SIGSEGV in a step$",
    "killed": r"was ended by SIGKILL \(out of memory\?\) in a step$",
    "alarm": r"was ended by SIGALRM in a step$",
    "interrupt": r"failed in step 3 \(seed 0\): KeyboardInterrupt: +\(.*rude_envs.py, line \d+\)$",
    "base": r"failed in step 3 \(seed 0\): Cyclist: fell off \(.*rude_envs.py, line \d+\)$",
    "silent": r"failed in step 3 \(seed 0\): Silent: \(its text cannot be read\) \(.*rude_envs.py, line \d+\)$",
    "lengthy": r"failed in step 3 \(seed 0\): RuntimeError: long long .* \(.*rude_envs.py, line \d+\)$",
    "writes": r"sent bytes that are no frame in a step: does the environment write to pipes that are not its own\?$",
    "boasts": r"sent b'W' of 1099511627776 bytes in a step: ",
    "closes": r"ended with exit code 1 in a step$",
}


@pytest.mark.parametrize("how", ENDS)
def test_an_end_is_told_in_one_line(how, capfd):
    line = refused(rude(how))
    assert re.search(ENDS[how], line) and "rude_envs:Rude" in line
    assert capfd.readouterr().err == ""


def test_opening_may_fail_as_well(capfd):
    """In the process that looks at an environment and in those that step it: never in this one."""
    for how, words in (
        ("sys.exit", "failed as it was opened: SystemExit: 3"),
        ("os._exit", "ended with exit code 0 in opening"),
    ):
        with pytest.raises(HeadstartError, match=words):
            _ = PettingZoo("rude_envs:Rude", {"how": how, "at": "open"}).spec
        assert words in refused(rude(how, at="open"), 0)
    assert capfd.readouterr().err == ""


def test_a_fork_answers_nothing_and_ends_with_its_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_PIDS", str(tmp_path))
    np.testing.assert_array_equal(steps(rude("forks"), LATE, 2), steps(pool_of("Match", 2, 1), LATE, 2))
    made = rude("fork stays")
    np.testing.assert_array_equal(steps(made, LATE, 2), steps(pool_of("Match", 2, 1), LATE, 2))
    made.close()
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) >= 4 and all_gone(pids, 5)


# ------------------------------------------------------------------ how long they take


def on_the_brink(how: str, at: str, tmp_path: Path, timeout: float = 60.0) -> tuple[Pool, Callable[[], Any]]:
    """A pool of opened environments, and the call in which they become rude."""
    made = rude(how, lanes=2, workers=2, timeout=timeout, at=at, when=str(tmp_path / "now"))
    if at != "open":
        steps(made, LATE - 1, 2)
    (tmp_path / "now").touch()
    seeds = np.arange(2)
    return made, lambda: made.step(np.zeros((2, 6), np.float32), seeds, False) if at == "step" else made.reset(seeds)


@pytest.mark.parametrize("how,at", [("hang", "open"), ("hang", "reset"), ("spin", "step"), ("deaf", "step")])
def test_one_that_hangs_is_ended_after_its_timeout(how, at, tmp_path, monkeypatch):
    (tmp_path / "pids").mkdir()
    monkeypatch.setenv("TOY_PIDS", str(tmp_path / "pids"))
    made, call = on_the_brink(how, at, tmp_path, 1.0 if at == "open" else 60.0)
    if made.crew:
        for process in made.crew.processes:
            process.timeout = 0.3
    start = time.monotonic()
    words = {"open": "opening within 1 s", "reset": "a reset within 0.3 s", "step": "a step within 0.3 s"}[at]
    with pytest.raises(HeadstartError, match=f"^the environment rude_envs:Rude has not finished {words}: .*--env.timeout"):
        call()
    assert time.monotonic() - start < 4
    assert all_gone([int(path.name) for path in (tmp_path / "pids").iterdir()], 1)


def test_the_timeout_is_that_of_one_environment():
    """Eight that take 0.1 s each are not one that takes 0.8 s."""
    settings = {"id": "rude_envs:Slow", "options": {}, "horizon": 0}
    made = Pool(OPENER, settings, HostTeam(rude_envs.Slow()).spec, 8, 1, 60.0)
    made.order["beat"] = 0.05
    steps(made, 0, 8)
    assert made.crew is not None
    made.crew.processes[0].timeout = 0.6
    start = time.monotonic()
    assert made.step(np.zeros((8, 6), np.float32), np.arange(8), False).shape[0] == 8
    assert time.monotonic() - start > 0.8


def test_a_request_to_stop_is_heard_while_one_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "STOP_SECONDS", 0.3)
    made, call = on_the_brink("hang", "reset", tmp_path)
    assert made.crew is not None
    made.crew.stop = threading.Event()
    threading.Timer(0.2, made.crew.stop.set).start()
    start = time.monotonic()
    with pytest.raises(crew.GivenUp, match="has not finished a reset, and the run was asked to stop"):
        call()
    assert time.monotonic() - start < 3


def test_a_pool_can_be_closed_while_another_thread_waits_for_it(tmp_path):
    made, call = on_the_brink("hang", "step", tmp_path)
    threading.Timer(0.2, made.close).start()
    start = time.monotonic()
    with pytest.raises(HeadstartError, match="was closed in a step"):
        call()
    assert time.monotonic() - start < 3
    assert "is closed: its run or evaluation is over" in refused(made)


STUCK = """
import json, sys, numpy as np
from headstart.core.spec import decode_spec
from headstart.envs.host.pool import Pool
settings = {"id": "rude_envs:Rude", "options": {"how": sys.argv[2]}, "horizon": 0}
made = Pool(sys.argv[1], settings, decode_spec(json.loads(sys.argv[3])), 2, 2)
made.reset(np.arange(2))
for i in range(3):
    print(i, flush=True)
    made.step(np.zeros((2, 6), np.float32), np.arange(2), False)
"""


@needs_proc
@pytest.mark.parametrize("how", ["hang", "spin", "deaf"])
def test_workers_end_with_a_killed_parent_even_in_the_middle_of_a_step(how, tmp_path):
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "TOY_PIDS": str(tmp_path), "PYTHONPATH": paths}
    words = [sys.executable, "-c", STUCK, OPENER, how, json.dumps(encode_spec(SPEC))]
    parent = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        assert [parent.stdout.readline() for _ in range(LATE)] == ["0\n", "1\n", "2\n"]
        time.sleep(0.2)
    finally:
        parent.kill()
        parent.wait()
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 2 and all_gone(pids, 5)


WATCHED = """
import os, sys, time
from headstart.envs.host import guard
guard.sys, guard.GRACE = type("other", (), {"platform": "other"}), 0.1
pipe = os.dup(0)
guard.end_with_parent(pipe, os.getppid())
print("ready", flush=True)
while True:
    pass
"""


@needs_proc
def test_without_the_kernels_help_a_thread_notices_the_closed_pipe():
    worker = subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert worker.stdin is not None and worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    assert worker.poll() is None
    worker.stdin.close()
    assert worker.wait(5) == -signal.SIGKILL


# ------------------------------------------------------------------ frames


def test_a_head_is_refused_unless_all_of_it_is_expected():
    allowed = {frames.ROWS: (8, 8), frames.FAILED: (0, frames.LONGEST_TEXT)}
    assert frames.read_head(frames.framed(frames.ROWS, 4, b"12345678"), 4, allowed) == (frames.ROWS, 4, 8)
    for frame in (
        frames.framed(frames.ROWS, 4, b"1234567"),
        frames.framed(frames.ROWS, 3, b"12345678"),
        frames.framed(frames.SPEC, 4, b"12345678"),
        frames.framed(frames.FAILED, 4, b"x" * (frames.LONGEST_TEXT + 1)),
        b"xx" + frames.framed(frames.ROWS, 4, b"12345678")[2:],
    ):
        with pytest.raises(frames.Garbled):
            frames.read_head(frame, 4, allowed)


def test_a_text_is_one_line_and_cut():
    assert frames.text("a\n  b") == b"a b"
    assert len(frames.text("\u00e4" * 10**5)) <= frames.LONGEST_TEXT and frames.text("\u00e4" * 10**5).decode().endswith("...")
    assert frames.text("lone \ud800") == b"lone ?"


def test_a_spec_survives_its_way():
    for name in ("Menagerie", "Steer"):
        spec = HostTeam(getattr(toy_envs, name)()).spec
        assert decode_spec(encode_spec(spec)) == spec == PettingZoo(f"toy_envs:{name}").spec


def test_many_numbers_pass_in_both_directions():
    """More than a pipe holds at once, before either side reads."""
    settings, lanes = {"id": "toy_envs:Match", "options": {}, "horizon": 0}, 4000
    made = Pool(OPENER, settings, SPEC, lanes, 2, 60.0)
    first = made.reset(np.arange(lanes))
    rows = made.step(np.zeros((lanes, 6), np.float32), np.arange(lanes), True)
    assert first.shape == (lanes, 20) and rows.shape == (lanes, 40)
    for lane in (0, 1999, 2000, 3999):
        team = HostTeam(Match())
        np.testing.assert_array_equal(first[lane], team.reset(lane))
        np.testing.assert_array_equal(rows[lane, :20], team.step(ZEROS))


def test_a_run_saved_before_there_was_a_timeout_is_read(monkeypatch):
    monkeypatch.setattr(registry, "used", {"toy_envs"})
    env = PettingZoo("toy_envs:Match", horizon=3)
    saved = registry.encode("env", env)
    del saved["settings"]["timeout"]
    assert registry.decode("env", saved) == env and env.timeout == 60.0


# ------------------------------------------------------------------ whose workers they are


def children() -> list[int]:
    rows = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in rows.splitlines() if "headstart.envs.host.worker" in line]


@needs_proc
def test_two_threads_step_one_environment_side_by_side_and_leave_no_worker():
    env, before = PettingZoo("toy_envs:Match", workers=1), set(children())
    alone, found = {}, {}

    def play(seed: int, out: dict) -> None:
        with scope():
            reset, step = jax.jit(lambda key: env.reset(key)), jax.jit(lambda state, key: env.step(state, action, key))
            state, first = reset(jr.key(seed))
            told = [first]
            for i in range(5):
                state, now = step(state, jr.key(i))
                told.append(now)
            out[seed] = jax.tree.map(np.asarray, told)
            assert set(children()) - before

    action = {"agent": jnp.zeros((2, 3))}
    _ = env.spec
    for seed in range(2):
        play(seed, alone)
    threads = [threading.Thread(target=play, args=(seed, found)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        for a, b in zip(jax.tree.leaves(alone[seed]), jax.tree.leaves(found[seed]), strict=True):
            np.testing.assert_array_equal(a, b)
    assert set(children()) == before


@needs_proc
def test_workers_of_an_environment_that_is_stepped_directly_end_with_the_object():
    before, env = set(children()), PettingZoo("toy_envs:Match", workers=1)
    jax.block_until_ready(env.reset(jr.key(0)))
    assert len(set(children()) - before) == 1
    del env
    gc.collect()
    assert set(children()) == before


@needs_proc
def test_what_a_watcher_made_before_a_run_outlives_it():
    before, envs = set(children()), PettingZoo("toy_envs:Match", workers=1).vectorised(2)
    with scope():
        jax.block_until_ready(envs.reset(jr.key(0)))
    assert len(set(children()) - before) == 1
    state, _ = envs.reset(jr.key(0))
    envs.step(state, {"agent": jnp.zeros((2, 2, 3))}, jr.key(0))
    del envs, state
    gc.collect()
    assert set(children()) == before


def test_a_scope_closes_what_it_owns_once_and_hands_on_the_request_to_stop():
    closed = []

    class Thing:
        def close(self):
            closed.append(self)

    with scope() as outer:
        thing = outer.own("a", Thing)
        with scope() as inner:
            assert current() is inner and inner.own("a", Thing) is not thing
            outer.stop.set()
            assert inner.stop.is_set()
        assert len(closed) == 1 and outer.own("a", Thing) is thing
    assert len(closed) == 2 and current() is None


def test_an_interruption_closes_the_scope_that_a_call_waits_for():
    hanging = threading.Event()

    class Closer:
        def close(self):
            hanging.set()

    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with scope() as now, pytest.raises(KeyboardInterrupt):
        now.own("it", Closer)
        interruptible(lambda: hanging.wait(20))
    assert hanging.is_set() and time.monotonic() - start < 4
    assert interruptible(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


# ------------------------------------------------------------------ in a run


class HangsFrom(Watcher):
    """Makes the environment hang from some env-step on, and asks the run to stop a little later."""

    def __init__(self, env_steps: int, when: Path):
        self.env_steps, self.when = env_steps, when

    def progress(self, progress):
        if progress.env_steps >= self.env_steps and not self.when.exists():
            self.when.touch()
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()


@pytest.mark.slow
@needs_proc
def test_sigterm_stops_a_run_whose_environment_hangs_and_resume_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(registry, "used", {"rude_envs"})
    when, before = tmp_path / "hang", set(children())
    env = PettingZoo("rude_envs:Rude", {"how": "hang", "when": str(when)}, workers=2)
    learner = small(PPO(), num_envs=2, rollout=5, hidden=(4,))
    config = run.Config(env, learner, steps=400, evaluations=1, episodes=2)
    with pytest.raises(session.Interrupted) as caught:
        run.train(config, tmp_path / "out", (HangsFrom(100, when),))
    assert time.time() - when.stat().st_mtime < 10
    assert "go on with: headstart resume" in str(caught.value) and str(caught.value).startswith(
        "stopped after 10 of 40 updates"
    )
    assert set(children()) == before
    when.unlink()
    team = run.resume(tmp_path / "out")
    assert team.env_steps == 400 and set(children()) == before


@pytest.mark.slow
@needs_proc
def test_two_threads_train_side_by_side_and_a_sweep_leaves_no_worker(tmp_path):
    before, env = set(children()), PettingZoo("toy_envs:Match", workers=1)
    config = run.Config(env, small(PPO(), num_envs=2, rollout=5, hidden=(4,)), steps=100, evaluations=2, episodes=2)
    scores = {}

    def train(name: str) -> None:
        team = run.train(config, tmp_path / name)
        scores[name] = run.score(team, env, 3).tolist()

    threads = [threading.Thread(target=train, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scores["one"] == scores["two"]
    assert (tmp_path / "one" / "metrics.csv").read_bytes() == (tmp_path / "two" / "metrics.csv").read_bytes()
    assert (tmp_path / "one" / "policy.safetensors").read_bytes() == (tmp_path / "two" / "policy.safetensors").read_bytes()
    gc.collect()
    assert set(children()) == before
