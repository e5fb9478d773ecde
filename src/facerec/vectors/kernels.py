"""The inner loops of searching (`loops`), compiled for the processor at hand, as functions of arrays."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facerec.vectors.assembly import Kernel, Processor, Program, assembler, this_processor
from facerec.vectors.dot_products import ROW_BLOCK, Dot, dot_of
from facerec.vectors.loops import FUNCTIONS, SKETCH_ROWS, declarations

_NEVER = 2**31 - 1
"""A cut that no dot product reaches."""


@dataclass(frozen=True, slots=True)
class ProbeCodes:
    """Probes' codes as the kernels take them."""

    count: int
    codes: NDArray[np.int8]
    """(Q, width), Q being `count` rounded up to whole tiles; zero where there is no probe."""
    biases: NDArray[np.int32]
    """(Q,): what the kernels' sums are too high by."""
    coarse: bool = False
    """Whether they are for `Kernels.above` alone, which is faster with smaller codes."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Places for the rows that `Kernels.above` finds: `capacity` for each of Q probes (rounded up)."""

    rows: NDArray[np.int32]
    """(Q, capacity)."""
    sums: NDArray[np.int32]
    """(Q, capacity): dot products, each too high by its probe's bias."""
    counts: NDArray[np.int64]
    """(Q,): places filled."""

    @classmethod
    def empty(cls, probes: ProbeCodes, capacity: int) -> Reached:
        """Room for `capacity` rows of each probe."""
        shape = (len(probes.codes), capacity)
        return cls(np.empty(shape, np.int32), np.empty(shape, np.int32), np.zeros(shape[0], np.int64))


class Kernels:
    """The compiled functions for rows of one width. Safe to call from many threads, which they let run on.

    Arrays have to be contiguous; numbers of rows, first and last ones multiples of ROW_BLOCK.
    """

    def __init__(self, width: int, processor: Processor) -> None:
        """For rows of `width` bytes, a multiple of WIDTH_STEP. Each function is compiled at its first use."""
        self._width = width
        self._processor = processor
        self._dot = dot_of(processor)
        self._programs: list[Program] = []  # own the code

    def prepare(self, codes: NDArray[np.int8]) -> ProbeCodes:
        """Probes of codes (n, width) as the other functions take them."""
        step = 1 if len(codes) == 1 else self._dot.last_probes
        return self._prepared(codes, step, self._dot)

    @property
    def coarse_code(self) -> int | None:
        """The largest code of probes with which `above` is faster; None where it is not."""
        return self._dot.coarser.largest_probe if self._dot.coarser else None

    def prepare_coarse(self, codes: NDArray[np.int8]) -> ProbeCodes:
        """Probes of codes (n, width) up to `coarse_code` as `above` takes them, where there is that."""
        dot = self._dot.coarser or self._dot
        return replace(self._prepared(codes, dot.last_probes, dot), coarse=True)

    def _prepared(self, codes: NDArray[np.int8], step: int, dot: Dot) -> ProbeCodes:
        count = len(codes)
        padded = np.zeros((-(-count // step) * step, self._width), dtype=np.int8)
        padded[:count] = codes
        return ProbeCodes(count, padded, dot.bias * padded.sum(axis=1, dtype=np.int32))

    def above(
        self,
        codes: NDArray[np.int8],
        first: int,
        end: int,
        probes: ProbeCodes,
        cuts: NDArray[np.int64],
        reached: Reached,
    ) -> int:
        """Put into `reached` the rows from `first` to `end` whose dot products reach the probes' cuts.

        Returns the row to go on from: `end`, or an earlier one, where a probe's places might not suffice.
        """
        kernel = self._above_one if len(probes.codes) == 1 else self._above_many
        if probes.coarse:
            kernel = self._above_coarsely
        whole = np.full(len(probes.codes), _NEVER, dtype=np.int32)
        whole[: probes.count] = np.maximum(np.minimum(cuts + probes.biases[: probes.count], _NEVER), -_NEVER)
        return kernel(
            codes.ctypes.data, first, end, probes.codes.ctypes.data, len(whole), whole.ctypes.data,
            reached.rows.ctypes.data, reached.sums.ctypes.data, reached.counts.ctypes.data,
            reached.rows.shape[1],
        )  # fmt: skip

    def products(
        self, codes: NDArray[np.int8], rows: NDArray[np.int32], probes: ProbeCodes, number: int
    ) -> NDArray[np.int32]:
        """The dot products (n,) of one of the probes with the chosen rows (n,)."""
        padded = np.zeros(-(-len(rows) // ROW_BLOCK) * ROW_BLOCK, dtype=np.int32)
        padded[: len(rows)] = rows
        sums = np.empty(len(padded), dtype=np.int32)
        probe = probes.codes[number]
        self._products(
            codes.ctypes.data, padded.ctypes.data, len(padded), probe.ctypes.data, sums.ctypes.data
        )
        sums -= probes.biases[number]
        return sums[: len(rows)]

    def signs(self, codes: NDArray[np.int8], probes: ProbeCodes) -> NDArray[np.uint8]:
        """Which dot products of rows (n, width) with Q probes are positive: bits (n, Q / 8), lowest first."""
        bits = np.empty((len(codes), len(probes.codes) // 8), dtype=np.uint8)
        self._signs(
            codes.ctypes.data, len(codes), probes.codes.ctypes.data, len(probes.codes),
            probes.biases.ctypes.data, bits.ctypes.data,
        )  # fmt: skip
        return bits

    def sketch_below(
        self,
        sketch: NDArray[np.uint64],
        first: int,
        end: int,
        planes: NDArray[np.uint64],
        cut: int,
        rows: NDArray[np.int32],
    ) -> tuple[int, int]:
        """Put into `rows` those from `first` to `end` whose sketch differs from the probe's by at most `cut`.

        sketch: (blocks, words, SKETCH_ROWS); planes: (PLANES, words); a bit of plane j counts 2**j. Returns
        how many were put, and the row to go on from, as `above` does.
        """
        count = np.zeros(1, dtype=np.int64)
        stopped = self._sketch_below(
            sketch.ctypes.data, first // SKETCH_ROWS, end // SKETCH_ROWS, planes.ctypes.data, cut,
            rows.ctypes.data, count.ctypes.data, len(rows),
        )  # fmt: skip
        return int(count[0]), stopped * SKETCH_ROWS

    @functools.cached_property
    def _above_one(self) -> Kernel:
        return self._compiled("above_one")

    @functools.cached_property
    def _above_many(self) -> Kernel:
        return self._compiled("above_many")

    @functools.cached_property
    def _above_coarsely(self) -> Kernel:
        return self._compiled("above_coarsely")

    @functools.cached_property
    def _products(self) -> Kernel:
        return self._compiled("products")

    @functools.cached_property
    def _signs(self) -> Kernel:
        return self._compiled("signs")

    @functools.cached_property
    def _sketch_below(self) -> Kernel:
        return self._compiled("sketch_below")

    def _compiled(self, name: str) -> Kernel:
        program = Program(self._processor, FUNCTIONS[name](self._dot, self._width), declarations(self._dot))
        self._programs.append(program)
        return program.kernel


@functools.cache
def kernels(width: int) -> Kernels:
    """The kernels for rows of `width` bytes on this processor."""
    return Kernels(width, this_processor())


def assembler_of(width: int, processor: Processor) -> str:
    """What the kernels become on a processor, as text: to be looked at."""
    dot = dot_of(processor)
    return "".join(
        assembler(processor, function(dot, width), declarations(dot)) for function in FUNCTIONS.values()
    )
