"""Threads that ask a service for one thing after the other, until they are told to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Crowd:
    """What they did, how long it took at most, and the errors that they met."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        """Seconds, by what was done."""
        self.errors: list[BaseException] = []
        self._over = threading.Event()
        self._lock = threading.Lock()

    @property
    def goes_on(self) -> bool:
        """Whether nobody has told them to stop, nor one of them met an error."""
        return not self._over.is_set() and not self.errors

    @contextmanager
    def at_work(self, works: Sequence[Callable[[], None]]) -> Iterator[None]:
        """Do these, each in a thread, while the block runs; raises the first error that one of them met."""
        threads = [threading.Thread(target=self._do, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def wait(self, seconds: float) -> None:
        """Let them work for so long, or until one meets an error."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.errors:
            time.sleep(0.05)

    def count(self, what: str, seconds: float) -> None:
        """Note that something was done."""
        with self._lock:
            self.counts[what] += 1
            self.slowest[what] = max(self.slowest.get(what, 0.0), seconds)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (told by the test, not by a thread that dies)
            self.errors.append(error)
