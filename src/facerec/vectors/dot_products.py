"""How each kind of processor takes dot products of bytes: whole numbers, and the same on all of them.

What a sum of products adds up is one register wide: `lanes` sums of four neighbours each. One probe's
products end with a register a row, and a tree of shuffles and additions turns `lanes` of these into one
register with as many dot products. Several probes are spared that tree, which would take longer than the
products: `columns` turns ROW_BLOCK rows round once for all probes, four codes of each row side by side, so
that every sum is a row's own from the start (`tile`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from facerec.vectors.assembly import Function, Processor

ROW_BLOCK = 16
"""Rows that the kernels may touch together: arrays of rows are a multiple of it long."""

_SIGNS = -0x7F7F7F80
"""The highest bit of each of four bytes, as an i32."""


@dataclass(frozen=True, slots=True)
class Dot:
    """How a kind of processor adds the products of bytes up."""

    lanes: int
    """Sums (int32) in a register; it holds 4 * lanes bytes."""
    bias: int
    """What has to be added to each code first, 128 or 0; sums are too high by it times the probe's sum."""
    add: Callable[[Function, str, str, str], str]
    """Writes sums + raised codes * probe, given the names of the three."""
    tile_probes: int
    """Probes of a tile: the sums of as many with ROW_BLOCK rows stay in registers."""
    declaration: str
    largest_probe: int = 127
    """Largest code of a probe for which a tile's sums have room."""
    tile_words: int = 1
    """Words of four codes that a tile takes at a time."""
    add_words: Callable[[Function, str, Sequence[str], Sequence[str]], str] | None = None
    """As `add`, for so many words of codes and as many of a probe."""
    coarser: Dot | None = None
    """A faster way for several probes, whose codes have to be smaller."""

    @property
    def last_probes(self) -> int:
        """Probes of the smaller tile for what whole ones leave over."""
        return min(self.tile_probes, 8)

    def of_last_probes(self) -> Dot:
        """The same with that tile."""
        return replace(self, tile_probes=self.last_probes)


def _vnni(bits: int) -> Dot:
    """Intel's and AMD's: unsigned bytes times signed ones. Codes have to become unsigned."""
    lanes = bits // 32
    sums, data = f"<{lanes} x i32>", f"<{lanes * 4} x i8>"
    name = f"@llvm.x86.avx512.vpdpbusd.{bits}"

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        # Newer versions of LLVM take bytes here, and still understand the older ones' form.
        words = [f.value(f"bitcast {data} {part} to {sums}") for part in (codes, probe)]
        return f.value(f"call {sums} {name}({sums} {total}, {sums} {words[0]}, {sums} {words[1]})")

    return Dot(lanes, 128, add, 16 if bits == 512 else 4, f"declare {sums} {name}({sums}, {sums}, {sums})")


def _arm() -> Dot:
    """ARM's: signed bytes times signed ones."""
    name = "@llvm.aarch64.neon.sdot.v4i32.v16i8"

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        return f.value(f"call <4 x i32> {name}(<4 x i32> {total}, <16 x i8> {codes}, <16 x i8> {probe})")

    return Dot(4, 0, add, 4, f"declare <4 x i32> {name}(<4 x i32>, <16 x i8>, <16 x i8>)")


def _avx2() -> Dot:
    """Bytes widened to 16 bits, even places and odd ones apart, whose products are added in pairs."""
    name = "@llvm.x86.avx2.pmadd.wd"

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        for place in range(2):
            wide = [_widened(f, data, 16, 16, place) for data in (codes, probe)]
            pairs = f.value(f"call <8 x i32> {name}(<16 x i16> {wide[0]}, <16 x i16> {wide[1]})")
            total = f.value(f"add <8 x i32> {total}, {pairs}")
        return total

    declaration = f"declare <8 x i32> {name}(<16 x i16>, <16 x i16>)"
    return Dot(8, 0, add, 4, declaration, coarser=_coarser_avx2(add, declaration))


def _coarser_avx2(add: Callable[[Function, str, str, str], str], declaration: str) -> Dot:
    """Unsigned bytes times signed ones, without widening. 16 bits have room for the sum of four products
    (4 * 255 * 31) where a probe's codes have two bits less.
    """
    name = "@llvm.x86.avx2.pmadd.ub.sw"

    def add_words(f: Function, total: str, codes: Sequence[str], probe: Sequence[str]) -> str:
        pairs = [
            f.value(f"call <16 x i16> {name}(<32 x i8> {part}, <32 x i8> {asked})")
            for part, asked in zip(codes, probe, strict=True)
        ]
        fours = f.value(f"add <16 x i16> {pairs[0]}, {pairs[1]}")
        ones = "<16 x i16> splat (i16 1)"
        sums = f.value(f"call <8 x i32> @llvm.x86.avx2.pmadd.wd(<16 x i16> {fours}, {ones})")
        return f.value(f"add <8 x i32> {total}, {sums}")

    declaration += f"\ndeclare <16 x i16> {name}(<32 x i8>, <32 x i8>)"
    return Dot(8, 128, add, 4, declaration, largest_probe=31, tile_words=2, add_words=add_words)


def _plain() -> Dot:
    """Without any special instruction: LLVM does what the processor can."""

    def add(f: Function, total: str, codes: str, probe: str) -> str:
        for place in range(4):
            wide = [_widened(f, data, 4, 32, place) for data in (codes, probe)]
            product = f.value(f"mul <4 x i32> {wide[0]}, {wide[1]}")
            total = f.value(f"add <4 x i32> {total}, {product}")
        return total

    return Dot(4, 0, add, 2, "")


def _widened(f: Function, data: str, count: int, bits: int, place: int) -> str:
    """The byte at `place` of each of `count` words of `bits` bits, sign-extended to the whole word.

    By shifts, which processors do in place where they would carry neighbours across the register.
    """
    kind = f"<{count} x i{bits}>"
    words = f.value(f"bitcast <{count * bits // 8} x i8> {data} to {kind}")
    raised = f.value(f"shl {kind} {words}, splat (i{bits} {bits - 8 - 8 * place})")
    return f.value(f"ashr {kind} {raised}, splat (i{bits} {bits - 8})")


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


def row_products(f: Function, dot: Dot, rows: list[str], probe: str, width: int) -> str:
    """Writes the dot products of `lanes` rows with a probe (addresses): a vector of `lanes` sums."""
    sums, data = f"<{dot.lanes} x i32>", f"<{dot.lanes * 4} x i8>"
    totals = [f.variable(sums, "zeroinitializer") for _ in rows]
    with f.loop("0", str(width), dot.lanes * 4) as place:
        asked = f.load(probe, "i8", place, data)
        for row, total in zip(rows, totals, strict=True):
            codes = _raised(f, dot, f.load(row, "i8", place, data))
            f.set(total, sums, dot.add(f, f.get(total, sums), codes, asked))
    return _summed(f, [f.get(total, sums) for total in totals])


def columns(f: Function, dot: Dot, codes: str, row: str, width: int, into: str) -> None:
    """Writes ROW_BLOCK rows from `row` on, turned round and with the bias added, into memory.

    into: width / 4 times ROW_BLOCK words (i32), a word of each row after the other.
    """
    kind = f"<{dot.lanes} x i32>"
    numbers = [f.value(f"add i64 {row}, {i}") for i in range(ROW_BLOCK)]
    addresses = [f.at(codes, f"[{width} x i8]", number) for number in numbers]
    with f.loop("0", str(width // 4), 4) as word:
        for group in range(0, ROW_BLOCK, dot.lanes):
            squares = []
            for first in range(group, group + 4):
                rows = addresses[first : group + dot.lanes : 4]
                squares.append(_joined(f, [f.load(one, "i32", word, "<4 x i32>") for one in rows], 4))
            for column, turned in enumerate(_turned(f, squares, dot.lanes)):
                raised = f.value(f"xor {kind} {turned}, splat (i32 {_SIGNS})") if dot.bias else turned
                place = f.at(into, f"[{ROW_BLOCK} x i32]", f.value(f"add i64 {word}, {column}"))
                f.do(f"store {kind} {raised}, ptr {f.at(place, 'i32', str(group))}, align {4 * dot.lanes}")


def _turned(f: Function, rows: list[str], lanes: int) -> list[str]:
    """Writes four vectors of `lanes` words turned round: of each four words the columns of their square."""
    kind = f"<{lanes} x i32>"

    def zipped(one: str, other: str, size: int, half: int) -> str:
        """Pieces of `size` words of both in turns, of the lower or upper half of each four words."""
        mask = []
        for start in range(0, lanes, 4):
            for piece in range(start + 2 * half, start + 2 * half + 2, size):
                mask += [piece + i for i in range(size)] + [lanes + piece + i for i in range(size)]
        return f.value(f"shufflevector {kind} {one}, {kind} {other}, {places(mask)}")

    low = [zipped(rows[0], rows[1], 1, half) for half in range(2)]
    high = [zipped(rows[2], rows[3], 1, half) for half in range(2)]
    return [zipped(one, other, 2, half) for one, other in zip(low, high, strict=True) for half in range(2)]


def tile(f: Function, dot: Dot, turned: str, probe: str, width: int, ahead: str) -> list[str]:
    """Writes the dot products of what `columns` turned round with `tile_probes` probes, the first at `probe`.

    Gives a vector of ROW_BLOCK sums for each probe. ahead: rows that are soon needed, as many; memory is
    asked for them a line at a time, for it has no ear for more than a few at once.
    """
    sums, data = f"<{dot.lanes} x i32>", f"<{dot.lanes * 4} x i8>"
    groups = range(0, ROW_BLOCK, dot.lanes)
    totals = [[f.variable(sums, "zeroinitializer") for _ in groups] for _ in range(dot.tile_probes)]
    with f.loop("0", str(width // 4), dot.tile_words) as word:
        row = f.at(turned, f"[{ROW_BLOCK} x i32]", word)
        first = f.at(probe, "i32", word)
        line = f.at(ahead, f"[{4 * ROW_BLOCK} x i8]", word)
        words = range(dot.tile_words)
        for i in words:
            f.fetch(f.at(line, f"[{4 * ROW_BLOCK} x i8]", str(i)))
        codes = [
            [f.load(row, "i32", str(i * ROW_BLOCK + group), data, align=4 * dot.lanes) for i in words]
            for group in groups
        ]
        for number, of_probe in enumerate(totals):
            asked = [
                f.spread("i32", dot.lanes, f.load(first, "i8", str(number * width + 4 * i), "i32"))
                for i in words
            ]
            asked = [f.value(f"bitcast {sums} {one} to {data}") for one in asked]
            for part, total in zip(codes, of_probe, strict=True):
                f.set(total, sums, _added(f, dot, f.get(total, sums), part, asked))
    return [_joined(f, [f.get(total, sums) for total in of_probe], dot.lanes) for of_probe in totals]


def _added(f: Function, dot: Dot, total: str, codes: Sequence[str], probe: Sequence[str]) -> str:
    """Writes sums with the products of a tile's words added."""
    if dot.add_words is not None:
        return dot.add_words(f, total, codes, probe)
    for part, asked in zip(codes, probe, strict=True):
        total = dot.add(f, total, part, asked)
    return total


def _joined(f: Function, vectors: list[str], lanes: int) -> str:
    """Writes vectors of `lanes` words one after the other: one vector."""
    while len(vectors) > 1:
        kind, mask = f"<{lanes} x i32>", places(range(2 * lanes))
        vectors = [
            f.value(f"shufflevector {kind} {one}, {kind} {other}, {mask}")
            for one, other in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        lanes *= 2
    return vectors[0]


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
