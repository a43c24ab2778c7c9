"""Keeps the daemon's memory small where it has many threads that hardly ever run at the same time."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
"""From malloc.h of glibc (mallopt(3))."""


def share_one_arena() -> bool:
    """Let all threads take memory from one malloc arena; whether the C library can. Call it before threads start.

    glibc gives up to eight arenas per core to threads, and what one of them has freed the others do not use: with some thirty threads, of which the interpreter
    runs one at a time, that is a sixth of the daemon's memory for nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_ARENA_MAX, 1))
