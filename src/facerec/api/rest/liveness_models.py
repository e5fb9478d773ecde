"""Liveness sessions' requests and answers as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field, Strict, StrictBool

from facerec.api.rest.person_models import Body, EncodedImage
from facerec.services.liveness.challenge import Remark, Stage, Step
from facerec.services.liveness.records import Failure, LivenessSession, SessionStatus, Trouble
from facerec.services.liveness.sessions import FrameOutcome

ASKED = {
    Step.TURN_LEFT: "Turn your head to your left.",
    Step.TURN_RIGHT: "Turn your head to your right.",
    Step.CHIN_UP: "Lift your chin.",
    Step.CHIN_DOWN: "Lower your chin.",
    Step.COME_CLOSER: "Come closer to the camera.",
}
AHEAD = "Look straight into the camera."
BACK = "Now back, and look straight into the camera."
BACK_AWAY = "Now back to where you were."

REMARKS = {
    Remark.GOOD: "",
    Remark.STEP_DONE: "Good.",
    Remark.ALL_DONE: "Done.",
    Remark.MORE_SLOWLY: "A little more slowly, please.",
    Remark.OTHER_MOVEMENT: "That was another movement: here is a new one.",
    Remark.TOO_LATE: "That took too long: here is a new one.",
    Remark.REPEATED: "The camera's picture stands still.",
    Remark.TOO_MANY_MISTAKES: "It did not work out.",
    Trouble.NO_FACE: "Bring your face into the picture.",
    Trouble.SEVERAL_FACES: "One person alone, please.",
    Trouble.TOO_FAR: "Come closer to the camera.",
    Trouble.CUT_OFF: "Bring your whole face into the picture.",
    Trouble.TOO_DARK: "More light, please.",
    Trouble.OTHER_PERSON: "Stay in the picture, and let nobody else into it.",
}


class OpenLivenessRequest(Body):
    """What is wanted of a session."""

    reference_image: StrictBool = Field(
        False,
        description="Whether the frame that ends the session is kept beside it for three minutes, for "
        "GetFaceLivenessSessionResults.",
    )
    audit_images: Annotated[int, Strict()] = Field(
        0, ge=0, le=4, description="Most frames of movements that are kept in the same way."
    )
    return_url: str | None = Field(
        None,
        max_length=2048,
        pattern=r"^https?://",
        description="Where the capture page goes at the end, with `liveness_session_id` and `status` added "
        "to the query; of an origin of ALLOWED_ORIGINS.",
    )


class LivenessFrameRequest(Body):
    """One frame."""

    image: EncodedImage


class LivenessStepModel(BaseModel):
    """What is asked at present."""

    step: Step = Field(description="The movement, with the person's own left and right.")
    stage: Stage = Field(description="What is awaited: a look straight ahead, the movement, the way back.")
    number: int = Field(description="Which movement it is, from 1 on.")
    steps: int = Field(description="How many there are.")
    text: str

    @classmethod
    def of(cls, session: LivenessSession) -> LivenessStepModel | None:
        """The wire form; None for a session that is over."""
        challenge = session.challenge
        if challenge.asked is None or session.failure is not None:
            return None
        back = BACK_AWAY if challenge.asked is Step.COME_CLOSER else BACK
        text = {Stage.LOOK_AHEAD: AHEAD, Stage.MOVE: ASKED[challenge.asked], Stage.BACK: back}
        return cls(
            step=challenge.asked,
            stage=challenge.stage,
            number=challenge.done + 1,
            steps=len(challenge.steps),
            text=text[challenge.stage],
        )


class LivenessSessionModel(BaseModel):
    """A liveness session, for whoever opened it."""

    session_id: str = Field(description="Whoever has it may send frames: tell it the person alone.")
    url: str = Field(description="Path of the page that the person opens.", examples=["/liveness/..."])
    status: SessionStatus
    confidence: float | None = Field(
        description="How surely a living person was there, 0 to 100: the weaker of depth and passive. 0 "
        "for a session that failed, null for one that is not over."
    )
    depth: float | None = Field(description="How surely the head has depth, by its turns, 0 to 100.")
    passive: float | None = Field(
        description="How surely its pictures show a face itself, 0 to 100; null where the model pack can "
        "not tell."
    )
    failure: Failure | None = Field(description="Why it failed.")
    frames: int = Field(description="How many were looked at.")
    used: bool = Field(description="Whether it has proved something to the registry: it does so once.")
    expires_at: datetime

    @classmethod
    def of(cls, session: LivenessSession, now: float) -> LivenessSessionModel:
        """The wire form."""
        return cls(
            session_id=session.session_id,
            url=f"/liveness/{session.session_id}",
            status=session.status(now),
            confidence=session.confidence,
            depth=session.depth,
            passive=session.passive_score,
            failure=session.failure,
            frames=session.frames,
            used=session.used,
            expires_at=datetime.fromtimestamp(session.expires_at, UTC),
        )


class LivenessFrameModel(BaseModel):
    """What a frame brought, for the person before the camera: how sure the service is it does not tell."""

    status: SessionStatus
    remark: Remark | Trouble
    text: str = Field(description="The remark for a person; empty where there is nothing to say.")
    asked: LivenessStepModel | None = Field(description="null at the end.")

    @classmethod
    def of(cls, outcome: FrameOutcome, now: float) -> LivenessFrameModel:
        """The wire form."""
        return cls(
            status=outcome.session.status(now),
            remark=outcome.remark,
            text=REMARKS[outcome.remark],
            asked=LivenessStepModel.of(outcome.session),
        )
