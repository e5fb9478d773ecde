"""Errors at the Rekognition door: the one table from meaning to AWS code and HTTP status, and their body.

AWS answers in two forms. Rekognition itself sends `__type`, `Code`, `Logref` and `Message`; the framework
before it (signatures, JSON, the model's constraints) sends `__type` and `message`. Clients read either.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from facerec import errors

logger = logging.getLogger(__name__)


class MalformedRequest(errors.FacerecError):
    """The request's body is not the JSON that the operation takes."""


class ConstraintsViolated(errors.FacerecError):
    """A value breaks a constraint of the service model."""


class UnknownOperation(errors.FacerecError):
    """The service has no such operation."""


class BodyTooLarge(errors.FacerecError):
    """The request's body is larger than the limit."""


class NotOffered(errors.AccessDenied):
    """An operation of Amazon Rekognition that this service does not offer."""


@dataclass(frozen=True, slots=True)
class WireError:
    """How an error is sent."""

    code: str
    status: int
    framework: bool = False
    """Sent in the form of AWS's framework rather than Rekognition's."""


INTERNAL = WireError("InternalServerError", 500)

UNAVAILABLE = WireError("ThrottlingException", 500)
""""Temporarily unable to process the request": what the service stands on is away. AWS clients repeat it."""

WIRE_ERRORS: Mapping[type[errors.FacerecError], WireError] = MappingProxyType(
    {
        errors.FacerecError: INTERNAL,
        errors.InvalidParameter: WireError("InvalidParameterException", 400),
        errors.NoFaceInImage: WireError("InvalidParameterException", 400),
        errors.MultipleFaces: WireError("InvalidParameterException", 400),
        errors.PoorQuality: WireError("InvalidParameterException", 400),
        errors.NotLive: WireError("InvalidParameterException", 400),
        errors.ImagesDisagree: WireError("InvalidParameterException", 400),
        errors.FaceNotInCollection: WireError("InvalidParameterException", 400),
        errors.ModelMismatch: WireError("InvalidParameterException", 400),
        errors.InvalidImage: WireError("InvalidImageFormatException", 400),
        errors.ImageTooLarge: WireError("ImageTooLargeException", 400),
        # A job that meets such a video fails; no operation answers with it.
        errors.InvalidVideo: WireError("InvalidParameterException", 400),
        errors.VideoTooLarge: WireError("VideoTooLargeException", 400),
        errors.InvalidS3Object: WireError("InvalidS3ObjectException", 400),
        errors.S3Unavailable: WireError("InvalidS3ObjectException", 400),
        errors.InvalidImageUrl: WireError("InvalidParameterException", 400),
        errors.UrlUnavailable: WireError("InvalidParameterException", 400),
        errors.InvalidPaginationToken: WireError("InvalidPaginationTokenException", 400),
        errors.NotFound: WireError("ResourceNotFoundException", 400),
        errors.AlbumNotFound: WireError("ResourceNotFoundException", 400),
        errors.PersonNotFound: WireError("ResourceNotFoundException", 400),
        errors.SessionNotFound: WireError("SessionNotFoundException", 400),
        errors.AlreadyExists: WireError("ResourceAlreadyExistsException", 400),
        errors.PersonExists: WireError("ResourceAlreadyExistsException", 400),
        errors.Conflict: WireError("ConflictException", 400),
        errors.AlreadyEnrolled: WireError("ConflictException", 400),
        errors.VersionConflict: WireError("ConflictException", 400),
        errors.ModelSwitched: WireError("ConflictException", 400),
        errors.IdempotencyMismatch: WireError("IdempotentParameterMismatchException", 400),
        errors.QuotaExceeded: WireError("ServiceQuotaExceededException", 400),
        errors.TooManyJobs: WireError("LimitExceededException", 400),
        # AWS clients retry this one with growing pauses; a 429 they would not understand.
        errors.Overloaded: WireError("ProvisionedThroughputExceededException", 400),
        errors.WaitedTooLong: WireError("ProvisionedThroughputExceededException", 400),
        # With Retry-After. AWS clients retry it, as they do at 500; 400 is what AWS's own limits answer with.
        errors.RateExceeded: WireError("ThrottlingException", 400),
        errors.Cancelled: INTERNAL,
        errors.AccessDenied: WireError("AccessDeniedException", 400),
        errors.MissingCredentials: WireError("MissingAuthenticationTokenException", 400, framework=True),
        errors.MalformedCredentials: WireError("IncompleteSignatureException", 400, framework=True),
        errors.UnknownAccessKey: WireError("UnrecognizedClientException", 400, framework=True),
        errors.SignatureMismatch: WireError("InvalidSignatureException", 400, framework=True),
        errors.SignatureExpired: WireError("InvalidSignatureException", 400, framework=True),
        errors.StorageError: INTERNAL,
        errors.DatabaseUnavailable: UNAVAILABLE,
        errors.DatabaseBusy: UNAVAILABLE,
        errors.DiskFull: UNAVAILABLE,
        errors.DiskReadOnly: UNAVAILABLE,
        errors.HistoryPruned: INTERNAL,
        errors.VectorStoreUnavailable: UNAVAILABLE,
        errors.JobQueueUnavailable: UNAVAILABLE,
        errors.SessionStoreUnavailable: UNAVAILABLE,
        errors.NoticeFailed: INTERNAL,
        errors.UnreadableFile: INTERNAL,
        errors.PackError: INTERNAL,
        errors.LicenseNotAccepted: INTERNAL,
        errors.DownloadFailed: INTERNAL,
        errors.ConfigurationError: INTERNAL,
        MalformedRequest: WireError("SerializationException", 400, framework=True),
        ConstraintsViolated: WireError("ValidationException", 400, framework=True),
        UnknownOperation: WireError("UnknownOperationException", 400, framework=True),
        BodyTooLarge: WireError("RequestEntityTooLargeException", 413, framework=True),
        NotOffered: WireError("AccessDeniedException", 400),
    }
)


def wire_error(error: Exception) -> WireError:
    """The row of an error's class; an exception that is none of ours is an internal error."""
    return WIRE_ERRORS.get(type(error), INTERNAL) if isinstance(error, errors.FacerecError) else INTERNAL


def retry_after(error: Exception) -> int | None:
    """Whole seconds for the header Retry-After; None where a client need not be told when to try again."""
    return max(math.ceil(error.seconds), 1) if isinstance(error, errors.RateExceeded) else None


def error_body(error: Exception, request_id: str) -> tuple[int, bytes]:
    """HTTP status and JSON body for an error.

    Of an internal error the client learns nothing but the request id; the log has the stack trace. Of what
    is away it learns that much; the log has the reason, which may name machines.
    """
    row = wire_error(error)
    if row is INTERNAL:
        if not isinstance(error, errors.Cancelled):
            logger.error("internal error", exc_info=error)
        message = "Internal server error"
    elif row is UNAVAILABLE:
        logger.warning("%s", error)
        message = str(type(error)())  # the default of its meaning
    else:
        message = str(error)
    if row.framework:
        return row.status, orjson.dumps({"__type": row.code, "message": message})
    return row.status, orjson.dumps(
        {"__type": row.code, "Code": row.code, "Logref": request_id, "Message": message}
    )
