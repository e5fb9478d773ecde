"""Active liveness over HTTP: sessions are opened and asked for with a key, frames are sent with the session's
id alone."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, status

from facerec.api.rest.forms import FILE, FormRoute, form_of, image_of
from facerec.api.rest.liveness_models import (
    LivenessFrameModel,
    LivenessFrameRequest,
    LivenessSessionModel,
    OpenLivenessRequest,
)
from facerec.domain import InlineImage
from facerec.errors import ImageTooLarge, InvalidParameter
from facerec.services.liveness.records import Wishes
from facerec.services.liveness.sessions import LivenessSessions

SessionId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

MOST_FRAME_BYTES = 1024 * 1024


def liveness_router(sessions: LivenessSessions, origins: tuple[str, ...]) -> APIRouter:
    """The routes of liveness sessions. origins: of pages that a person may be sent back to."""
    router = APIRouter(route_class=FormRoute, prefix="/liveness/sessions", tags=["liveness"])

    @router.post("", status_code=status.HTTP_201_CREATED)
    def open_session(body: OpenLivenessRequest) -> LivenessSessionModel:
        """Open a session, which lasts three minutes: a person does what is asked before a camera.

        The person opens `url`, or a page of your own sends the frames.
        """
        wishes = Wishes(
            reference=body.reference_image,
            audit_images=body.audit_images,
            return_url=_return_url(body.return_url, origins),
        )
        return LivenessSessionModel.of(sessions.open(wishes), sessions.clock())

    @router.get("/{session_id}")
    def get_session(session_id: SessionId) -> LivenessSessionModel:
        """A session as it is, and what became of it for ten minutes after its time."""
        return LivenessSessionModel.of(sessions.get(session_id), sessions.clock())

    @router.post("/{session_id}/frames", openapi_extra=form_of(("image",), image=FILE))
    def add_frame(session_id: SessionId, body: LivenessFrameRequest) -> LivenessFrameModel:
        """Look at a frame, and say what to do next. It takes no key: whoever has the id was told it.

        Frames are sent one after the other, five to fifteen a second, not mirrored. A frame is not kept.
        """
        image = image_of(body.image, "image")
        if not isinstance(image, InlineImage):
            raise InvalidParameter("A frame is sent itself: as a file of a form, or in base64.")
        if len(image.data) > MOST_FRAME_BYTES:
            raise ImageTooLarge(f"A frame has at most {MOST_FRAME_BYTES} bytes: send 640 pixels across.")
        return LivenessFrameModel.of(sessions.add(session_id, image.data), sessions.clock())

    return router


def _return_url(url: str | None, origins: tuple[str, ...]) -> str | None:
    """An address that a person may be sent back to. Raises InvalidParameter for any other."""
    if url is None:
        return None
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" not in origins:
        raise InvalidParameter("return_url has to be of an origin that ALLOWED_ORIGINS names.")
    return url
