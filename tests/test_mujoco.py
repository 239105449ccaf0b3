"""MuJoCo's walkers: step for step those of Gymnasium and EnvPool, and pure functions of a state that runs save."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import same
from test_runs import identical, one_line, stopper

from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.errors import host_errors
from headstart.core.own import OWN
from headstart.envs.host.spaces import native
from headstart.envs.mujoco import env as bridge
from headstart.envs.mujoco.env import BodyState, MuJoCo
from headstart.envs.mujoco.simulator import Simulator
from headstart.guidance.companion import Companion
from headstart.learners.ppo import PPO
from headstart.replay import draw
from headstart.training import run, session

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium")

LEGS = ("right_hip_x", "right_hip_z", "right_hip_y", "right_knee", "left_hip_x", "left_hip_z", "left_hip_y", "left_knee")
AWAKE = np.zeros(1, bool)


def body(id: str, **settings) -> Simulator:
    return MuJoCo(id, **settings).simulator


def draws(id: str, count: int, size: float = 1.0):
    """Actions [count 1 U], in [-1, 1] for `size` 1."""
    rng = np.random.default_rng(0)
    return rng.uniform(-size, size, (count, 1, body(id).actions.size)).astype(np.float32)


# ------------------------------------------------------------------ beside other libraries


@pytest.mark.parametrize("id", ["Walker2d-v4", "Walker2d-v5", "Humanoid-v4", "Humanoid-v5"])
def test_every_step_is_that_of_gymnasium(id):
    """Through falls: neither starts anew by itself, and a fallen body meets the ground in more ways."""
    pytest.importorskip("imageio")
    import gymnasium

    ours, theirs = body(id), gymnasium.make(id).unwrapped
    seen, _ = theirs.reset(seed=3)
    rows, obs = ours.place(theirs.data.qpos[None].copy(), theirs.data.qvel[None].copy())
    np.testing.assert_array_equal(obs[0], seen.astype(np.float32))
    falls = 0
    for action in draws(id, 200):
        out = ours.step(rows, action, AWAKE)
        rows, (seen, reward, terminated, _, _) = out.rows, theirs.step(native(ours.actions, action[0]))
        np.testing.assert_array_equal(out.obs[0], seen.astype(np.float32))
        np.testing.assert_allclose(out.reward[0], reward, rtol=1e-6, atol=1e-6)
        assert out.fell[0] == terminated
        falls += terminated
    assert 0 < falls < 200


@pytest.mark.parametrize("id,hidden,near", [("Walker2d-v3", 1, 0.0), ("Humanoid-v3", 2, 1e-4)])
def test_every_step_is_that_of_envpools_v3(id, hidden, near):
    """EnvPool does not tell a Humanoid's x and y, which change nothing but how numbers are rounded."""
    envpool = pytest.importorskip("envpool")
    ours, theirs = body(id), envpool.make(id, env_type="gymnasium", num_envs=1, seed=4)
    falls, rows = 0, None
    for action in draws(id, 200, 0.3):
        if rows is None:
            seen, info = theirs.reset()
            x = np.zeros(hidden) if near else info["x_position"]
            rows, obs = ours.place(
                *np.split(np.concatenate([x, seen[0]])[None, : ours.model.nq + ours.model.nv], [ours.model.nq], 1)
            )
            np.testing.assert_allclose(obs, seen.astype(np.float32), rtol=near, atol=near)
        out = ours.step(rows, action, AWAKE)
        seen, reward, terminated, *_ = theirs.step(np.asarray(native(ours.actions, action), np.float64))
        np.testing.assert_allclose(out.obs, seen.astype(np.float32), rtol=near, atol=near)
        np.testing.assert_allclose(out.reward, reward, rtol=near, atol=near)
        assert out.fell[0] == terminated[0]
        falls, rows = falls + terminated[0], None if terminated[0] else out.rows
    assert falls > 1


def test_contact_forces_are_zeros_in_v3_and_cost_in_v5_only():
    found = {}
    for version in (3, 4, 5):
        ours = body(f"Humanoid-v{version}")
        rows, _ = ours.place(ours.model.qpos0[None], np.zeros((1, ours.model.nv)))
        outs = []
        for _ in range(20):  # it sinks until its feet stand on the ground, and does not fall
            outs.append(ours.step(rows, np.zeros((1, 17), np.float32), AWAKE))
            rows = outs[-1].rows
        assert not any(out.fell[0] for out in outs)
        found[version] = np.array([out.reward[0] for out in outs]), np.stack([out.obs[0, -84:] for out in outs])
    assert (found[3][1] == 0).all() and (np.abs(found[4][1]).max(1) > 100).any()
    np.testing.assert_array_equal(found[3][0], found[4][0])
    cost = 5e-7 * np.square(found[4][1]).sum(1)
    np.testing.assert_allclose(found[5][0], found[4][0] - cost, rtol=1e-5)
    assert cost.max() > 0.01


# ------------------------------------------------------------------ pure functions


@functools.cache
def played():
    """The vectorised environment of a Walker, and its steps [lanes T E ..] from 2 lanes' resets, with the states before."""
    env = MuJoCo(threads=2)
    envs = vectorise(env, 3)

    def play(key):
        first, start = envs.reset(key)

        def body(state, key):
            action = {"agent": jr.uniform(key, (3, 1, 6), minval=-1, maxval=1)}
            after, now = envs.step(state, action, key)
            return after, (state, action, after, now, jax.vmap(bridge._seed)(jr.split(key, 3)))

        return start, jax.lax.scan(body, first, jr.split(key, 60))[1]

    return env, envs, jax.jit(jax.vmap(play))


def test_the_same_state_twice_is_the_same_bytes_whatever_is_stepped_between():
    ours, others = body("Humanoid-v4"), np.array([[1, 2], [3, 4], [5, 6]], np.uint32)
    rows, _ = ours.begin(others)
    once = ours.step(rows, np.repeat(draws("Humanoid-v4", 1)[0], 3, 0), np.zeros(3, bool))
    for action in draws("Humanoid-v4", 20):
        rows_of_others = ours.step(once.rows[:1], action, AWAKE).rows
    assert not np.array_equal(rows_of_others, once.rows[:1])
    again = ours.step(rows, np.repeat(draws("Humanoid-v4", 1)[0], 3, 0), np.zeros(3, bool))
    assert same(once, again)
    fresh = Simulator(ours.task, 0, (), 1).step(rows, np.repeat(draws("Humanoid-v4", 1)[0], 3, 0), np.zeros(3, bool))
    assert same(once, fresh)  # in one thread, by simulations that know nothing


def test_lanes_and_environments_equal_each_alone_bitwise_and_restart():
    env, _, play = played()
    start, (before, action, after, now, seeds) = jax.device_get(play(jr.split(jr.key(0), 2)))
    step, alone = jax.jit(env.step), []
    ended = now.terminated | now.truncated
    assert 4 < ended.sum() < 40
    for at in [(0, 0, 0), (1, 7, 2), *np.argwhere(ended)[:3], *np.argwhere(~ended)[-3:]]:
        one = lambda tree, at=at: jax.tree.map(lambda x: x[tuple(at)], tree)
        state, told = step(one(before), one(action), jr.key(9))
        theirs = one(now)
        assert same((told.final_obs, told.reward, told.terminated), (theirs.final_obs, theirs.reward, theirs.terminated))
        if ended[tuple(at)]:
            assert not same(told.obs, theirs.obs) and one(after).time == 0 and not one(after).over
            fresh, _ = env.simulator.begin(seeds[tuple(at)][None])
            assert fresh.tobytes() == one(after).physics.tobytes()  # from its own key, even if others end too
            rested, still = step(state, one(action), jr.key(0))
            assert still.terminated and float(still.reward["agent"][0]) == 0 and same(rested, state)
        else:
            assert same(state, one(after)) and same(told.obs, theirs.obs)
            exact = env.simulator.step(one(before).physics.view(np.float64)[None], one(action)["agent"], AWAKE)
            assert exact.rows.tobytes() == np.asarray(state.physics).tobytes()  # every bit of float64
        alone.append(told)
    assert not same(start.obs["agent"][0, 0], start.obs["agent"][1, 0])  # every episode has its own noise
    assert np.abs(start.obs["agent"][..., 1:8]).max() <= 5e-3 < 2 * np.abs(start.obs["agent"][..., 1:8]).max()


def test_a_step_of_all_lanes_is_one_call_of_the_host(monkeypatch):
    _, _, play = played()
    calls, step = [], Simulator.step
    monkeypatch.setattr(Simulator, "step", lambda self, rows, *rest: calls.append(len(rows)) or step(self, rows, *rest))
    jax.block_until_ready(play(jr.split(jr.key(1), 2)))
    assert calls == [2 * 3] * 60


def test_an_episode_that_reaches_its_horizon_is_a_success():
    env = MuJoCo("Humanoid-v3", horizon=3)
    step, (state, now) = jax.jit(env.step), env.reset(jr.key(0))
    assert not bool(now.truncated) and float(now.events["success"]) == 0
    told = []
    for _ in range(3):
        state, now = step(state, {"agent": jnp.zeros((1, 17))}, jr.key(0))
        told.append((bool(now.terminated), bool(now.truncated), float(now.events["success"])))
    assert told == [(False, False, 0.0), (False, False, 0.0), (False, True, 1.0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden,guides", [((8,), ()), ((8, 8), (Companion(MuJoCo(healthy_z=(0.5, 2.5), horizon=20)),))], ids=["alone", "companion"]
)
def test_a_killed_ppo_run_resumes_bitwise_in_the_middle_of_its_episodes(hidden, guides, tmp_path, monkeypatch):
    """Alone for two seeds, and one with a companion, whose episodes do not end with the student's."""
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    learner = PPO(num_envs=2, rollout=8, hidden=hidden, epochs=1, minibatches=1)
    seeds = 1 if guides else 2
    config = run.Config(MuJoCo(horizon=40), learner, guides, steps=96, seeds=seeds, evaluations=2, episodes=2)
    run.train(config, tmp_path / "whole")
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(4))
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")


# ------------------------------------------------------------------ master and slave


def test_numbers_have_names_and_a_slave_sees_and_moves_some_of_them():
    master, slave = MuJoCo("Humanoid-v3"), MuJoCo("Humanoid-v3", observed=45, actuators=LEGS)
    whole, part = master.spec.roles["agent"], slave.spec.roles["agent"]
    assert (whole.obs_size, part.obs_size, whole.actions.size, part.actions.size) == (376, 45, 17, 8)
    assert part.obs == whole.obs[: len(part.obs)] and part.actions.names == LEGS  # pyright: ignore
    assert len({field.name for field in whole.obs}) == len(whole.obs)
    names = [field.name for field in part.obs for _ in range(field.width)]
    assert names[:7] == ["position root"] * 5 + ["position abdomen_z", "position abdomen_y"]
    assert names[22:28] == ["velocity root"] * 6 and names[-1] == "velocity left_elbow"
    assert MuJoCo("Humanoid-v3", observed=46).spec.roles["agent"].obs[-1] == ("inertia world", 1, 1, "", True, ())
    assert MuJoCo("Humanoid-v5").spec.roles["agent"].obs_size == 348
    walker = MuJoCo("Walker2d-v4").spec.roles["agent"]
    names = ("thigh_joint", "leg_joint", "foot_joint", "thigh_left_joint", "leg_left_joint", "foot_left_joint")
    assert walker.actions == (6, (), (), names, ())
    assert [field.name for field in walker.obs][:3] == ["position rootz", "position rooty", "position thigh_joint"]


def test_actuators_that_the_agent_does_not_move_exert_no_force():
    ours, part, seed = body("Humanoid-v3"), body("Humanoid-v3", observed=45, actuators=LEGS), np.array([[7, 7]], np.uint32)
    (rows, _), (rows_of_part, obs) = ours.begin(seed), part.begin(seed)
    assert same(rows, rows_of_part) and obs.shape == (1, 45)
    where = [ours.actions.names.index(name) for name in LEGS]
    for few in draws("Humanoid-v3", 5)[..., :8]:
        every = np.zeros((1, 17), np.float32)
        every[:, where] = few
        out, of_part = ours.step(rows, every, AWAKE), part.step(rows_of_part, few, AWAKE)
        assert same((out.rows, out.reward, out.obs[:, :45]), (of_part.rows, of_part.reward, of_part.obs))
        rows, rows_of_part = out.rows, of_part.rows


def test_healthy_ranges_are_settings():
    rows, _ = body("Walker2d-v3").place(np.array([[0, 1.05, 0.3, 0, 0, 0, 0, 0, 0]]), np.zeros((1, 9)))
    fell = lambda **settings: bool(body("Walker2d-v3", **settings).step(rows, np.zeros((1, 6), np.float32), AWAKE).fell[0])
    assert not fell() and fell(healthy_z=(1.1, 1.4)) and fell(healthy_angle=(-0.2, 0.2)) and not fell(healthy_z=(1.0, 1.4))


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.usefixtures("as_users")
@pytest.mark.parametrize(
    "settings,told",
    [
        ({"id": "Walker2d-v6"}, "unknown MuJoCo environment 'Walker2d-v6': did you mean Walker2d-v5"),
        ({"id": "Walker"}, "did you mean Walker2d-v3"),
        ({"healthy_z": (1.4, 1.1)}, "env.healthy_z must be two numbers, the lower one first"),
        ({"healthy_z": (1.4,)}, "env.healthy_z must be a tuple of 2 entries"),
        ({"id": "Humanoid-v3", "healthy_angle": (-1.0, 1.0)}, "env.healthy_angle is for Walker2d"),
        ({"observed": 18}, "env.observed must be at most 17"),
        ({"actuators": ("thigh",)}, "unknown actuator 'thigh': did you mean"),
        ({"actuators": ("leg_joint", "leg_joint")}, "env.actuators must be different ones"),
    ],
)
def test_what_a_body_does_not_have_is_refused_in_one_line(settings, told):
    with pytest.raises(HeadstartError, match=told) as caught:
        _ = MuJoCo(**settings).spec
    one_line(caught)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    from headstart.envs.mujoco import simulator

    monkeypatch.setattr(simulator, "installed", lambda package: package != "mujoco")
    with pytest.raises(HeadstartError, match=r"pip install 'headstart\[mujoco\]'") as caught:
        _ = MuJoCo(threads=7).spec
    one_line(caught)
    assert "mujoco" not in OWN.names


def test_an_error_in_a_thread_is_one_line(monkeypatch):
    env = MuJoCo(threads=3)
    state, _ = env.reset(jr.key(0))

    def broken(*_):
        raise RuntimeError("no\nphysics")

    monkeypatch.setattr(Simulator, "_keep", broken)
    with pytest.raises(HeadstartError, match=r"^mujoco:Walker2d-v3 failed in a step: RuntimeError: no physics$"), host_errors():
        jax.block_until_ready(jax.jit(env.step)(state, {"agent": jnp.zeros((1, 6))}, jr.key(0)))


def test_physics_that_diverge_are_a_fall_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = body("Walker2d-v3")
    rows, _ = ours.place(ours.model.qpos0[None], np.zeros((1, 9)))
    rows = ours.step(rows, np.zeros((1, 6), np.float32), AWAKE).rows
    rows[0, 10:19] = 1e12  # its velocities
    out = ours.step(rows, np.zeros((1, 6), np.float32), AWAKE)
    assert out.fell[0] and out.reward[0] == 1 and np.isfinite(out.obs).all()
    out = ours.step(out.rows, np.zeros((1, 6), np.float32), AWAKE)  # the simulation has forgotten it
    assert not out.fell[0]
    out = ours.step(out.rows, np.full((1, 6), np.nan, np.float32), AWAKE)
    assert np.isnan(out.reward[0]) and np.isfinite(out.obs).all()
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize("id,top", [("Walker2d-v3", 1.5), ("Humanoid-v3", 1.7)])
def test_a_body_is_drawn_standing_on_the_ground(id, top):
    """A Humanoid begins a hand's breadth above it."""
    env, ours = MuJoCo(id), body(id)
    ahead = np.outer([0, 2.25], np.eye(ours.model.nq)[0])
    rows, _ = ours.place(ours.model.qpos0 + ahead, np.zeros((2, ours.model.nv)))
    place = np.asarray(jax.jit(jax.vmap(env.scene))(bridge._state(rows, (2,))).place)
    radius, limb = (np.array([e[name] for e in env.entities]) for name in ("radius", "kind"))
    high, low = (place[0, :, 1] + radius)[limb != "landmark"], (place[0, :, 1] - radius)[limb != "landmark"]
    assert abs(high.max() + 1 - top) < 0.11 and abs(low.min() + 1) < 0.11
    marks = place[:, limb == "landmark", 0]
    np.testing.assert_allclose(marks, [np.arange(-2, 3), np.arange(-2, 3) - 0.25], atol=1e-6)
    np.testing.assert_allclose(place[0][limb != "landmark"], place[1][limb != "landmark"], atol=1e-6)
    frames = place.tolist()
    figure, show = draw.picture({"extent": 2.0, "entities": env.entities, "frames": frames, "score": [0, 0], "title": id})
    show(1)
    assert dataclasses.is_dataclass(env) and figure is not None and isinstance(env.reset(jr.key(0))[0], BodyState)
