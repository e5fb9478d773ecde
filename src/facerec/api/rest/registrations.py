"""Registration sessions over HTTP: a person is enrolled frame by frame."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from facerec.api.rest.forms import FILE, FormRoute, form_of, image_of
from facerec.api.rest.person_models import (
    EnrolmentModel,
    FrameModel,
    FrameRequest,
    LivenessSessionId,
    OpenRegistrationRequest,
    RegistrationModel,
)
from facerec.observability import current_request
from facerec.services.liveness.proof import Proofs
from facerec.services.registry.sessions import RegistrationSessions

SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def registrations_router(sessions: RegistrationSessions, proofs: Proofs) -> APIRouter:
    """The routes of registration sessions."""
    router = APIRouter(route_class=FormRoute, prefix="/registrations", tags=["registrations"])

    @router.post("", status_code=status.HTTP_201_CREATED)
    def open_session(body: OpenRegistrationRequest) -> RegistrationModel:
        """Open a session. It ends some minutes after its last frame."""
        current_request().people.append(body.person_id)
        session = sessions.open(body.person_id, adds=body.add, metadata=body.metadata, review=body.review)
        return RegistrationModel.of(session)

    @router.get("/{session_id}")
    def get_session(session_id: SessionId) -> RegistrationModel:
        """A session as it is."""
        return RegistrationModel.of(sessions.get(session_id))

    @router.post("/{session_id}/frames", openapi_extra=form_of(("image",), image=FILE))
    def add_frame(session_id: SessionId, body: FrameRequest) -> FrameModel:
        """Look at a frame: whether it was taken, what is wrong with it, and what to do next.

        A frame that is not taken is no error. The frame itself is not kept.
        """
        return FrameModel.of(sessions.add(session_id, image_of(body.image, "image")))

    @router.post("/{session_id}/commit")
    def commit(
        session_id: SessionId, liveness_session_id: Annotated[LivenessSessionId | None, Query()] = None
    ) -> EnrolmentModel:
        """Enrol the person from the frames that were taken."""
        enrolment = sessions.commit(session_id, proofs.of(liveness_session_id))
        if enrolment.person is not None:
            current_request().people.append(enrolment.person.person_id)
        return EnrolmentModel.of(enrolment)

    @router.delete("/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
    def cancel(session_id: SessionId) -> None:
        """Forget a session and its frames."""
        sessions.cancel(session_id)

    return router
