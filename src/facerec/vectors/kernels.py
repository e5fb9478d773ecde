"""The inner loops of searching, compiled for the processor at hand: dot products of bytes, and bits counted.

Four functions over rows of signed bytes (n, width) and over their sketches (see `sketch`):

    above     rows whose dot product with one of several probes reaches the probe's cut, in one pass
    products  the dot products of chosen rows with one probe
    signs  the signs of the dot products of all rows with many probes: what sketches are made of
    sketch_below  rows whose sketch differs little enough from a probe's

All are whole numbers, the same on every processor; only the instructions differ (`dot_products`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.vectors.assembly import Function, Kernel, Processor, Program, assembler, this_processor
from facerec.vectors.dot_products import Dot, dot_of, places, raised_rows, tile

ROW_BLOCK = 16
"""Rows that the kernels may touch together: arrays of rows are a multiple of it long."""

WIDTH_STEP = 64
"""Codes of a row are padded with zeros to a multiple of these bytes."""

SKETCH_ROWS = 8
"""Rows whose sketches lie interleaved, one word of each after the other."""

PLANES = 4
"""Bits of a probe's component where sketches are compared."""

_NEVER = 2**31 - 1
"""A cut that no dot product reaches."""

_ROWS_AHEAD = 16
"""Rows that memory is asked for ahead of their use: the processor's own foresight does not get that far."""

_BLOCKS_AHEAD = 16
"""The same for sketches."""

_LINE = 64
"""Bytes that memory gives at once."""


def _above(dot: Dot, width: int, tile_probes: int) -> Function:
    """Rows from `first` to `end` (multiples of ROW_BLOCK) whose products reach the probes' cuts.

    Probe i's rows and products go to places i * capacity and on of `rows` and `products`, and are counted in
    counts[i]. Returns the row at which it stopped: `end`, or where a probe's places might not suffice.
    """
    tile_rows = dot.lanes // tile_probes
    f = Function(
        "above", codes="ptr", first="i64", end="i64", probes="ptr", probe_count="i64", cuts="ptr", rows="ptr",
        products="ptr", counts="ptr", capacity="i64",
    )  # fmt: skip
    most = f.value(f"sub i64 %capacity, {tile_rows}")
    full = f.variable("i1", "false")
    with f.loop("%first", "%end", tile_rows) as row:
        with f.when(f.get(full, "i1")):
            f.give(row)
        numbers = [f.value(f"add i64 {row}, {i}") for i in range(tile_rows)]
        rows = [f.at("%codes", f"[{width} x i8]", number) for number in numbers]
        for number in numbers:
            _fetch(f, f.at("%codes", f"[{width} x i8]", f.value(f"add i64 {number}, {_ROWS_AHEAD}")), width)
        if tile_probes > 1:
            rows = raised_rows(f, dot, rows, width)
        with f.loop("0", "%probe_count", tile_probes) as probe:
            found, bits = _tile_reaching(f, dot, rows, probe, "%cuts", width, "sge")
            with f.when(f.value(f"icmp ne i{dot.lanes} {bits}, 0")):
                held = f.variable(f"<{dot.lanes} x i32>", found)
                with f.set_bits(bits, dot.lanes) as lane:
                    number = f.value(f"add i64 {probe}, {f.value(f'urem i64 {lane}, {tile_probes}')}")
                    place = f.value(f"add i64 {row}, {f.value(f'udiv i64 {lane}, {tile_probes}')}")
                    count = f.load("%counts", "i64", number, align=8)
                    free = f.value(f"add i64 {f.value(f'mul i64 {number}, %capacity')}, {count}")
                    f.set(f.at("%rows", "i32", free), "i32", f.value(f"trunc i64 {place} to i32"))
                    f.set(f.at("%products", "i32", free), "i32", f.load(held, "i32", lane))
                    more = f.value(f"add i64 {count}, 1")
                    f.set(f.at("%counts", "i64", number), "i64", more)
                    with f.when(f.value(f"icmp sgt i64 {more}, {most}")):
                        f.set(full, "i1", "true")
    f.give("%end")
    return f


def _products(dot: Dot, width: int) -> Function:
    """The products of one probe with the `count` rows (a multiple of ROW_BLOCK) named in `rows` (int32)."""
    f = Function("products", codes="ptr", rows="ptr", count="i64", probe="ptr", out="ptr")
    last = f.value(f"sub i64 %count, {_ROWS_AHEAD}")

    def chosen(number: str) -> str:
        return f.value(f"zext i32 {f.load('%rows', 'i32', number, align=4)} to i64")

    with f.loop("0", "%count", dot.lanes) as start:
        numbers = [f.value(f"add i64 {start}, {i}") for i in range(dot.lanes)]
        with f.when(f.value(f"icmp slt i64 {start}, {last}")):
            for number in numbers:
                ahead = chosen(f.value(f"add i64 {number}, {_ROWS_AHEAD}"))
                _fetch(f, f.at("%codes", f"[{width} x i8]", ahead), width)
        rows = [f.at("%codes", f"[{width} x i8]", chosen(number)) for number in numbers]
        found = tile(f, dot, rows, ["%probe"], width, raised=False)
        f.do(f"store <{dot.lanes} x i32> {found}, ptr {f.at('%out', 'i32', start)}, align 4")
    f.give("%count")
    return f


def _fetch(f: Function, address: str, size: int) -> None:
    """Writes: these bytes are soon needed."""
    for byte in range(0, size, _LINE):
        f.do(f"call void @llvm.prefetch.p0(ptr {f.at(address, 'i8', str(byte))}, i32 0, i32 3, i32 1)")


def _signs(dot: Dot, width: int) -> Function:
    """Which products of `row_count` rows with all probes (a multiple of 8) are above the probes' biases.

    `out`: a bit for each, a row's together, the first probe's the lowest of a byte.
    """
    tile_probes, tile_rows = dot.tile_probes, dot.lanes // dot.tile_probes
    f = Function(
        "signs", codes="ptr", row_count="i64", probes="ptr", probe_count="i64", biases="ptr", out="ptr"
    )  # fmt: skip
    row_bytes = f.value("udiv i64 %probe_count, 8")
    with f.loop("0", "%row_count", tile_rows) as row:
        numbers = [f.value(f"add i64 {row}, {i}") for i in range(tile_rows)]
        rows = raised_rows(f, dot, [f.at("%codes", f"[{width} x i8]", number) for number in numbers], width)
        with f.loop("0", "%probe_count", 8) as first:
            signs = ["0"] * tile_rows
            for done in range(0, 8, tile_probes):
                probe = f.value(f"add i64 {first}, {done}")
                bits = _tile_reaching(f, dot, rows, probe, "%biases", width, "sgt")[1]
                wide = f.value(f"zext i{dot.lanes} {bits} to i32")
                for i in range(tile_rows):
                    of_row = f.value(f"lshr i32 {wide}, {i * tile_probes}")
                    part = f.value(f"and i32 {of_row}, {2**tile_probes - 1}")
                    signs[i] = f.value(f"or i32 {signs[i]}, {f.value(f'shl i32 {part}, {done}')}")
            byte = f.value(f"udiv i64 {first}, 8")
            for number, sign in zip(numbers, signs, strict=True):
                place = f.value(f"add i64 {f.value(f'mul i64 {number}, {row_bytes}')}, {byte}")
                f.do(f"store i8 {f.value(f'trunc i32 {sign} to i8')}, ptr {f.at('%out', 'i8', place)}")
    f.give("%row_count")
    return f


def _tile_reaching(
    f: Function, dot: Dot, rows: list[str], probe: str, bounds: str, width: int, test: str
) -> tuple[str, str]:
    """Writes a tile of rows (raised where there are several probes) and the probes from `probe` on.

    Gives its dot products, and in the bits of a whole number which of them pass the test ("sge", "sgt")
    against the probes' `bounds` (an array of int32).
    """
    tile_probes = dot.lanes // len(rows)
    numbers = [f.value(f"add i64 {probe}, {i}") for i in range(tile_probes)]
    probes = [f.at("%probes", f"[{width} x i8]", number) for number in numbers]
    found = tile(f, dot, rows, probes, width, raised=tile_probes > 1)
    few = f"<{tile_probes} x i32>"
    spread = places(list(range(tile_probes)) * len(rows))
    bound = f.value(f"shufflevector {few} {f.load(bounds, 'i32', probe, few)}, {few} poison, {spread}")
    passed = f.value(f"icmp {test} <{dot.lanes} x i32> {found}, {bound}")
    return found, f.value(f"bitcast <{dot.lanes} x i1> {passed} to i{dot.lanes}")


def _sketch_below(words: int) -> Function:
    """Rows of the sketch blocks from `first` to `end` that differ from the probe by at most `cut`.

    A row's difference is the sum over the probe's planes j of 2**j times the bits in which they differ.
    Appends the rows (int32) to `rows` from places[0] on, which it raises. Returns the block at which it
    stopped: `end`, or where the `capacity` of `rows` might not suffice.
    """
    kind = f"<{SKETCH_ROWS} x i64>"
    f = Function(
        "sketch_below", sketch="ptr", first="i64", end="i64", planes="ptr", cut="i64", rows="ptr",
        count="ptr", capacity="i64",
    )  # fmt: skip
    most = f.value(f"sub i64 %capacity, {SKETCH_ROWS}")
    cut = _spread(f, "%cut")
    filled = f.variable("i64", f.load("%count", "i64", "0", align=8))
    with f.loop("%first", "%end") as block:
        with f.when(f.value(f"icmp sgt i64 {f.get(filled, 'i64')}, {most}")):
            f.set("%count", "i64", f.get(filled, "i64"))
            f.give(block)
        base = f.at("%sketch", f"[{words} x {kind}]", block)
        ahead = f.value(f"add i64 {block}, {_BLOCKS_AHEAD}")
        _fetch(f, f.at("%sketch", f"[{words} x {kind}]", ahead), words * SKETCH_ROWS * 8)
        bits = [f.load(base, kind, str(word), align=8) for word in range(words)]
        difference = "zeroinitializer"
        for plane in reversed(range(PLANES)):
            difference = f.value(f"shl {kind} {difference}, splat (i64 1)")
            for word in range(words):
                of_probe = _spread(f, f.load("%planes", "i64", str(plane * words + word), align=8))
                differing = f.value(f"xor {kind} {bits[word]}, {of_probe}")
                counted = f.value(f"call {kind} @llvm.ctpop.v8i64({kind} {differing})")
                difference = f.value(f"add {kind} {difference}, {counted}")
        reached = f.value(f"icmp sle {kind} {difference}, {cut}")
        hits = f.value(f"bitcast <{SKETCH_ROWS} x i1> {reached} to i{SKETCH_ROWS}")
        start = f.value(f"mul i64 {block}, {SKETCH_ROWS}")
        with f.set_bits(hits, SKETCH_ROWS) as lane:
            place = f.get(filled, "i64")
            row = f.value(f"trunc i64 {f.value(f'add i64 {start}, {lane}')} to i32")
            f.set(f.at("%rows", "i32", place), "i32", row)
            f.set(filled, "i64", f.value(f"add i64 {place}, 1"))
    f.set("%count", "i64", f.get(filled, "i64"))
    f.give("%end")
    return f


def _spread(f: Function, number: str) -> str:
    """Writes a vector of SKETCH_ROWS times the same number (i64)."""
    kind = f"<{SKETCH_ROWS} x i64>"
    one = f.value(f"insertelement {kind} poison, i64 {number}, i32 0")
    return f.value(f"shufflevector {kind} {one}, {kind} poison, <{SKETCH_ROWS} x i32> zeroinitializer")


_DECLARATIONS = """
declare i4 @llvm.cttz.i4(i4, i1)
declare i8 @llvm.cttz.i8(i8, i1)
declare i16 @llvm.cttz.i16(i16, i1)
declare <8 x i64> @llvm.ctpop.v8i64(<8 x i64>)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""


@dataclass(frozen=True, slots=True)
class ProbeCodes:
    """Probes' codes as the kernels take them."""

    count: int
    codes: NDArray[np.int8]
    """(Q, width), Q being `count` rounded up to a whole tile; zero where there is no probe."""
    biases: NDArray[np.int32]
    """(Q,): what the kernels' sums are too high by."""


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
        count = len(codes)
        step = 1 if count == 1 else self._dot.tile_probes
        padded = np.zeros((-(-count // step) * step, self._width), dtype=np.int8)
        padded[:count] = codes
        return ProbeCodes(count, padded, self._dot.bias * padded.sum(axis=1, dtype=np.int32))

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
    def _products(self) -> Kernel:
        return self._compiled("products")

    @functools.cached_property
    def _signs(self) -> Kernel:
        return self._compiled("signs")

    @functools.cached_property
    def _sketch_below(self) -> Kernel:
        return self._compiled("sketch_below")

    def _compiled(self, name: str) -> Kernel:
        program = Program(self._processor, _FUNCTIONS[name](self._dot, self._width), _declarations(self._dot))
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
        assembler(processor, function(dot, width), _declarations(dot)) for function in _FUNCTIONS.values()
    )


def _declarations(dot: Dot) -> str:
    """The intrinsics that the functions call."""
    return dot.declaration + _DECLARATIONS


_FUNCTIONS: dict[str, Callable[[Dot, int], Function]] = {
    "above_one": lambda dot, width: _above(dot, width, 1),
    "above_many": lambda dot, width: _above(dot, width, dot.tile_probes),
    "products": _products,
    "signs": _signs,
    "sketch_below": lambda _, width: _sketch_below(width // 64),
}
