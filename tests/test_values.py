"""Values of every kind, from the command line and from Python: taken as meant, or refused in one line before a file is made."""

import dataclasses
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import headstart as hs
from headstart.core.checks import HeadstartError
from headstart.core.errors import host_errors
from headstart.core.scope import scope
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.teams.scripted import Scripted
from headstart.training import api, footprint, run
from headstart.training.config import Config, restore
from headstart.training.directory import RunDir
from headstart.training.point import Point
from headstart.training.progress import progress
from headstart.training.session import Session

NAN, INF = math.nan, math.inf
GIB = 2**30
TINY_ENV = Spread(2, horizon=2)
TINY_PPO = PPO(num_envs=1, rollout=2, minibatches=1, epochs=1, hidden=(2,))


def one_line(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300, text
    return text


# ------------------------------------------------------------------ settings of a run

SETTINGS = [
    ({"steps": 2e6}, "steps must be a whole number, not 2000000.0"),
    ({"steps": 10**13}, "steps must be between 1 and 10^12, not 10000000000000"),
    ({"steps": "many"}, "steps must be a whole number, not 'many'"),
    ({"steps": 10**12}, "the number of updates must be below 2³¹: lower --steps or --learner.num-envs, not 500000000000"),
    ({"until": NAN}, "until must be a finite number or None, not nan"),
    ({"until": INF}, "until must be a finite number or None, not inf"),
    ({"steps": 10**5000}, "steps must be between 1 and 10^12, not <int>"),
    ({"until": 10**400}, "until must be a finite number or None, not 1000"),
    ({"evaluations": 10**12}, "evaluations must be between 1 and 10^6"),
    ({"evaluations": np.float64(3)}, "evaluations must be a whole number"),
    ({"episodes": 10**12}, "episodes must be a whole number of 32 bits, below 2³¹, not 1000000000000"),
    ({"episodes": 10**9}, "this run needs about"),
    ({"seeds": 10**12}, "seeds must be a whole number of 32 bits"),
    ({"seeds": 10**9}, "a run of 1000000000 seeds needs about"),
    ({"seeds": [0, 1]}, "seeds must be a whole number, not [0, 1]"),
    ({"first_seed": 2**31}, "first_seed must be a whole number of 32 bits"),
    ({"guidance": "knowru"}, "guidance must be a part, which holds its teacher: knowru is headstart.Distill(teacher=..)"),
    ({"guidance": ("gail", "no")}, "guidance must be a part, which holds its teacher: gail is headstart.Gail(teacher=..)"),
    ({"guidance": "knowro"}, "unknown guidance 'knowro': did you mean knowru?"),
    ({"guidance": Spread}, "guidance must be a part of this kind"),
    ({"watchers": "none"}, "watchers must be a list of headstart.Watcher, not 'none'"),
    ({"watchers": [print]}, "watchers must be a list of headstart.Watcher, not [<built-in function print>]"),
    ({"out": ""}, "out must be a path, not ''"),
    ({"out": None}, "out must be a path, not None"),
    ({"out": "a\0b"}, "out must be a path, not"),
    ({"env": Spread}, "env must be a part of this kind"),
    ({"env": "spred"}, "did you mean spread"),
    ({"learner": PPO}, "learner must be a part of this kind"),
    ({"learner": None}, "learner must be a part of this kind"),
]


@pytest.mark.parametrize(("settings", "says"), SETTINGS, ids=[f"{i} {case[1][:40]}" for i, case in enumerate(SETTINGS)])
def test_settings_of_a_run_are_refused_before_anything_is_written(as_users, settings, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"env": TINY_ENV, "learner": TINY_PPO, "out": "new/a", "steps": 4, "progress": False} | settings
    with pytest.raises(HeadstartError) as caught:
        api.train(**given)
    assert says in one_line(caught) and not list(tmp_path.iterdir())


def test_a_run_of_an_earlier_version_that_saved_a_real_number_is_read(as_users, tmp_path):
    config = Config(TINY_ENV, TINY_PPO, steps=4)
    manifest = json.loads(json.dumps(Session([Point(config, RunDir(tmp_path / "a"))]).points[0].manifest))
    for name, value in (("steps", 4.0), ("seeds", 1.0)):
        manifest["config"][name] = value
    assert restore(manifest, tmp_path) == config and type(restore(manifest, tmp_path).steps) is int
    manifest["config"]["steps"] = 4.5
    with pytest.raises(HeadstartError, match=r"^steps must be a whole number"):
        restore(manifest, tmp_path)


def test_numbers_of_numpy_are_taken(as_users):
    config = Config(
        Spread(np.int64(2), radii=[np.float32(0.5), 1]),  # pyright: ignore
        PPO(lr=np.float32(0.25), hidden=[np.int8(8)], shared=np.True_),  # pyright: ignore
        steps=np.int64(4), seeds=np.uint8(1), until=np.float32(0.5), episodes=jnp.asarray(3),
    )  # fmt: skip
    assert (config.steps, config.seeds, config.until, config.episodes) == (4, 1, 0.5, 3)
    assert [type(x) for x in (config.steps, config.seeds, config.until, config.episodes)] == [int, int, float, int]
    assert config.learner == PPO(lr=0.25, hidden=(8,)) and config.env == Spread(2, radii=(0.5, 1))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Spread(10**12), "env.agents must be between 1 and 1000, not 1000000000000"),
        (lambda: Spread(radii=(1e300, 1.0, 1.0)), "env.radii must be a tuple with every entry 0 or a number of 32 bits"),
        (lambda: Spread(radii=(NAN, 1.0, 1.0)), "env.radii must be a tuple with every entry a finite number"),
        (lambda: Spread(horizon=10**12), "env.horizon must be a whole number of 32 bits"),
        (lambda: DDPG(capacity=10**12), "learner.capacity must be a whole number of 32 bits"),
        (lambda: PPO(lr=1e-300), "learner.lr must be 0 or a number of 32 bits, between 1.2e-38 and 3.4e38 in size"),
        (lambda: PPO(lr="x" * 1000), "learner.lr must be a number, not 'xxxxx"),  # pyright: ignore
    ],
)
def test_settings_of_parts_are_refused_where_they_are_made(as_users, make, says):
    with pytest.raises(HeadstartError) as caught:
        make()
    assert one_line(caught).startswith(says)


def test_a_whole_number_in_place_of_a_real_one_is_one():
    """As an int32 a large one would not fit into JAX's programs."""
    assert PPO(lr=10**12).lr == 1e12 and type(PPO(lr=10**12).lr) is type(PPO(lr=1).lr) is float


# ------------------------------------------------------------------ memory

REPLAY = DDPG(num_envs=2, train_every=4, warmup=4, batch=2, capacity=1000, hidden=(4,))
LARGE = [
    (
        {"learner": dataclasses.replace(REPLAY, capacity=10**9), "steps": 10**9},
        "its memory of env-steps: lower learner.capacity",
    ),
    ({"learner": dataclasses.replace(REPLAY, batch=10**9)}, "for a batch: lower learner.batch"),
    ({"learner": dataclasses.replace(REPLAY, gradient_steps=2**30)}, "the order of its samples: lower learner.gradient_steps"),
    ({"learner": dataclasses.replace(REPLAY, hidden=(10**9,))}, "for its networks: lower learner.hidden"),
    ({"learner": dataclasses.replace(TINY_PPO, num_envs=10**8)}, "its memory of env-steps: lower learner.num_envs"),
    ({"learner": dataclasses.replace(TINY_PPO, rollout=10**8)}, "its memory of env-steps: lower learner.rollout"),
    ({"episodes": 10**9}, "for an evaluation: lower episodes"),
    ({"env": Spread(2, horizon=10**9)}, "for an evaluation: lower env.horizon"),
    ({"seeds": 10**9}, "or seeds"),
]


@pytest.mark.parametrize(("given", "says"), LARGE, ids=[case[1][-30:] for case in LARGE])
def test_a_run_that_cannot_fit_names_what_is_largest_and_the_setting_to_lower(given, says, tmp_path, monkeypatch):
    monkeypatch.setattr(footprint, "available", lambda: 8 * GIB)
    with pytest.raises(HeadstartError) as caught:
        Session([Point(Config(**({"env": TINY_ENV, "learner": TINY_PPO, "steps": 16} | given)), RunDir(tmp_path / "a"))])
    text = one_line(caught)
    assert " of memory and 8.6 GB are free; " in text and text.endswith(says), text


def test_what_fits_is_let_through_and_nothing_is_refused_where_no_limit_is_known(tmp_path, monkeypatch):
    config = Config(TINY_ENV, dataclasses.replace(REPLAY, capacity=10**6), steps=10**6)
    needed = 2 * 10**6 * footprint.size(jax.eval_shape(lambda: _item(config)))
    for there, fits in ((int(needed * 0.9), False), (int(needed * 1.1) + 10**6, True), (None, True)):
        monkeypatch.setattr(footprint, "available", lambda there=there: there)
        if fits:
            Session([Point(config, RunDir(tmp_path / "a"))])
        else:
            with pytest.raises(HeadstartError, match=r"lower learner\.capacity"):
                Session([Point(config, RunDir(tmp_path / "a"))])


def test_a_run_that_needs_much_memory_says_so_before_it_trains(tmp_path, monkeypatch, capsys):
    config = Config(TINY_ENV, dataclasses.replace(REPLAY, capacity=10**6), steps=10**6)
    needed = 2 * 10**6 * footprint.size(jax.eval_shape(lambda: _item(config)))
    started = []

    def trained(self, stop):
        started.append(capsys.readouterr().out)
        raise HeadstartError("seen enough")

    monkeypatch.setattr(Session, "_trained", trained)
    for there in (2 * needed, 1000 * needed, None):
        monkeypatch.setattr(footprint, "available", lambda there=there: there)
        with pytest.raises(HeadstartError, match="seen enough"), scope(), progress() as bar:
            Session([Point(config, RunDir(tmp_path / "a"), [bar("mine")])]).go()
    told, quiet, unknown = started
    says = r"mine: this run needs about (.+) MB of memory and 960\.0 MB are free; (.+) MB are for its memory of env-steps\n"
    found = re.fullmatch(says, told)
    assert found and 2 * needed == 960 * 10**6, told
    whole, memory = map(float, found.groups())
    assert needed <= 10**6 * memory <= 10**6 * whole <= 1.1 * needed  # ends of episodes are not among what `_item` counts
    assert quiet == unknown == ""


def _item(config):
    """Shapes of one env-step in the memory of a learner that needs no global states."""
    spec = config.env.spec.roles["agent"]
    seen, acts = jnp.zeros((spec.agents, spec.obs_size)), jnp.zeros((spec.agents, spec.actions.size))
    return seen, seen, acts, jnp.zeros(spec.agents)


def test_an_evaluation_that_cannot_fit_is_refused(as_users, monkeypatch):
    team = fresh()
    monkeypatch.setattr(footprint, "available", lambda: 8 * GIB)
    with pytest.raises(HeadstartError, match=r"^this evaluation needs about .* for an evaluation: lower episodes$") as caught:
        run.score(team, Spread(2), 10**9)
    one_line(caught)
    for bad, says in (
        ({"episodes": 0}, "episodes must be at least 1, not 0"),
        ({"env": "spread"}, "env must be an environment, e.g. headstart.Spread"),
    ):
        with pytest.raises(HeadstartError, match=says):
            run.score(**({"team": team, "env": Spread(2), "episodes": 1} | bad))
    with pytest.raises(HeadstartError, match=r"^team must be a trained team, e.g. headstart.load"):
        run.score("runs/a", Spread(2), 1)  # pyright: ignore


def test_memory_that_runs_out_all_the_same_is_told_in_one_line():
    says = r"^there is not enough memory \(RESOURCE_EXHAUSTED: .* 9 bytes.\): lower"
    with pytest.raises(HeadstartError, match=says) as caught, host_errors():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBufferAssignment ..")
    one_line(caught)


def files(root, contents):
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    3000 kB\nSwapFree: 1000 kB\n"}
GROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("contents", "limits"),
    [
        (MEMINFO, [4000 * 1024]),
        (
            MEMINFO
            | {"proc/self/cgroup": "0::/a/b\n", f"{GROUP}/a/memory.max": "5000", f"{GROUP}/a/memory.current": "2000"}
            | {f"{GROUP}/a/memory.stat": "anon 5\ninactive_file 100\n", f"{GROUP}/a/b/memory.max": "max\n"},
            [4000 * 1024, 3100],
        ),
        (
            MEMINFO
            | {"proc/self/cgroup": "5:cpu:/x\n4:hugetlb,memory:/on/the/host\n0::/\n"}
            | {f"{GROUP}/memory/memory.limit_in_bytes": "700", f"{GROUP}/memory/memory.usage_in_bytes": "900"},
            [4000 * 1024, 0],
        ),
    ],
    ids=["machine", "group", "group of the older kind"],
)
def test_limits_of_machine_and_control_group(contents, limits, tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (resource.RLIM_INFINITY,) * 2)
    assert list(footprint.host_limits(files(tmp_path, contents))) == limits


def test_limits_of_the_process_and_of_a_machine_without_proc(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (10**6 if limit == resource.RLIMIT_AS else -1,) * 2)
    status = {"proc/self/status": "VmPeak:\t 999 kB\nVmSize:\t 300 kB\n"}
    assert list(footprint.host_limits(files(tmp_path, MEMINFO | status))) == [4000 * 1024, 10**6 - 300 * 1024]
    (tmp_path / "proc/meminfo").unlink()
    assert next(footprint.host_limits(tmp_path)) > 2**28


@pytest.mark.parametrize(("stats", "there"), [({"bytes_limit": 900, "bytes_in_use": 200}, 700), ({}, None), (None, None)])
def test_on_an_accelerator_its_own_memory_counts(stats, there, monkeypatch):
    class Device:
        def memory_stats(self):
            return stats

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert footprint.available() == there


# ------------------------------------------------------------------ a team at work


def fresh(config=TINY_PPO, spec=None) -> TeamPolicy:
    spec = spec or Spread(2).spec
    return TeamPolicy(spec, config, jax.vmap(config.make(spec).init)(jax.random.split(jax.random.key(0), 2)), (0, 1))


SEEN = {"agent_0": np.zeros(12), "agent_1": np.ones(12)}
PARTS = {field.name: np.zeros(field.width) for field in Spread(2).spec.roles["agent"].obs}
ACTS = [
    ({"obs": [1, 2]}, "obs must be a dict by agents' names, not a list"),
    ({"obs": SEEN | {"agent_1": "left"}}, "obs['agent_1'] must be an array of numbers, not str"),
    ({"obs": SEEN | {"agent_1": "1"}}, "obs['agent_1'] must be an array of numbers, not str"),
    ({"obs": SEEN | {"agent_1": None}}, "obs['agent_1'] must be an array of numbers, not NoneType"),
    ({"obs": SEEN | {"agent_1": [[1.0], [1.0, 2.0]]}}, "obs['agent_1'] must be an array of numbers, not list"),
    ({"obs": SEEN | {"agent_1": np.ones(12) * 1j}}, "obs['agent_1'] must be an array of numbers, not ndarray"),
    ({"obs": SEEN | {"agent_1": np.full(12, NAN)}}, "obs['agent_1'] must be finite numbers, not nan at index 0"),
    ({"obs": SEEN | {"agent_1": [0.0] * 11 + [1e300]}}, "obs['agent_1'] must be finite numbers, not inf at index 11"),
    ({"obs": SEEN | {3: np.zeros(12)}}, "unknown agent '3'"),
    ({"obs": {"agent_0": {"velocity": [0, 0]}}}, "obs['agent_0'] must have the parts velocity, position, landmarks, agents"),
    ({"obs": {"agent_0": {"obs": {}}}}, "obs['agent_0'] must have the parts velocity"),
    (
        {"obs": {"agent_0": PARTS | {"velocity": 1}}},
        "obs['agent_0']['velocity'] must have 2 numbers, not 1: give a choice as a one-",
    ),
    (
        {"obs": {"agent_0": PARTS | {"velocity": [[1], [1, 2]]}}},
        "obs['agent_0']['velocity'] must be an array of numbers",
    ),
    ({"available": [1]}, "available must be a dict by agents' names, not a list"),
    ({"available": {"agent_0": np.zeros(5)}}, "available['agent_0'] must allow at least one choice of each head"),
    ({"available": {"agent_0": [1, 0, 2, 0, 0]}}, "available['agent_0'] must be 1 or 0 (True or False) for each choice"),
    ({"available": {"agent_0": [0.5] * 5}}, "available['agent_0'] must be 1 or 0"),
    ({"available": {"agent_0": [NAN] * 5}}, "available['agent_0'] must be finite numbers"),
    ({"available": {"agent_0": [True] * 4}}, "available['agent_0'] must have 5 numbers, not 4"),
    ({"available": {"agent_0": ["yes"] * 5}}, "available['agent_0'] must be an array of numbers, not list"),
    ({"seed": 2}, "seed must be between 0 and 1, not 2"),
    ({"seed": "0"}, "seed must be a whole number, not '0'"),
    ({"seed": 0.0}, "seed must be a whole number, not 0.0"),
    ({"seed": True}, "seed must be a whole number, not True"),
    ({"seed": -(10**12)}, "seed must be between 0 and 1, not -1000000000000"),
    ({"memory": np.zeros(3)}, "memory must be what act returned for the same team"),
    ({"memory": "none"}, "memory must be what act returned for the same team"),
]


@pytest.fixture(scope="module")
def team():
    return fresh(dataclasses.replace(TINY_PPO, core="gru"))


@pytest.mark.parametrize(("given", "says"), ACTS, ids=[case[1][:50] for case in ACTS])
def test_what_a_team_cannot_act_on_is_refused_by_name(as_users, team, given, says):
    with pytest.raises(HeadstartError) as caught:
        team.act(**({"obs": SEEN} | given))
    assert one_line(caught).startswith(says)


def test_what_a_team_can_act_on_may_come_in_any_form(as_users, team):
    action, memory = team.act({name: x.tolist() for name, x in SEEN.items()}, seed=np.int64(1))
    assert action == team.act({name: jnp.asarray(x.reshape(3, 4)) for name, x in SEEN.items()}, seed=1)[0]
    team.act(SEEN, jax.tree.map(np.asarray, memory))
    only = team.act(SEEN, available={"agent_0": [0, 0, 0, 1, 0], "agent_1": np.array([[False] * 4 + [True]])})[0]
    assert only == {"agent_0": 3, "agent_1": 4}
    left = {"agent_1": np.zeros(5)}  # an agent that has left the game
    assert team.act({"agent_0": SEEN["agent_0"]}, available=left)[0].keys() == {"agent_0"}


def test_masks_of_several_heads_and_of_continuous_actions(as_users):
    role = lambda acts: TeamSpec({"agent": RoleSpec(1, (Field("x", 1, 2),), acts)}, 5, 2)
    heads, force = fresh(spec=role(Discrete((2, 3)))), fresh(spec=role(Continuous(2)))
    seen = {"agent_0": np.zeros(2)}
    with pytest.raises(HeadstartError, match="must allow at least one choice of each head"):
        heads.act(seen, available={"agent_0": [1, 1, 0, 0, 0]})
    assert heads.act(seen, available={"agent_0": [0, 1, 0, 0, 1]})[0]["agent_0"].tolist() == [1, 2]
    with pytest.raises(HeadstartError, match="cannot forbid anything: the agent's actions are continuous"):
        force.act(seen, available={"agent_0": [1, 0]})
    assert force.act(seen, available={"agent_0": [1, 1]})[0]["agent_0"].shape == (2,)


def test_a_policy_whose_parameters_are_spoilt_does_not_act():
    team = fresh()
    spoilt = dataclasses.replace(team, params=jax.tree.map(lambda x: x * NAN, team.params))
    with pytest.raises(HeadstartError, match=r"^the policy of 'agent' gives numbers that are not finite"):
        spoilt.act(SEEN)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda obs: {"agent": [[0.0] * 5, [0.0] * 4]}, "must answer 'agent' with an array of numbers: "),
        (lambda obs: {"agent": [["a"] * 5] * 2}, "must answer 'agent' with an array of numbers: "),
        (lambda obs: {"agent": np.full((2, 5), NAN)}, "must answer 'agent' with finite numbers"),
        (lambda obs: {"agent": np.zeros((2, 4))}, r"must answer 'agent' with shape \(2, 5\), not \(2, 4\)"),
        (lambda obs: None, r"must return a dict {'agent': \(2, 5\)}, not NoneType"),
        (lambda obs: {"agents": np.zeros((2, 5))}, r"must answer 'agent' with shape \(2, 5\): it answered agents"),
        (lambda obs: {"agent": np.zeros(2)}, r"not \(2,\): a logit for each option, not the choice"),
    ],
)
def test_a_scripted_teacher_that_answers_badly(as_users, answer, says):
    teacher = Scripted(answer, Spread(2).spec, host=True)
    with pytest.raises(HeadstartError, match=says) as caught:
        teacher._said(answer({}), {"agent": np.zeros((2, 12))}, np.asarray)
    one_line(caught)


def test_a_scripted_teacher_that_fails_on_the_host_says_where(as_users):
    def plan(obs):
        return {"agent": {}["plan"]}

    env = Spread(2)
    teacher = Scripted(plan, env.spec, host=True)
    with pytest.raises(HeadstartError, match=r"teacher failed \(.*test_values\.py, line \d+\): KeyError: 'plan'$") as caught:
        hs.record(teacher, env, episodes=2, progress=False)
    one_line(caught)


def test_a_scripted_teacher_is_a_function_and_a_spec(as_users):
    for make, says in (
        (lambda: Scripted("left", Spread(2).spec), "function must be callable, not a str"),  # pyright: ignore
        (lambda: Scripted(lambda obs, key: obs, Spread(2).spec), "function must take one argument, the observations .*'key'"),
        (lambda: Scripted(print, Spread(2)), "spec must be a TeamSpec, e.g. env.spec, not a Spread"),  # pyright: ignore
    ):
        with pytest.raises(HeadstartError, match=says):
            make()


def test_a_scripted_teacher_in_numpy_says_that_it_is_one(as_users):
    """Traced, NumPy cannot see the numbers; on the host it can."""
    answer = lambda obs: {"agent": np.maximum(np.asarray(obs["agent"])[..., :5], 0)}
    seen = {"agent": np.ones((2, 12), np.float32)}
    ask = lambda teacher: jax.eval_shape(lambda obs: teacher.policy({}, (), obs)[1], seen)
    with pytest.raises(
        HeadstartError, match=r"^the scripted teacher computes with NumPy: write it in jax\.numpy, or pass host=True"
    ):
        ask(Scripted(answer, Spread(2).spec))
    assert ask(Scripted(answer, Spread(2).spec, host=True))["agent"].shape == (2, 5)


def test_a_team_is_fitted_to_an_environment_or_its_spec(as_users):
    team = fresh()
    for to, says in (("plates", "not 'plates'"), (3, "not int")):
        with pytest.raises(HeadstartError, match=rf"^to must be an environment or its spec, .*, {says}$"):
            team.adapt(to)
