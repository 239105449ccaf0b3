"""Other libraries' environments by their names: JaxMARL's against JaxMARL itself, and what is refused, in one line each."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.types import Continuous, Discrete
from headstart.envs import jaxmarl
from headstart.envs.gymnasium import Gymnasium
from headstart.envs.host.env import HostEnv
from headstart.envs.host.meanings import MOVES
from headstart.envs.host.worker import open_team
from headstart.envs.jaxmarl import JaxMARL
from headstart.envs.pettingzoo import PettingZoo, to_pettingzoo

# ------------------------------------------------------------------ JaxMARL


def shows(env, now, obs, state, masked):
    """What a time step shows of JaxMARL's observations and state."""
    for role, names in env.spec.names.items():
        for i, name in enumerate(names):
            np.testing.assert_array_equal(now.obs[role][i], np.asarray(obs[name], np.float32).ravel())
            np.testing.assert_array_equal(now.final_obs[role][i], now.obs[role][i])
    world = obs.get("world_state", np.concatenate([obs[n].ravel() for names in env.spec.names.values() for n in names]))
    np.testing.assert_array_equal(now.state, world)
    np.testing.assert_array_equal(now.final_state, world)
    if masked is None:
        assert now.available is None and now.final_available is None
        return
    masks = masked.get_avail_actions(state)
    for role, names in env.spec.names.items():
        for i, name in enumerate(names):
            np.testing.assert_array_equal(now.available[role][i], np.asarray(masks[name]) > 0)
            np.testing.assert_array_equal(now.final_available[role][i], now.available[role][i])


def any_choice(dice, space, now, role, i):
    legal = np.ones(space.size, bool) if now.available is None else np.asarray(now.available[role][i])
    action = int(dice.choice(np.flatnonzero(legal)))
    return np.eye(space.size)[action], action


def side_by_side(env: JaxMARL, steps: int, masked: bool = False):
    """Both stepped with the same keys and actions: [(their dones, our time step)], observations and rewards compared."""
    raw = jaxmarl._made(env).env  # the same one, whose own methods are compiled once for both
    key, dice = jr.key(0), np.random.default_rng(0)
    with jax.numpy_rank_promotion("allow"):
        obs, state = raw.reset(key)
        ours, now = env.reset(key)
        shows(env, now, obs, state, raw if masked else None)
        assert all(x.all() for x in now.alive.values()) and not now.terminated and not now.truncated
        out = []
        for step_key in jr.split(jr.fold_in(key, 1), steps):
            before = now
            vectors, actions = {}, {}
            for role, names in env.spec.names.items():
                each = [any_choice(dice, env.spec.roles[role].actions, before, role, i) for i in range(len(names))]
                vectors[role] = jnp.stack([jnp.asarray(vector, jnp.float32) for vector, _ in each])
                actions |= {name: jnp.asarray(action) for name, (_, action) in zip(names, each, strict=True)}
            obs, state, reward, done, _ = raw.step_env(step_key, state, actions)
            ours, now = env.step(ours, vectors, step_key)
            shows(env, now, obs, state, raw if masked else None)
            for role, names in env.spec.names.items():
                for i, name in enumerate(names):
                    np.testing.assert_allclose(now.reward[role][i], float(reward[name]), rtol=1e-6)
            out.append(({name: bool(x) for name, x in done.items()}, jax.tree.map(np.asarray, now)))
            if now.terminated or now.truncated:
                break
    return out


TAG = "MPE_simple_tag_v3"


@pytest.mark.slow
def test_jaxmarl_tag_steps_as_it_does_alone_and_its_own_clock_is_no_termination():
    """That rings after step 26, and then JaxMARL says of everybody that they are done."""
    env = JaxMARL(TAG, horizon=40)
    roles = {name: (role.agents, role.obs_size, role.actions) for name, role in env.spec.roles.items()}
    assert roles == {"adversary": (3, 16, Discrete((5,), options=(MOVES,))), "agent": (1, 14, Discrete((5,), options=(MOVES,)))}
    out = side_by_side(env, 40)
    done, now = out[-1]
    assert len(out) == 26 and done["__all__"] and done["agent_0"]
    assert now.truncated and not now.terminated
    for _, now in out[:-1]:
        assert not now.truncated and not now.terminated and all(x.all() for x in now.alive.values())
    assert not any(x.any() for _, now in out for x in now.agent_terminated.values())


@pytest.mark.slow
def test_jaxmarl_continuous_actions_span_their_box():
    env = JaxMARL("MPE_simple_facmac_6a_v1")
    space = env.spec.roles["adversary"].actions
    assert space == Continuous(5, (0.0,) * 5, (1.0,) * 5, MOVES)
    assert env.spec.roles["adversary"].obs_size == 28, "what is shown, not what their space says (16)"
    sent = jaxmarl._native(space, jnp.array([-3.0, -1.0, 0.0, 0.5, 2.0]), jaxmarl._made(env).env.action_space("adversary_0"))
    np.testing.assert_allclose(sent, [0, 0, 0.5, 0.75, 1])


@pytest.mark.slow
def test_smax_units_die_and_a_lost_battle_terminates():
    env = JaxMARL("HeuristicEnemySMAX")
    assert env.spec.state_size != env.spec.roles["ally"].agents * env.spec.roles["ally"].obs_size
    out = side_by_side(env, 101, masked=True)
    dead = np.zeros(5, bool)
    fell = late = 0
    for done, now in out:
        late += (now.reward["ally"][dead] != 0).sum()
        fallen = np.array([done[name] for name in env.spec.names["ally"]])
        np.testing.assert_array_equal(now.agent_terminated["ally"], fallen)
        np.testing.assert_array_equal(now.alive["ally"], ~(dead | fallen))
        assert bool(now.terminated) == done["__all__"] and not now.truncated
        fell += (fallen & ~dead).sum()
        dead |= fallen
    assert out[-1][1].terminated and 1 < len(out) < 100 and fell >= 2 and late > 0


@pytest.mark.slow
def test_a_battle_of_smax_that_is_decided_at_its_limit_terminates_and_maps_have_names():
    """Its clock rings after step 101; an end before that is a decision."""
    env = JaxMARL("HeuristicEnemySMAX", {"scenario": "3s_vs_4z"})
    assert env.spec.horizon == 100
    assert (env.spec.roles["ally"].agents, env.spec.roles["ally"].actions.size) == (3, 9)
    drawn = JaxMARL("HeuristicEnemySMAX", {"scenario": "smacv2_5_units"})
    assert jaxmarl._made(drawn).battle.smacv2_unit_type_generation
    with pytest.raises(HeadstartError, match="smax has no map '3x': write numbers"):
        _ = JaxMARL("HeuristicEnemySMAX", {"scenario": "3x"}).spec
    state, _ = env.reset(jr.key(0))
    late = state.theirs.replace(state=state.theirs.state.replace(step=jnp.array(99)))
    health = late.state.unit_health.at[3:].set(0.0)
    won = late.replace(state=late.state.replace(unit_health=health, unit_alive=health > 0))
    stop = {"ally": jnp.eye(9)[jnp.array([4, 4, 4])]}
    step = jax.jit(env.step)
    for theirs, decided in ((late, False), (won, True)):
        _, now = step(state._replace(theirs=theirs, time=jnp.array(99)), stop, jr.key(1))
        assert bool(now.terminated) is decided and bool(now.truncated) is not decided


def test_jaxmarl_may_be_imported_by_a_trace():
    """Its modules have arrays of their own, which must not be the trace's."""
    script = (
        "import jax, numpy as np; from headstart.envs.jaxmarl import JaxMARL\n"
        "jax.eval_shape(JaxMARL('SMAX').reset, jax.random.key(0))\n"
        "from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO as maps\n"
        "print(np.asarray(maps['3m'].unit_types).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("[0, 0, 0, 0, 0, 0]"), done.stderr[-300:]


@pytest.mark.slow
def test_jaxmarl_stays_inside_the_program_and_restarts():
    envs = vectorise(JaxMARL(TAG, horizon=3), 4)
    assert JaxMARL(TAG).spec.horizon == 26, "its clock rings after max_steps + 1"
    action = {role: jnp.zeros((4, x.agents, 5)) for role, x in envs.spec.roles.items()}

    jax.eval_shape(JaxMARL(TAG, horizon=5).reset, jr.key(0))  # made while tracing, and used by another program below
    other = JaxMARL(TAG, horizon=5)

    def rolled(key):
        state, first = envs.reset(key)
        return first, jax.lax.scan(lambda s, k: envs.step(s, action, k), state, jr.split(key, 7))[1]

    assert "callback" not in str(jax.make_jaxpr(rolled)(jr.key(0)))
    assert other.reset(jr.key(0))[1].obs["agent"].shape == (1, 14)
    _, steps = jax.jit(rolled)(jr.key(0))
    np.testing.assert_array_equal(steps.truncated, np.arange(1, 8)[:, None] % 3 * np.ones((1, 4)) == 0)
    same = (np.asarray(steps.obs["agent"]) == np.asarray(steps.final_obs["agent"])).all((-1, -2))
    np.testing.assert_array_equal(same, ~np.asarray(steps.truncated))


# ------------------------------------------------------------------ what is refused

TOY = "pettingzoo:toy_envs"
REFUSED = {
    "module nearly there": (
        "pettingzoo:mpe2.simple_spread_v2",
        {},
        "mpe2 has no 'simple_spread_v2'; did you mean simple_spread_v3",
    ),
    "no such package": ("pettingzoo:nowhere.at_all", {}, "module nowhere, which is not installed: check its name, or"),
    "thing nearly there": (f"{TOY}:Mach", {}, "toy_envs has no 'Mach': did you mean Match?"),
    "no name": ("pettingzoo:.relative", {}, "is not the name of an environment: package.module or package.module:thing"),
    "running script": ("pettingzoo:__main__:Mine", {}, "is in the running script: put the environment into a file of its own"),
    "no parallel_env": (TOY, {}, "toy_envs has no parallel_env: name one of its environments, pettingzoo:toy_envs:NAME (Toy, "),
    "turn-based": (f"{TOY}:turns", {}, "turn-based (AEC): only a ParallelEnv will do"),
    "turn-based module": (f"{TOY}:aec_only", {}, "toy_envs:aec_only has no parallel_env: it is a turn-based (AEC) game"),
    "no environment": (f"{TOY}:not_an_env", {}, "makes a dict, which has no possible_agents: only a ParallelEnv"),
    "no horizon": (f"{TOY}:Endless", {}, "does not say how long an episode may last: pass --env.horizon STEPS"),
    "pixels": (f"{TOY}:Camera", {}, "what agent_0 of toy_envs:Camera observes has 21168 numbers (pixels?)"),
    "unreadable": (f"{TOY}:Reader", {}, "what agent_0 of toy_envs:Reader observes is a Text space, which cannot be read"),
    "unactable": (f"{TOY}:Writer", {}, "agent_0 of toy_envs:Writer acts in a Text space: only Discrete"),
    "a list": (f"{TOY}:Sized", {"options": "[1]"}, "env.options must be a JSON object, e.g. '{\"N\": 4}', not [1]"),
    "no JSON": (f"{TOY}:Sized", {"options": "{size: 3}"}, "env.options must be a JSON object"),
    "not taken": (f"{TOY}:Sized", {"options": '{"colour": 1}'}, 'could not be made with options {"colour": 1}: '),
    "negative horizon": (f"{TOY}:Match", {"horizon": -1}, "env.horizon must be at least 0, not -1"),
    "negative workers": (f"{TOY}:Match", {"workers": -1}, "env.workers must be at least 0, not -1"),
    "Gymnasium id": ("gymnasium:CartPoel-v1", {}, "gymnasium:CartPoel-v1: "),
    "Gymnasium version": ("gymnasium:CartPole-v9", {}, "gymnasium:CartPole-v9: "),
    "Gymnasium module": ("gymnasium:nowhere:Thing-v0", {}, "module nowhere, which is not installed: check its name, or"),
    "Gymnasium options": ("gymnasium:CartPole-v1", {"options": '{"a": 1}'}, "CartPole-v1 could not be made with options"),
    "no id": ("spread:3", {}, "env 'spread' has no id: write spread, without :3"),
    "id of nothing": ("mine:thing", {}, "unknown env 'mine:thing': if it is of your own module, pass --use mine"),
}
JAXMARL = {
    "id": ("jaxmarl:MPE_simple_tag_v2", {}, "unknown JaxMARL environment 'MPE_simple_tag_v2': did you mean MPE_simple_tag_v3"),
    "options": ("jaxmarl:SMAX", {"options": '{"colour": 1}'}, "SMAX could not be made with options"),
    "horizon": ("jaxmarl:hanabi", {}, "hanabi does not say how long an episode may last: pass --env.horizon"),
    "names": ("jaxmarl:storm", {}, "storm does not show what its agents observe by their names"),
}
SCRIPT = """
import contextlib, io, json, os, sys
from headstart.cli import main as cli

told = {}
for case, args in json.load(sys.stdin).items():
    code, errors = 0, io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            cli.main(args)
        except SystemExit as end:
            code = end.code
    told[case] = [code, errors.getvalue().splitlines(), os.path.exists(args[-1])]
json.dump(told, sys.stdout)
"""


@functools.cache
def on_the_command_line(cases: str, out: str) -> dict:
    """{case: [exit code, lines on stderr, whether there is a directory]}; in a process that checks no types, as users' do."""
    args = {}
    for case, (name, settings, _) in {"refused": REFUSED, "jaxmarl": JAXMARL}[cases].items():
        flags = [part for key, value in settings.items() for part in (f"--env.{key}", str(value))]
        args[case] = ["train", name, *flags, "--out", f"{out}/{len(args)}"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(args), cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])  # JaxMARL prints a greeting when it is imported


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("refused"))


def refused(name, settings, words, told):
    with pytest.raises(HeadstartError) as caught:
        _ = dataclasses.replace(registry.preset("env", name), **settings).spec
    text = str(caught.value)
    assert words in text and "\n" not in text and len(text) < 400
    code, lines, made = told
    lines = [line for line in lines if line]
    assert code == 2 and len(lines) == 1 and not made
    assert lines[0].startswith("headstart: ") and text in lines[0]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(case, out):
    refused(*REFUSED[case], on_the_command_line("refused", out)[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", JAXMARL)
def test_what_jaxmarl_cannot_do_is_refused_in_one_line(case, out):
    refused(*JAXMARL[case], on_the_command_line("jaxmarl", out)[case])


class Missing:
    """Keeps Python from finding a package."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


@pytest.mark.parametrize(
    "package,env,extra",
    [
        ("pettingzoo", PettingZoo("sisl.pursuit_v5"), "pettingzoo"),
        ("mpe2", PettingZoo("mpe2.simple_spread_v3"), "pettingzoo"),
        ("gymnasium", Gymnasium("Acrobot-v1"), "pettingzoo"),
        ("jaxmarl", JaxMARL("MPE_simple_v3"), "jaxmarl"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(package, env, extra, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])
    with pytest.raises(HeadstartError, match=rf"needs the package {package}, .*: pip install 'headstart\[{extra}\]'$"):
        _ = open_team(env.opener, env.settings) if isinstance(env, HostEnv) else dataclasses.replace(env, horizon=3).spec
    if package == "pettingzoo":
        with pytest.raises(HeadstartError, match="pip install"):
            to_pettingzoo(registry.preset("env", "spread"))


def test_an_id_and_settings_say_which_environment(monkeypatch):
    monkeypatch.setattr(registry, "used", {"toy_envs"})
    assert registry.preset("env", "pettingzoo:toy_envs:Sized") == PettingZoo("toy_envs:Sized")
    assert registry.preset("env", "gymnasium:Pendulum-v1") == Gymnasium("Pendulum-v1")
    assert PettingZoo("toy_envs:Sized", {"size": 9}).spec.horizon == 9
    assert PettingZoo("toy_envs:Sized", {"size": 9}, horizon=4).spec.horizon == 4
    assert PettingZoo("toy_envs:Endless", horizon=4).spec.horizon == 4
    assert PettingZoo("toy_envs:Sized", {"size": 9}) == PettingZoo("toy_envs:Sized", ' {"size":9}')
    for env in (PettingZoo("toy_envs:Sized", {"size": 9}, 4, 2), Gymnasium("Pendulum-v1"), JaxMARL("SMAX", horizon=3)):
        assert registry.decode("env", json.loads(json.dumps(registry.encode("env", env)))) == env
