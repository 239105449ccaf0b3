"""The frames in which a run and its worker processes talk. Both sides check every one.

    HEAD: mark, kind, number of the request, length | `length` bytes

The receiver knows the length of every frame but a text before it comes, and the greatest length of a text. It refuses a frame
of another kind, number or length before it reads the bytes.
"""

import struct

HEAD = struct.Struct("<2scIQ")
MARK = b"hs"
OPEN, RESET, STEP, STEP_ON, DRAW = b"O", b"R", b"S", b"N", b"D"
"""Requests: open environments (JSON), start episodes (seeds), step (seeds, actions), step and restart what ended, draw."""
SPEC, ROWS, PICTURE, BUSY, FAILED = b"J", b"W", b"P", b"B", b"E"
"""Answers: the environments' spec (JSON), rows (see `layout`), a picture of the first one (see `pictures`), "still at work"
(before an answer), an error (a text)."""
LONGEST_TEXT = 4096
"""Bytes of an error's text; longer ones are cut."""
LONGEST_JSON = 16 * 2**20


class Garbled(ValueError):
    """What came is not the expected frame."""


def framed(kind: bytes, number: int, body: bytes = b"") -> bytes:
    """A frame."""
    return HEAD.pack(MARK, kind, number, len(body)) + body


def text(message: str) -> bytes:
    """The body of a text, cut to the longest."""
    body = " ".join(message.split()).encode(errors="replace")
    return body if len(body) <= LONGEST_TEXT else body[: LONGEST_TEXT - 3].decode(errors="ignore").encode() + b"..."


def read_head(head: bytes | bytearray, number: int | None, allowed: dict[bytes, tuple[int, int]]) -> tuple[bytes, int, int]:
    """(kind, number, length) of a frame's head; raises Garbled unless `allowed` has the kind and its range of lengths."""
    mark, kind, given, length = HEAD.unpack_from(head)
    low, high = allowed.get(kind, (1, 0))
    if mark != MARK or (number is not None and given != number) or not low <= length <= high:
        raise Garbled(f"{kind!r} of {length} bytes" if mark == MARK else "bytes that are no frame")
    return kind, given, length
