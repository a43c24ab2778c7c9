"""The daemon's threads share one malloc arena."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, sys, threading
from klaxon.memory import share_one_arena
assert share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
barrier = threading.Barrier(8)
def take():
    barrier.wait()
    libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas to limit")
def test_threads_share_one_arena() -> None:
    assert hasattr(ctypes.CDLL(None), "malloc_stats")
    done = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True, check=True)
    assert done.stderr.count("Arena ") == 1, done.stderr
