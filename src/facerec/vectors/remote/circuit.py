"""A circuit breaker: while a store is down nobody waits for it, and now and then one tries if it is back."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FAILURES = 3
"""Failures in a row after which the circuit opens."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds until a store that failed is tried again: doubled each time, between these."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a store that is down said last."""

    message: str
    since: float
    """By the circuit's clock."""


class Circuit:
    """Counts failures. Safe to use from many threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # of the fields below
        self._failures = 0
        self._trouble: Trouble | None = None
        self._next_try = 0.0

    def admit(self) -> bool:
        """Whether to ask the store. While the circuit is open, one caller after each pause is let through."""
        with self._lock:
            if self._failures < FAILURES:
                return True
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + self._pause()
            return True

    def succeeded(self) -> None:
        """The store answered: the circuit closes."""
        with self._lock:
            self._failures = 0
            self._trouble = None

    def failed(self, message: str) -> None:
        """The store did not answer."""
        with self._lock:
            self._failures += 1
            since = self._clock() if self._trouble is None else self._trouble.since
            self._trouble = Trouble(message, since)
            self._next_try = self._clock() + self._pause()

    @property
    def trouble(self) -> Trouble | None:
        """Why the store counts as down; None while it answers."""
        with self._lock:
            return self._trouble

    def _pause(self) -> float:
        """Seconds, with jitter so that many processes do not come back all at once."""
        pause = FIRST_PAUSE * 2.0 ** min(max(self._failures - FAILURES, 0), 10)
        return min(pause, LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load, no secret)
