"""Registration sessions: a person is enrolled frame by frame, as a camera sees it, with an answer to each.

A session keeps what a frame has told (embedding, judgement), never the frame. It is lost when its time is
over, and no sooner: what was acknowledged is in the session store.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from facerec.domain import (
    BoundingBox,
    DetectedFace,
    ImageReference,
    Pose,
    Quality,
    QuantizedEmbedding,
    Review,
)
from facerec.errors import (
    Conflict,
    FacerecError,
    ImagesDisagree,
    InvalidParameter,
    MultipleFaces,
    NoFaceInImage,
    PersonExists,
    PersonNotFound,
    QuotaExceeded,
    SessionNotFound,
)
from facerec.services.enrolment import Candidate, Judgement
from facerec.services.liveness.proof import Proof
from facerec.services.registry.agreement import agreeing
from facerec.services.registry.enrolling import Change, Look
from facerec.services.registry.guidance import Hint, next_step, remedies
from facerec.services.registry.service import RegistryService, check_id
from facerec.services.registry.values import Enrolment, Metadata, encode_metadata
from facerec.sessions.base import Change as EntryChange
from facerec.sessions.base import SessionStore
from facerec.vectors.quantization import dequantize_batch

KIND = "registration"
"""Kind of the entries in the session store."""

COMMITTED_SECONDS = 60.0
"""How long a session is remembered after it was committed, for a client that has missed the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A session."""

    session_id: str
    person_id: str
    contract_id: str
    """Of the frames' embeddings."""
    adds: bool
    """Whether the frames are added to a person who is there; else the person is new."""
    review: Review
    metadata: Metadata
    frames: tuple[Candidate, ...]
    """Those that were taken."""
    expires_at: float
    """Seconds since the epoch."""
    committed: bool = False


@dataclass(frozen=True, slots=True)
class FrameFeedback:
    """What became of a frame."""

    session: Registration
    """As it is now."""
    refusal: FacerecError | None
    """Why the frame was not taken."""
    candidate: Candidate | None
    """The face that was found, if one was."""
    similarity: float | None
    """0..100, to the nearest of the frames before; None for the first one."""
    hints: tuple[Hint, ...]
    """What to do next, the most important first."""


class RegistrationSessions:
    """Opens, fills and commits sessions. Safe to call from many threads and processes.

    Every method raises SessionStoreUnavailable: nothing was changed then, and the call may be repeated.
    """

    def __init__(
        self,
        registry: RegistryService,
        store: SessionStore,
        *,
        seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """seconds: that a session stays open after its last frame."""
        self._registry = registry
        self._store = store
        self._seconds = seconds
        self._clock = clock

    def open(
        self,
        person_id: str,
        *,
        adds: bool = False,
        metadata: Metadata | None = None,
        review: Review | None = None,
    ) -> Registration:
        """Open a session for a new person, or (`adds`) for one who is there.

        Raises InvalidParameter, PersonExists, PersonNotFound.
        """
        encode_metadata(metadata or {})
        check_id(person_id)
        if self._registry.exists(person_id) != adds:
            raise (
                PersonNotFound(f"Nobody is enrolled as {person_id}.")
                if adds
                else PersonExists(f"The person {person_id} is enrolled already.")
            )
        session = Registration(
            session_id=secrets.token_urlsafe(24),
            person_id=person_id,
            contract_id=self._registry.open()[0].contract_id,
            adds=adds,
            review=review or self._registry.policy.review,
            metadata=metadata or {},
            frames=(),
            expires_at=self._clock() + self._seconds,
        )
        self._store.put(KIND, session.session_id, _encode(session), seconds=self._seconds)
        return session

    def get(self, session_id: str) -> Registration:
        """A session as it is. Raises SessionNotFound."""
        return _decode(session_id, self._store.get(KIND, session_id))

    def add(self, session_id: str, image: ImageReference) -> FrameFeedback:
        """Look at a frame, and take it where it is good and shows whom the others show.

        Raises SessionNotFound, Conflict (it was committed), QuotaExceeded (it is full), the errors of the
        engine.
        """
        session = self.get(session_id)
        self._refuse_full(session)
        self._refuse_other_model(session)
        look = self._registry.look(image, session.review)
        candidate = look.candidate
        if candidate is None or look.error is not None:
            return FrameFeedback(session, look.error, candidate, None, (_hint_of(look.error),))
        if candidate.judgement.refusal is not None:
            hints = remedies(candidate.face, candidate.judgement.findings)
            return FrameFeedback(session, candidate.judgement.refusal, candidate, None, hints)
        similarity = self._similarity(session, candidate)
        if not self._agrees(session, candidate):
            return FrameFeedback(session, ImagesDisagree(), candidate, similarity, (Hint.TRY_AGAIN,))
        session = self._keep(session_id, candidate)
        hint = next_step([frame.face.pose for frame in session.frames])
        return FrameFeedback(session, None, candidate, similarity, (hint,))

    def commit(self, session_id: str, proof: Proof | None = None) -> Enrolment:
        """Enrol the person from the frames that were taken; see `Enroller.enrol`. proof: as
        `RegistryService.register` has it.

        Where it can not be done the session stays open. Raises SessionNotFound, InvalidParameter (no frame
        was taken), Conflict (the registry has another model by now), PersonExists, PersonNotFound,
        StorageError.
        """
        session = self.get(session_id)
        if not session.frames:
            raise InvalidParameter("No frame of this session was taken yet: add frames first.")
        self._refuse_other_model(session)
        change = Change(
            person_id=session.person_id,
            new=not session.adds,
            metadata=session.metadata if session.metadata or not session.adds else None,
        )
        looks = [Look(frame) for frame in session.frames]
        enrolment = self._registry.enrol(change, looks, session.review, proof)
        if enrolment.person is not None:
            done = replace(session, committed=True)
            self._store.put(KIND, session_id, _encode(done), seconds=COMMITTED_SECONDS)
        return enrolment

    def cancel(self, session_id: str) -> None:
        """Forget a session. Raises SessionNotFound."""
        if not self._store.delete(KIND, session_id):
            raise SessionNotFound

    def _keep(self, session_id: str, candidate: Candidate) -> Registration:
        """Add a frame to the session as it is by now; the session then."""
        expires_at = self._clock() + self._seconds

        def decide(value: bytes | None) -> EntryChange:
            present = _decode(session_id, value)
            self._refuse_full(present)
            frames = present.frames
            if candidate.image_id not in {frame.image_id for frame in frames}:
                frames = (*frames, candidate)
            return EntryChange(_encode(replace(present, frames=frames, expires_at=expires_at)), self._seconds)

        return _decode(session_id, self._store.change(KIND, session_id, decide))

    def _refuse_full(self, session: Registration) -> None:
        if session.committed:
            raise Conflict("This registration session was committed: open another one.")
        if len(session.frames) >= self._registry.policy.max_images:
            raise QuotaExceeded(
                f"The session has {len(session.frames)} frames, the most that are taken: commit it."
            )

    def _refuse_other_model(self, session: Registration) -> None:
        if self._registry.open()[0].contract_id != session.contract_id:
            raise Conflict("The registry has another face model by now: open another session.")

    def _agrees(self, session: Registration, candidate: Candidate) -> bool:
        """Whether a frame shows whom those before show."""
        if not session.frames:
            return True
        known = dequantize_batch([frame.embedding for frame in session.frames])
        new = dequantize_batch([candidate.embedding])
        return agreeing(new, known, self._registry.open()[1].calibration, session.review) == [True]

    def _similarity(self, session: Registration, candidate: Candidate) -> float | None:
        if not session.frames:
            return None
        known = dequantize_batch([frame.embedding for frame in session.frames])
        (new,) = dequantize_batch([candidate.embedding])
        cosine = float(np.max(known @ new))
        return self._registry.open()[1].calibration.similarity(cosine)


def _hint_of(error: FacerecError | None) -> Hint:
    """What to do after a frame in which no face could be chosen, or none that is live."""
    if isinstance(error, MultipleFaces):
        return Hint.ONE_PERSON_ALONE
    return Hint.INTO_THE_FRAME if isinstance(error, NoFaceInImage) else Hint.TRY_AGAIN


def _encode(session: Registration) -> bytes:
    """A session as it is kept."""
    return json.dumps(
        {
            "person_id": session.person_id,
            "contract_id": session.contract_id,
            "adds": session.adds,
            "review": session.review,
            "metadata": session.metadata,
            "expires_at": session.expires_at,
            "committed": session.committed,
            "frames": [_encode_frame(frame) for frame in session.frames],
        }
    ).encode()


def _encode_frame(frame: Candidate) -> dict[str, Any]:
    face = frame.face
    return {
        "image_id": frame.image_id,
        "box": asdict(face.box),
        "confidence": face.confidence,
        "pose": asdict(face.pose),
        "looks": asdict(face.quality),
        "quality": frame.judgement.quality,
        "liveness": frame.liveness,
        "scale": frame.embedding.scale,
        "codes": base64.b64encode(frame.embedding.codes).decode(),
    }


def _decode(session_id: str, value: bytes | None) -> Registration:
    """A session as it was kept. Raises SessionNotFound."""
    if value is None:
        raise SessionNotFound
    values = json.loads(value)
    return Registration(
        session_id=session_id,
        person_id=values["person_id"],
        contract_id=values["contract_id"],
        adds=values["adds"],
        review=Review(values["review"]),
        metadata=values["metadata"],
        expires_at=values["expires_at"],
        committed=values["committed"],
        frames=tuple(_decode_frame(frame) for frame in values["frames"]),
    )


def _decode_frame(values: Mapping[str, Any]) -> Candidate:
    """A frame that was taken: no fault was found in it."""
    return Candidate(
        image_id=values["image_id"],
        face=DetectedFace(
            box=BoundingBox(**values["box"]),
            confidence=values["confidence"],
            landmarks=(),
            pose=Pose(**values["pose"]),
            quality=Quality(**values["looks"]),
        ),
        judgement=Judgement((), values["quality"]),
        embedding=QuantizedEmbedding(codes=base64.b64decode(values["codes"]), scale=values["scale"]),
        liveness=values.get("liveness"),
    )
