"""A worker process: opens some environments and steps them on request. `process` starts it with `python -m`.

It talks over its original standard input and output in `frames` of plain numbers, so nothing is ever pickled. The
environments' output goes to standard error instead, and their standard input is empty.
"""

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import encode_spec
from headstart.envs.host import frames, guard, layout, pictures
from headstart.envs.host.chance import Chance


def open_team(opener: str, settings: dict[str, Any]) -> Any:
    """The team that `opener`, "module:function" of this package, opens with `settings`."""
    module, _, function = opener.partition(":")
    if not module.startswith("headstart."):
        raise ValueError(f"{opener} is not a part of headstart")
    return getattr(importlib.import_module(module), function)(**settings)


class Server:
    """The worker's side of the pipes, and its environments."""

    def __init__(self, asked: int, answers: int):
        self.asked, self.answers = os.fdopen(asked, "rb"), os.fdopen(answers, "wb")
        self.label, self.teams, self.now, self.number = "", [], None, 0
        self.beat = self.beaten = 0.0

    def serve(self) -> bool:
        """Answer one request; False if there are no more."""
        head = self.asked.read(frames.HEAD.size)
        if len(head) < frames.HEAD.size:
            return False
        lanes = len(self.teams)
        step = 4 * lanes * (1 + layout.actions(self.spec)) if lanes else 0
        rows = {frames.RESET: (4 * lanes,) * 2, frames.STEP: (step, step), frames.STEP_ON: (step, step), frames.DRAW: (0, 0)}
        kind, self.number, length = frames.read_head(head, None, rows if lanes else {frames.OPEN: (1, frames.LONGEST_JSON)})
        body = self.asked.read(length)
        if len(body) < length:
            return False
        self.beaten = time.monotonic()
        if kind == frames.OPEN:
            self._answer(frames.SPEC, json.dumps(self._open(json.loads(body))).encode())
        elif kind == frames.DRAW:
            self.now = self.teams[0]
            self.now.moment = "drawing"
            self._answer(frames.PICTURE, pictures.taken(self.now.env))
        else:
            self._answer(frames.ROWS, self._rows(kind, body).tobytes())
        return True

    def _open(self, order: dict[str, Any]) -> dict[str, Any]:
        self.label, self.beat = order["settings"]["id"], order["beat"]
        for _ in range(order["lanes"]):
            self.teams.append(open_team(order["opener"], order["settings"]))
            self._still_at_work()
        self.chances = [Chance() for _ in self.teams]
        self.spec = self.teams[0].spec
        if order["tried"]:
            self._try(self.teams[0])
        return encode_spec(self.spec)

    def _try(self, team: Any) -> None:
        """Begin an episode and play a step of it: what cannot be played is found before a program is compiled for it."""
        self.now = team
        row = self.chances[0].reset(team.reset, 0)
        self._still_at_work()
        self.chances[0].step(lambda: team.step(layout.any_action(self.spec, row)))
        self.now = None

    def _rows(self, kind: bytes, body: bytes) -> np.ndarray:
        """Rows [L W]; for `STEP_ON` [L 2W]: the step's, and beside it the row to act on, which is the same or that of a
        fresh episode."""
        lanes, width = len(self.teams), layout.width(self.spec)
        seeds = np.frombuffer(body, np.int32, lanes).tolist()
        out = np.empty((lanes, width * (1 + (kind == frames.STEP_ON))), np.float32)
        actions = np.frombuffer(body, np.float32, offset=4 * lanes).reshape(lanes, -1)
        for i, (team, chance) in enumerate(zip(self.teams, self.chances, strict=True)):
            self.now = team
            if kind == frames.RESET:
                out[i] = chance.reset(team.reset, seeds[i])
            else:
                out[i, :width] = chance.step(lambda team=team, action=actions[i]: team.step(action))
                if kind == frames.STEP_ON:
                    out[i, width:] = chance.reset(team.reset, seeds[i]) if team.over else out[i, :width]
            self._still_at_work()
        return out

    def _still_at_work(self) -> None:
        """Tell the parent, now and then, that it is not one environment that takes all the time."""
        now = time.monotonic()
        if now - self.beaten > self.beat:
            self.beaten = now
            self._answer(frames.BUSY)

    def _answer(self, kind: bytes, body: bytes = b"") -> None:
        self.answers.write(frames.framed(kind, self.number, body))
        self.answers.flush()

    def fail(self, error: BaseException) -> None:
        """Tell the parent what went wrong, in one line."""
        message = str(error) if isinstance(error, HeadstartError) else _one_line(error)
        if self.now is not None:
            message = f"the environment {self.label} failed in {self.now.moment}: {message}"
        elif not isinstance(error, HeadstartError):
            message = f"the environment {self.label} failed as it was opened: {message}"
        with contextlib.suppress(OSError):
            self._answer(frames.FAILED, frames.text(message))

    def close(self) -> None:
        """Close the environments; whether they can is their own affair."""
        for team in self.teams:
            with contextlib.suppress(BaseException):
                team.close()


def _one_line(error: BaseException) -> str:
    """An error and the line of code that raised it."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{type(error).__name__}: {text[: frames.LONGEST_TEXT // 2]} ({frame.f_code.co_filename}, line {line})"


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    asked, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    guard.end_with_parent(asked, int(sys.argv[1]))
    guard.keep_from_children(asked, answers)
    server = Server(asked, answers)
    try:
        while server.serve():
            pass
    except BrokenPipeError:
        pass
    except BaseException as error:
        server.fail(error)
        os._exit(1)
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
    sys.exit()
