"""Pictures of other libraries' environments, taken by their own `render` in a worker process."""

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from probes import Lengths

from headstart import registry
from headstart.cli import main as cli
from headstart.cli.output import _replay
from headstart.core.checks import HeadstartError
from headstart.envs.centralized import Centralized
from headstart.envs.gymnasium import Gymnasium
from headstart.envs.pettingzoo import PettingZoo
from headstart.replay.record import record
from headstart.replay.write import animate
from headstart.teams.policy import TeamPolicy

PAINTED = PettingZoo("toy_envs:Painted")


def team_of(env) -> TeamPolicy:
    """An untrained team."""
    config = registry.preset("learner", "ippo")
    params = jax.vmap(config.make(env.spec).init)(jax.random.split(jax.random.key(0), 2))
    return TeamPolicy(env.spec, config, params, (0, 1), env)


@pytest.fixture(scope="module")
def film():
    return record(team_of(PAINTED), PAINTED, title="painted")


def test_a_film_has_the_start_and_every_step_up_to_the_end(film):
    pictures = [film["pictures"][i] for i in range(len(film["pictures"]))]
    assert [int(picture[-1, 0, 0]) for picture in pictures] == [0, 40, 80, 120, 160, 200] and len(film["score"]) == 6
    assert all(picture.shape == (20, 30, 3) and (picture[1:] == picture[-1, 0, 0]).all() for picture in pictures)
    assert film["title"] == "painted" and film["subtitle"] == f"return {film['score'][-1]:.1f}"


def test_a_film_shows_the_team_s_own_greedy_actions():
    """The same episode by hand: the environment here, the team by its names."""
    import toy_envs

    from headstart.envs.host import bridge

    seeds, real = [], bridge.Running.reset
    team = team_of(PAINTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge.Running, "reset", lambda self, seed: (seeds.append(int(seed.reshape(-1)[0])), real(self, seed))[1])
        made = record(team, PAINTED, seed=1, episode=3)
    env = toy_envs.Painted("rgb_array")
    obs, _ = env.reset(seed=seeds[0])
    score, shown = 0.0, [env.render()]
    while env.agents:
        action, _ = team.act(obs, seed=1)
        obs, reward, *_ = env.step(action)
        score += np.mean(list(reward.values()))
        shown.append(env.render())
    np.testing.assert_array_equal(np.stack(shown), np.stack([made["pictures"][i] for i in range(len(shown))]))
    assert made["score"][-1] == pytest.approx(score) and len(made["pictures"]) == len(shown)


def test_a_film_becomes_a_gif(film, tmp_path):
    animate(film, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as image:
        assert image.n_frames == 6 and image.size == (300, 140)
        for index, shade in enumerate((0, 40, 80, 120, 160, 200)):
            image.seek(index)
            middle = np.asarray(image.convert("RGB"))[100, 150].astype(int)
            assert np.abs(middle - shade).max() <= 6


def test_an_environment_inside_another_is_drawn():
    env = Centralized(PAINTED)
    assert len(record(team_of(env), env)["pictures"]) == 6


@pytest.mark.parametrize(("env", "says"), [
    (PettingZoo("toy_envs:Match"), "toy_envs:Match cannot be drawn: it offers no rgb_array (it takes no render_mode)"),
    (PettingZoo("toy_envs:Unpainted"), 'it offers no rgb_array (its render_modes are ["ansi"])'),
    (PettingZoo("toy_envs:Painted", {"look_like": "nothing"}), "in drawing: it offers no rgb_array: its render() returns None"),
    (PettingZoo("toy_envs:Painted", {"look_like": "floats"}), "its render() returns float32 of shape (20, 30, 3)"),
    (PettingZoo("toy_envs:Painted", {"look_like": "broken"}), "its render() failed (OSError: no display)"),
])  # fmt: skip
def test_what_cannot_be_drawn_says_why_in_one_line(env, says):
    with pytest.raises(HeadstartError) as caught:
        record(team_of(env), env)
    text = str(caught.value)
    assert says in text and "\n" not in text and len(text) < 400


@pytest.mark.slow
@pytest.mark.parametrize("env", [PettingZoo(), Gymnasium()])
def test_mpe2_and_gymnasium_are_drawn_without_a_screen_or_noise(env, capfd):
    pytest.importorskip("pygame")
    made = record(team_of(env), env)
    first, last = made["pictures"][0], made["pictures"][len(made["pictures"]) - 1]
    assert len(made["pictures"]) == len(made["score"]) > 3 and first.shape == last.shape and (first != last).any()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("env", "says"), [
    (Centralized(PAINTED), "replay: headstart render runs/a"),
    (PettingZoo("toy_envs:Unpainted"),
     'no replay: toy_envs:Unpainted cannot be drawn: it offers no rgb_array (its render_modes are ["ansi"])'),
    (Lengths(), "no replay: Lengths cannot be drawn: give it `entities` and `scene` (docs/your-own.md)"),
])  # fmt: skip
def test_a_run_ends_with_how_to_replay_it_or_why_not(env, says):
    assert _replay(env, Path("runs/a")) == says


def test_the_command_line_draws_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "used", {"toy_envs"})
    for name, env in (("painted", PAINTED), ("match", PettingZoo("toy_envs:Match"))):
        team_of(env).save(tmp_path / name)
    cli.main(["render", str(tmp_path / "painted"), "--seed", "1"])
    assert (tmp_path / "painted" / "replay.gif").read_bytes()[:4] == b"GIF8"
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(["render", str(tmp_path / "match")])
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.count("\n") == 1 and "offers no rgb_array" in told
    assert not (tmp_path / "match" / "replay.gif").exists()
    registry.used.clear()
    with pytest.raises(SystemExit):
        cli.main(["render", str(tmp_path / "match")])
    assert "--use toy_envs" in capsys.readouterr().err
