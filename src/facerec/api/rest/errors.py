"""How errors are sent over REST: one form for all, {"code", "message", "hint", "correlation_id"}."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from facerec import errors
from facerec.db.disk import REFUSALS
from facerec.observability import current_request

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1
"""Value of Retry-After where a client should try again soon."""


@dataclass(frozen=True, slots=True)
class RestError:
    """How an error is sent: its code, the HTTP status, and what would be right."""

    code: str
    status: int
    hint: str = ""


INTERNAL = RestError("InternalError", 500, "Ask whoever runs the service, with the correlation_id.")
INVALID = RestError("InvalidParameter", 400, "See the message, and the API's description.")
AGAIN = "Try again in a moment; nothing was changed."
KEY = "Send a valid key in the header X-API-Key."
MODEL = "Ask whoever runs the service to look at its model pack."

REST_ERRORS: Mapping[type[errors.FacerecError], RestError] = MappingProxyType(
    {
        errors.FacerecError: INTERNAL,
        errors.InvalidParameter: INVALID,
        errors.NoFaceInImage: RestError("FaceNotDetected", 422, "Send a picture that shows the face."),
        errors.MultipleFaces: RestError("MultipleFaces", 422, "Show one person alone."),
        errors.PoorQuality: RestError("PoorQuality", 422, "Take the picture anew, as the message says."),
        errors.NotLive: RestError("NotLive", 422, "Show the face itself, not a picture of it."),
        errors.ImagesDisagree: RestError("ImagesDisagree", 422, "Send pictures of one person."),
        errors.FaceNotInCollection: RestError("FaceNotFound", 404, "List the faces to see which there are."),
        errors.ModelMismatch: RestError("ModelError", 409, MODEL),
        errors.InvalidImage: RestError("InvalidImage", 400, "Send a JPEG, PNG, WebP, GIF, BMP or TIFF."),
        errors.ImageTooLarge: RestError("ImageTooLarge", 413, "Send a smaller picture."),
        errors.InvalidVideo: RestError("InvalidVideo", 400, "Send an MP4, MOV or other film that plays."),
        errors.VideoTooLarge: RestError("VideoTooLarge", 413, "Send a shorter or smaller film."),
        errors.InvalidS3Object: RestError("InvalidS3Object", 400, "Check bucket, key and permissions."),
        errors.S3Unavailable: RestError("S3Unavailable", 503, AGAIN),
        errors.InvalidImageUrl: RestError("InvalidImageUrl", 400, "Send an address of an allowed host."),
        errors.UrlUnavailable: RestError("UrlUnavailable", 503, AGAIN),
        errors.InvalidPaginationToken: RestError(
            "InvalidPaginationToken", 400, "Begin anew, without a token."
        ),
        errors.NotFound: RestError("NotFound", 404, "Check the name."),
        errors.AlbumNotFound: RestError("AlbumNotFound", 404, "Create the album first."),
        errors.PersonNotFound: RestError("PersonNotFound", 404, "Register the person first."),
        errors.SessionNotFound: RestError("SessionNotFound", 404, "Open another session."),
        errors.AlreadyExists: RestError("AlreadyExists", 409, "Choose another name."),
        errors.PersonExists: RestError(
            "PersonExists", 409, "Change the person by PUT /faces/{person_id}, or delete it first."
        ),
        errors.Conflict: RestError("Conflict", 409, "See the message."),
        errors.AlreadyEnrolled: RestError(
            "AlreadyEnrolled", 409, "The person is enrolled under another id: use that one."
        ),
        errors.VersionConflict: RestError("VersionConflict", 409, "Read it again, and repeat the change."),
        errors.ModelSwitched: RestError("Conflict", 409, "Try again."),
        errors.IdempotencyMismatch: RestError("IdempotencyMismatch", 409, "Use a token once alone."),
        errors.QuotaExceeded: RestError("QuotaExceeded", 409, "See the message for the limit."),
        errors.TooManyJobs: RestError("TooManyJobs", 429, "Wait until a job is done."),
        errors.Overloaded: RestError("Overloaded", 429, AGAIN),
        errors.WaitedTooLong: RestError("WaitedTooLong", 503, AGAIN),
        errors.RateExceeded: RestError("RateExceeded", 429, "Wait as long as Retry-After says."),
        # Nobody reads it: the caller has gone. The log has it as what it is, and not as a fault.
        errors.Cancelled: RestError("Cancelled", 503, AGAIN),
        errors.AccessDenied: RestError("AccessDenied", 403, "Use a key that may do this."),
        errors.MissingCredentials: RestError("MissingCredentials", 401, KEY),
        errors.MalformedCredentials: RestError("InvalidCredentials", 401, KEY),
        errors.UnknownAccessKey: RestError("InvalidCredentials", 401, KEY),
        errors.SignatureMismatch: RestError("InvalidCredentials", 401, KEY),
        errors.SignatureExpired: RestError("InvalidCredentials", 401, KEY),
        errors.StorageError: RestError("StorageError", 500, INTERNAL.hint),
        errors.DatabaseUnavailable: RestError("StorageError", 503, AGAIN),
        errors.DatabaseBusy: RestError("StorageError", 503, AGAIN),
        errors.DiskFull: RestError("StorageError", 503, "Have room made on the service's disk."),
        errors.DiskReadOnly: RestError("StorageError", 503, "Have the service's disk made writable again."),
        errors.HistoryPruned: RestError("StorageError", 500, INTERNAL.hint),
        errors.NoticeFailed: INTERNAL,
        errors.UnreadableFile: INTERNAL,
        errors.VectorStoreUnavailable: RestError("StorageError", 503, AGAIN),
        errors.JobQueueUnavailable: RestError("StorageError", 503, AGAIN),
        errors.SessionStoreUnavailable: RestError("StorageError", 503, AGAIN),
        errors.PackError: RestError("ModelError", 500, MODEL),
        errors.LicenseNotAccepted: RestError("ModelError", 500, MODEL),
        errors.DownloadFailed: RestError("ModelError", 500, MODEL),
        errors.ConfigurationError: INTERNAL,
    }
)


class ErrorBody(BaseModel):
    """What went wrong, and what would be right."""

    code: str = Field(description="Names the error for a program.", examples=["PersonNotFound"])
    message: str = Field(description="Says what was wrong.", examples=["Nobody is enrolled as ann."])
    hint: str = Field(description="Says what would be right.", examples=["Register the person first."])
    correlation_id: str = Field(description="Names the request in the service's log.")
    images: list[dict[str, Any]] | None = Field(
        None, description="What became of each picture, where an enrolment was refused."
    )


class Refused(Exception):
    """An enrolment of which no picture was taken: the reason, and what became of each."""

    def __init__(self, reason: errors.FacerecError, *, images: list[dict[str, Any]]) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.images = images


def code_of(error: errors.FacerecError | None) -> str | None:
    """The code of an error, None for none."""
    return None if error is None else rest_error(error).code


def rest_error(error: Exception) -> RestError:
    """The row of an error: of its class, or the nearest one above; what is none of ours is internal."""
    for kind in type(error).__mro__:
        if (row := REST_ERRORS.get(kind)) is not None:
            return row
    return INTERNAL


async def answer_error(_request: Request, error: Exception) -> JSONResponse:
    """An error of ours, or a fault, of which the client learns nothing but the correlation id."""
    if isinstance(error, OSError) and error.errno in REFUSALS:  # an upload is kept in a file for a while
        error = REFUSALS[error.errno](f"A file could not be written: {error.strerror}")
    row = rest_error(error)
    message = str(error)
    if row.status == 500:
        logger.error("internal error", exc_info=error)
        message = "The service failed to answer."
    elif row.status == 503:
        logger.warning("%s", error)
        message = str(type(error)())  # the default of its meaning: the true one may name machines
    answer = _answer(row, message)
    if isinstance(error, errors.RateExceeded):
        answer.headers["Retry-After"] = str(max(math.ceil(error.seconds), 1))
    return answer


async def answer_refusal(_request: Request, error: Exception) -> JSONResponse:
    """An enrolment of which no picture was taken."""
    assert isinstance(error, Refused)  # noqa: S101  (registered for no other; narrows the type)
    return _answer(rest_error(error.reason), str(error), images=error.images)


async def answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """A request that is not as the API describes it. What was sent is not repeated: it may be a picture."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  (as above)
    told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
    return _answer(RestError("InvalidRequest", 422, INVALID.hint), "; ".join(told))


async def answer_http(request: Request, error: Exception) -> JSONResponse:
    """An address or method that nothing answers to, or a form that can not be read."""
    assert isinstance(error, HTTPException)  # noqa: S101  (as above)
    code = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "InvalidRequest")
    row = RestError(code, error.status_code, "See the API's description at /api/v1/openapi.json.")
    answer = _answer(row, str(error.detail)[:200])
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods_at(request))
    return answer


def _methods_at(request: Request) -> list[str]:
    """The methods that are answered at a request's address: each has a route of its own."""
    path = getattr(request.scope.get("route"), "path", None)
    return sorted(method.upper() for method in request.app.openapi()["paths"].get(path, {}))


def _answer(row: RestError, message: str, **more: Any) -> JSONResponse:
    current_request().error = row.code
    body = {
        "code": row.code,
        "message": message,
        "hint": row.hint,
        "correlation_id": current_request().request_id,
        **more,
    }
    headers = {"Retry-After": str(RETRY_SECONDS)} if row.status in (429, 503) else None
    return JSONResponse(body, status_code=row.status, headers=headers)
