"""What the kernel tells of a process and those it started: processor time and memory (Linux alone)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024
FORGET_PEAK = "5"
"""Written to /proc/PID/clear_refs it makes the peak of the memory start anew (`man 5 proc`)."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id, with those that it started and that run; None where the system tells nothing.

    Memory that they share counts for each of them.
    """

    pid: int

    def processor_seconds(self) -> float | None:
        """Processor time of all threads so far, in user and system mode, to a hundredth of a second."""
        # The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields after it.
        fields = [text.rpartition(")")[2].split() for text in self._read("stat")]
        ticks = [int(each[11]) + int(each[12]) for each in fields]
        return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None

    def resident_mib(self) -> float | None:
        """Memory that is held now, in MiB."""
        return self._status("VmRSS")

    def peak_mib(self) -> float | None:
        """Most memory that each held since its start or the last `forget_peak`, together, in MiB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Have the peak start anew from what is held now; where that is not possible it stays."""
        for pid in family(self.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text(FORGET_PEAK)

    def _status(self, name: str) -> float | None:
        """The sum of a figure in kB, in MiB."""
        found = (re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE) for text in self._read("status"))
        held = [int(each[1]) * 1024 / MEBIBYTE for each in found if each]
        return sum(held) if held else None

    def _read(self, name: str) -> list[str]:
        """A file of each process that is there."""
        texts = []
        for pid in family(self.pid):
            with contextlib.suppress(OSError):
                texts.append(Path(f"/proc/{pid}/{name}").read_text())
        return texts


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from family(int(child))
