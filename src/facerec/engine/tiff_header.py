"""TIFF's directory (TIFF 6.0, section 2), which Exif uses as well: sizes, orientation, and a body of one
page."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from facerec.errors import InvalidImage

WIDTH, HEIGHT, ORIENTATION, TILE_WIDTH, TILE_HEIGHT = 256, 257, 274, 322, 323
MAX_SAMPLES = 4
"""Most samples a pixel: CMYK's, or those of RGB with alpha."""
MAX_TILE_PIXELS = 4096 * 4096
"""Most pixels of a tile: a decoder takes memory for a whole tile, however small the picture is."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value of each type: BYTE, ASCII, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED, SSHORT, SLONG, ..."""
COMPRESSION, SAMPLES = 259, 277
# Photometric interpretation, fill order, rows per strip, planar configuration.
SINGLE = frozenset({WIDTH, HEIGHT, COMPRESSION, 262, 266, SAMPLES, 278, 284, TILE_WIDTH, TILE_HEIGHT})
# Bits per sample, strip offsets and byte counts, colour map, tile offsets and byte counts, ink set, extra
# samples, sample format.
SEVERAL = frozenset({258, 273, 279, 320, 324, 325, 332, 338, 339})


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a directory: its tag, how many values, their place in the file and the first as a
    number."""

    tag: int
    count: int
    first: int
    raw: bytes
    fits: bool
    """Whether the values lie inside the file."""


def _order(data: bytes) -> str:
    """The byte order sign of `struct` for a TIFF header."""
    return "<" if data[:2] == b"II" else ">"


def _entries(data: bytes) -> tuple[int, Iterator[_Entry]]:
    """Offset of the first directory, and its entries."""
    order = _order(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    return start, (_entry(data, order, start + 2 + 12 * index) for index in range(count))


def _entry(data: bytes, order: str, at: int) -> _Entry:
    """The entry at `at`."""
    tag, kind, count = struct.unpack_from(f"{order}HHI", data, at)
    size = SIZES.get(kind, 0) * count
    if size <= 4:
        place = at + 8
    else:
        (place,) = struct.unpack_from(f"{order}I", data, at + 8)
    fits = size > 0 and place + size <= len(data)
    layout = {3: "H", 4: "I"}.get(kind)
    first = struct.unpack_from(order + layout, data, place)[0] if fits and layout else 0
    return _Entry(tag, count, first, data[at : at + 12], fits)


def orientation_of(exif: bytes) -> int:
    """Exif's orientation, 1..8, in a TIFF structure; 1 where there is none or it cannot be read."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        _, entries = _entries(exif)
        for entry in entries:
            if entry.tag == ORIENTATION:
                return entry.first if 1 <= entry.first <= 8 else 1
    except struct.error:
        pass
    return 1


def read_tiff(data: bytes) -> tuple[int, int, int, bytes]:
    """Width, height and orientation of the first page, and a body whose only directory holds what decoding
    needs.

    Raises ValueError or struct.error for a directory that is cut off or points beyond the file.
    """
    order = _order(data)
    start, entries = _entries(data)
    wanted: dict[int, _Entry] = {}
    orientation = 1
    for entry in entries:
        if entry.tag == ORIENTATION:
            orientation = entry.first
        elif entry.tag in SINGLE or entry.tag in SEVERAL:
            if not entry.fits or (entry.tag in SINGLE and entry.count != 1):
                raise ValueError(f"tag {entry.tag} is broken")
            wanted.setdefault(entry.tag, entry)
    if WIDTH not in wanted or HEIGHT not in wanted:
        raise ValueError("the size is missing")
    if COMPRESSION in wanted and wanted[COMPRESSION].first != 1:
        raise InvalidImage(
            "Request has invalid image format: found a compressed TIFF file; TIFF is accepted uncompressed, "
            "and PNG holds the same picture in less"
        )
    if SAMPLES in wanted and wanted[SAMPLES].first > MAX_SAMPLES:
        raise ValueError(f"{wanted[SAMPLES].first} samples a pixel")
    tile_width, tile_height = (wanted[tag].first if tag in wanted else 0 for tag in (TILE_WIDTH, TILE_HEIGHT))
    if tile_width * tile_height > MAX_TILE_PIXELS:
        raise ValueError(f"tiles of {tile_width}x{tile_height} pixels")
    kept = [entry.raw for _, entry in sorted(wanted.items())]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    body = bytearray(data)
    # Never longer than the directory it replaces: entries only fall away, and each had its link to a next
    # page.
    body[start : start + len(directory)] = directory
    return wanted[WIDTH].first, wanted[HEIGHT].first, orientation, bytes(body)
