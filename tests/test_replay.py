"""Replays: what is recorded of an episode, and what can be seen of it in a GIF or a video, decoded again."""

import itertools
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from PIL import Image

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import Scene
from headstart.core.types import Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle import world
from headstart.replay.draw import letters
from headstart.replay.record import record
from headstart.replay.write import animate
from headstart.teams.policy import TeamPolicy

RED, BLUE, GREEN, ORANGE, SKY = "#ff0000", "#0000ff", "#00aa00", "#ffaa00", "#00aaff"
PLACES = {"speaker": (-0.5, 0.5), "collector": (0.5, 0.4), "landmark": (-0.4, -0.5), "treasure": (0.4, -0.3)}
RADII = (0.1, 0.12, 0.15, 0.08)
WORDS, SHADES, HIDDEN = (-1, 0, 1, -1, 27), (0, 0, 1, 1, 0), (False, True, False, True, False)


class Clock(NamedTuple):
    time: jax.Array


class Signals:
    """Nothing moves, but the speaker speaks, the collector changes its colour and the treasure comes and goes.

    Of 9 possible steps the task ends after 4. A step's reward is its number for one agent, three times that for the other.
    """

    spec = TeamSpec({"agent": RoleSpec(2, (Field("clock", 1, 1),), Discrete((3,)))}, 9, 1)
    colors = {"speaker": [RED], "collector": [BLUE, GREEN], "landmark": [ORANGE], "treasure": [SKY]}
    entities = [world.entity(k, k, r, *c) for (k, c), r in zip(colors.items(), RADII, strict=True)]
    plain = False

    def reset(self, key):
        return self._show(jnp.zeros((), jnp.int32))

    def step(self, state, action, key):
        return self._show(state.time + 1)

    def _show(self, time):
        now = time.astype(jnp.float32)
        seen, reward = {"agent": jnp.full((2, 1), now)}, {"agent": now * jnp.array([1.0, 3.0])}
        over = world.time_step(seen, reward, (now[None],), time >= 9)
        return Clock(time), over.__class__(**{**vars(over), "terminated": time >= 4})

    def scene(self, state):
        at = jnp.minimum(state.time, 4)
        places = jnp.array(list(PLACES.values()))
        if self.plain:
            return world.scene(places)
        hidden = jnp.array([False] * 3 + [True]) & jnp.array(HIDDEN)[at]
        none, silent = jnp.zeros((), jnp.int32), -jnp.ones((), jnp.int32)
        words = jnp.stack([jnp.array(WORDS)[at], silent, silent, silent])
        return Scene(jnp.where(hidden[:, None], jnp.nan, places), words, jnp.stack([none, jnp.array(SHADES)[at], none, none]))


def team_of(env):
    config = registry.preset("learner", "maddpg")
    params = jax.vmap(config.make(env.spec).init)(jax.random.split(jax.random.key(0), 2))
    return TeamPolicy(env.spec, config, params, (0, 1), env)


@pytest.fixture(scope="module")
def replay():
    return record(team_of(Signals()), Signals(), title="signals")


def decoded(path):
    """Frames [T+1 height width 3] of a GIF."""
    with Image.open(path) as image:
        frames = []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    return np.stack(frames)


@pytest.fixture(scope="module")
def frames(replay, tmp_path_factory):
    path = tmp_path_factory.mktemp("gif") / "signals.gif"
    animate(replay, path)
    return decoded(path)


def has(pixels, color):
    """Which pixels have a colour, however pale: as seen from white they lie in the same direction."""
    away, pure = 255 - pixels, 255 - np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    length = np.linalg.norm(away, axis=-1)
    return (length > 0.3 * np.linalg.norm(pure)) & (away @ pure > 0.97 * length * np.linalg.norm(pure))


def middle(mask):
    """Row and column of the middle of what a mask covers."""
    return np.argwhere(mask).mean(0)


def pixel_of(frames):
    """World units to (row, column), from where three of the four entities are seen in the first, silent frame."""
    colors, names = {"speaker": RED, "collector": BLUE, "landmark": ORANGE}, ("speaker", "collector", "landmark")
    seen = np.array([middle(has(frames[0], colors[name])) for name in names])
    known = np.array([[*PLACES[name], 1.0] for name in names])
    return np.linalg.solve(known, seen)


# ------------------------------------------------------------------ recording


def test_a_record_is_the_episode_up_to_its_end(replay):
    assert [[p is None for p in frame] for frame in replay["frames"]] == [[False] * 3 + [gone] for gone in HIDDEN]
    np.testing.assert_allclose(replay["frames"][0], list(PLACES.values()), atol=1e-4)
    assert [frame[0] for frame in replay["words"]] == list(WORDS)
    assert {word for frame in replay["words"] for word in frame[1:]} == {-1}
    assert [frame[1] for frame in replay["shades"]] == list(SHADES)
    assert replay["score"] == [0, 2, 6, 12, 20]  # the mean of 1 and 3, of 2 and 6, ..
    assert (replay["title"], replay["subtitle"]) == ("signals", "return 20.0")
    assert replay["extent"] == pytest.approx(1.2)
    assert replay["entities"][1] == {"name": "collector", "kind": "collector", "radius": 0.12, "colors": [BLUE, GREEN]}


def test_a_record_without_words_and_shades_has_none():
    env = Signals()
    env.plain = True
    made = record(team_of(env), env)
    assert not {"words", "shades"} & made.keys()
    assert made["title"] == "DDPG"


def test_what_has_no_scene_cannot_be_drawn():
    class Blind:
        spec, reset, step = Signals.spec, Signals.reset, Signals.step

    with pytest.raises(HeadstartError, match="Blind cannot be drawn"):
        record(team_of(Signals()), Blind())


# ------------------------------------------------------------------ GIF


def test_gif_has_a_frame_for_each_moment_and_rests_on_the_last(replay, frames, tmp_path):
    assert frames.shape[0] == len(replay["frames"]) == 5
    assert frames.shape[1] >= 600 and frames.shape[2] >= 600
    animate(replay, tmp_path / "x.gif", fps=20)
    with Image.open(tmp_path / "x.gif") as image:
        assert image.info["loop"] == 0
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            durations.append(image.info["duration"])
    assert durations == [50, 50, 50, 50, 1000]


def test_entities_are_where_they_are_and_as_large(replay, frames):
    pixel = pixel_of(frames)
    (down_x, right), (down, right_y) = pixel[:2]
    assert right > 100 and down == pytest.approx(-right, rel=0.01)
    assert abs(down_x) < 1 and abs(right_y) < 1
    treasure = has(frames[0], SKY)
    np.testing.assert_allclose(middle(treasure), [*PLACES["treasure"], 1] @ pixel, atol=1)
    for color, radius in zip((RED, BLUE, ORANGE, SKY), RADII, strict=True):
        shown = np.sqrt(has(frames[0], color).sum() / np.pi)
        assert shown == pytest.approx(radius * right, abs=2)  # half of the outline's width


def test_shades_are_colours(frames):
    row, column = np.round([*PLACES["collector"], 1] @ pixel_of(frames)).astype(int)
    for frame, shade in zip(frames, SHADES, strict=True):
        assert (has(frame[row, column], BLUE), has(frame[row, column], GREEN)) == (shade == 0, shade == 1)


def test_nothing_is_drawn_at_a_hidden_place(frames):
    pixel = pixel_of(frames)
    row, column = np.round([*PLACES["treasure"], 1] @ pixel).astype(int)
    reach = int(0.06 * pixel[0, 1])
    for frame, hidden in zip(frames, HIDDEN, strict=True):
        around = frame[row - reach : row + reach, column - reach : column + reach]
        assert (around > 250).all() == hidden
        assert has(frame, SKY).any() != hidden


def changed(first, second):
    """Pixels in which two pictures differ for the eye."""
    return np.abs(first - second).sum(-1) > 60


def test_words_are_labels_beside_the_speaker(replay, frames, tmp_path):
    animate({k: v for k, v in replay.items() if k != "words"}, tmp_path / "silent.gif")
    silent, pixel = decoded(tmp_path / "silent.gif"), pixel_of(frames)
    row, column = [*PLACES["speaker"], 1] @ pixel
    labels = {}
    for said, without, word in zip(frames, silent, WORDS, strict=True):
        differs = changed(said, without)
        assert differs.any() == (word >= 0)
        if word < 0:
            continue
        rows, columns = np.nonzero(differs)
        assert row - 80 < rows.min() and rows.max() < row and column < columns.min() and columns.max() < column + 80
        labels[word] = np.where(differs[..., None], said, 255)
    for one, other in itertools.combinations(labels.values(), 2):
        assert changed(one, other).sum() > 20


@pytest.mark.parametrize("place", [[1.15, 1.15], [-1.15, 1.15], [1.15, -1.15]])
def test_labels_stay_in_the_picture(place, tmp_path):
    entities = [world.entity("speaker", "speaker", 0.1, RED)]
    lone = {"title": "x", "extent": 1.2, "entities": entities, "frames": [[[0.0, 0.0]], [place]], "score": [0, 0]}
    animate({**lone, "words": [[0], [0]]}, tmp_path / "said.gif")
    animate(lone, tmp_path / "silent.gif")
    differs = changed(decoded(tmp_path / "said.gif"), decoded(tmp_path / "silent.gif"))
    assert differs[1].sum() == pytest.approx(differs[0].sum(), rel=0.1)


def test_bodies_lie_above_the_ground_whatever_their_order(tmp_path):
    entities = [world.entity("a", "agent", 0.2, RED), world.entity("l", "landmark", 0.2, BLUE)]
    both = {"title": "x", "extent": 1.2, "frames": [[[0.0, 0.0]] * 2], "score": [0]}
    for name, order in {"one": entities, "other": entities[::-1]}.items():
        animate({**both, "entities": order}, tmp_path / f"{name}.gif")
    one, other = decoded(tmp_path / "one.gif")[0], decoded(tmp_path / "other.gif")[0]
    assert not changed(one, other).any()
    assert (one[:, :, 0] > one[:, :, 2] + 60).sum() > 1000


def test_a_body_trails_its_path_until_it_was_put_elsewhere(tmp_path):
    entities = [world.entity("agent", "agent", 0.05, RED)]
    moved = [[[-0.8 + 0.15 * t, 0.1]] for t in range(8)]
    reach = {}
    for name, path in {"walked": moved, "put": [*moved[:5], *([[p[0][0], -0.9]] for p in moved[5:])]}.items():
        scene = {"title": "x", "extent": 1.2, "entities": entities, "frames": path, "score": [0.0] * 8}
        animate(scene, tmp_path / f"{name}.gif")
        last = decoded(tmp_path / f"{name}.gif")[-1]
        columns = np.nonzero((last[:, :, 0] > last[:, :, 1] + 40).any(0))[0]
        reach[name] = (columns.max() - columns.min()) / (last.shape[1] * 0.96 / 2.4)
    assert 0.7 < reach["walked"] < 1.3  # seven steps of 0.15, the oldest too pale to see
    assert 0.3 < reach["put"] < 0.45  # two steps and the body


# ------------------------------------------------------------------ video


def test_mp4_holds_the_same_frames(replay, frames, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "x.mp4"
    animate(replay, str(path), fps=8)
    assert path.read_bytes()[4:8] == b"ftyp"
    reader = ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    assert about["codec"] == "h264" and about["fps"] == 8 and "yuv420p" in about["pix_fmt"]
    film = np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3).astype(int) for frame in reader])
    assert film.shape == frames.shape
    row, column = np.round([*PLACES["collector"], 1] @ pixel_of(frames)).astype(int)
    assert [bool(has(frame[row, column], GREEN)) for frame in film] == [shade == 1 for shade in SHADES]


def without_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def test_without_ffmpeg_the_extra_is_named(replay, tmp_path, monkeypatch):
    without_ffmpeg(monkeypatch)
    with pytest.raises(HeadstartError, match=r"pip install 'headstart\[video\]'") as told:
        animate(replay, tmp_path / "new" / "x.mp4")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_an_ffmpeg_that_fails_is_told_and_leaves_nothing(replay, tmp_path):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with (
        matplotlib.rc_context({"animation.ffmpeg_path": str(broken)}),
        pytest.raises(HeadstartError, match="could not make an MP4"),
    ):
        animate(replay, tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == [broken]


# ------------------------------------------------------------------ everything else


@pytest.mark.parametrize(("name", "fps", "says"), [("x.webm", 10, ".gif or .mp4"), ("gif", 10, ".gif"), ("x.gif", 0, "fps")])
def test_what_cannot_be_written_is_refused(replay, name, fps, says, tmp_path):
    with pytest.raises(HeadstartError, match=says):
        animate(replay, tmp_path / name, fps)
    assert not list(tmp_path.iterdir())


def test_settings_of_matplotlib_do_not_matter(replay, tmp_path):
    animate(replay, tmp_path / "one.gif")
    with matplotlib.rc_context({"font.family": "monospace", "axes.linewidth": 9, "savefig.bbox": "tight"}):
        animate(replay, tmp_path / "other.GIF")
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "other.GIF").read_bytes()


def test_a_watcher_sees_every_frame_and_an_interruption_leaves_the_old_file(replay, tmp_path):
    seen, path = [], tmp_path / "x.gif"
    animate(replay, path, watch=lambda frames: (seen.append(frame) or frame for frame in frames))
    assert seen == [0, 1, 2, 3, 4]
    before = path.read_bytes()

    def interrupted(frames):
        yield 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(replay, path, watch=interrupted)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_words_are_lettered_like_columns_of_a_sheet():
    assert [letters(word) for word in (-1, 0, 25, 26, 27, 701, 702)] == ["", "A", "Z", "AA", "AB", "ZZ", "AAA"]


def test_importing_it_loads_nothing_that_draws():
    late = "('matplotlib', 'PIL', 'imageio_ffmpeg')"
    code = f"import sys, headstart.replay.record, headstart.replay.write; print([m for m in {late} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
