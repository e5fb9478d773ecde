"""Looking at an image at several sizes, so that small faces are found and those that fill the frame too.

A detector knows faces up to a certain share of what it looks at: SCRFD at 640 pixels finds none of 198 faces
cropped so that they fill the image, at any size from 64 to 320 it finds them all (LFW). A second look at 160
pixels costs a fifteenth of the first one.
"""

from __future__ import annotations

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
"""Most times that an image is enlarged to reach a size.

Measured with SCRFD-500M: at 1.28 times already, all faces of 10 pixels and more are found, too small to
recognise anyone; accuracy on LFW (250 pixels) is the same at 312, 375 and 640 pixels, and 375 costs half of
640.
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

    canvas: for networks that take one only; None for the smallest that holds the image, which spares a
    photograph of 3:2 a third of the work. Plain bilinear resizing: averaging first changes neither what is
    found nor recognition, even from 36 megapixels.
    """
    height, width = image.shape[:2]
    if canvas is not None:
        size = min(size, *canvas)
    factor = size / max(height, width)
    rows, columns = max(1, int(height * factor)), max(1, int(width * factor))
    paper = np.zeros((*(canvas or (_up(rows), _up(columns))), 3), np.uint8)
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
    most_enlarged: float = MOST_ENLARGED
    """Most times that a small image is enlarged."""

    def __post_init__(self) -> None:
        """Raise ConfigurationError for no size, or one that no detector can look at."""
        if not self.sizes or min(self.sizes) < CELL:
            raise ConfigurationError(
                f"detection sizes are one or more numbers of pixels from {CELL} up, not {list(self.sizes)}"
            )

    def detect(self, image: Pixels, find: Find) -> Detections:
        """Faces of an image (height, width, 3) uint8 RGB, best first, in the image's pixels."""
        largest = max(CELL, int(max(image.shape[:2]) * self.most_enlarged))
        sizes = sorted({min(size, largest) for size in self.sizes}, reverse=True)
        found = [_look(view(image, size, self.canvas), find) for size in sizes]
        boxes = np.concatenate([faces.boxes for faces in found])
        scores = np.concatenate([faces.scores for faces in found])
        kept = suppress(boxes, scores, self.overlap)
        points = [faces.landmarks for faces in found if faces.landmarks is not None]
        return Detections(boxes[kept], scores[kept], np.concatenate(points)[kept] if points else None)


def _look(seen: View, find: Find) -> Detections:
    """Faces of a view in the image's pixels."""
    faces = find(seen.canvas)
    points = None if faces.landmarks is None else faces.landmarks / seen.scale
    return Detections(faces.boxes / np.concatenate([seen.scale, seen.scale]), faces.scores, points)


def _up(side: int) -> int:
    """The next multiple of CELL."""
    return -(-side // CELL) * CELL
