"""The nearest rows of many segments: found by whole numbers, decided and answered by exact cosines.

Two ways lead to the rows worth an exact look. *By codes*: the dot product of each row's codes with the
probe's is taken, for several probes in one pass over memory; error bounds make the answer that of an
exhaustive search. *By sketches* (see `sketch`): an eighth of the memory is read, and only rows whose sketch
comes near have their codes looked at; fewer than 1 in 10 000 rows that belong to the answer are missed.
Which is the faster depends on dimension, number of probes and how near the least cosine wanted is to that of
strangers: a sample of the sketches tells, with `_Costs`. Collections below SKETCH_FROM rows are scanned by
codes always.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerec.domain import VectorHit
from facerec.vectors.best import Best, answers
from facerec.vectors.dot_products import ROW_BLOCK
from facerec.vectors.kernels import ProbeCodes, Reached, kernels
from facerec.vectors.quantization import LARGEST_CODE
from facerec.vectors.segment import Segment, row_width, sketch_words
from facerec.vectors.sketch import ProbeSketch, random_share, sketch_probe

SKETCH_FROM = 20_000
"""Rows of a collection from which its sketches may be used."""

_GROUP = 64
"""Probes of one pass: their codes stay in the processor's nearest cache."""

_PART_BYTES = 4 * 2**20
"""Least bytes of codes for which it is worth waking another thread."""

_FIRST_ROWS = 4096
"""Rows scanned by codes before it is asked again whether sketches pay, in the first segment."""

_MORE = 4
"""Times as many rows up to each further question: questions, and calls of the kernel, take a while."""

_SAMPLE_ROWS = 1024
"""Rows whose sketches are compared to learn how many would have to be looked at."""

_PLACES = 4096
"""Rows found after which the least cosine wanted is looked at anew."""

_ROUNDING = 1e-5
"""Allowance for float32 in an error bound."""


class _Costs:
    """Nanoseconds of one processor, measured (docs/decisions/0008): only their proportions matter."""

    CODES_BYTE = 0.06
    """To read a byte of codes in order, and multiply it with one probe's."""
    TURNED_BYTE = 0.08
    """To read a byte of codes in order and turn it round for several probes, up to MANY_PROBES of them."""
    TURNED_BYTE_PROBE = 0.0027
    """To multiply a byte of codes, turned round, with another probe's."""
    MANY_PROBES = 16
    SKETCH_BYTE = 0.05
    """To compare a byte of a sketch with a probe's."""
    CHOSEN_ROW = 10.0
    """To choose a row by its sketch."""
    CHOSEN_BYTE = 0.08
    """To read a byte of a chosen row's codes."""

    @classmethod
    def by_codes(cls, width: int, probes: int) -> float:
        """A row, for all probes."""
        if probes == 1:
            return width * cls.CODES_BYTE
        return width * (cls.TURNED_BYTE + cls.TURNED_BYTE_PROBE * max(probes - cls.MANY_PROBES, 0))

    @classmethod
    def by_sketch(cls, width: int, shares: Sequence[float]) -> float:
        """A row, for probes to which these shares of the rows come near."""
        chosen = cls.CHOSEN_ROW + width * cls.CHOSEN_BYTE
        return sum(width / 8 * cls.SKETCH_BYTE + share * chosen for share in shares)


_FEW_FOUND = 1 / 500
"""Share of the rows that coarse codes may find: to sift many takes longer than they spare."""


class _Coded(NamedTuple):
    """Codes of Q probes."""

    codes: ProbeCodes
    scales: NDArray[np.float64]
    """(Q,): what a code of 1 stands for."""
    errors: NDArray[np.float64]
    """(Q,): most that an estimated cosine differs from the exact one: the length that rounding left."""


class _Probes:
    """Probes as floats, as codes and as sketches."""

    def __init__(self, vectors: NDArray[np.float32], sketched: bool) -> None:
        """Take probes (Q, d) of unit length. sketched: whether there are sketches to compare with."""
        count, dimension = vectors.shape
        width = row_width(dimension)
        self.vectors = vectors
        padded = np.zeros((count, width), dtype=np.float32)
        padded[:, :dimension] = vectors
        self.kernels = kernels(width)
        self.fine = _coded(padded, LARGEST_CODE, self.kernels.prepare)
        self.coarse: _Coded | None = None
        """With which codes are looked through faster, where they are."""
        if count > 1 and self.kernels.coarse_code is not None:
            self.coarse = _coded(padded, self.kernels.coarse_code, self.kernels.prepare_coarse)
        self.sketched = sketched and _Costs.by_sketch(width, [0.0] * count) < _Costs.by_codes(width, count)
        """Whether to go by sketches may pay at all."""
        self._padded = padded

    @functools.cached_property
    def sketches(self) -> list[ProbeSketch]:
        """Made when they are asked for: most scans of several probes have no use for them."""
        return [sketch_probe(probe) for probe in self._padded]


def _coded(
    vectors: NDArray[np.float32], largest: int, prepare: Callable[[NDArray[np.int8]], ProbeCodes]
) -> _Coded:
    """Probes (Q, width), each times what makes its largest component `largest`, rounded."""
    scales = np.maximum(np.abs(vectors).max(axis=1), 1e-30).astype(np.float64) / largest
    codes = np.rint(vectors / scales[:, None])
    rests = np.linalg.norm(vectors - codes * scales[:, None], axis=1)
    return _Coded(prepare(codes.astype(np.int8)), scales, rests + _ROUNDING)


class _Span(NamedTuple):
    """Rows of a segment: from `first` to `end`, multiples of ROW_BLOCK."""

    owner: int
    segment: Segment
    first: int
    end: int


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

    The scan runs in up to `jobs` parts: one here, the others on `pool`.
    """
    if not segments:
        return [[] for _ in vectors]
    shares = _shares(segments, jobs)
    sketched = sum(map(len, segments)) >= SKETCH_FROM and sketch_words(vectors.shape[1]) > 0
    answered: list[list[VectorHit]] = []
    for start in range(0, len(vectors), _GROUP):
        part = slice(start, start + _GROUP)
        probes = _Probes(vectors[part], sketched)

        def run(share: list[_Span], probes: _Probes = probes, part: slice = part) -> list[Best]:
            errors = (probes.coarse or probes.fine).errors
            asked = zip(probes.vectors, limits[part], min_cosines[part], errors, strict=True)
            scan = _Scan(probes, [Best(segments, *one) for one in asked])
            for span in share:
                scan.look_through(span)
            return scan.bests

        others = [pool.submit(run, share) for share in shares[1:]]
        try:
            bests = run(shares[0])
        finally:
            wait(others)  # whatever happens: rows may not change under them
        for other in others:
            for best, found in zip(bests, other.result(), strict=True):
                best.merge(found)
        answered += answers(segments, bests)
    return answered


def _shares(segments: Sequence[Segment], jobs: int) -> list[list[_Span]]:
    """The rows, in as many equal parts as are worth a thread each, `jobs` at most."""
    blocks = [-(-len(segment) // ROW_BLOCK) for segment in segments]
    total = sum(blocks)
    parts = max(min(jobs, total * ROW_BLOCK * row_width(segments[0].dimension) // _PART_BYTES), 1)
    bounds = [total * part // parts for part in range(parts + 1)]
    shares: list[list[_Span]] = []
    for low, high in itertools.pairwise(bounds):
        share, passed = [], 0
        for owner, (segment, count) in enumerate(zip(segments, blocks, strict=True)):
            first, end = max(low - passed, 0), min(high - passed, count)
            if first < end:
                share.append(_Span(owner, segment, first * ROW_BLOCK, end * ROW_BLOCK))
            passed += count
        shares.append(share)
    return shares


class _Scan:
    """One part of a search: a thread's."""

    def __init__(self, probes: _Probes, bests: list[Best]) -> None:
        self.bests = bests
        self._probes = probes
        self._coded = probes.fine
        """The codes of the probes that rows are compared with."""
        self._settled = probes.coarse is None
        """Whether it is settled which those are: the first rows tell."""
        self._found = 0
        """Rows found by codes, for all probes together."""
        self._reached = Reached.empty(probes.fine.codes, _PLACES)
        self._near: NDArray[np.int32] = np.empty(_PLACES, dtype=np.int32)
        self._sketching = False
        self._rows = _FIRST_ROWS
        """How many rows of codes come before the next question whether sketches pay."""
        self._asked: list[float] = []
        """The least cosines wanted when it was asked last whether sketches pay."""

    def look_through(self, span: _Span) -> None:
        """Take in what is near among the rows, by sketches as soon as they pay."""
        first = span.first
        while first < span.end:
            left = span._replace(first=first)
            # Once they do, they always do: the least cosine wanted only rises.
            self._sketching = self._sketching or self._sketches_pay(left)
            if self._sketching:
                self._go_on(coarsely=False)
                self._by_sketches(left)
                return
            # Where there are no sketches to ask again about, one call of the kernel goes through all.
            asks = self._probes.sketched or not self._settled
            first = min(first + self._rows, span.end) if asks else span.end
            self._by_codes(left._replace(end=first))
            self._rows *= _MORE
            few = self._found <= _FEW_FOUND * (first - left.first) * len(self.bests)
            self._go_on(coarsely=few)

    def _go_on(self, *, coarsely: bool) -> None:
        """Settle, once, which codes are compared after the first rows, of which few were found or not.

        Those were compared by fine codes, with the errors of coarse ones.
        """
        coarse, fine = self._probes.coarse, self._probes.fine
        if self._settled or coarse is None:
            return
        self._settled = True
        if coarsely:
            self._coded = coarse
            return
        for best, error in zip(self.bests, fine.errors.tolist(), strict=True):
            best.error = error

    def _by_codes(self, span: _Span) -> None:
        """All probes at once."""
        segment, reached, codes = span.segment, self._reached, self._coded.codes
        row = span.first
        while row < span.end:
            cuts = np.array([self._cut(segment, number) for number in range(len(self.bests))])
            row = self._probes.kernels.above(segment.arrays.codes, row, span.end, codes, cuts, reached)
            self._take_reached(span)
            reached.counts[:] = 0

    def _by_sketches(self, span: _Span) -> None:
        """One probe after the other."""
        segment, probes = span.segment, self._probes
        self._coded = probes.fine
        for number, (best, sketch) in enumerate(zip(self.bests, probes.sketches, strict=True)):
            row = span.first
            while row < span.end:
                count, row = probes.kernels.sketch_below(
                    segment.arrays.sketch, row, span.end, sketch.planes, sketch.cut(best.least), self._near
                )
                rows = self._near[:count]
                products = probes.kernels.products(segment.arrays.codes, rows, probes.fine.codes, number)
                near = products >= self._cut(segment, number)
                self._take(span, number, rows[near], products[near])

    def _cut(self, segment: Segment, number: int) -> int:
        """The least dot product that a row of the segment can have and belong to a probe's answer."""
        least = self.bests[number].least_estimate / float(self._coded.scales[number])
        return math.floor(least * (segment.shortest if least > 0 else segment.longest))

    def _sketches_pay(self, span: _Span) -> bool:
        """Whether the sketches are the faster way through the span, as its first rows tell."""
        leasts = [best.least for best in self.bests]
        if not self._probes.sketched or leasts == self._asked:
            return False
        self._asked = leasts
        width = row_width(span.segment.dimension)
        by_codes = _Costs.by_codes(width, len(leasts))
        # Without making a sketch: hardly ever do fewer rows come near than would of random ones.
        if _Costs.by_sketch(width, [random_share(width, least) for least in leasts]) >= by_codes:
            return False
        end = min(span.end, span.first + _SAMPLE_ROWS)
        shares = []
        for best, sketch in zip(self.bests, self._probes.sketches, strict=True):
            count, _ = self._probes.kernels.sketch_below(
                span.segment.arrays.sketch, span.first, end, sketch.planes, sketch.cut(best.least), self._near
            )
            shares.append(count / (end - span.first))
        return _Costs.by_sketch(width, shares) < by_codes

    def _take_reached(self, span: _Span) -> None:
        """Give the probes' bests the rows that were found by codes and come near enough by their own length.

        For all probes together: each finds few, and the calls would take longer than the work.
        """
        segment, reached, coded = span.segment, self._reached, self._coded
        counts = reached.counts[: len(self.bests)]
        self._found += int(counts.sum())
        numbers, places = np.nonzero(np.arange(counts.max()) < counts[:, None])
        rows = reached.rows[numbers, places]
        held = rows < len(segment)
        numbers, places, rows = numbers[held], places[held], rows[held]
        products = reached.sums[numbers, places] - coded.codes.biases[numbers]
        estimates = products * coded.scales[numbers] / segment.lengths[rows]
        near = estimates >= np.array([best.least_estimate for best in self.bests])[numbers]
        numbers, rows, estimates = numbers[near], rows[near], estimates[near]
        bounds = np.searchsorted(numbers, np.arange(len(self.bests) + 1)).tolist()
        for best, (first, end) in zip(self.bests, itertools.pairwise(bounds), strict=True):
            if first < end:
                best.add(span.owner, rows[first:end], estimates[first:end])

    def _take(self, span: _Span, number: int, rows: NDArray[np.int32], products: NDArray[np.int32]) -> None:
        """Give a probe's best the rows that were found by sketches and come near enough."""
        segment, best = span.segment, self.bests[number]
        held = rows < len(segment)
        rows, products = rows[held], products[held]
        estimates = products * self._coded.scales[number] / segment.lengths[rows]
        near = estimates >= best.least_estimate
        if near.any():
            best.add(span.owner, rows[near], estimates[near])
