"""What the kernel tells of another process: its processor time and its memory (Linux alone)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024
FORGET_PEAK = "5"
"""Written to /proc/PID/clear_refs it makes the peak of the memory start anew (`man 5 proc`)."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id; every figure is None where the system does not tell it."""

    pid: int

    def processor_seconds(self) -> float | None:
        """Processor time of all its threads so far, in user and system mode, to a hundredth of a second."""
        text = self._read("stat")
        if text is None:
            return None
        # The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields after it.
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float | None:
        """Memory that it holds now, in MiB."""
        return self._status("VmRSS")

    def peak_mib(self) -> float | None:
        """Most memory that it held since its start or the last `forget_peak`, in MiB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Have the peak start anew from what is held now; where that is not possible it stays."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text(FORGET_PEAK)
        except OSError:
            return

    def _status(self, name: str) -> float | None:
        found = re.search(rf"^{name}:\s+(\d+) kB$", self._read("status") or "", re.MULTILINE)
        return int(found[1]) * 1024 / MEBIBYTE if found else None

    def _read(self, name: str) -> str | None:
        try:
            return Path(f"/proc/{self.pid}/{name}").read_text()
        except OSError:
            return None
