"""The best rows of a search so far, and from them how near another row has to come."""

from __future__ import annotations

from collections.abc import Sequence

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
        self._segments = segments
        self._probe = probe
        self._limit = limit
        self._min_cosine = min_cosine
        self._error = error
        self._owners: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._rows: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._estimates: NDArray[np.float64] = np.empty(0)
        self.least = min_cosine
        """No row of a lower cosine belongs to the answer."""

    @property
    def least_estimate(self) -> float:
        """No row that is estimated lower belongs to the answer."""
        return self.least - self._error

    def add(self, owner: int, rows: NDArray[np.int32], estimates: NDArray[np.float64]) -> None:
        """Take in rows (n,) of the segment number `owner`, and raise `least` where they allow it."""
        self._extend(np.full(len(rows), owner), rows, estimates)

    def merge(self, other: Best) -> None:
        """Take in what another part of the same search found."""
        self.least = max(self.least, other.least)
        self._extend(other._owners, other._rows, other._estimates)

    def hits(self) -> list[VectorHit]:
        """The answer: the best first, at most `limit`, none below the least cosine, equal ones by key."""
        keys, cosines = self._exact()
        order = np.lexsort((keys, -cosines))[: self._limit]
        return [
            VectorHit(RowKey(key), cosine)
            for key, cosine in zip(keys[order].tolist(), cosines[order].tolist(), strict=True)
            if cosine >= self._min_cosine
        ]

    def _extend(
        self, owners: NDArray[np.int64], rows: NDArray[np.int32], estimates: NDArray[np.float64]
    ) -> None:
        self._owners = np.concatenate([self._owners, owners])
        self._rows = np.concatenate([self._rows, rows])
        self._estimates = np.concatenate([self._estimates, estimates])
        if len(self._rows) >= self._limit:
            lowest = float(np.partition(self._estimates, -self._limit)[-self._limit])
            self.least = max(self.least, lowest - self._error)
        self._keep(np.flatnonzero(self._estimates >= self.least_estimate))
        if len(self._rows) > 16 * self._limit + _SPARE:
            keys, cosines = self._exact()
            order = np.lexsort((keys, -cosines))[: self._limit]
            self.least = max(self.least, float(cosines[order[-1]]) - 10.0**-DECIMALS)
            self._keep(order)

    def _keep(self, places: NDArray[np.int64]) -> None:
        """Forget all candidates but these."""
        self._owners = self._owners[places]
        self._rows = self._rows[places]
        self._estimates = self._estimates[places]

    def _exact(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The candidates' keys and exact cosines, rounded."""
        keys = np.empty(len(self._rows), dtype=np.int64)
        cosines = np.empty(len(self._rows))
        for owner in np.unique(self._owners):
            segment = self._segments[owner]
            mine = np.flatnonzero(self._owners == owner)
            keys[mine] = segment.keys[self._rows[mine]]
            for start in range(0, len(mine), _EXACT_ROWS):
                part = mine[start : start + _EXACT_ROWS]
                cosines[part] = segment.cosines(self._probe, self._rows[part])
        return keys, np.clip(np.round(cosines, DECIMALS), -1.0, 1.0)
