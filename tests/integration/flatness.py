"""What processes hold while they are under load, and whether it stays as it is."""

from __future__ import annotations

import contextlib
import statistics
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from facerec.cli.bench.process import Process, family

LOOK_SECONDS = 1.0
MEASURED_SECONDS = 60.0
"""A load that lasts less tells of its beginning alone."""
ALLOWED = {"memory MiB": (0.1, 10.0), "threads": (0.0, 2.0), "open files": (0.05, 8.0)}
"""How much more may be held in the last quarter than in the one before it: a share, and so many beside."""


class Holdings:
    """Samples of processes and those they started, by what is held."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self.samples: dict[str, list[float]] = {name: [] for name in ALLOWED}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look every second, while the block runs."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                self._look()

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self) -> None:
        memory, threads, files = 0.0, 0, 0
        for pid in self._pids:
            memory += Process(pid).resident_mib() or 0.0
            for each in family(pid):
                with contextlib.suppress(OSError):
                    threads += len(list(Path(f"/proc/{each}/task").iterdir()))
                    files += len(list(Path(f"/proc/{each}/fd").iterdir()))
        for name, value in zip(ALLOWED, (memory, threads, files), strict=True):
            self.samples[name].append(float(value))

    def __str__(self) -> str:
        return "\n".join(
            f"{name:24}{' '.join(f'{value:.0f}' for value in values[:: max(len(values) // 12, 1)])}"
            for name, values in self.samples.items()
        )


def growing(samples: dict[str, list[float]]) -> list[str]:
    """What is held more and more, with its figures; nothing where all is flat."""
    found = []
    for name, values in samples.items():
        quarter = len(values) // 4
        if not quarter:
            continue
        before, last = (
            statistics.median(values[-2 * quarter : -quarter]),
            statistics.median(values[-quarter:]),
        )
        share, more = ALLOWED[name]
        if last > before * (1 + share) + more:
            found.append(f"{name} grew from {before:.0f} to {last:.0f}")
    return found
