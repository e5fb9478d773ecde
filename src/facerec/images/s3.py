"""Images in S3, or in a store that speaks its protocol."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from facerec.access import AwsCredentials
from facerec.domain import S3Image
from facerec.errors import ImageTooLarge, InvalidS3Object, S3Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 10
ATTEMPTS = 3
"""Requests made for one image at most; each of them is bounded by the time-outs above."""

CHUNK_BYTES = 256 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object that is there: which one, its bytes, and the tag of this very content."""

    reference: S3Image
    size: int
    tag: str


class S3Source:
    """Reads objects. Thread-safe."""

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None,
        credentials: AwsCredentials,
        max_bytes: int,
        connections: int = 10,
    ) -> None:
        """`max_bytes` bounds an object; `endpoint_url` None means AWS; at most `connections` stay open."""
        self.max_bytes = max_bytes
        self._region = region
        self._endpoint_url = endpoint_url
        self._credentials = credentials
        self._connections = connections
        self._opened: S3Client | None = None
        self._lock = threading.Lock()

    def read(self, reference: S3Image) -> bytes:
        """The object's bytes.

        Raises ImageTooLarge above `max_bytes`, told by Content-Length before anything is read, and counted
        while reading; InvalidS3Object for every way in which the object can not be had: S3Unavailable where
        that may change by itself.
        """
        try:
            answer = self.client().get_object(**_arguments(reference))
            with contextlib.closing(answer["Body"]) as body:
                self._check_size(int(answer["ContentLength"]))
                chunks, size = [], 0
                for chunk in body.iter_chunks(CHUNK_BYTES):
                    size += len(chunk)
                    self._check_size(size)
                    chunks.append(chunk)
                return b"".join(chunks)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            _log.info("S3 refused an object: %s", code)
            raise (S3Unavailable if is_away(error) else InvalidS3Object) from error
        except BotoCoreError as error:  # no credentials, no connection, time-outs, an answer cut short
            _log.warning("S3 did not give an object: %s", type(error).__name__)
            raise S3Unavailable from error

    def look_up(self, reference: S3Image) -> S3Object:
        """What is known of an object; nothing of it is read. Raises InvalidS3Object, S3Unavailable."""
        try:
            answer = self.client().head_object(**_arguments(reference))
        except ClientError as error:
            _log.info("S3 did not tell of an object: %s", type(error).__name__)
            raise (S3Unavailable if is_away(error) else InvalidS3Object) from error
        except BotoCoreError as error:
            _log.warning("S3 did not tell of an object: %s", type(error).__name__)
            raise S3Unavailable from error
        return S3Object(reference, int(answer["ContentLength"]), str(answer["ETag"]))

    def read_part(self, found: S3Object, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, not included, of an object that was looked up.

        Raises InvalidS3Object where it is another one by now, S3Unavailable where S3 does not answer.
        """
        arguments = _arguments(found.reference)
        try:
            answer = self.client().get_object(
                **arguments, Range=f"bytes={start}-{end - 1}", IfMatch=found.tag
            )
            with contextlib.closing(answer["Body"]) as body:
                data: bytes = body.read(end - start)
        except ClientError as error:
            if is_away(error):
                raise S3Unavailable from error
            raise InvalidS3Object("The object in S3 was changed or removed while it was read.") from error
        except BotoCoreError as error:
            raise S3Unavailable from error
        if len(data) != end - start:
            raise S3Unavailable
        return data

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise ImageTooLarge(
                f"Image size is too large: an S3 object may have at most {self.max_bytes} bytes."
            )

    def client(self) -> S3Client:
        """The client, made at the first call: loading boto3's service model takes a noticeable moment."""
        with self._lock:
            if self._opened is None:
                import boto3
                from botocore.config import Config

                self._opened = boto3.session.Session().client(
                    "s3",
                    aws_access_key_id=self._credentials.access_key_id,
                    aws_secret_access_key=self._credentials.secret_access_key,
                    aws_session_token=self._credentials.session_token,
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        connect_timeout=CONNECT_TIMEOUT_SECONDS,
                        read_timeout=READ_TIMEOUT_SECONDS,
                        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                        max_pool_connections=self._connections,
                    ),
                )
            return self._opened


def is_away(error: ClientError) -> bool:
    """Whether S3 itself is at fault, or asks for patience, rather than the request."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return status >= 500 or status == 429


def _arguments(reference: S3Image) -> dict[str, Any]:
    """How boto3 is told which object."""
    named = {"Bucket": reference.bucket, "Key": reference.name}
    return named if reference.version is None else {**named, "VersionId": reference.version}
