"""Passive liveness: whether a picture shows a face itself, or a print or a screen that shows one.

MiniFASNet's interface: a network looks at the face with what is around it, where an edge of paper, a frame or
a screen's pattern would be seen. Networks that look at different distances are asked together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facerec.engine.base import Floats, Pixels, Session
from facerec.engine.runtime.compiled_forms import CompiledForms
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session
from facerec.errors import PackError

SIDE = 80
PIXELS = PixelInput("bgr", mean=0.0, std=1.0)
"""As MiniFASNet was trained: BGR, 0 to 255."""
CLASSES, LIVE = 3, 1
"""How many classes a network tells apart, and which of them is a live face."""


@dataclass(frozen=True, slots=True)
class _View:
    """A network, and how many times a face's box is grown for it."""

    session: Session
    scale: float


def open_liveness_model(
    networks: Sequence[tuple[Path, float]], *, runtime: str, threads: int, compiled: Path | None = None
) -> LivenessNetworks:
    """Open a pack's liveness networks: their files, and how many times a face's box is grown for each.

    compiled: folder of compiled networks (`CompiledForms`).

    Raises PackError where one can not be used; see `open_session`.
    """
    return LivenessNetworks(
        [
            _View(
                open_session(
                    file,
                    runtime=runtime,
                    threads=threads,
                    input_shape=(1, 3, SIDE, SIDE),
                    pixels=PIXELS,
                    forms=CompiledForms.of(file, compiled),
                ),
                scale,
            )
            for file, scale in networks
        ]
    )


class LivenessNetworks:
    """Judges faces by the mean of its networks; implements `facerec.engine.base.LivenessModel`."""

    def __init__(self, views: Sequence[_View]) -> None:
        """views: at least one, opened with `PIXELS`. Raises PackError when a network gives other than
        `CLASSES` numbers of a crop."""
        self._views = tuple(views)
        for view in self._views:
            _live(view.session, np.zeros((SIDE, SIDE, 3), np.uint8))

    def score(self, image: Pixels, box: Floats) -> float:
        """Probability 0..1 that the face in a box (4,) of left, top, right, bottom in pixels is live."""
        return float(
            np.mean([_live(view.session, surroundings(image, box, view.scale)) for view in self._views])
        )


def surroundings(image: Pixels, box: Floats, scale: float) -> Pixels:
    """What is around a face, (SIDE, SIDE, 3): its box (4,) grown `scale` times about its centre.

    Where that reaches beyond the image it is moved back inside, not filled up, and it grows less where it
    would be larger than the image: the networks were trained on such crops, on boxes in whole pixels, and on
    bilinear resizing.
    """
    height, width = image.shape[:2]
    left, top = np.trunc(box[:2].astype(np.float64)).tolist()
    across, down = np.maximum(np.trunc(box[2:].astype(np.float64) - box[:2]), 1.0).tolist()
    grown = min(scale, (width - 1) / across, (height - 1) / down)
    first_column, last_column = _span(left + across / 2, across * grown, width)
    first_row, last_row = _span(top + down / 2, down * grown, height)
    part = image[first_row : last_row + 1, first_column : last_column + 1]
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def _span(centre: float, length: float, size: int) -> tuple[int, int]:
    """First and last of the pixels 0..size - 1 that a length about a centre covers, moved inside."""
    start = min(max(centre - length / 2, 0.0), size - 1 - length)
    return max(int(start), 0), min(int(start + length), size - 1)


def _live(session: Session, crop: Pixels) -> float:
    """Probability 0..1 that one network gives to a live face."""
    logits = session.run(crop[None])[0].ravel().astype(np.float64)
    if logits.size != CLASSES:
        raise PackError(f"a liveness network gives {CLASSES} numbers of a crop, not {logits.size}")
    weights = np.exp(logits - logits.max())
    return float(weights[LIVE] / weights.sum())
