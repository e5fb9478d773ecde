"""Errors by meaning. None carries a status code: each door owns one table to its wire form.

A class's docstring is its default message; `message` says what was wrong, where, and what would be right.

    FacerecError
    ├── InvalidParameter          a value outside what the operation accepts
    │   ├── NoFaceInImage         an operation that needs a face got an image without one
    │   ├── MultipleFaces         an operation on one face got an image with several
    │   ├── PoorQuality           a picture that nobody should be known by
    │   ├── NotLive               a print or a screen where a live face is required
    │   ├── ImagesDisagree        pictures of one enrolment that do not show one person
    │   ├── FaceNotInCollection   a face id that the collection does not hold
    │   └── ModelMismatch         vectors of two embedding contracts would meet
    ├── InvalidImage              bytes that are not a readable image
    ├── ImageTooLarge             more bytes or pixels than the limit
    ├── InvalidVideo              a file that is no readable video
    ├── VideoTooLarge             more bytes, pixels or seconds of video than the limit
    ├── InvalidS3Object           the S3 object cannot be had
    │   └── S3Unavailable         S3 does not answer: try again
    ├── InvalidImageUrl           the image behind a web address may not, or can not, be had
    │   └── UrlUnavailable        the host does not answer: try again
    ├── InvalidPaginationToken    a token that was not given out for this listing
    ├── NotFound                  a collection, user, key or pack that does not exist
    │   ├── AlbumNotFound         an album that does not exist
    │   ├── PersonNotFound        nobody is enrolled under that id
    │   └── SessionNotFound       a registration or liveness session that is over, or never was
    ├── AlreadyExists             a collection, user or key that exists
    │   └── PersonExists          somebody is enrolled under that id already
    ├── Conflict                  the state of the thing forbids the change
    │   ├── AlreadyEnrolled       the face is that of somebody who is enrolled under another id
    │   ├── VersionConflict       the thing was changed since it was read
    │   └── ModelSwitched         the collection got another model while the request was at work
    ├── IdempotencyMismatch       a client token reused with other parameters
    ├── QuotaExceeded             a fixed limit of the service is reached
    ├── TooManyJobs               as many jobs are open as may be
    ├── Overloaded                the queue is full: try again
    │   └── WaitedTooLong         the request waited for longer than a request may: try again
    ├── RateExceeded              more requests than the key, or the address, may send: try again later
    ├── Cancelled                 the caller has gone
    ├── AccessDenied              the caller may not do this
    │   ├── MissingCredentials    a request without a signature where one is needed
    │   ├── MalformedCredentials  a signature whose parts are missing or cannot be read
    │   ├── UnknownAccessKey      an access key that was never given out, or is revoked
    │   ├── SignatureMismatch     a signature that this request, key and secret do not give
    │   └── SignatureExpired      a signature of another time
    ├── StorageError              the database or disk refused; nothing was changed
    │   ├── DatabaseUnavailable   the database does not answer: try again
    │   ├── DatabaseBusy          other changes were in the way for too long: try again
    │   ├── DiskFull              there is no room for the change: try again once there is
    │   ├── DiskReadOnly          the disk takes no change: try again once it does
    │   └── HistoryPruned         an index is too old to be brought up to date: it has to be built anew
    ├── VectorStoreUnavailable    the vector store does not answer, or is being rebuilt: try again
    ├── JobQueueUnavailable       the job queue does not answer: try again
    ├── SessionStoreUnavailable   what is remembered for minutes does not answer: try again
    ├── NoticeFailed              nobody could be told of what has ended: it is tried again
    ├── UnreadableFile            an export or backup that is damaged, cut short or of a newer format
    ├── PackError                 a model pack is missing, damaged or unusable
    │   ├── LicenseNotAccepted    the pack's licence has to be accepted first
    │   └── DownloadFailed        a file of the pack cannot be fetched
    └── ConfigurationError        a setting is wrong
"""

from __future__ import annotations


class FacerecError(Exception):
    """Something went wrong in the service."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message if message is not None else (type(self).__doc__ or "").strip()
        super().__init__(self.message)


class InvalidParameter(FacerecError):
    """Request has invalid parameters"""


class NoFaceInImage(InvalidParameter):
    """There are no faces in the image. Should be at least 1."""


class MultipleFaces(InvalidParameter):
    """There are several faces in the image, and none of them is clearly the one that is meant."""


class PoorQuality(InvalidParameter):
    """The picture of the face is not good enough to know somebody by."""


class NotLive(InvalidParameter):
    """The picture seems to show a print or a screen: show the face itself to the camera, in even light."""


class ImagesDisagree(InvalidParameter):
    """The pictures do not show one and the same person."""


class FaceNotInCollection(InvalidParameter):
    """faceId was not found in the collection."""


class ModelMismatch(InvalidParameter):
    """The collection was made with another face model."""


class InvalidImage(FacerecError):
    """Request has invalid image format"""


class ImageTooLarge(FacerecError):
    """Image size is too large"""


class InvalidVideo(FacerecError):
    """The file is no video that can be read."""


class VideoTooLarge(FacerecError):
    """The video is larger than the limit."""


class InvalidS3Object(FacerecError):
    """Unable to get object metadata from S3. Check object key, region and/or access permissions."""


class S3Unavailable(InvalidS3Object):
    """Unable to get object metadata from S3. Check object key, region and/or access permissions."""


class InvalidImageUrl(FacerecError):
    """The image's address is not allowed, or does not give an image."""


class UrlUnavailable(InvalidImageUrl):
    """The image's host does not answer at present. Try your call again."""


class InvalidPaginationToken(FacerecError):
    """Invalid Pagination Token"""


class NotFound(FacerecError):
    """The resource does not exist."""


class AlbumNotFound(NotFound):
    """The album does not exist."""


class PersonNotFound(NotFound):
    """Nobody is enrolled under this id."""


class SessionNotFound(NotFound):
    """There is no such session, or its time is over."""


class AlreadyExists(FacerecError):
    """The resource already exists."""


class PersonExists(AlreadyExists):
    """Somebody is enrolled under this id already."""


class Conflict(FacerecError):
    """The state of the resource forbids this change."""


class AlreadyEnrolled(Conflict):
    """The face is that of somebody who is enrolled under another id."""


class VersionConflict(Conflict):
    """It was changed since you read it."""


class ModelSwitched(Conflict):
    """The collection has been switched to another face model meanwhile; try your call again."""


class IdempotencyMismatch(FacerecError):
    """The ClientRequestToken you have supplied is already in use."""


class QuotaExceeded(FacerecError):
    """A limit of the service is reached."""


class TooManyJobs(FacerecError):
    """As many jobs are open as may be: wait until one of them has ended."""


class Overloaded(FacerecError):
    """Provisioned Rate exceeded"""


class WaitedTooLong(Overloaded):
    """The request waited for too long and was left undone. Try your call again."""


class RateExceeded(FacerecError):
    """Rate exceeded"""

    def __init__(self, message: str | None = None, *, seconds: float = 1.0) -> None:
        """seconds: until one more request is let in."""
        super().__init__(message)
        self.seconds = seconds


class Cancelled(FacerecError):
    """The caller has gone."""


class AccessDenied(FacerecError):
    """The caller is not authorized to perform this operation."""


class MissingCredentials(AccessDenied):
    """Missing Authentication Token"""


class MalformedCredentials(AccessDenied):
    """The request signature does not conform to AWS standards."""


class UnknownAccessKey(AccessDenied):
    """The security token included in the request is invalid."""


class SignatureMismatch(AccessDenied):
    """The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."""  # noqa: E501  (AWS's own sentence, which is the default message)


class SignatureExpired(AccessDenied):
    """Signature expired"""


class StorageError(FacerecError):
    """The database could not complete the change; nothing was changed."""


class DatabaseUnavailable(StorageError):
    """The database does not answer at present. Try your call again."""


class DatabaseBusy(StorageError):
    """Other changes kept the database from this one. Nothing was changed: try your call again."""


class DiskFull(StorageError):
    """The disk is full. Nothing was changed: try your call again once there is room."""


class DiskReadOnly(StorageError):
    """The disk is read-only. Nothing was changed: try your call again once it can be written."""


class HistoryPruned(StorageError):
    """What was removed since then is remembered no longer."""


class NoticeFailed(FacerecError):
    """Whoever was to be told does not answer as it should."""


class UnreadableFile(FacerecError):
    """The file is no whole export or backup that this version reads."""


class VectorStoreUnavailable(FacerecError):
    """The vector store does not answer at present. Nothing was lost: try your call again."""


class JobQueueUnavailable(FacerecError):
    """The job queue does not answer at present. Nothing was queued: try your call again."""


class SessionStoreUnavailable(FacerecError):
    """The session store does not answer at present. Nothing was changed: try your call again."""


class PackError(FacerecError):
    """The model pack is missing, damaged or unusable."""


class LicenseNotAccepted(PackError):
    """The licence of the model pack has to be accepted first."""


class DownloadFailed(PackError):
    """A file of the model pack could not be fetched."""


class ConfigurationError(FacerecError):
    """A setting is wrong."""
