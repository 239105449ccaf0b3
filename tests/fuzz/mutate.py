"""Ways to damage one file or directory of a case; each is a function of a random generator and a path."""

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headstart.storage import files

Rng = np.random.Generator
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 2**31, 2**53, 10**9, 10**12, -(10**12), 10**400, 0.5, -0.0, 1e308, -1e308,
    "", " ", "0", "nan", "../../etc", "/dev/zero", "pettingzoo:evil", "jaxmarl:MPE_simple_v3", "gymnasium:evil:X-v0",
    "evil:Thing", "x" * 70_000,
    "\ud800", "é\u202e", "\u0000", [], {}, [[]], [0] * 100_000, {"": {}}, {"part": "env", "name": "spread", "settings": {}},
]  # fmt: skip
RAW = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"a":' * 5000,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00",
]


def one_of(rng: Rng, options: Any) -> Any:
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, each in inner for place in _places(each, (*path, key))]


def values(rng: Rng, path: Path) -> None:
    """Replace, rename, repeat or remove some values of a JSON file; half the time its digest is made right again."""
    try:
        whole = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # it is damaged already
        return raw(rng, path)
    for _ in range(int(rng.integers(1, 4))):
        places = _places(whole)
        if not places:
            break
        *above, last = one_of(rng, places)
        holder = whole
        for key in above:
            holder = holder[key]
        match int(rng.integers(6)):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[str(last) + one_of(rng, ["x", "\u0301", " "])] = holder.pop(last)
            case 2 if isinstance(holder[last], int | float) and not isinstance(holder[last], bool):
                holder[last] = one_of(
                    rng,
                    [
                        -holder[last],
                        holder[last] + 1,
                        holder[last] * 10**6,
                        holder[last] * 1.5 if abs(holder[last]) < 1e300 else 0.5,
                        str(holder[last]),
                    ],
                )
            case 3:
                holder[last] = [holder[last]]
            case _:
                holder[last] = copy.deepcopy(one_of(rng, ODD))  # else it could come to hold itself
    if rng.random() < 0.5 and isinstance(whole, dict) and "digest" in whole:
        with contextlib.suppress(ValueError, RecursionError):  # what no digest has
            whole["digest"] = files.digest_of(whole)
    path.write_text(json.dumps(whole), encoding="utf-8")


def raw(rng: Rng, path: Path) -> None:
    """Cut, flip, insert or repeat bytes."""
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data) + 1))
    match int(rng.integers(6)):
        case 0:
            del data[at:]
        case 1:
            for i in rng.integers(0, max(len(data), 1), 8) if data else ():
                data[int(i)] ^= 1 << int(rng.integers(8))
        case 2:
            data[at:at] = one_of(rng, RAW)
        case 3:
            data[at : at + int(rng.integers(1, 40))] = b""
        case 4:
            data = data[:at] + data[: int(rng.integers(len(data) + 1))]
        case 5:
            data[at : at + 8] = rng.bytes(8)
    path.write_bytes(data)


def header(rng: Rng, path: Path) -> None:
    """Change the JSON header of an array file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        about = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):  # it is damaged already
        return raw(rng, path)
    entry = about[one_of(rng, sorted(about))]
    if not isinstance(entry, dict) or not entry:
        return raw(rng, path)
    key = one_of(rng, sorted(entry))
    odd = {
        "dtype": ["F64", "BF16", "F8_E4M3", "I32", "BOOL", "X", 5],
        "shape": [[], [0], [10**9, 10**9], [-1], "x", [2**64], [1.5]],
        "data_offsets": [[0, 0], [0, 2**60], [-8, 0], [8, 0], [0], "x"],
    }
    entry[key] = one_of(rng, odd.get(key, ["", "-1", "nan", "1e9", "x" * 64, 5]))
    text = json.dumps(about).encode()
    size = one_of(rng, [len(text), len(text), len(text), 2**40, 0, len(text) - 1])
    path.write_bytes(size.to_bytes(8, "little") + text + data[8 + length :])


def numbers(rng: Rng, path: Path) -> None:
    """Put NaN, infinity or noise in place of some numbers of an array file."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < start + 8:
        return
    at = start + 4 * int(rng.integers((len(data) - start) // 4))
    data[at : at + 4] = one_of(rng, [np.float32("nan"), np.float32("inf"), np.float32(1e38), np.float32(7)]).tobytes()
    path.write_bytes(data)


def table(rng: Rng, path: Path) -> None:
    """Change a cell, a line or the header of metrics.csv."""
    lines = [line.split(",") for line in path.read_text(errors="replace").split("\n")]
    cells = one_of(rng, lines)
    match int(rng.integers(4)):
        case 0:
            lines.remove(cells)
        case 1:
            lines.insert(int(rng.integers(len(lines))), list(cells))
        case _:
            cells[int(rng.integers(len(cells)))] = one_of(
                rng, ["", "nan", "inf", "-1", "1e999", '"', "x", "9" * 5000, "1.5", "\x00", "٣"]
            )
    path.write_text("\n".join(",".join(line) for line in lines))


def replaced(rng: Rng, path: Path, elsewhere: Path) -> None:
    """Put a link, a pipe, a directory, a device or nothing in place of a file or a directory."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    match int(rng.integers(6)):
        case 0:
            path.symlink_to(elsewhere)
        case 1:
            path.symlink_to(one_of(rng, ["/dev/zero", "/dev/stdin", "/etc/passwd", "loop", str(path)]))
        case 2:
            os.mkfifo(path)
        case 3:
            path.mkdir()
        case 4:
            path.touch()
        case _:
            pass


def swapped(rng: Rng, directory: Path, others: Path) -> None:
    """Put a file or a directory of the same name, of another run, in place of one; or exchange two stages."""
    stages = sorted(directory.glob("stages/*"))
    if stages and rng.random() < 0.5:
        a, b = one_of(rng, stages), one_of(rng, stages)
        a.rename(directory / "aside")
        if b.exists():
            b.rename(a)
        (directory / "aside").rename(b)
        return
    mine = one_of(rng, sorted(path for path in directory.rglob("*") if path.is_file()))
    theirs = [path for path in others.rglob(mine.name) if path.is_file()]
    if theirs:
        shutil.copyfile(one_of(rng, sorted(theirs)), mine)


def ways(path: Path) -> list[Callable[[Rng, Path], None]]:
    """The ways to damage a file, likelier ones more often."""
    return {
        ".json": [values, values, values, raw],
        ".safetensors": [header, header, numbers, raw],
        ".csv": [table, table, raw],
    }.get(path.suffix, [raw])
