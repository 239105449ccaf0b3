"""Demonstrations: what is recorded, kept on disk, taken from other programs and mixed, against plain loops over episodes."""

import dataclasses
import functools
import json
import zipfile
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Coordination, Mixed, drawn, one_role, random_demos, shown, small

import headstart as hs
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.episodes import evaluate
from headstart.core.types import Continuous, Discrete
from headstart.envs.battle.smax import SMAX
from headstart.envs.inputs import Inputs
from headstart.envs.particle.spread import Spread
from headstart.guidance.dagger import Dagger
from headstart.guidance.distill import Distill
from headstart.guidance.gail import Gail
from headstart.learners.ppo import PPO
from headstart.storage import files
from headstart.storage.arrays import save_tree
from headstart.teams import recording, saved_demos
from headstart.teams.policy import TeamPolicy
from headstart.training import worth
from headstart.training.config import Config

ACTOR = small(PPO())


@dataclass(frozen=True)
class Duel:
    """Episodes of 1 to 5 steps of two agents, the second of which dies at its third step; an odd length is a win.

    An observation is (the episode's tag, time); of three choices one is illegal, another one at every step; choices pay.
    """

    @property
    def spec(self):
        return one_role(2, 2, Discrete((3,)), 5)

    def _show(self, state, **rest):
        tag, _, time = state
        row = jnp.stack([tag, time.astype(jnp.float32)])
        legal = jnp.arange(3)[None] != (time + jnp.arange(2)[:, None]) % 3
        alive = {"agent": jnp.stack([jnp.asarray(True), time < 2])}
        return shown({"agent": jnp.stack([row, -row])}, alive=alive, available={"agent": legal}, **rest)

    def reset(self, key):
        a, b = jr.split(key)
        state = (jr.uniform(a), jr.randint(b, (), 1, 6), jnp.zeros((), jnp.int32))
        return state, dataclasses.replace(self._show(state), events={"win": jnp.zeros(())})

    def step(self, state, action, key):
        tag, length, time = state
        after, over = (tag, length, time + 1), time + 1 == length
        reward = action["agent"] @ jnp.array([0.0, 1.0, 10.0]) + tag
        new = self._show(after, reward={"agent": reward}, terminated=over)
        return after, dataclasses.replace(new, events={"win": jnp.where(over, length % 2.0, 0.0)})


def team(env, seeds=(7, 8), number=3) -> TeamPolicy:
    return TeamPolicy(env.spec, ACTOR, drawn(ACTOR, env.spec, len(seeds), number), seeds, env)


@functools.cache
def recorded(**settings) -> hs.Demos:
    return hs.record(team(Duel()), episodes=20, seed=1, actions=True, **settings)


@functools.cache
def played(demos) -> list[list]:
    """The recorded actions played again, an episode and a step at a time: [[(step before, step after)]]."""
    env = Duel()
    reset, step, out = jax.jit(env.reset), jax.jit(env.step), []
    for i in range(len(demos)):
        state, now = reset(jr.fold_in(jr.key(4), i))
        steps = []
        for t in range(env.spec.horizon):
            before = now
            state, now = step(state, {"agent": demos.actions["agent"][i, t]}, jr.key(0))
            steps.append(jax.tree.map(np.asarray, (before, now)))
            if bool(now.terminated):
                break
        out.append(steps)
    return out


# ------------------------------------------------------------------ recording


def test_recorded_actions_played_again_give_what_was_recorded():
    demos = recorded()
    assert len(set(demos.lengths.tolist())) > 2 and demos.steps == demos.lengths.sum()
    for i, steps in enumerate(played(demos)):
        count = demos.lengths[i]
        assert len(steps) == count
        for t, (before, _) in enumerate(steps):
            np.testing.assert_array_equal(demos.obs["agent"][i, t], before.obs["agent"])
            np.testing.assert_array_equal(demos.alive["agent"][i, t], before.alive["agent"])
            np.testing.assert_array_equal(demos.available["agent"][i, t], before.available["agent"])
        np.testing.assert_allclose(demos.returns["agent"][i], sum(after.reward["agent"] for _, after in steps), rtol=1e-6)
        assert demos.events["win"][i] == count % 2
        for by_role in (demos.obs, demos.alive, demos.actions, demos.available):
            assert not by_role["agent"][i, count:].any()


def test_samples_are_legal_and_differ_from_greedy_choices():
    demos, greedy = recorded(), recorded(sample=False)
    chosen = demos.actions["agent"][demos.running]
    assert (chosen.sum(-1) == 1).all() and (chosen <= demos.available["agent"][demos.running]).all()
    np.testing.assert_array_equal(demos.obs["agent"], greedy.obs["agent"])  # actions change nothing that is seen here
    assert not np.array_equal(demos.actions["agent"], greedy.actions["agent"])
    assert demos.notes["sampled"] and not greedy.notes["sampled"]
    assert demos.notes["seed"] == [8] and demos.notes["policy"] == greedy.notes["policy"]


def test_the_return_of_a_recording_is_that_of_an_evaluation():
    """Every episode of this game is the same for a greedy team."""
    env = Coordination()
    guru = team(env)
    demos = hs.record(guru, episodes=3, seed=1, sample=False)
    wanted = jax.jit(evaluate(env, guru.learner, 3))(guru.place(1), jr.key(0))["return"]["agent"]
    np.testing.assert_array_equal(demos.returns["agent"], wanted)
    assert demos.actions is None and demos.available is None


def test_episodes_are_numbered_and_blocks_join(monkeypatch):
    monkeypatch.setattr(recording, "MOST_AT_ONCE", 8)
    left, cut = [], recording._cut
    monkeypatch.setattr(recording, "_cut", lambda block, count: left.append(count) or cut(block, count))
    watched = hs.record(team(Duel()), episodes=15, seed=1, first_episode=5)
    assert left == [15, 7] and len(watched) == 15
    steps = watched.lengths.max()
    np.testing.assert_array_equal(watched.lengths, recorded().lengths[5:])
    np.testing.assert_array_equal(watched.obs["agent"], recorded().obs["agent"][5:, :steps])


def test_agents_of_several_seeds_play_together():
    """What is seen here does not depend on actions, so that each agent acts as it does among its own team."""
    guru = team(Duel())
    alone = [hs.record(guru, episodes=6, seed=seed, sample=False, actions=True).actions["agent"] for seed in (0, 1)]
    demos = hs.record(guru, episodes=6, seed=(1, 0), sample=False, actions=True)
    np.testing.assert_array_equal(demos.actions["agent"][:, :, 0], alone[1][:, :, 0])
    np.testing.assert_array_equal(demos.actions["agent"][:, :, 1], alone[0][:, :, 1])
    assert not np.array_equal(alone[0], alone[1]) and demos.notes["seed"] == [8, 7]
    with pytest.raises(HeadstartError, match="number of seeds must be 1, or that of the agents, 2, not 3"):
        hs.record(guru, episodes=6, seed=(0, 1, 1))


def test_a_controller_is_recorded_by_its_own_actions():
    env = Mixed()

    def controller(obs):
        says = jnp.concatenate(
            [jnp.stack([jnp.zeros_like(obs["talker"][..., 0]), obs["talker"][..., 0]], -1), obs["talker"]], -1
        )
        return {"talker": says, "mover": obs["mover"][..., :2]}

    demos = hs.record(hs.Scripted(controller, env.spec), env, episodes=4, actions=True)
    np.testing.assert_array_equal(demos.actions["mover"], demos.obs["mover"][..., :2])
    np.testing.assert_array_equal(demos.actions["talker"][..., 2:], demos.obs["talker"])
    np.testing.assert_allclose(demos.returns["mover"], 0.0, atol=1e-6)
    assert not demos.notes["sampled"] and "controller" in demos.notes["team"]
    with pytest.raises(HeadstartError, match="pass env"):
        hs.record(hs.Scripted(controller, env.spec), episodes=4)
    with pytest.raises(HeadstartError, match="another team"):
        hs.record(hs.Scripted(controller, env.spec), Duel(), episodes=4)


REFUSED = [
    ({"seed": 2}, "seed must be between 0 and 1"),
    ({"episodes": 0}, "episodes must be at least 1"),
    ({"env": Coordination()}, "trained for 2"),
]


@pytest.mark.parametrize("settings,told", REFUSED)
def test_a_recording_that_cannot_be_is_refused(settings, told, as_users):
    with pytest.raises(HeadstartError, match=told) as caught:
        hs.record(team(Duel()), **settings)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ on disk


def alike(a: hs.Demos, b: hs.Demos) -> None:
    for name in ("obs", "alive", "actions", "available", "returns", "events"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert (mine is None) == (theirs is None) and (mine or {}).keys() == (theirs or {}).keys()
        for part, x in (mine or {}).items():
            assert x.dtype == theirs[part].dtype
            np.testing.assert_array_equal(x, theirs[part])
    np.testing.assert_array_equal(a.lengths, b.lengths)
    assert a.spec == b.spec and a.notes == b.notes


def test_a_directory_gives_back_what_was_saved_without_the_padding(tmp_path):
    demos = dataclasses.replace(recorded(), env=Spread(2))
    demos.save(tmp_path / "demos")
    found = hs.load_demos(tmp_path / "demos")
    alike(found, demos)
    assert found.env == Spread(2) and found.loaded_from == str(tmp_path / "demos")
    shown = f"<Demos: 2 agent, 20 episodes, {demos.lengths.sum():,} env-steps, with actions, from {tmp_path / 'demos'}>"
    assert repr(found) == shown
    about = json.loads((tmp_path / "demos/demos.json").read_text())
    assert about["means"]["win"] == pytest.approx((demos.lengths % 2).mean()) and about["episodes"] == 20
    each = 2 * (4 * 2 + 1 + 4 * 3 + 3)  # bytes of a step: two agents' observations, whether they live, actions and masks
    size = (tmp_path / "demos/demos.safetensors").stat().st_size
    assert each * demos.steps < size < each * demos.steps + 20 * (4 + 8 + 4) + 2000
    with pytest.raises(HeadstartError, match="already holds something"):
        demos.save(tmp_path / "demos")
    alike(hs.load_demos(tmp_path / "demos"), demos)


def test_a_compact_file_rounds_observations_and_keeps_all_else(tmp_path):
    demos = recorded()
    demos.save(tmp_path / "whole")
    demos.save(tmp_path / "compact", compact=True)
    found = hs.load_demos(tmp_path / "compact")
    rounded = {role: x.astype(np.float16).astype(np.float32) for role, x in demos.obs.items()}
    assert any((x != demos.obs[role]).any() for role, x in rounded.items())
    alike(found, dataclasses.replace(demos, obs=rounded))
    each = 2 * (2 * 2 + 1 + 3 + 3)  # bytes of a step: two agents' observations, whether they live, actions and masks
    size = (tmp_path / "compact/demos.safetensors").stat().st_size
    assert each * demos.steps < size < each * demos.steps + 20 * (4 + 8 + 4) + 2000
    for changed, told in (
        ({"obs": {"agent": np.full_like(demos.obs["agent"], 1e5)}}, "observations of agent are too large for a float16"),
        ({"actions": {"agent": demos.actions["agent"] / 2}}, "actions of agent are no one-hot vectors"),
    ):
        with pytest.raises(HeadstartError, match=told):
            dataclasses.replace(demos, **changed).save(tmp_path / "more", compact=True)
    assert not (tmp_path / "more").exists()


def edited(path, change):
    """A JSON file whose content was changed and whose digest fits all the same."""
    about = json.loads(path.read_text())
    change(about)
    files.write_json(path, about)


def damage(name, home):
    """Damage demonstrations in one way."""
    numbers, about = home / "demos.safetensors", home / "demos.json"
    if name == "truncated":
        numbers.write_bytes(numbers.read_bytes()[:-8])
    if name == "edited":
        about.write_text(about.read_text().replace('"episodes": 20', '"episodes": 19'))
    if name == "other numbers":
        hs.record(team(Duel(), number=4), episodes=20, actions=True).save(home / "other")
        (home / "other/demos.safetensors").replace(numbers)
    if name in ("flipped", "nan", "unchosen"):
        demos = recorded()
        x = demos.obs["agent"].copy()
        x[0, 0, 0, 0] = np.nan if name == "nan" else x[0, 0, 0, 0] + 1
        moves = {"agent": demos.actions["agent"] * 2} if name == "unchosen" else demos.actions
        changed = dataclasses.replace(demos, obs={"agent": x}, actions=moves)
        before = about.read_text()
        changed.write(home)
        if name == "flipped":
            about.write_text(before)
    if name == "huge":
        edited(about, lambda x: x.update(episodes=2**20, steps=2**40))
    if name == "huge header":
        data = numbers.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + length].replace(b"[20,2]", b"[2000000000,2]")
        numbers.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    if name == "uneven":
        steps = recorded().steps
        tree = {"lengths": np.full(20, steps, np.int32)}
        edited(about, lambda x: x.update(arrays=save_tree(numbers, tree)))
    if name == "no numbers":
        numbers.unlink()
    if name == "a link":
        numbers.rename(home / "elsewhere")
        numbers.symlink_to(home / "elsewhere")


DAMAGE = {
    "truncated": "damaged or truncated", "edited": "changed after", "other numbers": "digest", "flipped": "digest",
    "nan": "NaN", "unchosen": "choice among 3", "huge": "does not belong", "huge header": "does not belong|damaged",
    "uneven": "does not belong", "no numbers": "missing", "a link": "regular files only",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused_in_one_line(name, tmp_path):
    recorded().save(tmp_path / "demos")
    damage(name, tmp_path / "demos")
    with pytest.raises(HeadstartError, match=DAMAGE[name]) as caught:
        hs.load_demos(tmp_path / "demos")
    assert "\n" not in str(caught.value)


def test_a_small_file_makes_no_large_array(tmp_path, monkeypatch):
    """Arrays in memory are padded to the longest episode, and a file of a few bytes could name a very long one."""
    recorded().save(tmp_path / "demos")
    monkeypatch.setattr(saved_demos, "MOST_PADDING", 1)
    with pytest.raises(HeadstartError, match="too unlike in length"):
        hs.load_demos(tmp_path / "demos")


def test_a_directory_is_what_it_is_taken_for(tmp_path):
    recorded().save(tmp_path / "demos")
    team(Duel()).save(tmp_path / "team")
    with pytest.raises(HeadstartError, match="holds demonstrations, and no team"):
        hs.load(tmp_path / "demos")
    with pytest.raises(HeadstartError, match="holds no demonstrations: headstart record"):
        hs.load_demos(tmp_path / "team")


@pytest.mark.parametrize("guide", [Distill, Dagger])
def test_guidance_that_asks_its_teacher_refuses_demonstrations(guide):
    spec = Duel().spec
    with pytest.raises(HeadstartError, match=r"cannot say what to do .* clone"):
        guide(recorded()).make(spec, ACTOR.make(spec))


def test_the_command_line_writes_nothing_where_something_is(tmp_path, capsys):
    env = Spread(2, horizon=3)
    team(env, (0,)).save(tmp_path / "team")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    for words, told in (
        (["--out", f"{tmp_path}/full"], "already holds something"),
        (["--seed", "1", "--out", f"{tmp_path}/new"], "seed must be between 0 and 0"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["record", f"{tmp_path}/team", "--episodes", "2", *words])
        assert end.value.code == 2 and told in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"] and not (tmp_path / "new").exists()
    cli.main(["record", f"{tmp_path}/team", "--episodes", "2", "--out", f"{tmp_path}/new"])
    assert "2 episodes, 6 env-steps, return -" in capsys.readouterr().out
    assert hs.load_demos(tmp_path / "new").env == env


# ------------------------------------------------------------------ who it fits


def test_demonstrations_fit_their_own_team_only():
    demos, role = recorded(), Duel().spec.roles["agent"]
    of = lambda role: Duel().spec._replace(roles={"agent": role})
    demos.check_fits(of(role))
    for other, told in (
        (role._replace(agents=3), "of 2 × agent and the team has 3 × agent"),
        (role._replace(obs=(role.obs[0]._replace(size=7),)), "show agent numbers 2, and the team observes numbers 7"),
        (role._replace(actions=Discrete((4,))), "other actions"),
    ):
        with pytest.raises(HeadstartError, match=told):
            demos.check_fits(of(other))
    dataclasses.replace(demos, actions=None, available=None).check_fits(of(role._replace(actions=Discrete((4,)))))


def test_a_slice_is_as_long_as_its_longest_episode():
    demos = recorded()
    order = np.argsort(demos.lengths)[:6]
    part = demos.picked(order)
    assert part.obs["agent"].shape[1] == demos.lengths[order].max() < demos.lengths.max()
    for i, number in enumerate(order):
        np.testing.assert_array_equal(part.actions["agent"][i], demos.actions["agent"][number, : part.lengths.max()])
    alike(demos[:20], demos)
    alike(demos.take(4), demos.picked(np.arange(4)))
    for wrong in (lambda: demos.take(21), lambda: demos[5:5]):
        with pytest.raises(HeadstartError, match="number of episodes"):
            wrong()


# ------------------------------------------------------------------ arrays of other programs


def given(**changes):
    """Two episodes of 2 and 3 steps as a user may have them, with nonsense after the end of the first."""
    obs = np.arange(24, dtype=np.float64).reshape(2, 3, 2, 2)
    obs[0, 2] = np.nan
    choices = np.array([[[0, 1], [2, 2], [9, 9]], [[1, 1], [0, 2], [2, 0]]])
    rewards = np.ones((2, 3, 2))
    return {"obs": obs, "lengths": [2, 3], "actions": choices, "rewards": rewards, "events": {"win": [0, 1]}} | changes


def test_who_does_not_live_has_died_unless_it_is_said_otherwise():
    """Without `alive` or `dead`, one is all that the other is not, and nobody is both."""
    lives = np.array([[[1, 1], [1, 0], [9, 9]], [[1, 1], [1, 1], [1, 0]]])
    died = [[[False, False], [False, True], [False, False]], [[False, False], [False, False], [False, True]]]
    for own in ({"alive": lives}, {"dead": lives == 0}):
        demos = hs.Demos.from_arrays(Duel(), **given(), **own)
        assert demos.dead["agent"].tolist() == died
        assert (demos.alive["agent"] ^ demos.dead["agent"]).tolist() == np.repeat(demos.running[..., None], 2, -1).tolist()
    away = hs.Demos.from_arrays(Duel(), **given(), alive=lives, dead=np.zeros_like(lives))
    assert away.alive["agent"].sum() == 8 and not away.dead["agent"].any()
    assert hs.Demos.from_arrays(Duel(), **given()).dead is None
    with pytest.raises(HeadstartError, match="agents' steps that are alive and dead must be 0, not 2"):
        hs.Demos.from_arrays(Duel(), **given(), alive=np.ones_like(lives), dead=lives == 0)


def test_arrays_become_demonstrations():
    demos = hs.Demos.from_arrays(Duel(), **given())
    assert demos.lengths.tolist() == [2, 3] and demos.returns["agent"].tolist() == [[2, 2], [3, 3]]
    assert demos.alive["agent"].sum() == 10 and not demos.obs["agent"][0, 2].any()
    assert demos.actions["agent"][0, 0].tolist() == [[1, 0, 0], [0, 1, 0]] and not demos.actions["agent"][0, 2].any()
    assert demos.means == {"return": 2.5, "win": 0.5}
    dones = np.array([[0, 1, 0], [0, 0, 1]])
    alike(hs.Demos.from_arrays(Duel().spec, **given(lengths=None, dones=dones)), demos)
    shared = hs.Demos.from_arrays(Duel(), **given(rewards=np.ones((2, 3)), actions=demos.actions))
    alike(shared, demos)


def test_choices_of_several_heads_and_roles_are_read_by_their_heads():
    env = Mixed()
    obs = {"talker": np.zeros((1, 1, 2, 3)), "mover": np.zeros((1, 1, 1, 4))}
    actions = {"talker": np.array([[[[1, 2], [0, 0]]]]), "mover": np.full((1, 1, 1, 2), 0.5)}
    demos = hs.Demos.from_arrays(env, obs, actions=actions)
    assert demos.actions["talker"][0, 0].tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert isinstance(env.spec.roles["mover"].actions, Continuous) and (demos.actions["mover"] == 0.5).all()


@pytest.mark.parametrize(
    "changes,told",
    [
        ({"obs": np.zeros((2, 3, 2, 5))}, r"shape of obs\['agent'\] must be \(episodes, steps, 2, 2\)"),
        ({"obs": [[1], [1, 2]]}, "array of numbers"),
        ({"obs": {"other": np.zeros((2, 3, 2, 2))}}, "roles of obs"),
        ({"lengths": [3, 3]}, "NaN or infinity"),
        ({"lengths": [0, 3]}, "whole numbers between 1 and 3"),
        ({"lengths": [2]}, "shape of lengths"),
        ({"dones": np.zeros((2, 3))}, "give one of them"),
        ({"actions": np.full((2, 3, 2), 3)}, "choice among 3 options"),
        ({"actions": np.zeros((2, 3, 2, 4))}, "shape of actions"),
        ({"actions": np.zeros((2, 3, 2))}, r"choices are whole numbers: pass actions.astype\(int\)"),
        (
            {"actions": np.full((2, 3, 2), 1), "available": np.eye(3)[np.full((2, 3, 2), 2)]},
            "actions.'agent'. has 10 choices that `available` forbids, first option 1 of agent 0 in step 0 of episode 0",
        ),
        ({"events": {"win": [1]}}, "shape of events"),
        ({"actions": None, "available": np.ones((2, 3, 2, 3))}, "None if there are no actions"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, told):
    with pytest.raises(HeadstartError, match=told) as caught:
        hs.Demos.from_arrays(Duel(), **given(**changes))
    assert "\n" not in str(caught.value)


def test_only_environments_and_specs_say_what_arrays_mean(as_users):
    for wrong in ("spread", Spread, None):
        with pytest.raises(HeadstartError, match="env must be an environment or a TeamSpec"):
            hs.Demos.from_arrays(wrong, **given())


def test_a_mask_that_allows_nothing_leaves_the_choice_free():
    demos = hs.Demos.from_arrays(Duel(), **given(available=np.zeros((2, 3, 2, 3))))
    assert demos.actions["agent"][0, 0].argmax(-1).tolist() == [0, 1]


def test_npz_files_are_read_by_the_names_of_the_arguments(tmp_path, as_users):
    path = tmp_path / "mine.npz"
    rest = {name: x for name, x in given().items() if name not in ("events", "obs")}
    np.savez_compressed(path, **rest, **{"events/win": [0.0, 1.0], "obs/agent": given()["obs"]})
    alike(hs.demos_from_npz(path, Duel()), hs.Demos.from_arrays(Duel(), **given()))
    dead = np.zeros((2, 3, 2), bool)
    dead[1, 2, 1] = True
    np.savez(tmp_path / "died.npz", **rest, dead=dead, obs=given()["obs"])
    assert hs.demos_from_npz(tmp_path / "died.npz", Duel()).dead["agent"].sum() == 1
    with pytest.raises(HeadstartError, match=r"mine\.npz holds arrays: headstart\.demos_from_npz\('.*', env\)\.save"):
        hs.load_demos(path)
    with pytest.raises(HeadstartError, match=r"there is no file .*none\.npz"):
        hs.demos_from_npz(tmp_path / "none.npz", Duel())
    with pytest.raises(HeadstartError, match=r"path must be that of a \.npz file, not "):
        hs.demos_from_npz(Duel(), str(path))  # pyright: ignore[reportArgumentType]
    np.savez(path, observations=given()["obs"])
    with pytest.raises(HeadstartError, match="unknown array of demonstrations 'observations'"):
        hs.demos_from_npz(path, Duel())


@pytest.mark.parametrize(
    "name,told", [("objects", "not numbers"), ("short", "as many numbers"), ("bomb", "claims"), ("text", "no .npz")]
)
def test_npz_files_that_lie_are_refused(name, told, tmp_path):
    path = tmp_path / "mine.npz"
    if name == "objects":
        np.savez(path, obs=np.array([{}, 1], object))
    if name == "text":
        path.write_text("obs")
    if name == "short":
        np.savez(path, obs=given()["obs"])
        with zipfile.ZipFile(path) as packed:
            data = packed.read("obs.npy")
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("obs.npy", data.replace(b"(2, 3, 2, 2)", b"(9, 3, 2, 2)"))
    if name == "bomb":
        np.savez(path, obs=np.zeros(4))
        data = bytearray(path.read_bytes())
        at = data.rfind(b"PK\x01\x02")
        data[at + 24 : at + 28] = (2**31).to_bytes(4, "little")  # the size in the directory of the file's end
        path.write_bytes(data)
    with pytest.raises(HeadstartError, match=told):
        hs.demos_from_npz(path, Duel())


def test_a_vault_is_cut_where_all_agents_end():
    demos = recorded()
    vault = hs.demos_to_vault(demos)
    assert vault["observations"].shape == (1, demos.steps, 2, 2) and vault["actions"].shape == (1, demos.steps, 2)
    assert vault["terminals"].all(-1).sum() == len(demos) and vault["infos"]["legals"].shape == (1, demos.steps, 2, 3)
    back = hs.demos_from_vault(vault, Duel())
    for name in ("obs", "actions", "available", "returns"):
        np.testing.assert_array_equal(getattr(back, name)["agent"], getattr(demos, name)["agent"])
    np.testing.assert_array_equal(back.lengths, demos.lengths)
    with pytest.raises(HeadstartError, match="shape of actions must be that of terminals"):
        hs.demos_from_vault(vault | {"actions": vault["actions"][:, 1:]}, Duel())
    np.testing.assert_array_equal(back.alive["agent"], demos.alive["agent"])
    assert demos.dead is None and not demos.alive["agent"].all(-1)[demos.running].all(), "nobody said of what"
    np.testing.assert_array_equal(back.dead["agent"], demos.running[..., None] & ~demos.alive["agent"])
    away = dataclasses.replace(demos, dead={"agent": np.zeros_like(demos.alive["agent"])})
    told = hs.demos_from_vault(hs.demos_to_vault(away), Duel())
    np.testing.assert_array_equal(told.alive["agent"], demos.alive["agent"])
    assert not told.dead["agent"].any()
    # One row more, whose second episode has not ended; the first agent terminates one step before the other is cut off.
    ends = {"terminals": np.zeros((1, 4, 2), bool), "truncations": np.zeros((1, 4, 2), bool)}
    ends["terminals"][0, 1:3, 0], ends["truncations"][0, 2, 1] = True, True
    own = {"observations": np.ones((1, 4, 2, 2)), "actions": np.ones((1, 4, 2), int), "rewards": np.ones((1, 4, 2))}
    one = hs.demos_from_vault(own | ends, Duel())
    assert one.lengths.tolist() == [3] and one.alive["agent"][0].tolist() == [[True, True], [True, True], [False, True]]


# ------------------------------------------------------------------ mixed


def tags(demos, agent):
    return np.abs(demos.obs["agent"][:, 0, agent, 0])


def test_agents_of_a_mixture_share_no_episode():
    demos = recorded()
    mixed = hs.non_concurrent(demos, seed=3)
    assert len(mixed) == 10
    number = {tag: i for i, tag in enumerate(tags(demos, 0))}
    rows = [[number[tag] for tag in tags(mixed, agent)] for agent in (0, 1)]
    assert len({*rows[0], *rows[1]}) == 20
    assert rows != [[number[tag] for tag in tags(hs.non_concurrent(demos, seed=4), agent)] for agent in (0, 1)]
    for agent in (0, 1):
        for m, i in enumerate(rows[agent]):
            count = demos.lengths[i]
            for name in ("obs", "alive", "actions", "available"):
                ours, theirs = getattr(mixed, name)["agent"][m, :, agent], getattr(demos, name)["agent"][i, :, agent]
                np.testing.assert_array_equal(ours[:count], theirs[:count])
                assert not ours[count:].any()
            assert mixed.returns["agent"][m, agent] == demos.returns["agent"][i, agent]
    assert mixed.lengths.tolist() == [max(demos.lengths[a], demos.lengths[b]) for a, b in zip(*rows, strict=True)]
    wins = [(demos.events["win"][a] + demos.events["win"][b]) / 2 for a, b in zip(*rows, strict=True)]
    np.testing.assert_array_equal(mixed.events["win"], wins)


def test_agents_come_from_recordings_of_their_own(tmp_path):
    first, second = recorded(), recorded(sample=False)[:12]
    mixed = hs.independent(first, second)
    assert len(mixed) == 12
    np.testing.assert_array_equal(mixed.actions["agent"][..., 0, :], first[:12].actions["agent"][..., 0, :])
    np.testing.assert_array_equal(mixed.actions["agent"][..., 1, :], second.actions["agent"][..., 1, :])
    mixed.save(tmp_path / "mixed")
    alike(hs.load_demos(tmp_path / "mixed"), mixed)
    with pytest.raises(HeadstartError, match="number of recordings must be that of the agents, 2, not 1"):
        hs.independent(first)
    with pytest.raises(HeadstartError, match="record all with or without"):
        hs.independent(first, dataclasses.replace(second, actions=None, available=None))
    with pytest.raises(HeadstartError, match="some do not: record all anew"):
        hs.independent(first, dataclasses.replace(second, dead={"agent": np.zeros_like(second.alive["agent"])}))
    with pytest.raises(HeadstartError, match="at least that of the agents"):
        hs.non_concurrent(first[:1])


def test_demonstrations_of_another_environment_are_told(capsys):
    """Shapes may agree by chance: of another map, or of another horizon."""
    seen, mine = Spread(agents=2), Spread(agents=2, horizon=30)
    told = lambda env, trained: worth.warn_of_strangers(Config(trained, PPO(), (Gail(random_demos(env)),)))
    told(seen, seen)
    assert not capsys.readouterr().err
    told(seen, mine)
    told(Inputs(seen), mine)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("(Gail) were recorded in another environment: env.horizon 25 (here 30)")
    assert second.endswith("in another environment: env inputs (here spread), env.env spread (here None)")


def test_a_team_of_another_environment_of_the_same_library_is_told(capsys):
    """Of headstart's own environments it is not: a team of another size, or of an easier task, is what teachers are."""
    lights, others = SimpleNamespace(id="lights:Lights"), SimpleNamespace(id="others:Others")
    guided = dataclasses.make_dataclass("Guided", ["teacher"])
    told = lambda env, here: worth.warn_of_strangers(SimpleNamespace(env=here, guidance=(guided(SimpleNamespace(env=env)),)))
    told(lights, lights)
    told(Spread(2), Spread(3))
    assert not capsys.readouterr().err
    told(lights, others)
    assert "was trained in another environment: lights:Lights, here others:Others\n" in capsys.readouterr().err


def test_a_recording_tells_who_died_and_a_mixture_takes_nobody_for_dead_who_is_away(tmp_path):
    env = SMAX("3m")
    choices = env.spec.roles["ally"].actions.size
    away = hs.Scripted(lambda obs: {"ally": jnp.zeros((*obs["ally"].shape[:-1], choices))}, env.spec)
    demos = hs.record(away, env, episodes=9, progress=False)
    alive, dead = demos.alive["ally"], demos.dead["ally"]
    np.testing.assert_array_equal(dead, ~alive & demos.running[..., None])
    assert dead.any() and len(set(demos.lengths.tolist())) > 1
    demos.save(tmp_path / "demos")
    np.testing.assert_array_equal(hs.load_demos(tmp_path / "demos").dead["ally"], dead)

    mixed = hs.non_concurrent(demos)
    there = mixed.alive["ally"] | mixed.dead["ally"]
    assert not (mixed.alive["ally"] & mixed.dead["ally"]).any() and (there.sum(1) < mixed.lengths[:, None]).any()
    assert set(there.sum(1).ravel().tolist()) <= set(demos.lengths.tolist()), "each agent's own episode"
