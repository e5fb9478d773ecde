"""The engine of a model pack: decode, detect, align, embed; each step as parallel as the machine allows.

Every step runs in the caller's thread, at most `workers` of them at a time: on processors nothing is
faster. A graphics card is fast with many faces at a time; there the crops go to one batcher, whose unit is a
face, and the faces of all callers share the recogniser's runs.

Time goes to decoding as much as to the networks, and most of it is the same at any size. So a photograph is
decoded once, shrunk as far as it stays larger than what the detector looks at by DETAIL; only where a face is
small there, it is decoded once more, for all such faces.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import cv2
import numpy as np

from facerec.domain import (
    ALL_ATTRIBUTES,
    Attributes,
    BoundingBox,
    DetectedFace,
    EmbeddingContract,
    Landmark,
    Portrait,
)
from facerec.engine.admission import PictureBudget
from facerec.engine.base import (
    Aligner,
    AttributeModel,
    Calibration,
    DenseLandmarker,
    Detector,
    Floats,
    FoundFace,
    Landmarker,
    LandmarkLayout,
    LivenessModel,
    Picture,
    Pixels,
    QualityModel,
    Recognizer,
)
from facerec.engine.decoding import accepted_header, decode_pixels, decoded_bytes
from facerec.engine.portrait import examine, uprightness
from facerec.engine.pose import estimate_pose, name_points, named_points
from facerec.engine.quality import assess
from facerec.engine.runtime.batching import Batcher
from facerec.engine.turns import Turns
from facerec.errors import FacerecError, Overloaded
from facerec.observability import metrics
from facerec.observability.steps import Step

MARGIN = 0.82
"""A face is looked at where its box's shorter side has at least this many times the pixels of a crop's side:
a pixel of the picture for each of the crop, and for each that its quality is judged by. More change nothing:
of six photographs of one person the cosines with each other are the same, within 0.02 and in no one
direction, from 1 to 10 pixels for one."""

DETAIL = 1.5
"""Longer side of a picture as it is decoded at first, by that of what the detector looks at, at least. It
spares most photographs of one or two people the second decoding, and costs a fifth of the first."""

DECODE, DETECT, EMBED, EXAMINE, LIVENESS = (
    Step(f"engine.{name}", metrics.inference_seconds.labels(name))
    for name in ("decode", "detect", "embed", "examine", "liveness")
)
WAIT_FOR_ROOM = Step("engine.wait_picture", metrics.wait_seconds.labels("picture"))

P = TypeVar("P", Picture, "Picture | None")

Seen = tuple[Pixels, int]
"""A picture's pixels, and how many times it is shrunk."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a model pack's engine is made of."""

    contract: EmbeddingContract
    calibration: Calibration
    detector: Detector
    detection_side: int
    """Longer side, in pixels, of the largest image that the detector looks at: larger ones it shrinks."""
    landmarker: Landmarker | None
    """None where the detector gives landmarks (layout FIVE)."""
    aligner: Aligner
    recognizer: Recognizer
    centre: Floats | None
    """(dimension,) float32, subtracted from embeddings before they are normalised."""
    shares_runs: bool = False
    """Whether faces of several callers share a run of the recogniser, by which a graphics card gains."""
    attribute_models: tuple[AttributeModel, ...] = ()
    dense_landmarker: DenseLandmarker | None = None
    quality_model: QualityModel | None = None
    """Takes landmarks of layout FIVE."""
    liveness_model: LivenessModel | None = None

    @property
    def layout(self) -> LandmarkLayout:
        """Layout of the pack's landmarks."""
        return LandmarkLayout.FIVE if self.landmarker is None else self.landmarker.layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of an engine."""

    max_pixels: int
    """Most pixels of an image."""
    max_faces: int
    """Most faces of an image; the largest boxes are kept."""
    max_batch: int
    """Most crops in a run of the recogniser that callers share."""
    max_queue: int
    """Most calls at work or waiting when an image comes to be decoded; one more is refused."""
    max_decoded_bytes: int
    """Most bytes of the pictures at work together; see `facerec.engine.admission`."""
    workers: int
    """Most threads at work at a time."""


class PackEngine:
    """Detects and embeds faces with a model pack's networks; implements `facerec.engine.base.Engine`."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        self.contract: EmbeddingContract = parts.contract
        self.calibration: Calibration = parts.calibration
        provided = [model.provides for model in parts.attribute_models]
        self.attributes: frozenset[str] = frozenset().union(*provided)
        dense = parts.dense_landmarker
        self.points: frozenset[str] = named_points(parts.layout).union(dense.names if dense else ())
        self.judges_liveness: bool = parts.liveness_model is not None
        self._parts = parts
        self._limits = limits
        self._turns = Turns(limits.workers)
        self._budget = PictureBudget(limits.max_decoded_bytes)
        self._lock = threading.Lock()
        self._calls = 0
        self._closed = False
        self._first_side = DETAIL * parts.detection_side
        # OpenCV would spread each resizing over processors that the workers have already: a tenth more time.
        cv2.setNumThreads(1)
        self._batcher: Batcher[Pixels, Floats] | None = None
        if parts.shares_runs:
            # Whoever waits here has been admitted as a request already, and brings all of an image's faces.
            self._batcher = Batcher(
                self._embed_batch,
                max_batch=limits.max_batch,
                max_queue=limits.max_queue * limits.max_faces,
                name="facerec-embed",
            )

    @property
    def ready(self) -> bool:
        """See `Engine.ready`."""
        return not self._closed and (self._batcher is None or self._batcher.alive)

    def decode(self, data: bytes) -> Picture:
        """Decode an image, upright. Raises InvalidImage, ImageTooLarge, and Overloaded when too much waits.

        Every request begins with an image, so this is where requests are admitted, and where they wait until
        there is room for the picture; later steps are not refused.
        """
        with self._call(admit=True):
            header = accepted_header(data, max_pixels=self._limits.max_pixels)
            return self._admitted(
                decoded_bytes(header),
                lambda: decode_pixels(header, needed_side=math.ceil(self._first_side)),
            )

    def frame(self, take: Callable[[], Picture | None], nbytes: int) -> Picture | None:
        """See `Engine.frame`. Whoever looks at a video was admitted with it: frames wait, and are not
        refused."""
        with self._call():
            return self._admitted(nbytes, take)

    def detect(self, picture: Picture, attributes: frozenset[str] = frozenset()) -> list[FoundFace]:
        """Faces of the picture, largest box first, at most `max_faces`, with the attributes asked for."""
        with self._call(), self._slot(DETECT):
            boxes, scores, landmarks = self._locate(picture)
            metrics.faces_detected.inc(len(boxes))
            if not len(boxes):
                return []
            shrinks = self._shrinks(picture, boxes)
            close = picture.reduced(min(shrinks))
            judged = self._describe(close, boxes, landmarks, attributes)
            named = self._name(picture, close, boxes, landmarks, attributes)
            return [
                self._found(picture, *one)
                for one in zip(boxes, scores.tolist(), landmarks, shrinks, named, judged, strict=True)
            ]

    def embed(self, picture: Picture, faces: Sequence[FoundFace]) -> Floats:
        """Unit embeddings (N, dimension) float32 of the given faces; the rest of the picture is not looked
        at.

        Raises FacerecError when the recogniser gives no direction for a face (zeros or numbers that are not
        finite), which a sound pack does not.
        """
        if not faces:
            return np.empty((0, self.contract.dimension), np.float32)
        with self._call():
            metrics.faces_embedded.inc(len(faces))
            with self._slot(EMBED):
                crops = self._crops(picture, faces)
                if self._batcher is None:
                    metrics.batch_faces.observe(len(faces))
                    return _unit(self._parts.recognizer.embed(crops), self._parts.centre)
            return _unit(np.stack(self._batcher.call(list(crops))), self._parts.centre)

    def examine(self, picture: Picture, faces: Sequence[FoundFace]) -> list[Portrait]:
        """How the given faces do as portraits, each looked at in the size that was chosen for it."""
        with self._call(), self._slot(EXAMINE):
            return [self._portrait(picture, found) for found in faces]

    def liveness(self, picture: Picture, faces: Sequence[FoundFace]) -> list[float] | None:
        """See `Engine.liveness`; each face is looked at in the size that was chosen for it."""
        model = self._parts.liveness_model
        if model is None:
            return None
        with self._call(), self._slot(LIVENESS):
            scores = []
            for found in faces:
                pixels, shrink = picture.reduced(found.shrink)
                scores.append(100.0 * model.score(pixels, _shrunk(found.box, shrink)))
            return scores

    def turn(self) -> AbstractContextManager[None]:
        """See `Engine.turn`: the slot that the first step waits for is kept until the block ends.

        But where callers share the recogniser's runs: who waits for those needs no slot.
        """
        return self._turns.kept() if self._batcher is None else nullcontext()

    def close(self) -> None:
        """Refuse new work, and let what a batch runs finish. Closing twice is harmless."""
        with self._lock:
            self._closed = True
        if self._batcher is not None:
            self._batcher.close()

    def _admitted(self, nbytes: int, make: Callable[[], P]) -> P:
        """The picture that `make` makes (or None), in a worker's slot and with room for `nbytes`."""
        # Who waits for room holds no slot: those who have the room wait for one.
        self._turns.leave()
        with WAIT_FOR_ROOM():
            claim = self._budget.enter(nbytes)
        try:
            with self._slot(DECODE):
                picture = make()
        except BaseException:
            self._budget.leave(claim)
            raise
        if picture is None:
            self._budget.leave(claim)
        else:
            self._budget.keep(claim, picture)
        return picture

    @contextmanager
    def _call(self, *, admit: bool = False) -> Iterator[None]:
        """Count a call; with `admit`, refuse it when too many are at work or waiting."""
        with self._lock:
            if self._closed:
                raise FacerecError("the engine is closed")
            if admit and self._calls >= self._limits.max_queue:
                raise Overloaded
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1

    @contextmanager
    def _slot(self, step: Step) -> Iterator[None]:
        """Wait for one of the workers' slots, and time the work in it as a step.

        Raises Cancelled when the caller has gone meanwhile.
        """
        with self._turns.place(), step():
            yield

    def _locate(self, picture: Picture) -> tuple[Floats, Floats, Floats]:
        """Boxes (N, 4), scores (N,) and landmarks (N, 5, 2) of the usable faces, largest box first."""
        pixels, shrink = self._first(picture)
        found = self._parts.detector.detect(pixels)
        boxes = _grown(found.boxes, shrink)
        extent = boxes[:, 2:] - boxes[:, :2]
        usable = np.isfinite(boxes).all(axis=1) & (extent > 0).all(axis=1)
        chosen = np.flatnonzero(usable)
        areas = extent[chosen].astype(np.float64).prod(axis=1)
        chosen = chosen[np.argsort(-areas, kind="stable")][: self._limits.max_faces]
        boxes, scores = boxes[chosen], found.scores[chosen]
        if found.landmarks is not None:
            landmarks = _grown(found.landmarks[chosen], shrink)
        elif self._parts.landmarker is not None and len(boxes):
            pixels, shrink = picture.reduced(min(self._shrinks(picture, boxes)))
            landmarks = _grown(self._parts.landmarker.locate(pixels, _shrunk(boxes, shrink)), shrink)
        else:
            landmarks = np.empty((len(boxes), 5, 2), np.float32)
        # Points that coincide or are not finite fix no alignment: that is no face.
        spread = np.ptp(landmarks, axis=1).max(axis=1, initial=0)
        sound = np.isfinite(landmarks).all(axis=(1, 2)) & (spread > 0)
        return boxes[sound], scores[sound], landmarks[sound]

    def _first(self, picture: Picture) -> Seen:
        """The picture as it was decoded at first."""
        return picture.reduced(max(picture.width, picture.height) / self._first_side)

    def _shrinks(self, picture: Picture, boxes: Floats) -> list[int]:
        """How many times the picture is shrunk for each of N >= 1 boxes (N, 4).

        A face that is large enough there is looked at in the picture as it was decoded at first, all others
        at the one size that is enough for the smallest: two decodings are the most.
        """
        _, first = self._first(picture)
        sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) / (MARGIN * self._parts.aligner.size)
        small = sides < first
        if first == 1 or not small.any():
            return [first] * len(boxes)
        _, closer = picture.reduced(float(sides[small].min()))
        return [closer if is_small else first for is_small in small.tolist()]

    def _crops(self, picture: Picture, faces: Sequence[FoundFace]) -> Pixels:
        """The recogniser's inputs (N, size, size, 3), each cut from the size that was chosen for its face."""
        landmarks = np.stack([face.landmarks for face in faces])
        shrinks = [face.shrink for face in faces]
        size = self._parts.aligner.size
        crops = np.empty((len(faces), size, size, 3), np.uint8)
        for wanted in set(shrinks):
            rows = [row for row, shrink in enumerate(shrinks) if shrink == wanted]
            pixels, shrink = picture.reduced(wanted)
            aligned = self._parts.aligner.align(pixels, _shrunk(landmarks[rows], shrink))
            if len(rows) == len(faces):
                return aligned
            crops[rows] = aligned
        return crops

    def _describe(
        self, close: Seen, boxes: Floats, landmarks: Floats, wanted: frozenset[str]
    ) -> list[Attributes]:
        """Attributes of each face, by those models alone that provide something wanted."""
        judged = [Attributes()] * len(boxes)
        pixels, shrink = close
        for model in self._parts.attribute_models:
            if model.provides & wanted:
                described = model.describe(pixels, _shrunk(boxes, shrink), _shrunk(landmarks, shrink))
                judged = [_merge(one, other, wanted) for one, other in zip(judged, described, strict=True)]
        return judged

    def _name(
        self, picture: Picture, close: Seen, boxes: Floats, landmarks: Floats, wanted: frozenset[str]
    ) -> list[tuple[Landmark, ...]]:
        """Named points of each face: those of alignment, and the dense ones when every attribute is
        wanted."""
        width, height = picture.width, picture.height
        named = [name_points(points, self._parts.layout, width, height) for points in landmarks]
        dense = self._parts.dense_landmarker
        if dense is None or not wanted >= ALL_ATTRIBUTES:
            return named
        known = {point.type for point in named[0]}
        rows = {name: row for name, row in dense.names.items() if name not in known}
        pixels, shrink = close
        located = _grown(dense.locate(pixels, _shrunk(boxes, shrink)), shrink)
        located /= np.array([width, height], np.float32)
        return [
            (
                *one,
                *(Landmark(name, float(points[row, 0]), float(points[row, 1])) for name, row in rows.items()),
            )
            for one, points in zip(named, located, strict=True)
        ]

    def _found(
        self,
        picture: Picture,
        box: Floats,
        score: float,
        landmarks: Floats,
        shrink: int,
        named: tuple[Landmark, ...],
        attributes: Attributes,
    ) -> FoundFace:
        """One face as the service answers it."""
        left, top, right, bottom = box.tolist()
        pixels, shrink = picture.reduced(shrink)
        face = DetectedFace(
            box=BoundingBox(
                left=left / picture.width,
                top=top / picture.height,
                width=(right - left) / picture.width,
                height=(bottom - top) / picture.height,
            ),
            confidence=100.0 * min(max(score, 0.0), 1.0),
            landmarks=named,
            pose=estimate_pose(landmarks, self._parts.layout),
            quality=assess(pixels, _shrunk(box, shrink)),
            attributes=attributes,
        )
        return FoundFace(face=face, box=box, landmarks=landmarks, shrink=shrink)

    def _portrait(self, picture: Picture, found: FoundFace) -> Portrait:
        """One face as a portrait."""
        pixels, shrink = picture.reduced(found.shrink)
        landmarks = _shrunk(found.landmarks, shrink)
        model = self._parts.quality_model
        return replace(
            examine(pixels, found.face.box, landmarks, self._parts.layout),
            upright=uprightness(self._parts.detector, pixels, _shrunk(found.box, shrink)),
            score=None if model is None else 100.0 * model.score(pixels, landmarks),
        )

    def _embed_batch(self, crops: Sequence[Pixels]) -> list[Floats]:
        """What the batcher runs: crops of any callers to raw embeddings."""
        metrics.batch_faces.observe(len(crops))
        with self._slot(EMBED):
            return list(self._parts.recognizer.embed(np.stack(crops)))


def _grown(places: Floats, shrink: int) -> Floats:
    """Places in a picture shrunk so many times as places in the picture itself, in pixels."""
    return np.asarray((places + 0.5) * shrink - 0.5, np.float32) if shrink > 1 else places


def _shrunk(places: Floats, shrink: int) -> Floats:
    """Places in a picture as places in the same shrunk so many times, in pixels."""
    return np.asarray((places + 0.5) / shrink - 0.5, np.float32) if shrink > 1 else places


def _merge(one: Attributes, other: Attributes, wanted: frozenset[str]) -> Attributes:
    """The first, with what the other adds of the wanted fields."""
    added = {
        field.name: value
        for field in fields(Attributes)
        if field.name in wanted and (value := getattr(other, field.name)) is not None
    }
    return replace(one, **added)


def _unit(embeddings: Floats, centre: Floats | None) -> Floats:
    """Embeddings (N, d) less the centre, each scaled to length 1."""
    moved = embeddings.astype(np.float64)
    if centre is not None:
        moved -= centre
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise FacerecError("the recogniser gave no direction for a face: its weights or input are damaged")
    return np.asarray(moved / lengths, np.float32)
