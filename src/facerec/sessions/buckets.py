"""Token buckets in the memory of one process.

A bucket is one number: when it will be full again. It holds `burst` tokens and gains `per_second`, so at a
time `now` it lacks (full_at - now) * per_second of them. One can be taken while at least one is there:

    full_at <= now + (burst - 1) / per_second
    and then it is full at max(full_at, now) + 1 / per_second

A bucket that is full says nothing and need not be kept. The other stores count in the same way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LOOK_AT = 10_000
"""Buckets from which on the full ones are looked for and forgotten, each time their number has doubled."""

TOLERANCE = 1e-6
"""Seconds that a number since the epoch may be wrong by, for all that were added to it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket's measures, as its one number needs them."""

    gap: float
    """Seconds in which one token comes."""
    room: float
    """Seconds that the bucket may lack at most for one more to be taken."""


def rate_of(per_second: float, burst: int) -> Rate:
    """The measures of a bucket. Raises ValueError for one that never holds a token, or never gains one."""
    if per_second <= 0 or burst < 1:
        raise ValueError(f"a bucket gains more than 0 and holds 1 or more, not {per_second} and {burst}")
    return Rate(gap=1 / per_second, room=(burst - 1) / per_second)


class Buckets:
    """Token buckets by name. Safe to call from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at: dict[str, float] = {}
        self._look_at = LOOK_AT

    def take(self, bucket: str, *, per_second: float, burst: int) -> float:
        """See `facerec.sessions.base.SessionStore.take`."""
        rate = rate_of(per_second, burst)
        with self._lock:
            now = self._clock()
            full_at = max(self._full_at.get(bucket, now), now)
            wait = full_at - now - rate.room
            if wait > TOLERANCE:
                return wait
            self._full_at[bucket] = full_at + rate.gap
            if len(self._full_at) >= self._look_at:
                self._forget_full(now)
            return 0.0

    def wait(self, bucket: str, *, per_second: float, burst: int) -> float:
        """What `take` would answer; nothing is taken."""
        rate = rate_of(per_second, burst)
        with self._lock:
            now = self._clock()
            wait = self._full_at.get(bucket, now) - now - rate.room
        return wait if wait > TOLERANCE else 0.0

    def _forget_full(self, now: float) -> None:
        self._full_at = {bucket: full_at for bucket, full_at in self._full_at.items() if full_at > now}
        self._look_at = max(LOOK_AT, 2 * len(self._full_at))
