"""A worker process: opens some environments and steps them on request. `pool` starts it with `python -m`.

It talks over its original standard input and output in frames of plain numbers, so nothing is ever pickled. The environments'
output goes to standard error instead, and their standard input is empty. A request is `HEAD` (the operation, and whether
ended environments restart by themselves) and its numbers; an answer is `OK` and rows (see `layout`), or `FAILED`, a length,
and a message.
"""

import contextlib
import importlib
import json
import os
import struct
import sys
import traceback
from typing import Any, BinaryIO

import numpy as np

from headstart.envs.host import layout

HEAD = struct.Struct("<c?")
RESET, STEP = b"R", b"S"
OK, FAILED = b"K", b"E"


def open_team(opener: str, settings: dict[str, Any]) -> Any:
    """The team that `opener`, "module:function" of this package, opens with `settings`."""
    module, _, function = opener.partition(":")
    if not module.startswith("headstart."):
        raise ValueError(f"{opener} is not a part of headstart")
    return getattr(importlib.import_module(module), function)(**settings)


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        order = json.loads(asked.readline())
        teams = [open_team(order["opener"], order["settings"]) for _ in range(order["lanes"])]
        spec = teams[0].spec
        answers.write(OK)
        answers.flush()
        while serve(asked, answers, teams, spec):
            pass
    except BrokenPipeError:
        pass
    except BaseException as error:
        message = _one_line(error).encode()
        with contextlib.suppress(BrokenPipeError):
            answers.write(FAILED + struct.pack("<I", len(message)) + message)
            answers.flush()
        sys.exit(1)


def _one_line(error: BaseException) -> str:
    """An error and the line of code that raised it, in one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return " ".join(f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})".split())


def serve(asked: BinaryIO, answers: BinaryIO, teams: list[Any], spec: Any) -> bool:
    """Answer one request; False if there are no more."""
    head = asked.read(HEAD.size)
    if len(head) < HEAD.size:
        return False
    op, restart = HEAD.unpack(head)
    seeds = np.frombuffer(asked.read(4 * len(teams)), np.int32)
    if op == RESET:
        rows = [layout.pack(spec, team.reset(seed)) for team, seed in zip(teams, seeds, strict=True)]
    else:
        size = sum(role.agents * role.actions.size for role in spec.roles.values())
        actions = np.frombuffer(asked.read(4 * len(teams) * size), np.float32).reshape(len(teams), size)
        rows = [_stepped(spec, *lane, restart) for lane in zip(teams, actions, seeds, strict=True)]
    answers.write(OK + np.stack(rows).tobytes())
    answers.flush()
    return True


def _stepped(spec: Any, team: Any, numbers: np.ndarray, seed: int, restart: bool) -> np.ndarray:
    """The row of the step; with `restart`, beside it the row to act on: the same, or the start of a fresh episode."""
    action, at = {}, 0
    for name, role in spec.roles.items():
        size = role.agents * role.actions.size
        action[name] = numbers[at : at + size].reshape(role.agents, role.actions.size)
        at += size
    row = layout.pack(spec, team.step(action))
    if not restart:
        return row
    return np.concatenate([row, layout.pack(spec, team.reset(seed)) if team.over else row])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
    sys.exit()
