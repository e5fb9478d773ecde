"""A network that says how well a picture of a face serves recognition: eDifFIQA's interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerec.engine.alignment.arcface import ArcFaceAligner
from facerec.engine.base import Floats, Pixels, Session
from facerec.engine.runtime.compiled_forms import CompiledForms
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session
from facerec.errors import PackError

SIDE = 112
PIXELS = PixelInput("rgb", mean=127.5, std=127.5)
"""As eDifFIQA was trained: an ArcFace crop, RGB, -1 to 1."""


def open_quality_network(
    file: Path, *, runtime: str, threads: int, compiled: Path | None = None
) -> QualityNetwork:
    """Open a pack's quality network. Raises PackError where it can not be used; see `open_session`.

    compiled: folder of compiled networks (`CompiledForms`).
    """
    return QualityNetwork(
        open_session(
            file,
            runtime=runtime,
            threads=threads,
            input_shape=(1, 3, SIDE, SIDE),
            pixels=PIXELS,
            forms=CompiledForms.of(file, compiled),
        )
    )


class QualityNetwork:
    """Scores faces; implements `facerec.engine.base.QualityModel`."""

    def __init__(self, session: Session) -> None:
        """session: opened with `PIXELS`. Raises PackError when the network gives no score of a crop."""
        self._session = session
        self._aligner = ArcFaceAligner(SIDE)
        self._run(np.zeros((1, SIDE, SIDE, 3), np.uint8))

    def score(self, image: Pixels, landmarks: Floats) -> float:
        """Quality 0..1 of the face with landmarks (5, 2) in pixels, layout FIVE."""
        return min(max(self._run(self._aligner.align(image, landmarks[None])), 0.0), 1.0)

    def _run(self, crops: Pixels) -> float:
        """What the network says of one crop."""
        output = self._session.run(crops)[0]
        if output.size != 1:
            raise PackError(f"a quality network gives one score of a crop, not {output.size} numbers")
        return float(output.ravel()[0])
