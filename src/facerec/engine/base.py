"""What the rest of the service knows of recognition: an `Engine`, and the parts that a model pack's engine
is made of.

Coordinates inside the engine are pixels of the upright image (EXIF orientation applied), x to the right, y
down, the centre of the first pixel at (0, 0). Images are (height, width, 3) uint8 in RGB order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.domain import Attributes, DetectedFace, EmbeddingContract, Portrait

Pixels = NDArray[np.uint8]
"""(height, width, 3) uint8, RGB."""
Floats = NDArray[np.float32]


class LandmarkLayout(StrEnum):
    """Which points a landmark array holds, in order. "Left" and "right" are the image's."""

    FIVE = "five"
    """Left eye centre, right eye centre, nose tip, left mouth corner, right mouth corner (ArcFace, SCRFD,
    YuNet)."""
    EYE_CORNERS = "eye_corners"
    """dlib's five: right eye outer, inner corner; left eye outer, inner corner; base of the nose."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N faces as arrays, best score first."""

    boxes: Floats
    """(N, 4) float32: left, top, right, bottom in pixels; may reach beyond the image."""
    scores: Floats
    """(N,) float32, 0..1: confidence that this is a face."""
    landmarks: Floats | None
    """(N, 5, 2) float32 x, y in pixels, layout FIVE; None where the detector gives boxes only."""


class Detector(Protocol):
    """Finds faces."""

    def detect(self, image: Pixels) -> Detections:
        """Find the faces of one image; an image without a face gives N = 0."""


class Landmarker(Protocol):
    """Places landmarks in given boxes, for detectors that give boxes only."""

    layout: LandmarkLayout

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        """Points (N, 5, 2) float32 in pixels for boxes (N, 4)."""


class Aligner(Protocol):
    """Cuts the recogniser's input from an image."""

    size: int
    """Side of a crop in pixels."""

    def align(self, image: Pixels, landmarks: Floats) -> Pixels:
        """Crops (N, size, size, 3) uint8 RGB for landmarks (N, 5, 2) in the pack's layout."""


class Recognizer(Protocol):
    """Turns aligned crops into embeddings."""

    dimension: int

    def embed(self, crops: Pixels) -> Floats:
        """Embeddings (N, dimension) float32, not yet centred or normalised, for crops (N, size, size, 3)
        RGB."""


class AttributeModel(Protocol):
    """Judges attributes of faces."""

    provides: frozenset[str]
    """Field names of `facerec.domain.Attributes` that this model fills."""

    def describe(self, image: Pixels, boxes: Floats, landmarks: Floats) -> list[Attributes]:
        """Attributes of each of the N faces; fields outside `provides` are None."""


class DenseLandmarker(Protocol):
    """Places many points on faces, beyond the five that alignment needs."""

    names: Mapping[str, int]
    """Row of each point that Rekognition names (`LandmarkType`); its "left" is the image's."""

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        """Points (N, P, 2) float32 x, y in pixels for boxes (N, 4)."""


class QualityModel(Protocol):
    """Says how well a picture of a face serves recognition."""

    def score(self, image: Pixels, landmarks: Floats) -> float:
        """Quality 0..1 of the face with landmarks (5, 2) in pixels, layout FIVE."""


class LivenessModel(Protocol):
    """Says whether a picture shows a face itself, or a print or a screen that shows one."""

    def score(self, image: Pixels, box: Floats) -> float:
        """Probability 0..1 that the face in a box (4,) in pixels is live."""


class Session(Protocol):
    """One network, loaded by a runtime. Safe to call from several threads."""

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    input_shape: tuple[int | None, ...]
    """Shape of the first input; None where it is dynamic."""

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once; the outputs in the order of `output_names`, as arrays the caller owns."""


class Picture:
    """A decoded image: upright RGB pixels. Never changed after it was made."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    @property
    def pixels(self) -> Pixels:
        """All pixels, (height, width, 3) uint8 RGB."""
        return self._pixels

    @property
    def width(self) -> int:
        """Width in pixels after EXIF orientation."""
        return int(self._pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels after EXIF orientation."""
        return int(self._pixels.shape[0])

    def reduced(self, most: float) -> tuple[Pixels, int]:
        """The picture shrunk n times along both sides, and n, which is at most `most` (or 1).

        A picture that can be had smaller at less cost than whole gives that; any other gives all its pixels.
        The pixels k of both are related by `n * (k + 0.5) - 0.5`.
        """
        return self._pixels, 1


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A face of a picture: what the service answers, and the points that alignment needs."""

    face: DetectedFace
    box: Floats
    """(4,) float32 left, top, right, bottom in pixels."""
    landmarks: Floats
    """(5, 2) float32 pixels, in the pack's layout."""
    shrink: int = 1
    """How many times the picture may be shrunk for this face (see `Picture.reduced`): it is judged and
    embedded as it looks there."""


class Calibration(Protocol):
    """Turns cosines into similarities and back; monotone. 80 is the pack's working point (false match rate
    1e-3)."""

    def similarity(self, cosine: float) -> float:
        """Similarity 0..100 for a cosine -1..1."""

    def cosine(self, similarity: float) -> float:
        """The least cosine whose similarity reaches `similarity` (0..100)."""


class Engine(Protocol):
    """Detects and embeds faces. Safe to call from many threads; concurrent calls share batches.

    Raises InvalidImage or ImageTooLarge for bytes that cannot be used, Overloaded when too much waits,
    Cancelled when the current request's caller has gone.
    """

    contract: EmbeddingContract
    calibration: Calibration
    attributes: frozenset[str]
    """Field names of `Attributes` that this engine can fill."""
    points: frozenset[str]
    """Names of the points (`LandmarkType`) that this engine places when every attribute is asked for."""
    judges_liveness: bool
    """Whether `liveness` knows anything."""

    @property
    def ready(self) -> bool:
        """Whether it takes work: it is not closed, and no thread of it has died."""

    def turn(self) -> AbstractContextManager[None]:
        """A block whose steps on one picture wait for their turn once, before the first of them, and not
        before each. Nothing else may be waited for in it.
        """

    def decode(self, data: bytes) -> Picture:
        """Decode an image within the limits, upright."""

    def frame(self, take: Callable[[], Picture | None], nbytes: int) -> Picture | None:
        """The picture that `take` makes, counted as one that is decoded here: a frame of a video.

        nbytes: what it takes in memory. Waits for its turn and is never refused; None where `take` has none.
        """

    def detect(self, picture: Picture, attributes: frozenset[str] = frozenset()) -> list[FoundFace]:
        """Faces of the picture, largest box first, at most the configured number, with the attributes asked
        for.

        Attributes outside `self.attributes` are left None.
        """

    def embed(self, picture: Picture, faces: Sequence[FoundFace]) -> Floats:
        """Unit embeddings (N, dimension) float32 of the given faces, centred by the pack's mean where it has
        one."""

    def examine(self, picture: Picture, faces: Sequence[FoundFace]) -> list[Portrait]:
        """How the given faces do as portraits; with a score where the pack has a quality network."""

    def liveness(self, picture: Picture, faces: Sequence[FoundFace]) -> list[float] | None:
        """How surely each of the given faces is live, 0..100; None where the pack has no such networks."""

    def close(self) -> None:
        """Stop the threads and free the networks."""
