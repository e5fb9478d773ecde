"""Processes that are kept alive: started together, replaced when they die, ended together.

`facerec worker` with several processes keeps one that forks the workers, and that one keeps the workers. It
has imported what they need, and opened nothing: imports are paid for once, and the memory of the code is
shared. Nothing may run beside it when it forks, so it has no threads; the metrics and the notice of the
machine's end, which take some, are the business of the process that started it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkProcess
from typing import Protocol

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Before a process is started for one that died: doubled from death to death of short lives."""

SHORT_LIFE_SECONDS = 5.0
"""What can not start has said so by then; a worker that is killed later is replaced at once."""

LOOK_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Process(Protocol):
    """A process that was started: as much of `subprocess.Popen` as it takes to keep it."""

    def poll(self) -> int | None:
        """The exit code, the negative number of a signal, or None while it runs."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it at once."""


class ForkedProcess(ForkProcess):
    """A process forked from this one, which must have no threads."""

    def poll(self) -> int | None:
        """The exit code, the negative number of a signal, or None while it runs."""
        return self.exitcode


class KeptProcesses:
    """Keeps processes alive until it is over with them."""

    def __init__(self, start: Mapping[str, Callable[[], Process]]) -> None:
        """start: begins the process of a name."""
        self._slots = [_Slot(name, begin) for name, begin in start.items()]

    def run(self, over: Callable[[float], bool], at_once: threading.Event) -> None:
        """Until it is over; then every process is asked to end (SIGTERM) and waited for.

        over: waits for up to so many seconds, and says whether it is. at_once: set it too, and they are
        killed.
        """
        try:
            self._tend()
            while not over(LOOK_SECONDS):
                self._tend()
        finally:
            self._end(at_once)

    def _tend(self) -> None:
        """Start the processes that do not run, and the next ones for those that died."""
        for slot in self._slots:
            slot.tend()

    def _end(self, at_once: threading.Event) -> None:
        """Have all of them end."""
        living = [slot.process for slot in self._slots if slot.process is not None]
        for process in living:
            process.terminate()
        for process in living:
            while process.poll() is None:
                if at_once.wait(LOOK_SECONDS):
                    process.kill()


class _Slot:
    """The place of one process, and what is remembered of those that had it."""

    def __init__(self, name: str, start: Callable[[], Process]) -> None:
        self._name = name
        self._start = start
        self.process: Process | None = None
        self._began = 0.0
        self._pause = 0.0
        self._not_before = 0.0

    def tend(self) -> None:
        """Start the process, or the next one for one that died."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            short = now - self._began < SHORT_LIFE_SECONDS
            self._pause = (
                min(max(self._pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS) if short else 0.0
            )
            self._not_before = now + self._pause
            self.process = None
            _log.error("%s ended with %d; another is started in %.1f seconds", self._name, code, self._pause)
        if now >= self._not_before:
            self.process = self._start()
            self._began = now
