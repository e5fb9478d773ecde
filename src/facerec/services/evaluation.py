"""How well an engine tells people apart: the arithmetic of verification, on plain arrays of cosines.

Genuine pairs show the same person twice, impostor pairs two persons. A pair is accepted at a threshold t
when its cosine is t or more. FAR (false accept rate, also FMR) is the share of impostor pairs accepted, TAR
(true accept rate) the share of genuine pairs accepted. A pair in which a face was not found has cosine -1:
it is never accepted, as the service would answer "no match".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.errors import InvalidParameter

Floats64 = NDArray[np.float64]
Booleans = NDArray[np.bool_]

NO_FACE = -1.0
"""Cosine of a pair in which a face was not found."""
Z_95 = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""
BINS = 20_000
"""Bins of `ImpostorStatistics` over cosines -1..1: thresholds from them are at most 1e-4 too high."""
WORKING_POINT = 1e-3
"""FAR at which a pack's calibration says 80."""
STRICT_POINT = 1e-5
"""FAR at which a pack's calibration says 99, where the data supports it."""
SUPPORT = 10
"""False accepts that a rate must rest on: under ten, its 95 % interval spans more than a factor of three."""
BLOCK = 512


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval of a rate, 0..1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Roc:
    """One point for each distinct cosine, from the strictest threshold to the loosest."""

    thresholds: Floats64
    far: Floats64
    tar: Floats64


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """The true accept rate where at most a share `far` of the impostors is accepted."""

    far: float
    """What was asked for."""
    reached: float
    """Share of the impostors that is accepted at the threshold; at most `far`."""
    threshold: float
    """Least cosine that is accepted."""
    tar: float
    interval: Interval
    """Wilson interval of `tar`."""
    supported: bool
    """Whether the pairs suffice to tell this rate: at least one impostor may be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """Accuracy of each fold at the threshold that is best on the other folds."""

    folds: tuple[int, ...]
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean over the folds, 0..1."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard error of the mean over the folds; 0 for one fold."""
        if len(self.accuracies) < 2:
            return 0.0
        return float(np.std(self.accuracies, ddof=1) / math.sqrt(len(self.accuracies)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFigures:
    """How a group of pairs fares at a threshold that is the same for all groups."""

    group: str
    genuine: int
    impostor: int
    accuracy: float
    tar: float
    tar_interval: Interval
    far: float
    far_interval: Interval


def wilson(successes: int, trials: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a rate (E. B. Wilson, JASA 22, 1927); 0..1 for no trials."""
    if trials == 0:
        return Interval(0.0, 1.0)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Rounding must not leave a sliver beyond a rate of exactly 0 or 1.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if successes == trials else min(1.0, centre + half))


def roc(cosines: Floats64, same: Booleans) -> Roc:
    """The curve of (FAR, TAR) over all thresholds that differ.

    cosines: (N,). same: (N,) whether a pair is genuine. Raises InvalidParameter unless there are both kinds.
    """
    genuine, impostor = _counts(same)
    order = np.argsort(-cosines, kind="stable")
    ordered = cosines[order]
    last_of_each = np.append(ordered[1:] != ordered[:-1], True)
    accepted = np.cumsum(same[order])[last_of_each]
    false = np.cumsum(~same[order])[last_of_each]
    return Roc(ordered[last_of_each], false / impostor, accepted / genuine)


def area_under_curve(cosines: Floats64, same: Booleans) -> float:
    """Probability that a genuine pair has a greater cosine than an impostor pair, equal ones counting half.

    The Mann-Whitney statistic, which is the area under the ROC (Hanley and McNeil, Radiology 143, 1982).
    """
    _counts(same)
    impostor = np.sort(cosines[~same])
    below = np.searchsorted(impostor, cosines[same], side="left")
    up_to = np.searchsorted(impostor, cosines[same], side="right")
    return float((below + up_to).mean() / (2 * len(impostor)))


def equal_error(cosines: Floats64, same: Booleans) -> tuple[float, float]:
    """(rate, threshold) where FAR and 1 - TAR are nearest each other; the rate is their mean."""
    curve = roc(cosines, same)
    at = int(np.argmin(np.abs(curve.far - (1 - curve.tar))))
    return float((curve.far[at] + 1 - curve.tar[at]) / 2), float(curve.thresholds[at])


def operating_point(cosines: Floats64, same: Booleans, far: float) -> OperatingPoint:
    """TAR at a FAR: the least threshold that accepts at most floor(far x impostors) of the impostor pairs.

    No interpolation: with 600 impostors, FAR 1e-3 accepts none of them (and is marked as not supported).
    """
    _, impostors = _counts(same)
    impostor = np.sort(cosines[~same])[::-1]
    allowed = math.floor(far * impostors + 1e-9)
    # Just above the first impostor that may not be accepted; nobody without a face is ever accepted.
    threshold = math.nextafter(float(impostor[allowed]) if allowed < impostors else NO_FACE, 2.0)
    accepted = int((cosines[same] >= threshold).sum())
    genuine = int(same.sum())
    return OperatingPoint(
        far=far,
        reached=float((impostor >= threshold).mean()),
        threshold=threshold,
        tar=accepted / genuine,
        interval=wilson(accepted, genuine),
        supported=allowed >= 1,
    )


def best_threshold(cosines: Floats64, same: Booleans) -> float:
    """The threshold of greatest accuracy: midway between two neighbouring cosines; the lowest of equals.

    cosines: (N,), N >= 1. Both kinds of pairs weigh as they come.
    """
    order = np.argsort(cosines, kind="stable")
    ordered = cosines[order]
    genuine_below = np.concatenate([[0], np.cumsum(same[order])])
    impostor_below = np.concatenate([[0], np.cumsum(~same[order])])
    # Cutting before the i-th: the impostors below are right, and the genuine from it on.
    right = impostor_below + (same.sum() - genuine_below)
    cut_falls_between = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])
    at = int(np.argmax(np.where(cut_falls_between, right, -1)))
    if at == 0:
        return math.nextafter(NO_FACE, 2.0)
    if at == len(ordered):
        return math.nextafter(float(ordered[-1]), 2.0)
    return float((ordered[at - 1] + ordered[at]) / 2)


def accuracy_at(cosines: Floats64, same: Booleans, threshold: float) -> float:
    """Share of the pairs that a threshold judges rightly."""
    return float(((cosines >= threshold) == same).mean())


def cross_validate(cosines: Floats64, same: Booleans, folds: NDArray[np.int64]) -> CrossValidation:
    """Accuracy of each fold at the threshold that is best on the others (the LFW protocol).

    folds: (N,) number of each pair's fold. Raises InvalidParameter for fewer than two folds.
    """
    numbers = [int(number) for number in np.unique(folds)]
    if len(numbers) < 2:
        raise InvalidParameter("accuracy needs at least two folds: the threshold comes from the other ones")
    thresholds = [best_threshold(cosines[folds != n], same[folds != n]) for n in numbers]
    return CrossValidation(
        folds=tuple(numbers),
        thresholds=tuple(thresholds),
        accuracies=tuple(
            accuracy_at(cosines[folds == n], same[folds == n], threshold)
            for n, threshold in zip(numbers, thresholds, strict=True)
        ),
    )


def group_figures(
    cosines: Floats64, same: Booleans, groups: Sequence[str], threshold: float
) -> list[GroupFigures]:
    """Figures of each group of pairs, in alphabetical order, at one threshold for all."""
    labels = np.asarray(groups)
    figures = []
    for group in sorted(set(groups)):
        own, own_same = cosines[labels == group], same[labels == group]
        accepted = own >= threshold
        genuine, impostor = int(own_same.sum()), int((~own_same).sum())
        true, false = int((accepted & own_same).sum()), int((accepted & ~own_same).sum())
        figures.append(
            GroupFigures(
                group=group,
                genuine=genuine,
                impostor=impostor,
                accuracy=accuracy_at(own, own_same, threshold),
                tar=true / genuine if genuine else math.nan,
                tar_interval=wilson(true, genuine),
                far=false / impostor if impostor else math.nan,
                far_interval=wilson(false, impostor),
            )
        )
    return figures


# --- impostors: every face against every face of somebody else --------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ImpostorStatistics:
    """Cosines of all pairs of faces of different persons, as a histogram over -1..1."""

    count: int
    mean: float
    deviation: float
    histogram: NDArray[np.int64]
    """(BINS,) pairs whose cosine lies in each bin, lowest first."""

    def threshold(self, far: float) -> float:
        """The least bin edge at which at most a share `far` of the pairs is accepted."""
        allowed = math.floor(far * self.count + 1e-9)
        accepted_from = np.concatenate([np.cumsum(self.histogram[::-1])[::-1], [0]])
        edge = int(np.argmax(accepted_from <= allowed))
        return -1.0 + 2.0 * edge / BINS

    @property
    def strictest(self) -> float:
        """The least FAR that the pairs support."""
        return SUPPORT / self.count if self.count else math.inf


def impostor_statistics(embeddings: NDArray[np.float32], persons: Sequence[str]) -> ImpostorStatistics:
    """Compare every face with every face of another person.

    embeddings: (N, d) float32 of unit length. persons: the N identities. Memory is bounded: blocks of pairs
    go into the histogram.
    """
    _, labels = np.unique(np.asarray(persons), return_inverse=True)
    histogram = np.zeros(BINS, np.int64)
    total = squares = 0.0
    for start in range(0, len(embeddings), BLOCK):
        cosines = embeddings[start : start + BLOCK] @ embeddings.T
        rows = np.arange(start, start + len(cosines))
        # Each pair once: the second face comes later than the first.
        wanted = (np.arange(len(embeddings)) > rows[:, None]) & (labels != labels[rows][:, None])
        values = cosines[wanted].astype(np.float64)
        total += values.sum()
        squares += (values**2).sum()
        histogram += np.histogram(values.clip(-1, 1), bins=BINS, range=(-1, 1))[0]
    count = int(histogram.sum())
    mean = total / count if count else 0.0
    deviation = math.sqrt(max(0.0, squares / count - mean * mean)) if count else 0.0
    return ImpostorStatistics(count, mean, deviation, histogram)


def calibration_knots(statistics: ImpostorStatistics) -> tuple[tuple[float, float], ...]:
    """Knots (cosine, similarity) of a pack: 80 at FAR 1e-3, 99 at 1e-5 or the strictest rate that is
    supported.

    The mean impostor lies at 5, so that strangers score low. Raises InvalidParameter when there are too few
    pairs for FAR 1e-3.
    """
    if statistics.strictest > WORKING_POINT / 2:
        raise InvalidParameter(
            f"{statistics.count} pairs of different persons can not tell the working point "
            f"(one false accept in {1 / WORKING_POINT:.0f}); there should be at least "
            f"{2 * SUPPORT / WORKING_POINT:.0f}"
        )
    working = round(statistics.threshold(WORKING_POINT), 4)
    strict = round(statistics.threshold(max(STRICT_POINT, statistics.strictest)), 4)
    # The curve must rise, even for a model whose impostors all score alike.
    strict = min(max(strict, working + 1e-3), 1.0 - 1e-3)
    return (
        (-1.0, 0.0),
        (min(round(statistics.mean, 4), working - 1e-3), 5.0),
        (working, 80.0),
        (round(strict, 4), 99.0),
        (1.0, 100.0),
    )


def _counts(same: Booleans) -> tuple[int, int]:
    genuine, impostor = int(same.sum()), int((~same).sum())
    if not genuine or not impostor:
        raise InvalidParameter(
            f"{genuine} pairs of one person and {impostor} of two; measuring needs both kinds"
        )
    return genuine, impostor
