"""What an encoded image says of itself before it is decoded: format, size, orientation; and a body fit to
decode.

The body is the image without its metadata, further frames and pages: a decoder then sees nothing of a
hostile file but the picture that is wanted. Layouts follow ITU-T T.81 (JPEG), the PNG specification (third
edition), GIF89a, Microsoft's BITMAPINFOHEADER, the WebP container specification, TIFF 6.0 and, for the
orientation, Exif 2.3 tag 0x0112.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facerec.engine.tiff_header import orientation_of, read_tiff
from facerec.errors import InvalidImage

ACCEPTED = "JPEG, PNG, WebP, GIF, BMP and TIFF"
MAX_SCANS = 30
"""Most scans of a JPEG. Encoders write up to a dozen; each costs a pass over the whole picture, so that
thousands of tiny ones would keep a decoder busy for minutes."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header's facts. Sizes in pixels as stored, before orientation (1..8, Exif's values) is applied."""

    format: str
    """"JPEG", "PNG", "WEBP", "GIF", "BMP" or "TIFF"."""
    width: int
    height: int
    orientation: int
    body: bytes


def read_header(data: bytes) -> Header:
    """Recognise a format by its first bytes and read its header; nothing is decoded or allocated for pixels.

    Raises InvalidImage for formats that are not accepted, and for headers that are cut off or contradict
    themselves.
    """
    for magic, name, reader in _READERS:
        if data.startswith(magic) and (name != "WEBP" or data[8:12] == b"WEBP"):
            try:
                width, height, orientation, body = reader(data)
            except (struct.error, IndexError, ValueError) as error:
                raise invalid(f"a {name} file with a broken header") from error
            if width < 1 or height < 1:
                raise invalid(f"a {name} file of {width}x{height} pixels")
            return Header(name, width, height, orientation if 1 <= orientation <= 8 else 1, body)
    raise invalid(_describe(data))


def invalid(found: str) -> InvalidImage:
    """The error for bytes that cannot be used: AWS's words, then what was found and what would be right."""
    return InvalidImage(f"Request has invalid image format: found {found}; accepted are {ACCEPTED}")


def _describe(data: bytes) -> str:
    """Name what was sent instead of an image, for the error message."""
    if not data:
        return "no bytes"
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    for magic, name in _REFUSED:
        if data.startswith(magic):
            return name
    start = data[:256]
    if all(byte in b"\t\n\r" or byte >= 0x20 for byte in start):
        return "text"
    return "bytes of no known image format"


_REFUSED = (
    (b"%PDF", "a PDF file"),
    (b"%!PS", "a PostScript file"),
    (b"<svg", "an SVG file"),
    (b"<?xml", "an XML or SVG file"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 file"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"PK\x03\x04", "a ZIP file"),
)


def _read_jpeg(data: bytes) -> tuple[int, int, int, bytes]:
    """Width, height, orientation and a body without application segments, but for JFIF's and Adobe's
    (colour)."""
    kept = [data[:2]]
    width = height = 0
    orientation = 1
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("a marker was expected")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # stands alone, without a length
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError("a segment is cut off")
        if marker == 0xDA:  # start of scan: the rest is picture
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if width:
                raise ValueError("more than one frame header")
            height, width = struct.unpack_from(">HH", data, at + 5)
        is_exif = marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0"
        if is_exif and orientation == 1:
            orientation = orientation_of(data[at + 10 : end])
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[at:end])
        at = end
    if _count_pairs(data, b"\xff\xda", at) > MAX_SCANS:
        raise ValueError("too many scans")
    kept.append(data[at:])
    return width, height, orientation, b"".join(kept)


def _count_pairs(data: bytes, pair: bytes, start: int) -> int:
    """How often two unlike bytes follow each other; in a sixth of the time of `bytes.count`, which for a
    large photograph is two milliseconds.
    """
    values = np.frombuffer(data, np.uint8, offset=start)
    wanted = int.from_bytes(pair, "little")
    found = 0
    for rest in (values, values[1:]):
        found += int(np.count_nonzero(rest[: len(rest) // 2 * 2].view("<u2") == wanted))
    return found


def _read_png(data: bytes) -> tuple[int, int, int, bytes]:
    """Width, height, orientation (chunk eXIf) and a body of the chunks that make the default image."""
    if data[12:16] != b"IHDR":
        raise ValueError("the first chunk is not IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    kept = [data[:8]]
    orientation = 1
    at = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError("a chunk is cut off")
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[at:end])
        elif kind == b"eXIf":
            orientation = orientation_of(data[at + 8 : end - 4])
        if kind == b"IEND":
            return width, height, orientation, b"".join(kept)
        at = end


def _read_gif(data: bytes) -> tuple[int, int, int, bytes]:
    """Width, height and a body that ends after the first frame. A frame may reach beyond the logical
    screen."""
    screen_width, screen_height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _colour_table(flags)
    while data[at] == 0x21:  # extension
        at = _skip_blocks(data, at + 2)
    if data[at] != 0x2C:
        raise ValueError("no frame")
    left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
    if width < 1 or height < 1:
        raise ValueError("an empty frame")
    end = _skip_blocks(data, at + 10 + _colour_table(flags) + 1)
    return max(screen_width, left + width), max(screen_height, top + height), 1, data[:end] + b";"


def _colour_table(flags: int) -> int:
    """Bytes of a GIF colour table that `flags` announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """Where the sub-blocks of a GIF that begin at `at` end."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _read_bmp(data: bytes) -> tuple[int, int, int, bytes]:
    """Width and height; rows may be stored from the top, which shows as a negative height."""
    (header_size,) = struct.unpack_from("<I", data, 14)
    layout = "<HH" if header_size == 12 else "<ii"
    width, height = struct.unpack_from(layout, data, 18)
    return width, abs(height), 1, data


def _read_webp(data: bytes) -> tuple[int, int, int, bytes]:
    """Width and height of the canvas or the one frame, and the orientation of the chunk EXIF."""
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        return width, height, _webp_orientation(data), data
    if kind == b"VP8L":
        if data[20] != 0x2F:
            raise ValueError("the signature of VP8L is missing")
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), 1, data
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise ValueError("the start code of VP8 is missing")
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF, 1, data
    raise ValueError("the first chunk is unknown")


def _webp_orientation(data: bytes) -> int:
    """Orientation in an extended WebP file; 1 without one."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
            return orientation_of(exif.removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    return 1


_READERS: tuple[tuple[bytes, str, Callable[[bytes], tuple[int, int, int, bytes]]], ...] = (
    (b"\xff\xd8\xff", "JPEG", _read_jpeg),
    (b"\x89PNG\r\n\x1a\n", "PNG", _read_png),
    (b"RIFF", "WEBP", _read_webp),
    (b"GIF87a", "GIF", _read_gif),
    (b"GIF89a", "GIF", _read_gif),
    (b"BM", "BMP", _read_bmp),
    (b"II*\0", "TIFF", read_tiff),
    (b"MM\0*", "TIFF", read_tiff),
)
