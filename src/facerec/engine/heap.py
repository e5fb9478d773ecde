"""Keeps memory that was given back from staying with the process.

glibc gives threads that allocate at the same time heaps of their own, up to eight for each processor, and a
heap keeps most of what it ever took. Pictures and canvases are megabytes, and every thread of the service
handles some in its time: with heaps for all of them, a process keeps the largest pictures that each has seen.
"""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""


def share_heaps(most: int) -> bool:
    """Have all threads of this process share at most so many heaps; False where the system has no such thing.

    To be called before threads begin; heaps that are there already stay. Threads wait for one another for the
    while of an allocation only, so one for each that works at a time is enough.

    Measured with the default pack and 16 clients that send photographs to 2 processors: at most 681 MiB
    instead of 1017, and after it 557 instead of 925, in the same processor time.
    """
    if most < 1:
        raise ValueError(f"{most} heaps; at least 1 is needed")
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_ARENA_MAX, most) == 1
