"""Active liveness: sessions in which somebody before a camera does what is asked, frame by frame.

A session keeps what its frames told, never the frames, save the pictures that whoever opened it asked for.
Its id is all that a frame needs: nobody can guess it, and whoever has it was told it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from facerec.db import Database
from facerec.domain import QuantizedEmbedding
from facerec.engine.base import Engine, Floats, FoundFace, Picture
from facerec.engine.pose import FIVE_POINTS
from facerec.errors import InvalidParameter, NotLive, RateExceeded, SessionNotFound
from facerec.services.idempotency import RepeatableRequest
from facerec.services.liveness.challenge import Challenge, Remark, Stage, advance, draw_steps, looks_ahead
from facerec.services.liveness.motion import Sample
from facerec.services.liveness.pictures import SessionPictures
from facerec.services.liveness.records import (
    Failure,
    FrameRemark,
    KeptPicture,
    LivenessSession,
    SessionStatus,
    Trouble,
    Wishes,
    decode,
    encode,
)
from facerec.services.selection import by_size
from facerec.sessions.base import Change, SessionStore
from facerec.vectors.quantization import dequantize_batch, quantize_batch

KIND = "liveness"
"""Kind of the entries in the session store."""
SECONDS = 180.0
"""How long a session may last."""
RESULT_SECONDS = 600.0
"""How long what became of it is remembered after that."""
FRAMES_PER_SECOND, BURST = 15.0, 60
"""Most frames of a session: a second, and at once."""
MOST_FRAMES = 1200
MOST_PASSIVE = 15
"""Frames whose looks are judged: the first ones that look straight ahead."""

SMALLEST_SIDE = 64.0
"""Pixels of a face's shorter side from which its points can be trusted."""
RIVAL = 1 / 6
"""Share of the largest face's area from which another face is a second person."""
DARK = 15.0
"""Brightness, 0..100, below which a face is too dark."""
SAME = 60.0
"""Similarity, 0..100, from which a frame shows the person of the first one: nobody is recognised by it, a
swap is to be seen; turned aside a head resembles itself less."""
SHOWN = 80.0
"""Similarity, 0..100, from which a picture that was taken elsewhere shows a session's person."""
TURNED_AWAY = 30.0
"""Degrees from which a face that resembles nobody is a reason for no suspicion."""
MOST_STRANGERS = 4
"""Most frames that show another person."""


NO_MOUTH = (
    "Movements are judged by eyes, nose and mouth, and the detector of the service's model pack places no "
    "mouth: active liveness takes a pack such as opencv_zoo or buffalo_l (docs/liveness.md)."
)


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """What a frame brought, and the session then."""

    session: LivenessSession
    remark: FrameRemark


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen in a frame: what it lacked, or its face."""

    trouble: Trouble | None
    sample: Sample | None = None
    found: FoundFace | None = None
    embedding: Floats | None = None
    live: float | None = None


class LivenessSessions:
    """Opens sessions, looks at their frames, says what became of them. Safe to call from many threads and
    processes.

    Every method raises SessionStoreUnavailable: nothing was changed then, and the call may be repeated.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        store: SessionStore,
        pictures: SessionPictures,
        *,
        steps: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """database: where client tokens are kept. steps: movements that a session asks for."""
        self._engine = engine
        self._database = database
        self._store = store
        self.pictures = pictures
        self._steps = steps
        self.clock = clock

    @property
    def possible(self) -> bool:
        """Whether the model pack's detector places the five points that movements are judged by."""
        return self._engine.points.issuperset(FIVE_POINTS)

    def open(self, wishes: Wishes | None = None, *, client_token: str | None = None) -> LivenessSession:
        """Open a session; with the client token of one that was opened with the same wishes, that one.

        Raises InvalidParameter where the model pack does not place the points, IdempotencyMismatch.
        """
        if not self.possible:
            raise InvalidParameter(NO_MOUTH)
        now, wishes = self.clock(), wishes or Wishes()
        session = LivenessSession(
            session_id=str(uuid.uuid4()),
            opened_at=now,
            expires_at=now + SECONDS,
            challenge=Challenge(steps=draw_steps(self._steps)),
            wishes=wishes,
            contract_id=self._engine.contract.id,
        )
        self._store.put(KIND, session.session_id, encode(session), seconds=SECONDS + RESULT_SECONDS)
        if client_token is None:
            return session
        request = RepeatableRequest("CreateFaceLivenessSession", client_token, (repr(wishes),), now)
        with self._database.write() as connection:
            if (before := request.recall(connection)) is None:
                request.remember(connection, session.session_id)
        if before is None:
            return session
        self._store.delete(KIND, session.session_id)
        return self.get(before.strip('"'))

    def get(self, session_id: str) -> LivenessSession:
        """A session as it is. Raises SessionNotFound."""
        value = self._store.get(KIND, session_id)
        if value is None:
            raise SessionNotFound
        return decode(session_id, value)

    def add(self, session_id: str, data: bytes) -> FrameOutcome:
        """Look at a frame. One of a session that is over changes nothing.

        Raises SessionNotFound, RateExceeded, InvalidImage, ImageTooLarge, and where pictures are to be put
        to S3, InvalidS3Object, S3Unavailable: such a frame does not count.
        """
        session = self.get(session_id)
        if session.status(self.clock()) not in (SessionStatus.CREATED, SessionStatus.IN_PROGRESS):
            return FrameOutcome(session, _last_remark(session))
        wait = self._store.take(f"{KIND}:{session_id}", per_second=FRAMES_PER_SECOND, burst=BURST)
        if wait > 0:
            raise RateExceeded(seconds=wait)
        picture = self._engine.decode(data)
        seen = self._see(session, picture)
        outcome = self._take(session, seen)
        kept = self._keep(session, outcome.session, data, picture, seen.found)

        def decide(value: bytes | None) -> Change:
            nonlocal outcome
            if value is None:
                raise SessionNotFound
            present = decode(session_id, value)
            outcome = self._take(present, seen)
            changed = outcome.session
            if kept is not None and changed.status(self.clock()) is SessionStatus.SUCCEEDED:
                changed = replace(changed, reference=kept[0])
            elif kept is not None:
                changed = replace(changed, audit=(*changed.audit, *kept))
            outcome = FrameOutcome(changed, outcome.remark)
            remaining = changed.expires_at - self.clock() + RESULT_SECONDS
            return Change(encode(changed), max(remaining, 1.0))

        self._store.change(KIND, session_id, decide)
        return outcome

    def check(self, session_id: str, *, least: float) -> LivenessSession:
        """A session that proves that somebody was there. Raises SessionNotFound, NotLive."""
        session = self.get(session_id)
        _refuse_unproved(session, self.clock(), least)
        return session

    def use(self, session_id: str, *, least: float) -> None:
        """Take it that a session has proved something; it does so once.

        least: confidence, 0..100, that it has to have. Raises SessionNotFound, NotLive.
        """
        self._mark(session_id, used=True, least=least)

    def give_back(self, session_id: str) -> None:
        """Take it that a session which was used has proved nothing. Raises SessionNotFound."""
        self._mark(session_id, used=False, least=0.0)

    def shows(self, session: LivenessSession, embedding: Floats, contract_id: str) -> bool:
        """Whether a unit embedding (dimension,) of a model is of the session's person.

        Raises InvalidParameter where it is of another model than the session's.
        """
        if session.contract_id != contract_id or session.embedding is None:
            raise InvalidParameter("The liveness session was held with another face model: open another one.")
        return self._similarity(session.embedding, embedding) >= SHOWN

    def _mark(self, session_id: str, *, used: bool, least: float) -> None:
        """Write down whether a session was used."""

        def decide(value: bytes | None) -> Change:
            if value is None:
                raise SessionNotFound
            session, now = decode(session_id, value), self.clock()
            if used:
                _refuse_unproved(session, now, least)
            seconds = max(session.expires_at - now + RESULT_SECONDS, 1.0)
            return Change(encode(replace(session, used=used)), seconds)

        self._store.change(KIND, session_id, decide)

    def _see(self, session: LivenessSession, picture: Picture) -> _Seen:
        """What is to be seen in a frame of a session."""
        ranked = by_size(self._engine.detect(picture))
        if not ranked:
            return _Seen(Trouble.NO_FACE)
        found = ranked[0]
        trouble = _trouble(picture, ranked)
        if trouble is not None:
            return _Seen(trouble)
        (embedding,) = self._engine.embed(picture, [found])
        sample = _sample(picture, found, self.clock())
        live = None
        if len(session.passive) < MOST_PASSIVE and looks_ahead(sample):
            scores = self._engine.liveness(picture, [found])
            live = None if scores is None else scores[0]
        return _Seen(None, sample, found, embedding, live)

    def _take(self, session: LivenessSession, seen: _Seen) -> FrameOutcome:
        """The session after a frame; a plain function of both."""
        if session.status(self.clock()) not in (SessionStatus.CREATED, SessionStatus.IN_PROGRESS):
            return FrameOutcome(session, _last_remark(session))
        session = replace(session, frames=session.frames + 1)
        if session.frames > MOST_FRAMES:
            return FrameOutcome(replace(session, failure=Failure.TOO_MANY_FRAMES), Remark.TOO_MANY_MISTAKES)
        sample, embedding = seen.sample, seen.embedding
        if seen.trouble is not None or sample is None or embedding is None:
            return FrameOutcome(session, seen.trouble or Trouble.NO_FACE)
        if session.embedding is None:
            if not looks_ahead(sample):
                return FrameOutcome(session, Remark.GOOD)
            session = replace(session, embedding=quantize_batch(embedding[None])[0])
        else:
            similarity = self._similarity(session.embedding, embedding)
            if similarity < SAME:
                return _stranger(session, sample)
            session = replace(session, least_similarity=min(session.least_similarity, similarity))
        if seen.live is not None:
            session = replace(session, passive=(*session.passive, seen.live))
        challenge, remark = advance(session.challenge, sample)
        failure = Failure.TOO_MANY_MISTAKES if challenge.failed else None
        return FrameOutcome(replace(session, challenge=challenge, failure=failure), remark)

    def _keep(
        self,
        before: LivenessSession,
        after: LivenessSession,
        data: bytes,
        picture: Picture,
        found: FoundFace | None,
    ) -> tuple[KeptPicture, ...] | None:
        """Keep a frame where it is one that was asked for: that ended the session, or shows a movement."""
        wishes = before.wishes
        if found is None:
            return None
        if after.status(self.clock()) is SessionStatus.SUCCEEDED:
            if not wishes.reference:
                return None
            return (self.pictures.keep(before, "reference", data, picture, found),)
        made = after.challenge.stage is Stage.BACK and before.challenge.stage is Stage.MOVE
        if not made or len(before.audit) >= wishes.audit_images:
            return None
        return (self.pictures.keep(before, f"audit-image-{len(before.audit)}", data, picture, found),)

    def _similarity(self, known: QuantizedEmbedding, embedding: Floats) -> float:
        (own,) = dequantize_batch([known])
        return self._engine.calibration.similarity(float(own @ embedding))


def _trouble(picture: Picture, ranked: list[FoundFace]) -> Trouble | None:
    """What a frame with these faces, the largest first, lacks."""
    found = ranked[0]
    box = found.face.box
    if len(ranked) > 1 and ranked[1].face.box.area >= RIVAL * box.area:
        return Trouble.SEVERAL_FACES
    if min(box.width * picture.width, box.height * picture.height) < SMALLEST_SIDE:
        return Trouble.TOO_FAR
    x, y = found.landmarks[:, 0], found.landmarks[:, 1]
    if min(x.min(), y.min()) < 0 or x.max() >= picture.width or y.max() >= picture.height:
        return Trouble.CUT_OFF
    return Trouble.TOO_DARK if found.face.quality.brightness < DARK else None


def _sample(picture: Picture, found: FoundFace, now: float) -> Sample:
    """A frame's face, as far as movements are judged by it. Raises InvalidParameter where points are
    missing."""
    face, places = found.face, {point.type: point for point in found.face.landmarks}
    if not places.keys() >= set(FIVE_POINTS):
        raise InvalidParameter(NO_MOUTH)
    points = [(places[name].x * picture.width, places[name].y * picture.height) for name in FIVE_POINTS]
    area = face.box.width * picture.width * face.box.height * picture.height
    return Sample(
        at=now,
        yaw=face.pose.yaw,
        pitch=face.pose.pitch,
        roll=face.pose.roll,
        size=float(np.sqrt(area)),
        points=tuple(points),
    )


def _stranger(session: LivenessSession, sample: Sample) -> FrameOutcome:
    """The session after a frame that resembles the first one too little to count."""
    suspicious = abs(sample.yaw) < TURNED_AWAY
    session = replace(session, strangers=session.strangers + suspicious)
    if session.strangers > MOST_STRANGERS:
        session = replace(session, failure=Failure.OTHER_PERSON)
    return FrameOutcome(session, Trouble.OTHER_PERSON)


def _last_remark(session: LivenessSession) -> Remark:
    return Remark.ALL_DONE if session.challenge.asked is None else Remark.TOO_MANY_MISTAKES


def _refuse_unproved(session: LivenessSession, now: float, least: float) -> None:
    """Raise NotLive for a session that proves nothing."""
    status, confidence = session.status(now), session.confidence
    if status is not SessionStatus.SUCCEEDED:
        raise NotLive(f"The liveness session is {status}; only one that has SUCCEEDED proves anything.")
    if confidence is None or confidence < least:
        raise NotLive("The liveness session's confidence is too low: open another one.")
    if session.used:
        raise NotLive("The liveness session was used already: open another one.")
