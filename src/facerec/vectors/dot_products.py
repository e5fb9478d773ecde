"""How each kind of processor takes dot products of bytes: whole numbers, and the same on all of them.

What a sum of products adds up is one register wide: `lanes` sums of neighbours. A *tile* of R rows times P
probes with R * P = lanes therefore ends with `lanes` registers, and a tree of shuffles and additions turns
these into one register with the tile's `lanes` dot products, to be compared at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facerec.vectors.assembly import Function, Processor


@dataclass(frozen=True, slots=True)
class Dot:
    """How a kind of processor adds the products of bytes up."""

    lanes: int
    """Sums (int32) in a register; it holds 4 * lanes bytes."""
    bias: int
    """What has to be added to each code first, 128 or 0; sums are too high by it times the probe's sum."""
    add: Callable[[Function, str, str, str], str]
    """Writes sums + raised codes * probe, given the names of the three."""
    declaration: str

    @property
    def tile_probes(self) -> int:
        """Probes of a tile where there are several: as near a square as can be, which loads least."""
        return 4 if self.lanes == 16 else 2


def _vnni(bits: int) -> Dot:
    """Intel's and AMD's: unsigned bytes times signed ones. Codes have to become unsigned."""
    lanes = bits // 32
    sums, data = f"<{lanes} x i32>", f"<{lanes * 4} x i8>"
    name = f"@llvm.x86.avx512.vpdpbusd.{bits}"

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        # Newer versions of LLVM take bytes here, and still understand the older ones' form.
        words = [f.value(f"bitcast {data} {part} to {sums}") for part in (codes, probe)]
        return f.value(f"call {sums} {name}({sums} {total}, {sums} {words[0]}, {sums} {words[1]})")

    return Dot(lanes, 128, add, f"declare {sums} {name}({sums}, {sums}, {sums})")


def _arm() -> Dot:
    """ARM's: signed bytes times signed ones."""
    name = "@llvm.aarch64.neon.sdot.v4i32.v16i8"

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        return f.value(f"call <4 x i32> {name}(<4 x i32> {total}, <16 x i8> {codes}, <16 x i8> {probe})")

    return Dot(4, 0, add, f"declare <4 x i32> {name}(<4 x i32>, <16 x i8>, <16 x i8>)")


def _avx2() -> Dot:
    """Bytes widened to 16 bits, whose products are added in pairs."""
    name = "@llvm.x86.avx2.pmadd.wd"

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        for half in (0, 16):
            wide = [_widened(f, data, 32, half, 16, "i16") for data in (codes, probe)]
            pairs = f.value(f"call <8 x i32> {name}(<16 x i16> {wide[0]}, <16 x i16> {wide[1]})")
            total = f.value(f"add <8 x i32> {total}, {pairs}")
        return total

    return Dot(8, 0, add, f"declare <8 x i32> {name}(<16 x i16>, <16 x i16>)")


def _plain() -> Dot:
    """Without any special instruction: LLVM does what the processor can."""

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        for quarter in range(0, 16, 4):
            wide = [_widened(f, data, 16, quarter, 4, "i32") for data in (codes, probe)]
            product = f.value(f"mul <4 x i32> {wide[0]}, {wide[1]}")
            total = f.value(f"add <4 x i32> {total}, {product}")
        return total

    return Dot(4, 0, add, "")


def _widened(f: Function, data: str, size: int, first: int, count: int, kind: str) -> str:
    """`count` bytes of `data` (`size` bytes) from `first` on, sign-extended to `kind`."""
    mask = places(range(first, first + count))
    part = f.value(f"shufflevector <{size} x i8> {data}, <{size} x i8> poison, {mask}")
    return f.value(f"sext <{count} x i8> {part} to <{count} x {kind}>")


def places(numbers: range | list[int]) -> str:
    """A shuffle's mask."""
    return f"<{len(numbers)} x i32> <{', '.join(f'i32 {number}' for number in numbers)}>"


def dot_of(processor: Processor) -> Dot:
    """The best way that the processor has."""
    has = processor.features
    if processor.architecture == "x86_64":
        if {"avx512f", "avx512vnni"} <= has:
            return _vnni(512)
        if "avxvnni" in has:
            return _vnni(256)
        if "avx2" in has:
            return _avx2()
    elif "dotprod" in has or processor.name.startswith("apple-"):
        return _arm()
    return _plain()


def tile(f: Function, dot: Dot, rows: list[str], probes: list[str], width: int, *, raised: bool) -> str:
    """Writes the dot products of R rows and P probes (addresses): a vector of `lanes` sums, row by row.

    raised: whether the rows are what `raised_rows` gave.
    """
    sums, data = f"<{dot.lanes} x i32>", f"<{dot.lanes * 4} x i8>"
    totals = [[f.variable(sums, "zeroinitializer") for _ in probes] for _ in rows]
    with f.loop("0", str(width), dot.lanes * 4) as place:
        loaded = [f.load(probe, "i8", place, data) for probe in probes]
        for row, of_row in zip(rows, totals, strict=True):
            codes = f.load(row, "i8", place, data)
            if not raised:
                codes = _raised(f, dot, codes)
            for probe, total in zip(loaded, of_row, strict=True):
                f.set(total, sums, dot.add(f, f.get(total, sums), codes, probe))
    return _summed(f, [f.get(total, sums) for of_row in totals for total in of_row])


def raised_rows(f: Function, dot: Dot, rows: list[str], width: int) -> list[str]:
    """Writes rows with the bias added to their codes, for many tiles; gives their addresses."""
    if not dot.bias:
        return rows
    data = f"<{dot.lanes * 4} x i8>"
    copies = [f.space(f"[{width} x i8]") for _ in rows]
    with f.loop("0", str(width), dot.lanes * 4) as place:
        for row, copy in zip(rows, copies, strict=True):
            codes = _raised(f, dot, f.load(row, "i8", place, data))
            f.do(f"store {data} {codes}, ptr {f.at(copy, 'i8', place)}, align 1")
    return copies


def _raised(f: Function, dot: Dot, codes: str) -> str:
    """Writes codes plus 128, where the processor wants it so: that flips the highest bit."""
    return f.value(f"xor <{dot.lanes * 4} x i8> {codes}, splat (i8 -128)") if dot.bias else codes


def _summed(f: Function, vectors: list[str]) -> str:
    """Writes the sums of the elements of each of n vectors of n elements: one vector.

    Two vectors become one by adding the second halves of their groups to the first halves; a group is what
    is left of one of the vectors at the start.
    """
    lanes = len(vectors)
    kind = f"<{lanes} x i32>"
    group = lanes
    while group > 1:
        starts = range(0, 2 * lanes, group)
        low = places([start + i for start in starts for i in range(group // 2)])
        high = places([start + i for start in starts for i in range(group // 2, group)])
        halved = []
        for one, other in zip(vectors[::2], vectors[1::2], strict=True):
            parts = [f.value(f"shufflevector {kind} {one}, {kind} {other}, {mask}") for mask in (low, high)]
            halved.append(f.value(f"add {kind} {parts[0]}, {parts[1]}"))
        vectors, group = halved, group // 2
    return vectors[0]
