"""Length-prefixed JSON over pipes: how the daemon and the process with the Java machine talk."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Frame = dict[str, Any]

_PREFIX = 4
LARGEST = 64 * 1024 * 1024
"""A larger frame means that the stream is out of step."""


class FrameError(ValueError):
    """The bytes are not a frame."""


def encode(frame: Frame) -> bytes:
    """Big-endian length and compact JSON; NaN and infinities travel as Python writes them."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    return len(body).to_bytes(_PREFIX, "big") + body


def read_frame(read: Callable[[int], bytes]) -> Frame | None:
    """The next frame, or None at the end of the stream. ``read(n)`` gives at most n bytes and b"" at the end."""
    prefix = _exactly(read, _PREFIX)
    if prefix is None:
        return None
    size = int.from_bytes(prefix, "big")
    if size > LARGEST:
        raise FrameError(f"a frame of {size} bytes")
    body = _exactly(read, size)
    if body is None:
        return None
    try:
        frame = json.loads(body)
    except ValueError as error:
        raise FrameError(f"not JSON: {error}") from error
    if not isinstance(frame, dict):
        raise FrameError("not an object")
    return frame


def _exactly(read: Callable[[int], bytes], size: int) -> bytes | None:
    chunks: list[bytes] = []
    while size:
        chunk = read(size)
        if not chunk:
            return None
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
