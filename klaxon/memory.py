"""Tells the C library how a daemon with many threads and short-lived large buffers wants its memory."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""From malloc.h of glibc (mallopt(3))."""

TRIM_FROM = 8 << 20
MAP_FROM = 4 << 20
"""Bytes: the page is rendered through buffers of one to three megabytes, which would go back to the kernel each time and be zeroed anew for the next."""


def share_one_arena() -> bool:
    """Let all threads take memory from one malloc arena, and keep a few free megabytes in it; whether the C library can. Call it before threads start.

    glibc gives up to eight arenas per core to threads, and what one of them has freed the others do not use: with some thirty threads, of which the interpreter
    runs one at a time, that is a sixth of the daemon's memory for nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = {M_ARENA_MAX: 1, M_TRIM_THRESHOLD: TRIM_FROM, M_MMAP_THRESHOLD: MAP_FROM}
    taken = [mallopt(option, value) for option, value in wanted.items()]
    return all(taken)
