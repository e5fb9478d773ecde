"""The best rows of a search so far, and from them how near another row has to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerec.domain import RowKey, VectorHit
from facerec.vectors.segment import Segment

DECIMALS = 6
"""Cosines are rounded to this, far below the codes' own error, so that equal codes tie and ties go by key."""

_SPARE = 1024
_EXACT_ROWS = 4096
"""Rows whose exact cosines are computed together, to bound memory."""


class Best:
    """Candidates for the answer to one probe: rows with estimates of their cosines. For one thread.

    Estimates are off by `error` at most, so a row belongs to the answer only if its estimate reaches the
    `limit`-th best minus twice that. Where very many rows do (thousands of copies of one face), exact
    cosines decide among them, so that the candidates stay few whatever the rows are.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        probe: NDArray[np.float32],
        limit: int,
        min_cosine: float,
        error: float,
    ) -> None:
        """For a probe (d,) of unit length."""
        self.probe = probe
        self.limit = limit
        self.min_cosine = min_cosine
        self.least = min_cosine
        """No row of a lower cosine belongs to the answer."""
        self.error = error
        """Most that an estimate is off by. It may rise, and fall as far as all candidates allow."""
        self._segments = segments
        self._candidates: list[_Candidates] = []
        self._count = 0

    @property
    def least_estimate(self) -> float:
        """No row that is estimated lower belongs to the answer."""
        return self.least - self.error

    def add(self, owner: int, rows: NDArray[np.int32], estimates: NDArray[np.float64]) -> None:
        """Take in rows (n,) of the segment number `owner`, and raise `least` where they allow it."""
        self._candidates.append(_Candidates(np.full(len(rows), owner), rows, estimates))
        self._count += len(rows)
        self._settle()

    def merge(self, other: Best) -> None:
        """Take in what another part of the same search found."""
        self.least = max(self.least, other.least)
        self.error = max(self.error, other.error)
        self._candidates += other._candidates
        self._count += other._count
        self._settle()

    def candidates(self) -> _Candidates:
        """All of them."""
        if len(self._candidates) != 1:
            joined = [np.concatenate(parts) for parts in zip(*self._candidates, strict=True)]
            self._candidates = [_Candidates(*joined) if joined else _NONE]
        return self._candidates[0]

    def _settle(self) -> None:
        """Forget the candidates that do not belong to the answer for others are better."""
        if self._count < self.limit:
            return
        estimates = self.candidates().estimates
        lowest = float(np.partition(estimates, -self.limit)[-self.limit])
        self.least = max(self.least, lowest - self.error)
        self._keep(np.flatnonzero(estimates >= self.least_estimate))
        if self._count > 16 * self.limit + _SPARE:
            numbers = np.zeros(self._count, dtype=np.int64)
            keys, cosines = _exact(self._segments, self.probe[None], numbers, self.candidates())
            order = np.lexsort((keys, -cosines))[: self.limit]
            self.least = max(self.least, float(cosines[order[-1]]) - 10.0**-DECIMALS)
            self._keep(order)

    def _keep(self, places: NDArray[np.int64]) -> None:
        """Forget all candidates but these."""
        owners, rows, estimates = self.candidates()
        self._candidates = [_Candidates(owners[places], rows[places], estimates[places])]
        self._count = len(places)


def answers(segments: Sequence[Segment], bests: Sequence[Best]) -> list[list[VectorHit]]:
    """The answer to each probe: the best first, at most its limit, none below its least cosine, equal ones by
    key. All together, for the calls would take longer than the work.
    """
    parts = [best.candidates() for best in bests]
    numbers = np.repeat(np.arange(len(bests)), [len(part.rows) for part in parts])
    joined = _Candidates(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    keys, cosines = _exact(segments, np.stack([best.probe for best in bests]), numbers, joined)
    order = np.lexsort((keys, -cosines, numbers))
    order = order[cosines[order] >= np.array([best.min_cosine for best in bests])[numbers[order]]]
    ends = np.searchsorted(numbers[order], np.arange(len(bests)), side="right").tolist()
    hits = list(map(VectorHit, map(RowKey, keys[order].tolist()), cosines[order].tolist()))
    starts = [0, *ends[:-1]]
    return [
        hits[start : min(end, start + best.limit)]
        for start, end, best in zip(starts, ends, bests, strict=True)
    ]


class _Candidates(NamedTuple):
    """Rows (n,) of segments, and estimates of their cosines."""

    owners: NDArray[np.int64]
    rows: NDArray[np.int32]
    estimates: NDArray[np.float64]


_NONE = _Candidates(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0))


def _exact(
    segments: Sequence[Segment],
    probes: NDArray[np.float32],
    numbers: NDArray[np.int64],
    candidates: _Candidates,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The candidates' keys and exact cosines, rounded, each with the probe of its number; probes (Q, d)."""
    owners, rows, _ = candidates
    keys = np.empty(len(rows), dtype=np.int64)
    cosines = np.empty(len(rows))
    for owner in np.unique(owners):
        segment = segments[owner]
        mine = np.flatnonzero(owners == owner)
        keys[mine] = segment.keys[rows[mine]]
        for start in range(0, len(mine), _EXACT_ROWS):
            part = mine[start : start + _EXACT_ROWS]
            cosines[part] = segment.cosines(probes[numbers[part]], rows[part])
    return keys, np.clip(np.round(cosines, DECIMALS), -1.0, 1.0)
