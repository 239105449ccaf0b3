"""Architecture search as a game: its rules and observations by hand, its expert, its picture, and the networks it finds."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import same

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.envs.architecture import digits
from headstart.envs.architecture import env as environment
from headstart.envs.architecture.env import Architecture
from headstart.envs.particle.spread import Spread
from headstart.learners.ppo import PPO
from headstart.replay import draw, write
from headstart.replay.record import record as replayed
from headstart.teams.policy import TeamPolicy
from headstart.teams.recording import record
from headstart.teams.saved_demos import load_demos
from headstart.teams.scripted import Scripted
from headstart.training.run import endings

NAMES = ["conv1", "conv3", "conv5", "gconv3", "gconv5", "dwconv3", "max3", "avg3", "identity"]
NAMES += ["add-2", "add-3", "add-4", "concat-2", "concat-4", "terminal"]  # written again: another order would be seen
FULL, REDUCED = Architecture(), Architecture(8, "reduced")
BLOCK = ["conv1", "gconv3", "conv1", "add-4"]
step = jax.jit(lambda env_step, state, action: env_step(state, {"agent": action}, jr.key(0)), static_argnums=0)


def options(env) -> list[str]:
    return list(env.spec.roles["agent"].actions.options[0])


def played(env, names):
    """[(state, time step)] of a reset and of layers with these operations."""
    moments, choices = [env.reset(jr.key(0))], options(env)
    for name in names:
        action = jax.nn.one_hot(jnp.asarray([choices.index(name)]), len(choices))
        moments.append(step(env.step, moments[-1][0], action))
    return moments


def seen(moment) -> dict[str, np.ndarray]:
    """The fields of what the agent sees."""
    numbers, start, out = np.asarray(moment[1].obs["agent"][0]), 0, {}
    for field in FULL.spec.roles["agent"].obs:
        out[field.name] = numbers[start : start + field.width]
        start += field.width
    assert start == len(numbers)
    return out


def back_of(name: str) -> int:
    return int(name[-1]) if "-" in name else 1


def seen_by_hand(env, names) -> dict[str, np.ndarray]:
    """What the agent should see after layers with these operations."""
    out = {"place": np.array([len(names), env.layers - len(names)]) / 24, "back": np.zeros(4)}
    out |= {"operation": np.zeros(15), "bigram": np.zeros((15, 15)), "earlier": np.zeros((3, 15))}
    number = [NAMES.index(name) for name in names]
    if names:
        out["operation"][number[-1]] = out["back"][back_of(names[-1]) - 1] = 1
    if len(names) > 1:
        out["bigram"][number[-2], number[-1]] = 1
    for before in range(3):
        if len(names) > before + 1:
            out["earlier"][before, number[-2 - before]] = 1
    return {name: x.reshape(-1) for name, x in out.items()}


def random_names(env, seed: int) -> list[str]:
    """Legal operations until the last layer, none of them terminal."""
    rng, names = np.random.default_rng(seed), []
    for layer in range(1, env.layers + 1):
        names.append(str(rng.choice([n for n in options(env) if back_of(n) <= layer and n != "terminal"])))
    return names


# ------------------------------------------------------------------ rules


@pytest.mark.parametrize("env", [FULL, REDUCED], ids=["full", "reduced"])
def test_every_observation_and_every_mask_is_that_of_plain_loops(env):
    for seed in range(3):
        names = random_names(env, seed)
        for time, moment in enumerate(played(env, names)):
            found, want = seen(moment), seen_by_hand(env, names[:time])
            for field, numbers in want.items():
                np.testing.assert_allclose(found[field], numbers, rtol=1e-6, err_msg=f"{field} after {names[:time]}")
            last = time == env.layers
            legal = [name == "terminal" if last else back_of(name) <= time + 1 for name in options(env)]
            assert moment[1].available["agent"][0].tolist() == legal
            assert not moment[1].terminated and not moment[1].truncated


def test_the_sizes_are_those_of_the_paper():
    """Its search spaces are 15^24 and 11^8: that many operations for each layer that has enough layers before it."""
    for env, layers, operations in ((FULL, 24, 15), (REDUCED, 8, 11)):
        assert (
            env.layers == layers and env.spec.horizon == layers + 1 and options(env) == [n for n in NAMES if n in options(env)]
        )
        counts = [int(m[1].available["agent"].sum()) for m in played(env, random_names(env, 0))]
        assert counts[3:-1] == [operations] * (layers - 3) and counts[-1] == 1


def test_terminal_ends_the_network():
    before, last = played(REDUCED, ["conv3", "max3", "terminal"])[-2:]
    assert not before[1].terminated and last[1].terminated and not last[1].truncated
    assert last[0].operations.tolist()[:4] == [NAMES.index("conv3"), NAMES.index("max3"), 14, -1]


def test_a_choice_that_is_not_legal_is_replaced_by_the_best_that_is():
    wish = {"add-4": 3.0, "concat-2": 2.0, "gconv3": 1.0, "conv1": 0.5}
    action = jnp.asarray([[wish.get(name, 0.0) for name in options(FULL)]])
    state, _ = step(FULL.step, FULL.reset(jr.key(0))[0], action)
    assert state.operations[0] == NAMES.index("gconv3")
    state, _ = step(FULL.step, state, action)
    assert state.operations[1] == NAMES.index("concat-2")


def test_steps_depend_on_actions_only():
    state, _ = FULL.reset(jr.key(0))
    action = {"agent": jax.nn.one_hot(jnp.asarray([3]), 15)}
    run = jax.jit(FULL.step)
    assert same(run(state, action, jr.key(1)), run(state, action, jr.key(2))) and same(
        FULL.reset(jr.key(5)), FULL.reset(jr.key(6))
    )


def test_networks_of_the_two_games_differ_in_their_last_layer_only():
    """So that what a slave learns on the reduced game can be added to a master's networks number by number."""
    shapes = [jax.eval_shape(PPO().make(env.spec).init, jr.key(0)) for env in (FULL, REDUCED)]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
    unlike = [(a.shape, b.shape) for a, b in zip(*map(jax.tree.leaves, shapes), strict=True) if a.shape != b.shape]
    assert ((64, 15), (64, 11)) in unlike
    assert all((a[-1], b[-1]) == (15, 11) and a[:-1] == b[:-1] for a, b in unlike), "one number for each operation"


# ------------------------------------------------------------------ the expert


@pytest.mark.parametrize("env", [FULL, REDUCED], ids=["full", "reduced"])
def test_the_expert_builds_resnexts_blocks(env):
    demos = record(Scripted.of(env), env, episodes=2, actions=True)
    chosen = [options(env)[i] for i in demos.actions["agent"][0, :, 0].argmax(-1)]
    assert chosen == BLOCK * (env.layers // 4) + ["terminal"]
    assert demos.lengths.tolist() == [env.layers + 1] * 2 and demos.events["agreement"].tolist() == [env.layers] * 2
    assert demos.available["agent"][0, np.arange(env.layers + 1), 0, demos.actions["agent"][0, :, 0].argmax(-1)].all()


def test_the_expert_ends_after_its_last_whole_block():
    env = Architecture(6)
    demos = record(Scripted.of(env), env, episodes=1)
    assert demos.lengths.tolist() == [5] and demos.events["agreement"].tolist() == [4]


def test_agreement_counts_the_layers_that_are_the_experts():
    names = ["conv1", "conv1", "conv1", "add-4", "conv1", "gconv3", "add-4", "terminal"]
    assert [float(m[1].events["agreement"]) for m in played(REDUCED, names)] == [0, 1, 0, 1, 1, 1, 1, 0, 0]


def test_a_command_records_the_expert_of_an_environment(tmp_path, capsys):
    words = ["record", "--expert", "architecture", "--env.layers", "4", "--episodes", "3", "--actions", "--out"]
    cli.main([*words, str(tmp_path / "resnext")])
    assert "3 episodes, 15 env-steps, return 0.00, agreement per episode 4.00" in capsys.readouterr().out
    demos = load_demos(tmp_path / "resnext")
    assert demos.env == Architecture(4) and demos.actions is not None


@pytest.mark.parametrize(
    "words,says",
    [
        (["--expert", "spread"], "Spread has no expert of its own: record a trained team, or write a Scripted"),
        (["--expert", "architecture", "--env", "spread"], "--expert architecture names the environment: leave --env out"),
        (["--expert", "architectur"], "unknown env 'architectur'"),
        (["--expert"], "--expert needs a value"),
        (["--expert", "architecture", "--env.layers", "3"], "env.layers must be"),
    ],
)
def test_an_expert_that_is_not_there_is_refused_in_a_line(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["record", *words, "--episodes", "2", "--out", "demos/none"])
    told = capsys.readouterr().err
    assert end.value.code == 2 and says in told and not list(tmp_path.iterdir())


def test_only_an_environment_with_an_expert_has_one():
    with pytest.raises(HeadstartError, match="has no expert of its own"):
        Scripted.of(Spread())


# ------------------------------------------------------------------ the picture


def test_the_picture_is_the_graph_of_the_layers():
    """Layer n is joined to n − 1, and to n − k by `add-k` and `concat-k`."""
    names = ["conv3", "add-2", "max3", "concat-2", "conv1", "terminal"]
    state, _ = played(REDUCED, names)[-1]
    scene, entities = REDUCED.scene(state), REDUCED.entities
    assert scene.links.tolist() == [[-1, -1], [0, -1], [1, 0], [2, -1], [3, 2], [4, -1], [5, -1], *[[-1, -1]] * 3]
    shown = ~np.isnan(np.asarray(scene.place)).any(1)
    assert shown.tolist() == [True] * 7 + [False] * 3
    labels = [e["labels"][shade] for e, shade in zip(entities, scene.shade.tolist(), strict=True)]
    assert labels[:7] == ["input", *names]
    places = np.asarray(scene.place)[shown]
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(7)
    assert gaps.min() > 2 * entities[0]["radius"] and np.abs(places).max() <= 1
    assert places[0, 0] == places[4, 0], "what a fourth layer adds stands above it"


def test_an_episode_is_drawn(tmp_path):
    learner = PPO(hidden=(4,))
    params = jax.jit(jax.vmap(learner.make(REDUCED.spec).init))(jr.split(jr.key(0), 1))
    film = replayed(TeamPolicy(REDUCED.spec, learner, params, (0,), REDUCED), REDUCED)
    assert len(film["links"]) == len(film["frames"]) == len(film["score"])
    start, layer = film["frames"][1][:2]
    assert draw._links(film, 1, ["red"] * 10)[0][0] == (tuple(start), tuple(layer)), "a straight line to the layer before"
    write.animate(film, tmp_path / "graph.gif")
    write.animate({k: x for k, x in film.items() if k != "links"}, tmp_path / "points.gif")
    assert (tmp_path / "graph.gif").read_bytes() != (tmp_path / "points.gif").read_bytes()


def test_a_bent_line_passes_beside_what_lies_between():
    curve = np.array(draw._curve([0.0, 0.0], [0.0, -1.0], 0.5))
    np.testing.assert_allclose(curve[[0, 6, -1]], [[0, 0], [0.25, -0.5], [0, -1]], atol=1e-12)


# ------------------------------------------------------------------ the networks that it finds


def plain_network(names, params, x):
    """Logits by loops over dots and windows, a layer at a time; every convolution by its definition."""
    relu_normal = lambda own, y: np.maximum(0, normalised(y) * np.asarray(own["scale"]) + np.asarray(own["offset"]))

    def normalised(y):
        return (y - y.mean((1, 2, 3), keepdims=True)) / np.sqrt(y.var((1, 2, 3), keepdims=True) + 1e-5)

    def around(image, row, column, reach):
        at = lambda i, j: image[np.clip(i, 0, 7), np.clip(j, 0, 7)]
        moves = range(-reach, reach + 1)
        return {(i, j): at(row + i, column + j) for i in moves for j in moves}

    def convolved(y, weight, kernel, groups):
        out, inputs = np.zeros((*y.shape[:3], digits.WIDTH)), y.shape[-1]
        scale = np.sqrt(2 / (kernel**2 * inputs / groups))
        for n, row, column in np.ndindex(*y.shape[:3]):
            for (i, j), seen in around(y[n], row, column, kernel // 2).items():
                for c in range(digits.WIDTH):
                    mine = [k for k in range(inputs) if k * groups // inputs == c * groups // digits.WIDTH]
                    out[n, row, column, c] += scale * sum(seen[k] * weight[5 * (i + 2) + j + 2, k, c] for k in mine)
        return out

    each = lambda tree, i: jax.tree.map(lambda x: np.asarray(x[i], float), tree)
    first = jax.tree.map(lambda x: np.asarray(x, float), params["first"])
    out = [relu_normal(first, convolved(np.asarray(x, float), first["weight"], 3, 1))]
    for number, name in enumerate(names):
        own, now, other = each(params["layers"], number), out[-1], out[number + 1 - back_of(name)]
        if "conv" in name:
            groups = {"c": 1, "g": 4, "d": digits.WIDTH}[name[0]]
            now = relu_normal(own, convolved(now, own["weight"], int(name[-1]), groups))
        elif name[:3] in ("max", "avg"):
            pool = max if name[:3] == "max" else np.mean
            windows = lambda n, r, c, k, y=now: [dot[k] for dot in around(y[n], r, c, 1).values()]
            now = np.array([pool(windows(*at)) for at in np.ndindex(now.shape)]).reshape(now.shape)
        elif name.startswith("add"):
            now = now + other
        elif name.startswith("concat"):
            now = relu_normal(own, np.concatenate([now, other], -1) @ own["join"][0] / np.sqrt(digits.WIDTH))
        out.append(now)
    means = out[-1].reshape(len(x), 2, 4, 2, 4, -1).mean((2, 4)).reshape(len(x), -1)
    return means @ np.asarray(params["last"]["weight"], float) + np.asarray(params["last"]["bias"])


@pytest.mark.slow
def test_networks_are_those_of_plain_loops():
    """Every operation, in two networks that one program computes."""
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    params = jax.jit(lambda key: digits.weights(8, key))(jr.key(0))
    run = jax.jit(digits.network)
    for names in (
        ["conv3", "add-2", "gconv3", "max3", "concat-2", "conv5", "add-4", "identity"],
        ["dwconv3", "avg3", "add-3", "concat-4", "gconv5", "conv1"],
    ):
        numbers = [NAMES.index(name) for name in names] + [14, 1][: 8 - len(names)]  # after the terminal layer there is nothing
        np.testing.assert_allclose(run(jnp.asarray(numbers), params, x), plain_network(names, params, x), rtol=1e-3, atol=1e-4)


def bright(count: int) -> digits.Images:
    """Images of two classes: the left half or the right half is bright."""
    rng = np.random.default_rng(count)
    y = rng.integers(0, 2, count).astype(np.int32)
    x = rng.random((count, 8, 8, 1)).astype(np.float32)
    x[..., :4, :] += y[:, None, None, None]
    return digits.Images(x, y)


@pytest.mark.slow
def test_training_tells_left_from_right():
    """By a network of one layer, and by one of none."""
    networks = np.array([[NAMES.index("conv3")], [NAMES.index("terminal")]])
    found = digits.accuracies(networks, 30, (bright(128), bright(64)))
    assert len(found) == 2 and min(found) > 0.9


def test_evaluate_trains_the_networks_that_were_found(tmp_path, monkeypatch, capsys):
    """Each once, in the order of the seeds, and the expert's; without scikit-learn a line names the extra."""
    env, learner = Architecture(4, "reduced"), PPO(hidden=(4,))
    params = jax.jit(jax.vmap(learner.make(env.spec).init))(jr.split(jr.key(0), 2))
    team = TeamPolicy(env.spec, learner, params, (0, 1), env)
    team.save(tmp_path / "team")
    ends = [state.operations.tolist() for state in endings(team, env)]
    names = [" ".join(NAMES[i] for i in end if 0 <= i < 14) or "no layers" for end in ends]
    trained = []

    def accuracies(networks, epochs, data):
        trained.extend(networks.tolist())
        return [(sum(row) % 10) / 10 for row in networks.tolist()]

    monkeypatch.setattr(digits, "load", lambda: None)
    monkeypatch.setattr(digits, "accuracies", accuracies)
    told = {}
    for there in (True, False):
        monkeypatch.setattr(environment, "installed", lambda package, there=there: there)
        cli.main(["evaluate", str(tmp_path / "team"), "--episodes", "2"])
        told[there] = capsys.readouterr().out.splitlines()
    ends = [[14 if i < 0 else i for i in end] for end in ends]
    expert = [NAMES.index(name) for name in [*BLOCK, "terminal"]]
    assert trained == [*([ends[0]] if ends[0] == ends[1] else ends), expert]
    want = [f"network {i}: test accuracy {sum(ends[i]) % 10 / 10:.3f}, {names[i]}" for i in range(2)]
    assert told[True][-3:] == [*want, f"the expert's: test accuracy {sum(expert) % 10 / 10:.3f}"]
    assert told[False][-1] == "test accuracies on digits need scikit-learn: pip install 'headstart[digits]'"
    assert told[False][-3:-1] == [f"network {i}: {name}" for i, name in enumerate(names)]
