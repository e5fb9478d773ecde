"""Searches that come together go through the vectors together: one reading of memory answers them all.

Searches that come while a scan runs wait for the next one, which takes all of them. That alone gathers few
where each search has had its picture looked at before: the next scan starts as soon as the last has ended,
with those alone that came meanwhile. So where several were in the last scan, or came during it, the next one
waits until as many are there again, a few times as long as the last scan took at most: what is not waited
for in vain is won, as a scan of many costs little more than a scan of one. One search alone never waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facerec.domain import VectorHit

ENOUGH = 48
"""Searches that are not waited for any longer: more of them make each hardly cheaper."""

PATIENCE = 4.0
"""Longest waiting, in times that the last scan took."""

LONGEST_SECONDS = 0.1
"""Longest waiting at all."""

WORTH_SECONDS = 0.001
"""A scan this short is not worth any waiting: to wake threads takes as long."""

Hits = list[list[VectorHit]]


@dataclass(slots=True, eq=False)
class Search:
    """Probes (Q, d) of one caller, that are answered together, and what they ask for."""

    vectors: NDArray[np.float32]
    limit: int
    min_cosine: float
    answer: Hits | BaseException | None = None
    leads: bool = False
    """Whether its caller is to run the next scan."""
    called: threading.Event = field(default_factory=threading.Event)
    """Set when there is an answer, or when its caller leads."""


class Gathering:
    """Puts the searches of several threads together. The threads run the scans themselves, one at a time."""

    def __init__(
        self,
        scan: Callable[[Sequence[Search]], Sequence[Hits]],
        *,
        patience: float = PATIENCE,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        """scan: answers searches, each with hits for each of its probes. The others: see above."""
        self._scan = scan
        self._patience = patience
        self._longest_seconds = longest_seconds
        self._changed = threading.Condition()  # of the fields below
        self._waiting: list[Search] = []
        self._led = False
        """Whether some thread waits to scan, or scans."""
        self._expected = 0
        """Searches worth waiting for: as many as were there lately."""
        self._last_began = 0.0
        self._last_ended = 0.0

    def ask(self, mine: Search) -> Hits:
        """The answer to a search. Raises what the scan raised."""
        with self._changed:
            self._waiting.append(mine)
            mine.leads = not self._led
            self._led = True
            if len(self._waiting) >= self._expected:
                self._changed.notify()
        if not mine.leads:
            mine.called.wait()
        if mine.leads:
            self._lead()
        if isinstance(mine.answer, BaseException):
            raise mine.answer
        assert mine.answer is not None  # noqa: S101  (narrows the type)
        return mine.answer

    def _lead(self) -> None:
        """Answer all searches that are there once enough are."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= self._expected, self._seconds_to_wait())
            searches, self._waiting = self._waiting, []
        self._last_began = time.perf_counter()
        try:
            answers = self._scan(searches)
            for search, hits in zip(searches, answers, strict=True):
                search.answer = hits
        except BaseException as error:  # noqa: BLE001  (it is raised again in every caller)
            for search in searches:
                search.answer = error
        self._last_ended = time.perf_counter()
        with self._changed:
            self._expected = min(len(searches) + len(self._waiting), ENOUGH)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].called.set()
            else:
                self._led = False
        for search in searches:
            search.called.set()

    def _seconds_to_wait(self) -> float:
        """How long the next scan may wait for company."""
        took = self._last_ended - self._last_began
        idle = time.perf_counter() - self._last_ended > self._longest_seconds
        return 0.0 if idle or took < WORTH_SECONDS else min(self._patience * took, self._longest_seconds)
