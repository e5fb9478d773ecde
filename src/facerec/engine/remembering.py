"""An engine that remembers what it found in an image, for when the same bytes are sent again.

What is kept are faces and embeddings, never an image; all of it follows from the image's bytes and from the
engine, whose networks and settings do not change while it runs. It is kept for a bounded time, and forgotten
at once where a face of the image is deleted.

With a store that processes share, each finds there what another one has found.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

import facerec
from facerec.domain import EmbeddingContract, Portrait
from facerec.engine.base import Calibration, Engine, Floats, FoundFace, Picture, Pixels
from facerec.engine.found import FaceId, Found, from_bytes, to_bytes
from facerec.engine.image_ids import image_id_of
from facerec.errors import FacerecError
from facerec.observability import current_request, metrics

# What Python's objects take, rounded up (measured with sys.getsizeof over their parts).
_IMAGE_BYTES = 1200
_FACE_BYTES = 2000
_LANDMARK_BYTES = 200
_EMBEDDING_BYTES = 500

REST_SECONDS = 5.0
"""How long the shared store is not asked after it was away: it must not hold up every request."""

_log = logging.getLogger(__name__)


class SharedStore(Protocol):
    """What `facerec.sessions` offers of it. All methods raise SessionStoreUnavailable."""

    def put(self, kind: str, key: str, value: bytes, *, seconds: float) -> None:
        """Keep a value for `seconds`. Raises QuotaExceeded for a large one."""

    def get(self, kind: str, key: str) -> bytes | None:
        """The value; None where there is none, or none any more."""

    def delete(self, kind: str, key: str) -> bool:
        """Remove an entry; False where there was none."""


@dataclass(slots=True, eq=False)
class _Seen:
    """What is known of an image. `width` and `height` in pixels of the upright image."""

    width: int
    height: int
    faces: dict[frozenset[str], tuple[FoundFace, ...]] = field(default_factory=dict)
    """By the attributes that were asked for."""
    embeddings: dict[FaceId, Floats] = field(default_factory=dict)
    nbytes: int = _IMAGE_BYTES
    until: float = float("inf")
    """When it is to be forgotten, by the engine's clock."""


@dataclass(frozen=True, slots=True)
class ResultCounts:
    """What is remembered, and how often it helped."""

    images: int
    nbytes: int
    hits: int
    """Images sent again while they were remembered."""
    misses: int


class _KnownPicture(Picture):
    """An image by its bytes, decoded when something new is asked of it."""

    def __init__(self, engine: Engine, data: bytes, key: str, seen: _Seen | None) -> None:
        """`seen`: what is known of it; None decodes it now. Raises the errors of `Engine.decode`."""
        self._engine = engine
        self._data = data
        self._lock = threading.Lock()
        self._decoded = engine.decode(data) if seen is None else None
        self.key = key
        self.seen = seen or _Seen(self.decoded.width, self.decoded.height)

    @property
    def decoded(self) -> Picture:
        """The engine's own picture."""
        with self._lock:
            if self._decoded is None:
                self._decoded = self._engine.decode(self._data)
            return self._decoded

    @property
    def pixels(self) -> Pixels:
        """See `Picture.pixels`."""
        return self.decoded.pixels

    @property
    def width(self) -> int:
        """See `Picture.width`."""
        return self.seen.width

    @property
    def height(self) -> int:
        """See `Picture.height`."""
        return self.seen.height

    def reduced(self, most: float) -> tuple[Pixels, int]:
        """See `Picture.reduced`."""
        return self.decoded.reduced(most)


class _PassingPicture(Picture):
    """A picture that nothing is remembered of: `own` is the engine's."""

    def __init__(self, own: Picture) -> None:
        self.own = own

    @property
    def pixels(self) -> Pixels:
        """See `Picture.pixels`."""
        return self.own.pixels

    @property
    def width(self) -> int:
        """See `Picture.width`."""
        return self.own.width

    @property
    def height(self) -> int:
        """See `Picture.height`."""
        return self.own.height

    def reduced(self, most: float) -> tuple[Pixels, int]:
        """See `Picture.reduced`."""
        return self.own.reduced(most)


class RememberingEngine:
    """Implements `Engine` over another one. Safe to call from many threads."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_bytes: int,
        max_seconds: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        shared: SharedStore | None = None,
    ) -> None:
        """max_bytes: of results; above it the images longest not sent are forgotten.

        max_seconds: after which what was found in an image is forgotten, however often it is sent again.
        shared: where other processes find it too; max_seconds is finite then. While it is away each process
        remembers for itself.
        """
        self.contract: EmbeddingContract = engine.contract
        self.calibration: Calibration = engine.calibration
        self.attributes: frozenset[str] = engine.attributes
        self.points: frozenset[str] = engine.points
        self.judges_liveness: bool = engine.judges_liveness
        self._engine = engine
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._clock = clock
        self._shared = shared
        # Of the same model and program alone: others find other faces.
        self._kind = f"results {facerec.__version__} {engine.contract.pack[-60:]} {engine.contract.id[:32]}"
        self._lock = threading.Lock()  # of all below
        self._images: OrderedDict[str, _Seen] = OrderedDict()
        """By image id."""
        self._nbytes = 0
        self._hits = 0
        self._asks_at = 0.0
        """When the shared store is asked again (time.monotonic)."""
        self._misses = 0

    @property
    def ready(self) -> bool:
        """See `Engine.ready`."""
        return self._engine.ready

    @property
    def counts(self) -> ResultCounts:
        """What is remembered now, and the hits and misses since the start."""
        with self._lock:
            return ResultCounts(len(self._images), self._nbytes, self._hits, self._misses)

    def turn(self) -> AbstractContextManager[None]:
        """See `Engine.turn`."""
        return self._engine.turn()

    def decode(self, data: bytes) -> Picture:
        """See `Engine.decode`; an image that is remembered is decoded only when it has to be."""
        current_request().check()
        key = image_id_of(data)
        with self._lock:
            seen = self._images.get(key)
            if seen is not None and seen.until <= self._clock():
                self._drop(key)
                seen = None
            elif seen is not None:
                self._images.move_to_end(key)
        others = self._from_others(key) if seen is None else None
        with self._lock:
            if others is not None:
                self._remember(key, others)
                seen = others
            self._hits += seen is not None
            self._misses += seen is None
        metrics.result_cache.labels("miss" if seen is None else "hit").inc()
        return _KnownPicture(self._engine, data, key, seen)

    def frame(self, take: Callable[[], Picture | None], nbytes: int) -> Picture | None:
        """See `Engine.frame`; nothing is remembered of frames, which do not come again."""
        picture = self._engine.frame(take, nbytes)
        return None if picture is None else _PassingPicture(picture)

    def detect(self, picture: Picture, attributes: frozenset[str] = frozenset()) -> list[FoundFace]:
        """See `Engine.detect`."""
        if isinstance(picture, _PassingPicture):
            return self._engine.detect(picture.own, attributes)
        known = _known(picture)
        with self._lock:
            faces = known.seen.faces.get(attributes)
        if faces is None:
            faces = tuple(self._engine.detect(known.decoded, attributes))
            landmarks = sum(len(found.face.landmarks) for found in faces)
            with self._lock:
                known.seen.faces[attributes] = faces
                self._keep(known, len(faces) * _FACE_BYTES + landmarks * _LANDMARK_BYTES)
            self._to_others(known)
        return list(faces)

    def embed(self, picture: Picture, faces: Sequence[FoundFace]) -> Floats:
        """See `Engine.embed`; those faces alone are embedded that were not before."""
        if isinstance(picture, _PassingPicture):
            return self._engine.embed(picture.own, faces)
        known = _known(picture)
        ids = [(face.box.tobytes(), face.landmarks.tobytes(), face.shrink) for face in faces]
        with self._lock:
            missing = [place for place, face_id in enumerate(ids) if face_id not in known.seen.embeddings]
        if missing:
            fresh = self._engine.embed(known.decoded, [faces[place] for place in missing])
            with self._lock:
                for place, embedding in zip(missing, fresh, strict=True):
                    known.seen.embeddings[ids[place]] = embedding.copy()
                self._keep(known, fresh.nbytes + len(missing) * _EMBEDDING_BYTES)
            self._to_others(known)
        with self._lock:
            rows = [known.seen.embeddings[face_id] for face_id in ids]
        return np.stack(rows) if rows else np.empty((0, self.contract.dimension), np.float32)

    def examine(self, picture: Picture, faces: Sequence[FoundFace]) -> list[Portrait]:
        """See `Engine.examine`; not remembered: a picture is enrolled once."""
        return self._engine.examine(_known(picture).decoded, faces)

    def liveness(self, picture: Picture, faces: Sequence[FoundFace]) -> list[float] | None:
        """See `Engine.liveness`; not remembered, as in `examine`."""
        return self._engine.liveness(_known(picture).decoded, faces)

    def forget(self, image_ids: Iterable[str]) -> None:
        """Forget what was found in these images, of which a face has been deleted."""
        forgotten = list(image_ids)
        with self._lock:
            for image_id in forgotten:
                self._drop(image_id)
        if self._shared is None:
            return
        try:
            for image_id in forgotten:
                self._shared.delete(self._kind, image_id)
        except FacerecError as error:
            _log.warning("results of deleted faces stay in the shared store until they end: %s", error)

    def forget_old(self) -> None:
        """Forget what has been kept for long enough, whether it is asked for or not."""
        with self._lock:
            now = self._clock()
            for image_id in [key for key, seen in self._images.items() if seen.until <= now]:
                self._drop(image_id)

    def close(self) -> None:
        """Forget everything, and close the engine."""
        with self._lock:
            self._images.clear()
            self._nbytes = 0
        self._engine.close()

    def _keep(self, known: _KnownPicture, added: int) -> None:
        """Count what was added to an image, and forget others where it is too much; the caller locks."""
        seen = known.seen
        kept = self._images.get(known.key)
        if kept is not None and kept is not seen:
            return  # another request with the same image was first, and what it found is kept
        seen.nbytes += added
        if kept is None:
            seen.until = min(seen.until, self._clock() + self._max_seconds)
            self._remember(known.key, seen)
        else:
            self._nbytes += added
            self._make_room()

    def _remember(self, key: str, seen: _Seen) -> None:
        """Count an image among those that are remembered; the caller locks."""
        self._drop(key)
        self._images[key] = seen
        self._nbytes += seen.nbytes
        self._make_room()

    def _make_room(self) -> None:
        while self._nbytes > self._max_bytes:
            _, forgotten = self._images.popitem(last=False)
            self._nbytes -= forgotten.nbytes

    def _from_others(self, key: str) -> _Seen | None:
        """What another process has found in an image."""
        if self._shared is None or time.monotonic() < self._asks_at:
            return None
        try:
            stored = self._shared.get(self._kind, key)
        except FacerecError:
            self._asks_at = time.monotonic() + REST_SECONDS
            return None
        found = None if stored is None else from_bytes(stored)
        left = 0.0 if found is None else min(found.until - time.time(), self._max_seconds)
        if found is None or left <= 0:
            return None
        landmarks = sum(len(one.face.landmarks) for some in found.faces.values() for one in some)
        faces = sum(len(some) for some in found.faces.values())
        embedded = sum(_EMBEDDING_BYTES + vector.nbytes for vector in found.embeddings.values())
        return _Seen(
            found.width,
            found.height,
            faces=dict(found.faces),
            embeddings=dict(found.embeddings),
            nbytes=_IMAGE_BYTES + faces * _FACE_BYTES + landmarks * _LANDMARK_BYTES + embedded,
            until=self._clock() + left,
        )

    def _to_others(self, known: _KnownPicture) -> None:
        """Tell other processes what is known of an image, where it is remembered here."""
        if self._shared is None or time.monotonic() < self._asks_at:
            return
        with self._lock:
            seen = self._images.get(known.key)
            if seen is not known.seen:
                return
            left = seen.until - self._clock()
            faces, embeddings = dict(seen.faces), dict(seen.embeddings)
        if left <= 0:
            return
        found = Found(seen.width, seen.height, faces, embeddings, time.time() + left)
        # One that is too large, or a store that is away: this process remembers it all the same.
        with contextlib.suppress(FacerecError):
            self._shared.put(self._kind, known.key, to_bytes(found), seconds=left)

    def _drop(self, key: str) -> None:
        """Forget an image that may be remembered; the caller locks."""
        seen = self._images.pop(key, None)
        if seen is not None:
            self._nbytes -= seen.nbytes


def _known(picture: Picture) -> _KnownPicture:
    """The picture, which this engine has made."""
    if not isinstance(picture, _KnownPicture):
        raise TypeError("a picture has to be decoded by the engine that looks at it")
    return picture
