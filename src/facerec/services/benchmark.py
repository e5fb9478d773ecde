"""Figures of speed: contestants that take turns, rates, ratios and percentiles."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """What one contestant did in one round."""

    work: int
    """Things done: images, requests."""
    seconds: float
    processor_seconds: float
    """Of all threads; what else the machine does adds nothing to it."""
    result: int
    """What came of it, such as the faces found."""

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.work / self.seconds

    @property
    def processor_ms(self) -> float:
        """Milliseconds of processor time a thing."""
        return self.processor_seconds / self.work * 1000


WARMING_ROUNDS = 2
"""Rounds that are not counted: in the second the networks are still compiled for sizes that come often."""


def take_turns(
    contestants: Mapping[str, Callable[[], int]],
    work: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    processor_clock: Callable[[], float] = time.process_time,
) -> dict[str, list[Turn]]:
    """Let each contestant do the same work once a round, one after the other (A B A B ...).

    Whatever else the machine does, and however warm it gets, falls on all of them alike. Rounds before the
    first warm up and are not counted. work: how many things a contestant does in one call; the call gives the
    result of the turn.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in contestants}
    for number in range(WARMING_ROUNDS + rounds):
        for name, contestant in contestants.items():
            began, used = clock(), processor_clock()
            result = contestant()
            seconds, processor_seconds = clock() - began, processor_clock() - used
            if number >= WARMING_ROUNDS:
                turns[name].append(Turn(work, seconds, processor_seconds, result))
    return turns


def median_rate(turns: Sequence[Turn]) -> float:
    """Median of the turns' rates, in things a second."""
    return statistics.median(turn.rate for turn in turns)


def median_ratio(turns: Sequence[Turn], others: Sequence[Turn]) -> float:
    """Median over the rounds of how many times as fast the first was as the other in the same round."""
    return statistics.median(turn.rate / other.rate for turn, other in zip(turns, others, strict=True))


def median_processor_ms(turns: Sequence[Turn]) -> float:
    """Median of the turns' milliseconds of processor time a thing."""
    return statistics.median(turn.processor_ms for turn in turns)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that `share` (0 < share <= 1) of them do not exceed (the nearest rank)."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """How a service answered a number of clients, each of which sends its next request when it has the answer
    to the last.
    """

    clients: int
    requests: int
    """Requests answered without an error."""
    errors: int
    requests_per_second: float
    """Of those answered without an error."""
    p50_ms: float | None
    """Milliseconds in which half of the answers without an error came; None where there was none."""
    p95_ms: float | None
    p99_ms: float | None


def load_figures(clients: int, latencies: Sequence[float], errors: int, seconds: float) -> LoadFigures:
    """The figures of a run of `seconds` with these latencies, in seconds, of the answers without an error."""
    p50, p95, p99 = (
        percentile(latencies, share) * 1000 if latencies else None for share in (0.5, 0.95, 0.99)
    )
    return LoadFigures(clients, len(latencies), errors, len(latencies) / seconds, p50, p95, p99)
