"""An engine without networks, for tests of the other rooms: it reads faces that `draw` has drawn.

A drawn face is a square with a magenta frame around a board of black and white cells: a code of the face's
identity, of its variation and of its faults. Reading the code back survives JPEG and moderate scaling. The
engine keeps every promise of `Engine`: same limits, same errors, boxes as ratios, unit embeddings.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facerec.domain import (
    AgeRange,
    Attributes,
    BoundingBox,
    DetectedFace,
    EmbeddingContract,
    Gender,
    Landmark,
    Portrait,
    Pose,
    Quality,
)
from facerec.engine.base import Calibration, Floats, FoundFace, Picture, Pixels
from facerec.engine.calibration import Knots
from facerec.engine.decoding import decode
from facerec.engine.pose import FACE, FIVE_POINTS
from facerec.errors import FacerecError
from facerec.observability import current_request

DIMENSION = 128
BOARD = 10
"""Cells along a side of a face's board."""
SMALLEST = 24
"""Least side in pixels of a drawn face: a frame of 2 and cells of 2 pixels."""
IDENTITY_BITS, VARIATION_BITS, CHECK_BITS = 64, 16, 16
MAGENTA, WHITE, BLACK, GREY = (255, 0, 255), (255, 255, 255), (0, 0, 0), (96, 112, 96)
DARK_MAGENTA = (190, 0, 190)
"""The frame of a face that is not live."""

# Where the five points lie on a face's square, in ratios of its side.
POINTS = (
    ("eyeLeft", 0.3, 0.35),
    ("eyeRight", 0.7, 0.35),
    ("nose", 0.5, 0.55),
    ("mouthLeft", 0.35, 0.75),
    ("mouthRight", 0.65, 0.75),
)


@dataclass(frozen=True, slots=True)
class FakeFace:
    """A face to draw: whose it is, and its faults, each of which the engine reports as it would a real one.

    dim: brightness 2. blurred: sharpness 2. turned: yaw 80 degrees. uncertain: confidence 30 per cent. small:
    drawn 24 pixels wide. spoofed: liveness 5.
    """

    identity: str
    dim: bool = False
    blurred: bool = False
    turned: bool = False
    uncertain: bool = False
    small: bool = False
    spoofed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How the faces of a picture are turned, in degrees (-127..127) as `Pose` has them.

    flat: their points lie in one plane, as those of a photograph that is turned, whatever the pose is said to
    be. It is kept in two pixels, and lost in formats that are not lossless.
    """

    yaw: int = 0
    pitch: int = 0
    flat: bool = False


STILL = Motion()
MARK = (7, 9)
"""What tells a picture that was drawn with a motion."""


def draw(
    *identities: str | FakeFace,
    size: tuple[int, int] = (640, 480),
    variation: int = 0,
    dim: bool = False,
    encoding: str = "PNG",
    motion: Motion = STILL,
    share: float = 0.85,
) -> bytes:
    """An encoded image in which `FakeEngine` finds one face for each identity, in this order, largest first.

    size: width and height in pixels. variation: 0..65535, another picture of the same people (other bytes;
    the embeddings' cosine with other variations is above 0.9). dim: every face is too dark. encoding: a
    format name of Pillow, lossless or of high quality. motion: of all faces. share: of the room
    that there is, taken by the largest face's side. Raises ValueError when the faces do not fit into the
    size.
    """
    width, height = size
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = GREY
    canvas[0, 0] = (variation & 255, variation >> 8, 0)
    if motion != STILL:
        canvas[0, 1] = (motion.yaw + 128, motion.pitch + 128, motion.flat)
        canvas[0, 2] = (*MARK, 0)
    faces = [face if isinstance(face, FakeFace) else FakeFace(face, dim=dim) for face in identities]
    columns = max(1, math.ceil(math.sqrt(len(faces) * width / height)))
    rows = max(1, math.ceil(len(faces) / columns))
    room = min(width // columns, height // rows)
    for index, face in enumerate(faces):
        part = share - 0.25 * index / len(faces)
        side = SMALLEST if face.small else int(room * part)
        if side < SMALLEST:
            raise ValueError(f"{len(faces)} faces do not fit into {width}x{height} pixels")
        left = (index % columns) * (width // columns) + (room - side) // 2
        top = (index // columns) * (height // rows) + (room - side) // 2
        canvas[top : top + side, left : left + side] = _square(face, variation, side)
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, encoding)
    return stream.getvalue()


def _square(face: FakeFace, variation: int, side: int) -> Pixels:
    """The pixels of one face."""
    faults = (face.dim, face.blurred, face.turned, face.uncertain)
    identity = hashlib.sha256(face.identity.encode()).digest()[: IDENTITY_BITS // 8]
    payload = identity + variation.to_bytes(VARIATION_BITS // 8, "big")
    code = payload + hashlib.sha256(payload).digest()[: CHECK_BITS // 8]
    bits = np.concatenate([np.unpackbits(np.frombuffer(code, np.uint8)), np.array(faults, np.uint8)])
    board = np.where(bits.reshape(BOARD, BOARD, 1) == 1, WHITE, BLACK).astype(np.uint8)
    frame = max(2, side // 12)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = DARK_MAGENTA if face.spoofed else MAGENTA
    inner = side - 2 * frame
    square[frame : frame + inner, frame : frame + inner] = cv2.resize(
        board, (inner, inner), interpolation=cv2.INTER_NEAREST
    )
    return square


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read back from a drawn face; `box` is left, top, right, bottom in pixels."""

    box: tuple[int, int, int, int]
    identity: bytes
    variation: int
    dim: bool
    blurred: bool
    turned: bool
    uncertain: bool
    spoofed: bool


def _read(pixels: Pixels) -> list[_Reading]:
    """The drawn faces of a picture, largest first, then in reading order."""
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    mask = ((red > 150) & (blue > 150) & (green < 100)).astype(np.uint8)
    count, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    readings = [
        reading
        for left, top, width, height, _ in statistics[1:count].tolist()
        if (reading := _read_square(pixels, left, top, width, height)) is not None
    ]
    return sorted(
        readings, key=lambda r: (-(r.box[2] - r.box[0]) * (r.box[3] - r.box[1]), r.box[1], r.box[0])
    )


def _read_square(pixels: Pixels, left: int, top: int, width: int, height: int) -> _Reading | None:
    """The code inside one frame; None where the check bits do not agree."""
    if min(width, height) < SMALLEST - 4:
        return None
    frame = max(2, width // 12)
    cell = (width - 2 * frame) / BOARD
    centres = frame + cell * (np.arange(BOARD) + 0.5)
    rows = np.clip(top + centres, 0, pixels.shape[0] - 1).astype(int)
    columns = np.clip(left + centres, 0, pixels.shape[1] - 1).astype(int)
    bits = (pixels[np.ix_(rows, columns)].mean(axis=2) > 127).reshape(-1)
    dim, blurred, turned, uncertain = bits[-4:].tolist()
    code = np.packbits(bits[:-4]).tobytes()
    payload, check = code[: -CHECK_BITS // 8], code[-CHECK_BITS // 8 :]
    if hashlib.sha256(payload).digest()[: CHECK_BITS // 8] != check:
        return None
    return _Reading(
        box=(left, top, left + width, top + height),
        identity=payload[: IDENTITY_BITS // 8],
        variation=int.from_bytes(payload[IDENTITY_BITS // 8 :], "big"),
        dim=dim,
        blurred=blurred,
        turned=turned,
        uncertain=uncertain,
        spoofed=bool(pixels[top + frame // 2, left : left + width, 0].mean() < 222),
    )


def _direction(seed: bytes) -> NDArray[np.float64]:
    """A unit vector that follows from `seed` alone; directions of two seeds are nearly at right angles."""
    vector = np.random.default_rng(int.from_bytes(seed, "big")).normal(size=DIMENSION)
    return np.asarray(vector / np.linalg.norm(vector))


class FakeEngine:
    """Finds and embeds the faces that `draw` has drawn; implements `Engine`.

    model_version: another one is another embedding contract, with other embeddings of the same faces.
    """

    attributes: frozenset[str] = frozenset({"age_range", "gender"})
    points: frozenset[str] = frozenset(FIVE_POINTS)
    judges_liveness: bool = True

    def __init__(
        self, *, model_version: str = "1.0", max_pixels: int = 100_000_000, max_faces: int = 100
    ) -> None:
        self.contract = EmbeddingContract(
            id=hashlib.sha256(f"fake {model_version}".encode()).hexdigest(),
            pack="fake",
            model_version=model_version,
            dimension=DIMENSION,
        )
        self.calibration: Calibration = Knots(((-1.0, 0.0), (0.5, 80.0), (1.0, 100.0)))
        self._max_pixels = max_pixels
        self._max_faces = max_faces
        self._closed = False

    @property
    def ready(self) -> bool:
        """Until it is closed."""
        return not self._closed

    def turn(self) -> AbstractContextManager[None]:
        """Nobody waits here."""
        return nullcontext()

    def decode(self, data: bytes) -> Picture:
        """Decode as the real engine does, with its limits and errors."""
        self._check()
        return decode(data, max_pixels=self._max_pixels)

    def frame(self, take: Callable[[], Picture | None], nbytes: int) -> Picture | None:
        """What `take` makes."""
        self._check()
        return take()

    def detect(self, picture: Picture, attributes: frozenset[str] = frozenset()) -> list[FoundFace]:
        """The drawn faces, largest first; an image without one gives an empty list."""
        self._check()
        motion = _motion(picture.pixels)
        readings = _read(picture.pixels)[: self._max_faces]
        return [_found(reading, picture, attributes, motion) for reading in readings]

    def embed(self, picture: Picture, faces: Sequence[FoundFace]) -> Floats:
        """Unit embeddings (N, 128) float32 of the given faces."""
        self._check()
        readings = _readings(picture, faces)
        embeddings = np.empty((len(faces), DIMENSION), np.float32)
        for row, reading in enumerate(readings):
            contract = self.contract.id.encode()
            own = _direction(contract + reading.identity)
            noise = _direction(contract + reading.identity + reading.variation.to_bytes(2, "big"))
            vector = own + 0.2 * noise
            embeddings[row] = vector / np.linalg.norm(vector)
        return embeddings

    def examine(self, picture: Picture, faces: Sequence[FoundFace]) -> list[Portrait]:
        """Faultless portraits: what a drawn face can lack, `detect` tells."""
        self._check()
        return [
            Portrait(inside=1.0, contrast=50.0, evenness=95.0, eyes_covered=0.0, mouth_covered=0.0)
            for _ in faces
        ]

    def liveness(self, picture: Picture, faces: Sequence[FoundFace]) -> list[float] | None:
        """95 for each face, 5 for those drawn as spoofed."""
        self._check()
        return [5.0 if reading.spoofed else 95.0 for reading in _readings(picture, faces)]

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    def _check(self) -> None:
        """Stop for a caller that has gone, as the real engine does, and refuse work after close."""
        current_request().check()
        if self._closed:
            raise FacerecError("the engine is closed")


def _readings(picture: Picture, faces: Sequence[FoundFace]) -> list[_Reading]:
    """What is read of each of the faces. Raises FacerecError for one that is not in the picture."""
    by_box = {reading.box: reading for reading in _read(picture.pixels)}
    readings = []
    for face in faces:
        left, top, right, bottom = (round(value) for value in face.box.tolist())
        reading = by_box.get((left, top, right, bottom))
        if reading is None:
            raise FacerecError(f"the face at {left}, {top} was not found in this picture")
        readings.append(reading)
    return readings


def _motion(pixels: Pixels) -> Motion:
    """The motion that a picture was drawn with."""
    if pixels.shape[1] < 3 or tuple(pixels[0, 2, :2].tolist()) != MARK:
        return STILL
    yaw, pitch, flat = pixels[0, 1].tolist()
    return Motion(yaw=yaw - 128, pitch=pitch - 128, flat=bool(flat))


def _places(motion: Motion) -> list[tuple[float, float]]:
    """Where the five points lie on a face's square, in ratios of its side."""
    if motion == STILL:
        return [(x, y) for _, x, y in POINTS]
    yaw, pitch = math.radians(motion.yaw), math.radians(motion.pitch)
    x, y, z = (FACE * [1, 1, not motion.flat]).T * (0.4 / 63)
    across = x * math.cos(yaw) + z * math.sin(yaw)
    deep = z * math.cos(yaw) - x * math.sin(yaw)
    down = y * math.cos(pitch) - deep * math.sin(pitch)
    return list(zip((0.5 + across).tolist(), (0.55 + down).tolist(), strict=True))


def _found(reading: _Reading, picture: Picture, attributes: frozenset[str], motion: Motion) -> FoundFace:
    """The engine's answer for one reading."""
    left, top, right, bottom = reading.box
    width, height = right - left, bottom - top
    points = np.array([(left + x * width, top + y * height) for x, y in _places(motion)], np.float32)
    seed = reading.identity[0]
    return FoundFace(
        face=DetectedFace(
            box=BoundingBox(
                left=left / picture.width,
                top=top / picture.height,
                width=width / picture.width,
                height=height / picture.height,
            ),
            confidence=30.0 if reading.uncertain else 99.5,
            landmarks=tuple(
                Landmark(name, float(x) / picture.width, float(y) / picture.height)
                for (name, _, _), (x, y) in zip(POINTS, points, strict=True)
            ),
            pose=Pose(roll=0.0, yaw=80.0 if reading.turned else float(motion.yaw), pitch=float(motion.pitch)),
            quality=Quality(
                brightness=2.0 if reading.dim else 70.0, sharpness=2.0 if reading.blurred else 85.0
            ),
            attributes=Attributes(
                gender=Gender("Female" if seed % 2 else "Male", 95.0) if "gender" in attributes else None,
                age_range=AgeRange(20 + seed % 40, 28 + seed % 40) if "age_range" in attributes else None,
            ),
        ),
        box=np.array(reading.box, np.float32),
        landmarks=points,
    )
