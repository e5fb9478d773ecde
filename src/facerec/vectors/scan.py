"""The nearest rows of many segments: scanned by whole numbers, decided and answered by exact cosines."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerec.domain import RowKey, VectorHit
from facerec.vectors.segment import Candidates, Probes, Segment

DECIMALS = 6
"""Cosines are rounded to this, far below the codes' own error, so that equal codes tie and ties go by key."""

_GROUP_CELLS = 2_000_000
"""Most candidates held at once: a large batch of probes with a large limit goes in groups."""

_SPARE = 16
_MOST_SPARE = 1024


class _Found(NamedTuple):
    """The candidates of all segments for one probe: F of them, and what none of the other rows exceeds."""

    owners: NDArray[np.int64]
    places: NDArray[np.int64]
    estimates: NDArray[np.float32]
    bound: float


def nearest(
    segments: Sequence[Segment],
    vectors: NDArray[np.float32],
    limits: Sequence[int],
    min_cosines: Sequence[float],
    *,
    pool: Executor,
    jobs: int,
) -> list[list[VectorHit]]:
    """See `VectorStore.search`: probes (Q, d), each with its limit and least cosine, in one scan.

    The scan runs on `pool`, in up to `jobs` parts.
    Exact, with one exception: where more than about 16 * `limit` rows of one segment come as close as the
    worst hit (thousands of copies of one face), which of them are answered is left to chance.
    """
    answers: list[list[VectorHit]] = [[] for _ in vectors]
    if not segments or not answers:
        return answers
    # The best rows may lie in one segment or all over: this finds most, and the bounds tell about the rest.
    count = min(max(limits) * 5 // 4, 4 * max(limits) // len(segments)) + _SPARE
    open_places = np.arange(len(vectors))
    while len(open_places):
        unsettled: list[int] = []
        group = max(_GROUP_CELLS // (count * len(segments)), 1)
        for start in range(0, len(open_places), group):
            part = open_places[start : start + group]
            probes = Probes(vectors[part])
            for row, found in enumerate(_scan(segments, probes, count, pool, jobs)):
                place = int(part[row])
                limit, min_cosine = limits[place], min_cosines[place]
                most = limit * 16 + _MOST_SPARE
                worst = _worst_wanted(found.estimates, limit, min_cosine, float(probes.errors[row]))
                if found.bound >= worst and count < most:
                    unsettled.append(place)
                    continue
                chosen = _highest(found.estimates, worst, most)
                answers[place] = _answer(segments, probes.vectors[row], found, chosen, limit, min_cosine)
        open_places = np.array(unsettled, dtype=np.int64)
        count *= 4
    return answers


def _scan(segments: Sequence[Segment], probes: Probes, count: int, pool: Executor, jobs: int) -> list[_Found]:
    """The candidates for each probe, `count` of each segment."""

    def run(share: Sequence[Segment]) -> list[Candidates]:
        return [segment.search(probes, count) for segment in share]

    size = -(-len(segments) // jobs)
    shares = [segments[start : start + size] for start in range(0, len(segments), size)]
    parts = [candidates for share in pool.map(run, shares) for candidates in share]
    owners = np.repeat(np.arange(len(parts)), [part.places.shape[1] for part in parts])
    places = np.concatenate([part.places for part in parts], axis=1)
    estimates = np.concatenate([part.estimates for part in parts], axis=1)
    bounds = np.max([part.bounds for part in parts], axis=0)
    return [_Found(owners, places[q], estimates[q], float(bounds[q])) for q in range(len(probes))]


def _worst_wanted(estimates: NDArray[np.float32], limit: int, min_cosine: float, error: float) -> float:
    """The estimate below which no row belongs to the answer, whichever way the estimates err."""
    worst = min_cosine - error
    if len(estimates) >= limit:
        worst = max(worst, float(np.partition(estimates, -limit)[-limit]) - 2 * error)
    return worst


def _highest(estimates: NDArray[np.float32], worst: float, most: int) -> NDArray[np.int64]:
    """Places of the estimates not below `worst`; the `most` highest where they are more."""
    chosen = np.flatnonzero(estimates >= worst)
    if len(chosen) > most:
        chosen = chosen[np.argpartition(estimates[chosen], -most)[-most:]]
    return chosen


def _answer(
    segments: Sequence[Segment],
    probe: NDArray[np.float32],
    found: _Found,
    chosen: NDArray[np.int64],
    limit: int,
    min_cosine: float,
) -> list[VectorHit]:
    """The chosen candidates with their exact cosines: the best first, at most `limit`, none too low."""
    owners, places = found.owners[chosen], found.places[chosen]
    keys = np.empty(len(chosen), dtype=np.int64)
    exact = np.empty(len(chosen), dtype=np.float64)
    for owner in np.unique(owners):
        mine = owners == owner
        keys[mine] = segments[owner].keys[places[mine]]
        exact[mine] = segments[owner].cosines(probe, places[mine])
    cosines = np.clip(np.round(exact, DECIMALS), -1.0, 1.0)
    order = np.lexsort((keys, -cosines))[:limit]
    return [
        VectorHit(RowKey(key), cosine)
        for key, cosine in zip(keys[order].tolist(), cosines[order].tolist(), strict=True)
        if cosine >= min_cosine
    ]
