"""Sharing heaps among threads, seen in glibc's own account of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from facerec.engine.heap import share_heaps

HEAPS_OF_TWELVE_THREADS = """
import ctypes, sys, tempfile, threading
from facerec.engine.heap import share_heaps
if sys.argv[1] != "any":
    assert share_heaps(int(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(12)
def work():
    together.wait()
    for _ in range(20000):  # ctypes lets other threads run meanwhile
        libc.malloc(64)
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with tempfile.NamedTemporaryFile() as file:
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    assert libc.malloc_info(0, stream) == 0
    libc.fclose(stream)
    print(open(file.name).read().count("<heap nr="))
"""


def heaps(most: str) -> int:
    command = [sys.executable, "-c", HEAPS_OF_TWELVE_THREADS, most]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="heaps of threads are glibc's")
def test_threads_share_as_many_heaps_as_are_said() -> None:
    assert heaps("any") > 3
    assert heaps("1") == 1
    assert heaps("3") <= 3


def test_no_heap_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        share_heaps(0)
