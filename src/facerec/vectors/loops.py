"""The inner loops of searching, as text for LLVM: what `kernels` compiles.

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

from facerec.vectors.assembly import Function
from facerec.vectors.dot_products import ROW_BLOCK, Dot, columns, row_products, tile

WIDTH_STEP = 64
"""Codes of a row are padded with zeros to a multiple of these bytes."""

SKETCH_ROWS = 8
"""Rows whose sketches lie interleaved, one word of each after the other."""

SIGN_PROBES = 16
"""Probes whose signs `signs` takes together."""

PLANES = 4
"""Bits of a probe's component where sketches are compared."""

_ROWS_AHEAD = 16
"""Rows that memory is asked for ahead of their use: the processor's own foresight does not get that far."""

_TURNED_AHEAD = 2 * ROW_BLOCK
"""The same where rows are turned round, block after block."""

_BLOCKS_AHEAD = 16
"""The same for sketches."""

_LINE = 64
"""Bytes that memory gives at once."""


def _above_one(dot: Dot, width: int) -> Function:
    """Rows from `first` to `end` (multiples of ROW_BLOCK) whose products with the one probe reach its cut.

    They and their products go to `rows` and `products` from place counts[0] on, which it raises. Returns the
    row at which it stopped: `end`, or where the `capacity` of places might not suffice.
    """
    f = _begin_above()
    cut = f.spread("i32", dot.lanes, f.load("%cuts", "i32", "0", align=4))
    full = f.variable("i1", "false")
    with f.loop("%first", "%end", dot.lanes) as row:
        with f.when(f.get(full, "i1")):
            f.give(row)
        numbers = [f.value(f"add i64 {row}, {i}") for i in range(dot.lanes)]
        rows = [f.at("%codes", f"[{width} x i8]", number) for number in numbers]
        for number in numbers:
            ahead = f.value(f"add i64 {number}, {_ROWS_AHEAD}")
            _fetch(f, f.at("%codes", f"[{width} x i8]", ahead), width)
        found = row_products(f, dot, rows, "%probes", width)
        reached = f.value(f"icmp sge <{dot.lanes} x i32> {found}, {cut}")
        bits = f.value(f"bitcast <{dot.lanes} x i1> {reached} to i{dot.lanes}")
        with f.when(f.value(f"icmp ne i{dot.lanes} {bits}, 0")):
            held = f.variable(f"<{dot.lanes} x i32>", found)
            _put(f, row, "0", held, bits, dot.lanes, full)
    f.give("%end")
    return f


def _above_many(dot: Dot, width: int) -> Function:
    """The same for several probes, a multiple of `dot.last_probes`.

    Probe i's rows and products go to places i * capacity and on, and are counted in counts[i].
    """
    f = _begin_above()
    full = f.variable("i1", "false")
    turned = f.space(f"[{width // 4 * ROW_BLOCK} x i32]")
    whole = f.value(f"and i64 %probe_count, -{dot.tile_probes}")
    with f.loop("%first", "%end", ROW_BLOCK) as row:
        with f.when(f.get(full, "i1")):
            f.give(row)
        ahead = f.at("%codes", f"[{width} x i8]", f.value(f"add i64 {row}, {_TURNED_AHEAD}"))
        columns(f, dot, "%codes", row, width, turned)
        with f.loop("0", whole, dot.tile_probes) as probe:
            _put_tile(f, dot, width, row, probe, turned, ahead, full)
        if dot.last_probes < dot.tile_probes:
            with f.loop(whole, "%probe_count", dot.last_probes) as probe:
                _put_tile(f, dot.of_last_probes(), width, row, probe, turned, ahead, full)
    f.give("%end")
    return f


def _put_tile(
    f: Function, dot: Dot, width: int, row: str, probe: str, turned: str, ahead: str, full: str
) -> None:
    """Writes: of the rows turned round, those that reach the cuts of a tile of probes go to their places."""
    block, passed = f"<{ROW_BLOCK} x i32>", f"<{ROW_BLOCK} x i1>"
    found = tile(f, dot, turned, f.at("%probes", f"[{width} x i8]", probe), width, ahead)
    first = f.at("%cuts", "i32", probe)
    cuts = [f.load(first, "i32", str(i), align=4) for i in range(dot.tile_probes)]
    spread = [f.spread("i32", ROW_BLOCK, cut) for cut in cuts]
    reached = [f.value(f"icmp sge {block} {one}, {cut}") for one, cut in zip(found, spread, strict=True)]
    any_reached = functools.reduce(lambda a, b: f.value(f"or {passed} {a}, {b}"), reached)
    bits = f.value(f"bitcast {passed} {any_reached} to i{ROW_BLOCK}")
    sums = f.space(f"[{dot.tile_probes * ROW_BLOCK} x i32]")
    marks = f.space(f"[{dot.tile_probes} x i{ROW_BLOCK}]")
    with f.when(f.value(f"icmp ne i{ROW_BLOCK} {bits}, 0")):
        for i, (one, where) in enumerate(zip(found, reached, strict=True)):
            f.do(f"store {block} {one}, ptr {f.at(sums, block, str(i))}, align 64")
            f.do(f"store {passed} {where}, ptr {f.at(marks, f'i{ROW_BLOCK}', str(i))}, align 2")
        with f.loop("0", str(dot.tile_probes)) as of_tile:
            number = f.value(f"add i64 {probe}, {of_tile}")
            mark = f.load(marks, f"i{ROW_BLOCK}", of_tile, align=2)
            _put(f, row, number, f.at(sums, block, of_tile), mark, ROW_BLOCK, full)


def _begin_above() -> Function:
    return Function(
        "above", codes="ptr", first="i64", end="i64", probes="ptr", probe_count="i64", cuts="ptr", rows="ptr",
        products="ptr", counts="ptr", capacity="i64",
    )  # fmt: skip


def _put(f: Function, row: str, number: str, sums: str, bits: str, width: int, full: str) -> None:
    """Writes: of `width` rows from `row` on, those whose bits are set go to the places of a probe.

    sums: where their products are. full: is set where there might be no room for as many again.
    """
    most = f.value(f"sub i64 %capacity, {width}")
    with f.set_bits(bits, width) as lane:
        count = f.load("%counts", "i64", number, align=8)
        free = f.value(f"add i64 {f.value(f'mul i64 {number}, %capacity')}, {count}")
        place = f.value(f"trunc i64 {f.value(f'add i64 {row}, {lane}')} to i32")
        f.set(f.at("%rows", "i32", free), "i32", place)
        f.set(f.at("%products", "i32", free), "i32", f.load(sums, "i32", lane))
        more = f.value(f"add i64 {count}, 1")
        f.set(f.at("%counts", "i64", number), "i64", more)
        with f.when(f.value(f"icmp sgt i64 {more}, {most}")):
            f.set(full, "i1", "true")


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
        found = row_products(f, dot, rows, "%probe", width)
        f.do(f"store <{dot.lanes} x i32> {found}, ptr {f.at('%out', 'i32', start)}, align 4")
    f.give("%count")
    return f


def _fetch(f: Function, address: str, size: int) -> None:
    """Writes: these bytes are soon needed."""
    for byte in range(0, size, _LINE):
        f.fetch(f.at(address, "i8", str(byte)))


def _signs(dot: Dot, width: int) -> Function:
    """Which products of `row_count` rows (a multiple of ROW_BLOCK) with all probes are above their biases.

    The probes are a multiple of SIGN_PROBES. `out`: a bit for each, a row's together, the first probe's the
    lowest of a byte.
    """
    f = Function(
        "signs", codes="ptr", row_count="i64", probes="ptr", probe_count="i64", biases="ptr", out="ptr"
    )  # fmt: skip
    turned = f.space(f"[{width // 4 * ROW_BLOCK} x i32]")
    block = f"<{ROW_BLOCK} x i32>"
    row_bytes = f.value("udiv i64 %probe_count, 8")
    with f.loop("0", "%row_count", ROW_BLOCK) as row:
        ahead = f.at("%codes", f"[{width} x i8]", f.value(f"add i64 {row}, {_TURNED_AHEAD}"))
        columns(f, dot, "%codes", row, width, turned)
        with f.loop("0", "%probe_count", SIGN_PROBES) as first:
            signs = "zeroinitializer"
            for done in range(0, SIGN_PROBES, dot.tile_probes):
                probe = f.value(f"add i64 {first}, {done}")
                found = tile(f, dot, turned, f.at("%probes", f"[{width} x i8]", probe), width, ahead)
                biases = f.at("%biases", "i32", probe)
                for i, one in enumerate(found):
                    bias = f.spread("i32", ROW_BLOCK, f.load(biases, "i32", str(i), align=4))
                    above = f.value(f"icmp sgt {block} {one}, {bias}")
                    bit = f"{block} splat (i32 {1 << done + i}), {block} zeroinitializer"
                    chosen = f.value(f"select <{ROW_BLOCK} x i1> {above}, {bit}")
                    signs = f.value(f"or {block} {signs}, {chosen}")
            byte = f.value(f"udiv i64 {first}, 8")
            for i in range(ROW_BLOCK):
                number = f.value(f"add i64 {row}, {i}")
                place = f.value(f"add i64 {f.value(f'mul i64 {number}, {row_bytes}')}, {byte}")
                sign = f.value(
                    f"trunc i32 {f.value(f'extractelement {block} {signs}, i64 {i}')} to i{SIGN_PROBES}"
                )
                f.do(f"store i{SIGN_PROBES} {sign}, ptr {f.at('%out', 'i8', place)}, align 1")
    f.give("%row_count")
    return f


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
    cut = f.spread("i64", SKETCH_ROWS, "%cut")
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
                of_word = f.load("%planes", "i64", str(plane * words + word), align=8)
                of_probe = f.spread("i64", SKETCH_ROWS, of_word)
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


_DECLARATIONS = """
declare i4 @llvm.cttz.i4(i4, i1)
declare i8 @llvm.cttz.i8(i8, i1)
declare i16 @llvm.cttz.i16(i16, i1)
declare <8 x i64> @llvm.ctpop.v8i64(<8 x i64>)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""


def declarations(dot: Dot) -> str:
    """The intrinsics that the functions call."""
    return (dot.coarser or dot).declaration + _DECLARATIONS


FUNCTIONS: dict[str, Callable[[Dot, int], Function]] = {
    "above_one": _above_one,
    "above_many": _above_many,
    "above_coarsely": lambda dot, width: _above_many(dot.coarser or dot, width),
    "products": _products,
    "signs": _signs,
    "sketch_below": lambda _, width: _sketch_below(width // 64),
}
"""By name, for a kind of processor and a width of rows."""
