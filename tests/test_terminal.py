"""What a person sees at a real terminal, of any width, colour and encoding: one line for a mistake, as in a pipe."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from headstart.cli import flags
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError

CASES = {
    "nearly": (["train", "spread", "--learner", "ippo", "--learner.gama", "0.9"], "did you mean --learner.gamma?"),
    "no number": (["train", "spread", "--steps", "many"], "must be a whole number such as 20000"),
    "no choice": (["train", "spread", "--env.reward", "most"], "pairs"),
    "missing value": (["train", "spread", "--steps"], "--steps"),
    "unknown": (["train", "spread", "--colour", "red"], "Unrecognized options: --colour, red"),
    "range": (["train", "spread", "--learner.gamma", "1.5"], "learner.gamma must be between 0 and 1, not 1.5"),
    "twice": (["train", "spread", "--steps", "5", "--steps=6"], "--steps is given twice: leave one out"),
    "learner twice": (["train", "spread", "--learner", "vdn", "--learner", "iql"], "--learner is given twice"),
    "no out": (["train", "spread", "--out", ""], "--out needs a value"),
    "empty out": (["train", "spread", "--out="], "--out needs a value"),
    "empty learner": (["train", "spread", "--learner=", "vdn"], "--learner needs a value"),
    "bytes": (["train", "spread", "--out", "a\udcff"], r"'a\udcff' is not text in the terminal's encoding"),
    "NUL": (["train", "spread", "--out", "a\0b"], r"'a\x00b' is not text in the terminal's encoding"),
    "no directory": (["evaluate", "", "--episodes", "3"], "say which directory"),
    "no such choice": (["reproduce", "knowru/spread-6", "--scale", "huge"], "'smoke'"),
}
LOOKS = [{"TERM": "xterm-256color"}, {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "xterm", "COLUMNS": "20"}]
LOOKS += [{"TERM": "xterm-256color", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}]
SCRIPT = """
import json, os, sys
from headstart.cli import main as cli
cases, looks = json.loads(sys.argv[1])
told = os.fdopen(int(sys.argv[2]), "w")
for look in looks:
    os.environ.update(look)
    for name, (args, _) in cases.items():
        print("case", name, file=sys.stderr, flush=True)
        try:
            cli.main(args)
            code = None
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        print(json.dumps(code), file=told, flush=True)
    for name in look:
        del os.environ[name]
"""


def at_a_terminal(cases, looks, columns: int, **env: str) -> tuple[list[int], list[list[str]]]:
    """Exit codes and lines of every case, of one process whose three streams are a terminal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    read, write = os.pipe()
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")} | env
    words = [sys.executable, "-c", SCRIPT, json.dumps([cases, looks]), str(write)]
    child = subprocess.Popen(words, stdin=side, stdout=side, stderr=side, env=env, pass_fds=[write])
    os.close(side)
    os.close(write)
    seen = b""
    try:
        while data := os.read(main, 65536):
            seen += data
    except OSError:  # the terminal's other side is closed
        pass
    assert child.wait() == 0, seen.decode()
    os.close(main)
    with os.fdopen(read) as file:
        codes = [json.loads(line) for line in file]
    blocks = seen.decode().replace("\r\n", "\n").split("case ")[1:]
    return codes, [block.splitlines()[1:] for block in blocks]


def one_line_each(codes, blocks, looks):
    cases = list(CASES.items()) * len(looks)
    assert len(codes) == len(blocks) == len(cases)
    for (name, (_, says)), code, lines in zip(cases, codes, blocks, strict=True):
        assert code == 2 and len(lines) == 1, (name, lines)
        assert lines[0].startswith("headstart: ") and says in lines[0], (name, lines)
        assert not set(lines[0]) & set("\x1b│╭─"), lines


@pytest.mark.slow
def test_a_mistake_is_one_line_at_every_terminal():
    one_line_each(*at_a_terminal(CASES, LOOKS, 80), LOOKS)


@pytest.mark.slow
def test_a_mistake_is_one_line_at_a_narrow_terminal_without_an_encoding():
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    one_line_each(*at_a_terminal(CASES, LOOKS[:1], 20, **plain), LOOKS[:1])


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_help_is_shown_in_every_encoding(encoding, capfdbinary, monkeypatch):
    """What the encoding does not have is replaced, and nothing breaks."""
    with open(os.dup(1), "w", encoding=encoding) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        for args in (["train", "--help"], ["evaluate", "--help"], ["--help"]):
            with contextlib.suppress(SystemExit):
                cli.main(args)
    shown = capfdbinary.readouterr().out.decode(encoding)
    assert "--env.agents" in shown and "--episodes" in shown and "first steps" in shown


def test_flags_that_decide_others_are_taken_as_they_are_written():
    given, rest = flags.take(["--learner", "a=b", "--x=", "y=", "--teacher=r=1", "--teacher", "s"], ("--learner", "--teacher"))
    assert given == {"--learner": ["a=b"], "--teacher": ["r=1", "s"]} and rest == ["--x=", "y="]
    for args in (["--learner"], ["--learner="], ["--learner", ""], ["--learner", "--x"], ["--learner=", "a"]):
        with pytest.raises(HeadstartError, match=r"^--learner needs a value$"):
            flags.take(args, ("--learner",))
