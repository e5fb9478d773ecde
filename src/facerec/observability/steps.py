"""How long each step of the work takes, and how long it waits for its turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from facerec.observability import current_request, metrics

_waited_for_thread = metrics.wait_seconds.labels("thread")


class Step:
    """A kind of work that is timed; whatever becomes of it counts."""

    def __init__(self, name: str, seconds: Histogram, *, errors: Counter | None = None) -> None:
        """name: such as engine.detect. seconds: takes the times. errors: counts the attempts that raise."""
        self.name = name
        self._seconds = seconds
        self._errors = errors

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Time the block."""
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            if self._errors is not None:
                self._errors.inc()
            raise
        finally:
            self._seconds.observe(time.perf_counter() - began)


def note_thread() -> None:
    """Called when a thread takes up the current request: time how long it waited for one."""
    ready_at = current_request().ready_at
    if ready_at is not None:
        _waited_for_thread.observe(time.perf_counter() - ready_at)
