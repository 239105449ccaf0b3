"""Files and directories: only regular ones are opened, reading is bounded, and writing is whole, alone or not at all."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Interval

from headstart.core.checks import HeadstartError
from headstart.core.ranges import Count
from headstart.storage import arrays, files, places
from headstart.storage.conform import Misfit, conform
from headstart.storage.tables import read_table

TREE = {"a": jnp.arange(6.0).reshape(2, 3), "b": {"n": jnp.array([1, 2]), "key": jax.random.key(3)}}


def refusal(call, *args, **named) -> str:
    """The one line of a call that must be refused, soon."""
    start = time.perf_counter()
    with pytest.raises(HeadstartError) as caught:
        call(*args, **named)
    assert time.perf_counter() - start < 20
    text = str(caught.value)
    assert "\n" not in text and text.isprintable() and len(text) < 400
    return text


# ------------------------------------------------------------------ what is opened


def odd_things(directory: Path) -> dict[str, Path]:
    """A thing of each kind that is no regular file."""
    (directory / "real").write_text("{}")
    things = {name: directory / name for name in ("link", "dangling", "endless", "pipe", "socket", "folder")}
    things["link"].symlink_to(directory / "real")
    things["dangling"].symlink_to(directory / "nowhere")
    things["endless"].symlink_to("/dev/zero")
    os.mkfifo(things["pipe"])
    socket.socket(socket.AF_UNIX).bind(str(things["socket"])[-100:])
    things["folder"].mkdir()
    return things


KINDS = ("link", "dangling", "endless", "pipe", "socket", "folder")


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = odd_things(Path("."))[kind]
    for read in (files.read_json, files.sha256, read_table, arrays.read_note, lambda path: arrays.load_tree(path, TREE)):
        assert "regular files only" in refusal(read, path)
    assert "regular files only" in refusal(files.append_text, path, "x")
    assert Path("real").read_text() == "{}"


def test_a_file_that_becomes_a_link_after_the_look_is_not_followed(tmp_path, monkeypatch):
    path = tmp_path / "link"
    path.symlink_to("/dev/zero")
    monkeypatch.setattr(files, "kind", lambda path: "a file")
    assert "cannot be read" in refusal(files.read_bytes, path, 10)
    with pytest.raises(files.NotWritten):
        files.append_text(path, "x")


def test_sizes_are_bounded_before_a_file_is_read(tmp_path):
    path = tmp_path / "run.json"
    with path.open("wb") as file:
        file.truncate(files.LARGEST_JSON + 1)
    assert "at most" in refusal(files.read_json, path)
    arrays.save_tree(tmp_path / "x", TREE)
    with (tmp_path / "x").open("r+b") as file:
        file.truncate(2**40)
    assert "bytes of numbers" in refusal(arrays.load_tree, tmp_path / "x", TREE)
    (tmp_path / "y").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    assert "header" in refusal(arrays.load_tree, tmp_path / "y", TREE)


def test_a_directory_inside_may_not_be_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoints").symlink_to(tmp_path / "elsewhere")
    assert "is a link, not a directory" in refusal(places.inside, tmp_path / "run", "checkpoints")
    assert places.inside(tmp_path / "run", "stages", "one") == tmp_path / "run/stages/one"


def test_names_of_directories(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.located("~/a") == tmp_path / "a" and places.located("a:b") == Path("a:b")
    assert "NUL" in refusal(places.located, "a\0b")
    assert "no such user" in refusal(places.located, "~nobody-at-all/a")


# ------------------------------------------------------------------ JSON

DAMAGED = {
    "empty": b"",
    "cut": b'{"format": 2',
    "list": b"[]",
    "deep": b'{"format": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deeper than any": b'{"format": 1, "x": ' + b"[" * 100 + b"]" * 100 + b"}",
    "digits": b'{"format": 1, "x": ' + b"9" * 5000 + b"}",
    "long": b'{"format": 1, "x": ' + b"9" * 400 + b"}",
    "infinity": b'{"format": 1, "x": Infinity}',
    "nan": b'{"format": 1, "x": NaN}',
    "overflow": b'{"format": 1, "x": 1e999}',
    "utf-16": '{"format": 1}'.encode("utf-16"),
    "bad utf-8": b'{"format": 1, "x": "\xff"}',
    "bom": b"\xef\xbb\xbf" + b'{"format": 1}',
    "surrogate": rb'{"format": 1, "x": "\ud800"}',
    "nul": b'{"format": 1, "x": "\x00"}',
    "all nul": b"\x00" * 100,
    "twice": b'{"format": 1, "format": 1}',
    "no format": b'{"format": "1"}',
    "true": b'{"format": true}',
    "negative": b'{"format": -1}',
    "newer": b'{"format": 99}',
    "much newer": b'{"format": ' + b"9" * 299 + b"}",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_json_that_is_none_is_refused_in_one_line(name, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(DAMAGED[name])
    assert str(path) in refusal(files.read_json, path)


def test_json_carries_the_digest_of_its_content(tmp_path):
    path = tmp_path / "run.json"
    digest = files.write_json(path, {"seeds": (0, 1), "x": {"b": 0.1, "a": None}, "format": 1, "digest": "old"})
    value = files.read_json(path)
    assert value["format"] == files.FORMAT and value["digest"] == digest == files.digest_of(value) and value["seeds"] == [0, 1]
    path.write_text(json.dumps(value))  # the layout does not count
    assert files.read_json(path) == value
    for change in ({"x": 1}, {"digest": "0" * 64}, {"digest": None}, {"more": 1}):
        path.write_text(json.dumps(value | change))
        assert "was changed" in refusal(files.read_json, path)
        with files.accepting(True), files.accepting(False):
            assert files.read_json(path) == value | change
    path.write_text(json.dumps({name: x for name, x in value.items() if name != "digest"}))
    with pytest.raises(files.Changed, match="--accept-changed"):
        files.read_json(path)


def test_files_of_format_1_have_no_digest(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 1, "x": 2}')
    assert files.read_json(tmp_path / "run.json") == {"format": 1, "x": 2}


class Inner(TypedDict):
    n: Count


class Sample(TypedDict):
    format: int
    seeds: tuple[Annotated[int, Interval(ge=0, le=9)], ...]
    pair: tuple[str, int]
    inner: dict[str, Inner]
    maybe: NotRequired[float | None]


GOOD = {"format": 1, "seeds": [0, 9], "pair": ["a", 1], "inner": {"x": {"n": 1}}, "maybe": None, "later": "?"}
MISFITS = [
    ({"seeds": [0, 10]}, r"^seeds.1 must be between 0 and 9, not 10$"),
    ({"seeds": [True]}, "seeds.0 must be a whole number"),
    ({"seeds": 3}, "seeds must be a list, not 3"),
    ({"seeds": "012"}, "seeds must be a list"),
    ({"pair": ["a"]}, "pair must be a list of 2"),
    ({"pair": [1, 1]}, "pair.0 must be a string"),
    ({"inner": {"x": {"n": 0}}}, "inner.x.n must be at least 1, not 0"),
    ({"inner": {"x": {}}}, "inner.x.n is missing"),
    ({"inner": {"x\n": 3}}, r"inner.'x\\n' must be an object, not 3"),
    ({"maybe": "1"}, "maybe must be a number"),
    ({"maybe": 10**400}, "maybe must be"),
]


@pytest.mark.parametrize(("change", "says"), MISFITS, ids=lambda x: str(x)[:40])
def test_a_schema_names_the_field(change, says):
    conform(GOOD, Sample)
    with pytest.raises(Misfit, match=says):
        conform(GOOD | change, Sample)


def test_nothing_is_written_that_could_not_be_read(tmp_path):
    for change, _ in MISFITS:
        assert "x.json cannot hold this" in refusal(files.write_json, tmp_path / "x.json", GOOD | change, Sample)
    for value in (float("nan"), float("inf"), "\ud800"):
        assert "x.json cannot hold this" in refusal(files.write_json, tmp_path / "x.json", {"x": value})
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ arrays


def header_of(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def rewrite(path: Path, change) -> None:
    header, data = header_of(path)
    header = change(header) or header
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_arrays_come_back_with_their_note(tmp_path):
    digest = arrays.save_tree(tmp_path / "x", TREE, {"updates": "3"})
    again = arrays.load_tree(tmp_path / "x", TREE, digest)
    for a, b in zip(jax.tree.leaves(TREE), jax.tree.leaves(again), strict=True):
        assert a.dtype == b.dtype and (a == b).all()
    assert arrays.read_note(tmp_path / "x") == {"updates": "3", "digest": digest}
    assert arrays.save_tree(tmp_path / "empty", {}) and arrays.load_tree(tmp_path / "empty", {}) == {}
    nothing = {"a": jnp.zeros((0, 3))}
    arrays.save_tree(tmp_path / "nothing", nothing)
    assert arrays.load_tree(tmp_path / "nothing", nothing)["a"].shape == (0, 3)


def entry(name, **values):
    return lambda header: header[name].update(values)


SPOILT = {
    "bfloat16": (entry("['a']", dtype="BF16"), "holds BF16 there, F32 here"),
    "float8": (entry("['a']", dtype="F8_E4M3"), "holds F8_E4M3"),
    "integers": (entry("['a']", dtype="I32"), "holds I32 there, F32 here"),
    "dtype is a number": (entry("['a']", dtype=1), "dtype must be a string"),
    "shape": (entry("['a']", shape=[3, 2]), "does not belong"),
    "shape of 2**60": (entry("['a']", shape=[2**30, 2**30]), "does not belong"),
    "negative shape": (entry("['a']", shape=[-2, -3]), "shape.0 must be between"),
    "offsets": (entry("['a']", data_offsets=[0, 2**40]), "does not lie within"),
    "offsets behind the end": (entry("['a']", data_offsets=[2**40, 2**40 + 24]), "does not lie within"),
    "offsets backwards": (entry("['a']", data_offsets=[24, 0]), "does not lie within"),
    "one offset": (entry("['a']", data_offsets=[0]), "a list of 2"),
    "missing": (lambda header: header.pop("['a']") and None, "only one of them has"),
    "more": (lambda header: header.update({"x\n": header["['a']"]}), "only one of them has"),
    "note of numbers": (lambda header: header["__metadata__"].update(x=1), "must be a string"),
    "note is a list": (lambda header: header.update(__metadata__=[]), "must be an object"),
    "a list": (lambda header: [header], "must be an object"),
    "entry is a list": (lambda header: header.update({"['a']": []}), "must be an object"),
    "another note": (lambda header: header["__metadata__"].update(updates="4"), "digest does not match"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_arrays_that_do_not_fit_are_refused_in_one_line(name, tmp_path):
    change, says = SPOILT[name]
    path = tmp_path / "x"
    arrays.save_tree(path, TREE, {"updates": "3"})
    rewrite(path, change)
    assert says in refusal(arrays.load_tree, path, TREE)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "x"
    arrays.save_tree(path, TREE)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            again = arrays.load_tree(path, TREE)
        except HeadstartError:
            continue
        assert all((a == b).all() for a, b in zip(jax.tree.leaves(TREE), jax.tree.leaves(again), strict=True)), place
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        assert "damaged or truncated" in refusal(arrays.load_tree, path, TREE)


def test_changed_arrays_may_be_accepted_but_never_malformed_ones(tmp_path):
    path, other = tmp_path / "x", {"a": jnp.ones(3)}
    digest = arrays.save_tree(path, {"a": jnp.zeros(3)})
    arrays.save_tree(path, other)
    assert "digest" in refusal(arrays.load_tree, path, other, digest)
    with files.accepting(True):
        assert (arrays.load_tree(path, other, digest)["a"] == 1).all()
        arrays.save_tree(path, {"a": jnp.array([1.0, np.nan, 2.0])})
        assert "NaN" in refusal(arrays.load_tree, path, other, finite=True)


# ------------------------------------------------------------------ tables

TABLES = {
    "bytes": b"seed,x\n\xff,1\n",
    "nul": b"seed,x\n\x00,1\n",
    "quote": b'seed,x\n"0,1\n',
    "narrow": b"seed,x\n0\n",
    "wide": b"seed,x\n0,1,2\n",
    "words": b"seed,x\n0,many\n",
    "negative": b"seed,x\n-1,0\n",
    "fraction": b"seed,x\n0.5,0\n",
    "no seed": b"seed,x\n,0\n",
    "huge": b"seed,x\n" + b"9" * 5000 + b",0\n",
    "infinite": b"seed,x\n0,inf\n",
    "long": b"seed,x\n0," + b"1" * 200_000 + b"\n",
    "one name twice": b"seed,seed\n0,0\n",
    "no name": b"seed,\n0,0\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_none_is_refused_in_one_line(name, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(TABLES[name])
    assert "metrics.csv is damaged (" in refusal(read_table, tmp_path / "metrics.csv")


def test_a_table_is_read_up_to_its_last_whole_line(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text('seed,"a,b"\n0,\n1,nan\n2,5.5')
    table = read_table(path)
    assert table.columns == ["seed", "a,b"] and [row.values["seed"] for row in table.rows] == [0, 1]
    assert table.rows[0].values["a,b"] is None and np.isnan(table.rows[1].values["a,b"])


# ------------------------------------------------------------------ writing


def full(*args, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["write", "replace", "arrays"])
def test_a_full_disk_loses_nothing(where, tmp_path, monkeypatch):
    files.write_json(tmp_path / "run.json", {"x": 1})
    arrays.save_tree(tmp_path / "x", TREE)
    files.append_text(tmp_path / "metrics.csv", "old\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if where == "arrays":
        import safetensors
        import safetensors.numpy

        def save_file(tensors, path, metadata):
            Path(path).write_bytes(b"half")
            raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        monkeypatch.setattr(safetensors.numpy, "save_file", save_file)
        calls = [lambda: arrays.save_tree(tmp_path / "x", {"a": jnp.ones(2)})]
    else:
        monkeypatch.setattr(os, where, full)
        if where == "write":
            monkeypatch.setattr(Path, "write_bytes", full)
        calls = [lambda: files.write_json(tmp_path / "run.json", {"x": 2})]
        calls += [lambda: files.append_text(tmp_path / "metrics.csv", "new\n")] * (where == "write")
    for call in calls:
        said = refusal(call)
        assert "could not be written" in said and "free some space" in said
    monkeypatch.undo()
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_directory_appears_at_once_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "run"
    with pytest.raises(KeyError), places.made_at_once(out) as staged:
        (staged / "teacher-0").mkdir()
        raise KeyError
    assert not out.exists() and not list(out.parent.iterdir())
    with places.made_at_once(out) as staged:
        (staged / "run.json").touch()
        assert not out.exists() and staged.parent == out.parent
    assert [path.name for path in out.iterdir()] == ["run.json"] and list(out.parent.iterdir()) == [out]
    with pytest.raises(HeadstartError, match="already holds something"), places.made_at_once(out):
        pass
    assert [path.name for path in out.iterdir()] == ["run.json"] and list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("how", ["plain", "here", "linked"])
def test_an_empty_directory_is_filled(how, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir(mode=0o750)
    if how == "linked":
        (tmp_path / "link").symlink_to(out)
    if how == "here":  # a directory in which a process works cannot be replaced
        monkeypatch.chdir(out)
    with places.made_at_once({"plain": out, "here": Path("."), "linked": tmp_path / "link"}[how]) as staged:
        (staged / "teacher-0").mkdir()
        (staged / "run.json").touch()
    assert sorted(path.name for path in out.iterdir()) == ["run.json", "teacher-0"] and out.stat().st_mode & 0o777 == 0o750
    assert sorted(path.name for path in Path(".").iterdir())[0] == "run.json" or how != "here"


def test_what_dead_processes_left_is_tidied_and_nothing_else(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone, mine, living = (f"{pid}.{files.HOST}" for pid in (child.pid, os.getpid(), os.getppid()))
    dead = [f".run.{gone}.0", f".run.json.{gone}.12", f".run.{mine}.9999"]
    kept = [f".run.{living}.0", f".run.{child.pid}.00000000.0", ".run", ".hidden", f"run.{gone}.0", files.temporary_name("run")]
    for name in (*dead, *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    (tmp_path / "precious").mkdir()
    (tmp_path / f".a.{child.pid}.{files.HOST}.1").symlink_to(tmp_path / "precious")
    places.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "precious"])


def test_a_directory_is_held_by_one(tmp_path):
    with places.held(tmp_path):
        assert "another process works in" in refusal(contextlib.ExitStack().enter_context, places.held(tmp_path))
    with places.held(tmp_path):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from headstart.storage import places
with places.held(Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline()
    with pytest.raises(HeadstartError, match="another process"), places.held(tmp_path):
        pass
    child.kill()
    child.communicate()
    with places.held(tmp_path):
        pass
