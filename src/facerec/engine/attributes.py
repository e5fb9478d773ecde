"""The attribute networks of InsightFace's packs: gender and age, and dense landmarks.

Their weights may not be used or passed on freely, so the tests run on generated networks of the same
interface and prove the geometry of the crops and the decoding; on real faces they were not judged here. What
needs a threshold on real faces (eyes open, mouth open, smile) is left out for that reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.domain import AgeRange, Attributes, Gender, Pose
from facerec.engine.base import AttributeModel, Floats, Pixels, Session
from facerec.engine.landmark_names import POINTS_68, POINTS_106
from facerec.engine.runtime.compiled_forms import CompiledForms
from facerec.engine.runtime.session import open_session
from facerec.errors import ConfigurationError, PackError

_MARGIN = 1.5
"""Side of the square that is cut out, in longer sides of the box; as insightface cuts it."""


def open_attribute_model(
    kind: str, file: Path, *, runtime: str, threads: int, compiled: Path | None = None
) -> AttributeModel:
    """Open an attribute network of a pack.

    kind: "genderage" gives a GenderAge; "2d106" and "1k3d68" give a Landmarks106 or Landmarks68, which is a
    `facerec.engine.base.DenseLandmarker` too and provides no attribute. runtime, threads: see `open_session`.
    compiled: folder of compiled networks (`CompiledForms`).

    Raises PackError when the file can not be used, ConfigurationError for an unknown kind or runtime.
    """
    kinds: dict[str, Callable[[Session], AttributeModel]] = {
        "genderage": GenderAge,
        "2d106": Landmarks106,
        "1k3d68": Landmarks68,
    }
    if kind not in kinds:
        raise ConfigurationError(f"the attribute model {kind!r} is unknown: use {', '.join(kinds)}")
    forms = CompiledForms.of(file, compiled)
    return kinds[kind](open_session(file, runtime=runtime, threads=threads, forms=forms))


class GenderAge:
    """genderage.onnx: gender presentation and age in years. Input 96 x 96 RGB, 0..255."""

    provides = frozenset({"gender", "age_range"})

    def __init__(self, session: Session) -> None:
        self._session = session
        self._size = _input_size(session, usual=96)

    def describe(self, image: Pixels, boxes: Floats, landmarks: Floats) -> list[Attributes]:
        """Gender and age of the faces in boxes (N, 4); the landmarks are not used.

        The network gives scores for female and male, of which the confidence is the softmax, and age / 100.
        It says nothing of its doubt about the age; the range spans 3 years and a tenth of the age to either
        side. Raises PackError when the network's output has another form.
        """
        return [self._judge(crop) for crop, _ in _crops(image, boxes, self._size)]

    def _judge(self, crop: Pixels) -> Attributes:
        """Gender and age of one crop."""
        output = _run(self._session, crop)
        if output.size != 3:
            raise PackError(f"a gender and age network gives 3 numbers, not {output.size}")
        female, male, age = (float(value) for value in output)
        certainty = 1 / (1 + np.exp(-abs(female - male)))
        years = max(0.0, age * 100)
        reach = 3 + years / 10
        return Attributes(
            gender=Gender("Male" if male > female else "Female", 100 * float(certainty)),
            age_range=AgeRange(low=max(0, round(years - reach)), high=round(years + reach)),
        )


class _Landmarks:
    """A network that regresses points in a crop of 192 x 192 RGB, 0..255, as x, y (, z) from -1 to 1."""

    provides: frozenset[str] = frozenset()

    def __init__(self, session: Session, *, count: int, axes: int) -> None:
        self._session = session
        self._count = count
        self._axes = axes
        self._size = _input_size(session, usual=192)

    def describe(self, image: Pixels, boxes: Floats, landmarks: Floats) -> list[Attributes]:
        """Nothing of each of the N faces: this network places points, see `locate`."""
        return [Attributes()] * len(boxes)

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        """Points (N, P, 2) float32 x, y in the image's pixels for boxes (N, 4).

        Raises PackError when the network's output has another form.
        """
        placed = [self._place(crop, square) for crop, square in _crops(image, boxes, self._size)]
        return np.stack(placed) if placed else np.empty((0, self._count, 2), np.float32)

    def _place(self, crop: Pixels, square: Floats) -> Floats:
        """The points of one crop; `square` is the part of the image that it shows: left, top and side."""
        output = _run(self._session, crop)
        if output.size % self._axes or output.size < self._count * self._axes:
            raise PackError(
                f"a network of {self._count} landmarks gives at least {self._count * self._axes} numbers, "
                f"{self._axes} each; not {output.size}"
            )
        points = output.reshape(-1, self._axes)[-self._count :, :2]
        return np.asarray(square[:2] + (points + 1) / 2 * square[2], np.float32)


class Landmarks106(_Landmarks):
    """2d106det.onnx: 106 points."""

    names = POINTS_106

    def __init__(self, session: Session) -> None:
        super().__init__(session, count=106, axes=2)


class Landmarks68(_Landmarks):
    """1k3d68.onnx: the 68 points of iBUG, the last of 1 103 points in space, and the pose that follows."""

    names = POINTS_68

    def __init__(self, session: Session) -> None:
        super().__init__(session, count=68, axes=3)

    def poses(self, points: Floats) -> list[Pose]:
        """Poses for points (N, 68, 2) of `locate`.

        As in insightface, the least-squares affine map from a generic head to the points, of which the first
        two rows are brought to unit length and the third follows. Six points of the head are enough for it.
        """
        head = np.hstack([_HEAD, np.ones((len(_HEAD), 1))])
        return [_pose(np.linalg.lstsq(head, face[_HEAD_ROWS], rcond=None)[0].T) for face in points]


_HEAD_ROWS = [30, 8, 36, 45, 48, 54]
_HEAD = np.array(
    [[0, 0, 0], [0, 330, -65], [-225, -170, -135], [225, -170, -135], [-150, 150, -125], [150, 150, -125]],
    float,
)
"""Tip of the nose, chin, outer corners of the eyes, corners of the mouth of a generic head, without unit: x
to the image's right, y down, z to the camera. Proportions after S. Mallick, "Head Pose Estimation using
OpenCV and Dlib".
"""


def _pose(affine: NDArray[np.float64]) -> Pose:
    """Pose of the affine map (2, 4) from the generic head; the rotation is Rz(roll) Ry(yaw) Rx(pitch)."""
    lengths = np.linalg.norm(affine[:, :3], axis=1, keepdims=True)
    across, down = affine[:, :3] / np.maximum(lengths, 1e-9)
    deep = np.cross(across, down)
    angles = np.degrees(
        [
            np.arctan2(down[0], across[0]),
            np.arctan2(-deep[0], np.hypot(across[0], down[0])),
            np.arctan2(deep[1], deep[2]),
        ]
    )
    roll, yaw, pitch = (float(angle) for angle in angles)
    return Pose(roll=roll, yaw=yaw, pitch=pitch)


def _input_size(session: Session, *, usual: int) -> int:
    """Side of the square that a network takes; `usual` where its file leaves it open."""
    shape = session.input_shape
    if len(shape) != 4 or shape[2] != shape[3]:
        raise PackError(f"an attribute network takes inputs of the shape (N, 3, size, size), not {shape}")
    return shape[2] or usual


def _crops(image: Pixels, boxes: Floats, size: int) -> list[tuple[Pixels, Floats]]:
    """For each box the square around its centre, grown by _MARGIN, at size x size pixels, black beyond the
    image; and where it lies in the image: left, top, side.
    """
    found = []
    for left, top, right, bottom in boxes.astype(np.float64):
        side = max(right - left, bottom - top, 1.0) * _MARGIN
        corner = (left + right - side) / 2, (top + bottom - side) / 2
        scale = size / side
        matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
        crop = np.asarray(cv2.warpAffine(image, matrix, (size, size)), np.uint8)
        found.append((crop, np.array([*corner, side], np.float32)))
    return found


def _run(session: Session, crop: Pixels) -> Floats:
    """All numbers that a network gives for one crop; faces go one by one, for batches gain nothing."""
    tensor = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)
    return session.run(tensor)[0].ravel()
