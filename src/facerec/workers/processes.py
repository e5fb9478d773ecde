"""Several worker processes of one command: started together, replaced when one dies, ended together."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Before a process is started for one that died: doubled from death to death of short lives."""

SHORT_LIFE_SECONDS = 10.0

LOOK_SECONDS = 0.2

_log = logging.getLogger(__name__)


class WorkerProcesses:
    """Keeps a number of processes alive until it is told to stop."""

    def __init__(self, count: int, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        """start: begins the process of a number, from 1."""
        self._start = start
        self._slots = [_Slot(number) for number in range(1, count + 1)]

    def run(self, stopping: threading.Event, at_once: threading.Event) -> None:
        """Until `stopping` is set; then every process is asked to end (SIGTERM) and waited for.

        at_once: set it too, and they are killed.
        """
        while not stopping.is_set():
            for slot in self._slots:
                self._tend(slot)
            stopping.wait(LOOK_SECONDS)
        living = [slot.process for slot in self._slots if slot.process is not None]
        for process in living:
            process.terminate()
        for process in living:
            while process.poll() is None:
                if at_once.wait(LOOK_SECONDS / 4):
                    process.kill()
                    process.wait()

    def _tend(self, slot: _Slot) -> None:
        """Start the process of a slot, or the next one for one that died."""
        now = time.monotonic()
        if slot.process is not None:
            code = slot.process.poll()
            if code is None:
                return
            short = now - slot.began < SHORT_LIFE_SECONDS
            slot.pause = (
                min(max(slot.pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS) if short else 0.0
            )
            slot.not_before = now + slot.pause
            slot.process = None
            _log.error(
                "worker-%d ended with %d; another is started in %.1f seconds", slot.number, code, slot.pause
            )
        if now >= slot.not_before:
            slot.process = self._start(slot.number)
            slot.began = now


class _Slot:
    """The place of one process, and what is remembered of those that had it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.began = 0.0
        self.pause = 0.0
        self.not_before = 0.0
