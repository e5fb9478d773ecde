"""Looking at an image at several sizes, so that small faces are found and those that fill the frame too.

A detector knows faces up to a certain share of what it looks at: SCRFD at 640 pixels finds none of 198 faces
cropped so that they fill the image, at any size from 64 to 256 it finds them all (LFW). A second look at 160
pixels costs a fifteenth of the first one, and where the first is small already none is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from facerec.engine.base import Detections, Floats, Pixels
from facerec.engine.detection.nms import suppress
from facerec.errors import ConfigurationError, PackError

CELL = 32
"""Sides of a canvas are multiples of it, the coarsest stride of most detectors, so that their grids fit."""

MOST_ENLARGED = 1.5
"""Most times that an image is enlarged to reach a size."""

ENLARGED_TO = 272
"""Pixels of the longer side to which a smaller image is enlarged, as far as MOST_ENLARGED allows.

On LFW (250 pixels) accuracy and the agreement of int8 with f32 are as at 640 (99.3 %), for a fifth
of the time; between 250 and 375 pixels chance moves both by 0.3 points.
"""

WHOLE_FRAME = 352
"""A look at this many pixels or fewer finds nearly all faces that fill the frame, so a smaller one follows it
only where it has found none: of 396 faces cropped to their box or four fifths of it SCRFD-500M misses none up
to 416 pixels, SCRFD-2.5G none up to 288, 6 at 320 and 68 at 352.
"""

Canvas = tuple[int, int]
"""Height and width of the image that a detector looks at, in pixels."""
Find = Callable[[Pixels], Detections]
"""Finds faces in a canvas; boxes and landmarks in the canvas's pixels, in any order."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An image at the size at which a detector looks at it, in the top left corner of a black canvas."""

    canvas: Pixels
    """(height, width, 3) uint8 RGB."""
    scale: Floats
    """(2,) float32: canvas pixels for one pixel of the image, along x and y."""


def fixed_canvas(shape: tuple[int | None, ...]) -> Canvas | None:
    """The one canvas that a network with this input shape takes; None when it takes any.

    Raises PackError when the network does not take one RGB image, channels first.
    """
    if len(shape) != 4 or shape[1] not in (3, None) or shape[0] not in (1, None):
        raise PackError(f"a detector takes inputs of the shape (1, 3, height, width), not {shape}")
    height, width = shape[2:]
    if height is None or width is None:
        return None
    return height, width


def view(image: Pixels, size: int, canvas: Canvas | None) -> View:
    """Bring the longer side of an image (height, width, 3) uint8 to `size` pixels.

    canvas: for networks that take one only; None for one that holds the image, which spares a
    photograph of 3:2 a quarter of the work. Plain bilinear resizing: averaging first changes neither what is
    found nor recognition, even from 36 megapixels.
    """
    height, width = image.shape[:2]
    if canvas is not None:
        size = min(size, *canvas)
    factor = size / max(height, width)
    rows, columns = max(1, int(height * factor)), max(1, int(width * factor))
    paper = np.empty((*(canvas or _holding(rows, columns)), 3), np.uint8)
    paper[rows:] = 0
    paper[:rows, columns:] = 0
    if (rows, columns) == (height, width):
        paper[:rows, :columns] = image
    else:
        cv2.resize(image, (columns, rows), dst=paper[:rows, :columns])
    return View(paper, np.array([columns / width, rows / height], np.float32))


@dataclass(frozen=True, slots=True)
class Scales:
    """The sizes at which a detector looks, and how what it finds becomes one answer."""

    sizes: tuple[int, ...]
    """Longer sides of the image in pixels."""
    overlap: float
    """Intersection over union (0..1) above which two boxes are one face, at whichever sizes it was found."""
    canvas: Canvas | None = None
    """The network's only canvas, None when it takes any."""

    def __post_init__(self) -> None:
        """Raise ConfigurationError for no size, or one that no detector can look at."""
        if not self.sizes or min(self.sizes) < CELL:
            raise ConfigurationError(
                f"detection sizes are one or more numbers of pixels from {CELL} up, not {list(self.sizes)}"
            )

    def detect(self, image: Pixels, find: Find) -> Detections:
        """Faces of an image (height, width, 3) uint8 RGB, best first, in the image's pixels."""
        looks = []
        for size in self._sizes_for(max(image.shape[:2])):
            looks.append(_look(view(image, size, self.canvas), find))
            if size <= WHOLE_FRAME and len(looks[-1].boxes):
                break
        seen = _joined(looks)
        kept = suppress(seen.boxes, seen.scores, self.overlap)
        points = None if seen.landmarks is None else seen.landmarks[kept]
        return Detections(seen.boxes[kept], seen.scores[kept], points)

    def _sizes_for(self, longer: int) -> list[int]:
        """The sizes at which an image with this longer side may be looked at, largest first."""
        largest = max(CELL, longer, min(int(longer * MOST_ENLARGED), ENLARGED_TO))
        return sorted({min(size, largest) for size in self.sizes}, reverse=True)


def _look(seen: View, find: Find) -> Detections:
    """Faces of a view in the image's pixels."""
    faces = find(seen.canvas)
    points = None if faces.landmarks is None else faces.landmarks / seen.scale
    return Detections(faces.boxes / np.concatenate([seen.scale, seen.scale]), faces.scores, points)


def _joined(looks: list[Detections]) -> Detections:
    """What all looks have found, one after the other."""
    if len(looks) == 1:
        return looks[0]
    points = [faces.landmarks for faces in looks if faces.landmarks is not None]
    return Detections(
        np.concatenate([faces.boxes for faces in looks]),
        np.concatenate([faces.scores for faces in looks]),
        np.concatenate(points) if points else None,
    )


def _holding(rows: int, columns: int) -> Canvas:
    """A canvas for an image of this size: sides that are multiples of CELL, and of a quarter of the longer.

    So the photographs of all cameras come in few sizes, for each of which a runtime can be prepared.
    """
    step = max(rows, columns) / 4
    rows, columns = (_up(math.ceil(side / step) * step) for side in (rows, columns))
    return rows, columns


def _up(side: float) -> int:
    """The next multiple of CELL."""
    return math.ceil(side / CELL) * CELL
