"""From encoded bytes to upright RGB pixels, within limits that are checked before anything is decoded."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from facerec.engine.base import Picture
from facerec.errors import ImageTooLarge, InvalidImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode an image, upright; raises InvalidImage or ImageTooLarge."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageTooLarge(f"Image size is too large: {width}x{height} pixels, limit {max_pixels}")
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except ImageTooLarge:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge from error
    except Exception as error:
        raise InvalidImage from error
    return Picture(np.asarray(upright, dtype=np.uint8))
