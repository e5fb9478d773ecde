"""How long each step of the work takes, and how long it waits for its turn."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from prometheus_client import Counter, Histogram

from facerec.observability import current_request, metrics
from facerec.observability.tracing import span

P = ParamSpec("P")
R = TypeVar("R")

_waited_for_thread = metrics.wait_seconds.labels("thread")


class Step:
    """A kind of work that is timed, and a span of the trace; whatever becomes of it counts."""

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
            with span(self.name):
                yield
        except BaseException:
            if self._errors is not None:
                self._errors.inc()
            raise
        finally:
            self._seconds.observe(time.perf_counter() - began)


def use_case(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have each call of a use case be a span, such as faces.index."""

    def decorate(work: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(work)
        def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name):
                return work(*args, **kwargs)

        return traced

    return decorate


def note_thread() -> None:
    """Called when a thread takes up the current request: time how long it waited for one."""
    ready_at = current_request().ready_at
    if ready_at is not None:
        _waited_for_thread.observe(time.perf_counter() - ready_at)
