"""From encoded bytes to upright RGB pixels, within limits that are checked before anything is decoded."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facerec.engine.base import Picture, Pixels
from facerec.engine.image_header import Header, invalid, read_header
from facerec.errors import ImageTooLarge, InvalidImage

MAX_SIDE = 65_500
"""Most pixels along a side: what libjpeg, the strictest of the decoders, can read."""
MAX_GIF_PIXELS = 80_000_000
"""GIFs are compared with Pillow's own limit, which would print a warning; a stricter one of ours comes
first."""
BACKGROUND = (128, 128, 128)
"""What shows through transparent pixels: mid grey, against which neither dark hair nor fair skin vanishes."""


def decode(data: bytes, *, max_pixels: int, needed_side: int | None = None) -> Picture:
    """Decode the first frame of a JPEG, PNG, WebP, GIF, BMP or TIFF image to upright 8-bit RGB.

    The orientation that the file states is applied; transparency is composited on mid grey; CMYK, palettes,
    greys and 16-bit samples become RGB of 8 bits. Colour profiles are ignored. Safe to call from many
    threads.

    needed_side: pixels that the longer side has to keep at first. A JPEG is then decoded shrunk as far as
    that allows, in a fraction of the time; the picture decodes what else is asked of it when it is. None:
    whole.

    Raises InvalidImage for other formats and for broken or truncated files, and ImageTooLarge for more than
    `max_pixels` pixels or a side above 65 500, before memory is taken for the pixels.
    """
    return decode_pixels(accepted_header(data, max_pixels=max_pixels), needed_side=needed_side)


def accepted_header(data: bytes, *, max_pixels: int) -> Header:
    """The header of an image that may be decoded; nothing is decoded yet. Raises as `decode` does for one
    that may not.
    """
    header = read_header(data)
    _check_size(header, max_pixels)
    return header


def decode_pixels(header: Header, *, needed_side: int | None = None) -> Picture:
    """The picture of an accepted header; see `decode`. Raises InvalidImage for broken or truncated files."""
    if needed_side is None or header.format != "JPEG":
        return Picture(_decode(header, 1))
    picture = JpegPicture(header)
    picture.reduced(max(header.width, header.height) / needed_side)
    return picture


def decoded_bytes(header: Header) -> int:
    """Bytes of all pixels of an image: the most that a picture holds, but for a JPEG that is decoded at two
    sizes, which may take a quarter more.
    """
    return header.width * header.height * 3


class JpegPicture(Picture):
    """A JPEG that is decoded at the sizes that are asked for, each once.

    JPEG codes blocks of 8 x 8 pixels by their frequencies; leaving out the higher half, or three quarters, or
    all, gives the picture well filtered at a half, a quarter or an eighth of its size. Only sizes that divide
    both sides are used, so that the pixels of all sizes lie on one grid in every orientation.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._sizes: dict[int, Pixels] = {}
        self._decoding = threading.Lock()
        self._turned = header.orientation >= 5

    @property
    def pixels(self) -> Pixels:
        """All pixels, (height, width, 3) uint8 RGB."""
        return self._at(1)

    @property
    def width(self) -> int:
        """Width in pixels after EXIF orientation."""
        return self._header.height if self._turned else self._header.width

    @property
    def height(self) -> int:
        """Height in pixels after EXIF orientation."""
        return self._header.width if self._turned else self._header.height

    def reduced(self, most: float) -> tuple[Pixels, int]:
        """The picture shrunk 8, 4, 2 times or not at all: the most that is not above `most`."""
        for shrink in (8, 4, 2):
            if shrink <= most and self.width % shrink == 0 and self.height % shrink == 0:
                return self._at(shrink), shrink
        return self._at(1), 1

    def _at(self, shrink: int) -> Pixels:
        """Pixels of the picture shrunk so many times."""
        with self._decoding:
            if shrink not in self._sizes:
                self._sizes[shrink] = _decode(self._header, shrink)
            return self._sizes[shrink]


def _decode(header: Header, shrink: int) -> Pixels:
    """Upright pixels of an image; a JPEG may be shrunk 2, 4 or 8 times. Raises InvalidImage."""
    pixels = _decode_sound_jpeg(header, shrink) if header.format == "JPEG" else None
    if pixels is None:
        pixels = _decode_with_care(header, shrink)
    return _upright(pixels, header.orientation)


def _decode_sound_jpeg(header: Header, shrink: int) -> Pixels | None:
    """Stored pixels of a JPEG without a fault, by libjpeg-turbo; None for one to be decoded with care.

    The same pixels as Pillow's, which uses the same library, in half of the time: Pillow copies them twice.
    It gives up at the first thing that is not as it should be, where others go on and fill with grey.
    """
    height, width = header.height // shrink, header.width // shrink
    # The decoder takes its own view of the size; it can not write more than what was checked.
    paper = np.empty((height, width, 3), np.uint8)
    try:
        pixels = simplejpeg.decode_jpeg(
            header.body, "RGB", min_height=height, min_width=width, buffer=paper, strict=True
        )
    except ValueError:
        return None
    return cast(Pixels, pixels) if pixels.shape == paper.shape else None


def _decode_with_care(header: Header, shrink: int) -> Pixels:
    """Stored pixels of an image by Pillow, which forgives the small faults that real files have."""
    try:
        image = _open(header)
        if shrink > 1:
            wanted = header.width // shrink, header.height // shrink
            image.draft(None, wanted)
            if image.size != wanted:
                raise invalid(f"a {header.format} file that does not shrink")
        return _to_rgb(image)
    except InvalidImage:
        raise
    except Exception as error:
        # Decoders raise whatever they like on broken files; to the caller the image is at fault.
        raise invalid(f"a {header.format} file that is damaged or cut off") from error


def _check_size(header: Header, max_pixels: int) -> None:
    """Refuse by what the header announces."""
    limit = min(max_pixels, MAX_GIF_PIXELS) if header.format == "GIF" else max_pixels
    if header.width * header.height > limit or max(header.width, header.height) > MAX_SIDE:
        raise ImageTooLarge(
            f"Image size is too large: {header.width}x{header.height} pixels; "
            f"at most {limit} pixels and {MAX_SIDE} along a side are accepted"
        )


def _open(header: Header) -> ImageFile:
    """Pillow's decoder of one format, entered directly: no other format is tried and no global state is
    asked."""
    decoders: dict[str, Callable[[io.BytesIO], ImageFile]] = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "WEBP": WebPImageFile,
        "GIF": GifImageFile,
        "BMP": BmpImageFile,
        "TIFF": TiffImageFile,
    }
    image = decoders[header.format](io.BytesIO(header.body))
    if image.size != (header.width, header.height):
        raise invalid(f"a {header.format} file with two sizes")
    return image


def _to_rgb(image: Image.Image) -> Pixels:
    """Pixels (height, width, 3) uint8 RGB of an image in any of Pillow's modes."""
    if image.mode.startswith("I;16"):
        image.load()
        grey = (np.asarray(image).astype(np.uint16, copy=False) >> 8).astype(np.uint8)
        return cast(Pixels, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
    if image.mode in ("I", "F"):
        raise invalid("samples of 32 bits")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        front = image.convert("RGBA")
        back = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        back.alpha_composite(front)
        return np.asarray(back.convert("RGB"), dtype=np.uint8)
    # convert() copies what is RGB already: a fifth of the time of a whole JPEG, less of a shrunk one.
    image.load()
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels as Exif's orientation (1..8) says they are to be seen."""
    if orientation == 2:
        turned = cv2.flip(pixels, 1)
    elif orientation == 3:
        turned = cv2.rotate(pixels, cv2.ROTATE_180)
    elif orientation == 4:
        turned = cv2.flip(pixels, 0)
    elif orientation == 5:
        turned = cv2.transpose(pixels)
    elif orientation == 6:
        turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
    elif orientation == 7:
        turned = cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
    elif orientation == 8:
        turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
    else:
        return pixels
    return cast(Pixels, turned)
