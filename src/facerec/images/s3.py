"""Images in S3, or in a store that speaks its protocol."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

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


class S3Source:
    """Reads objects with boto3's own credentials (environment, profile, instance role). Thread-safe."""

    def __init__(
        self, *, region: str, endpoint_url: str | None, max_bytes: int, connections: int = 10
    ) -> None:
        """`max_bytes` bounds an object; `endpoint_url` None means AWS; at most `connections` stay open."""
        self.max_bytes = max_bytes
        self._region = region
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._opened: S3Client | None = None
        self._lock = threading.Lock()

    def read(self, reference: S3Image) -> bytes:
        """The object's bytes.

        Raises ImageTooLarge above `max_bytes`, told by Content-Length before anything is read, and counted
        while reading; InvalidS3Object for every way in which the object can not be had: S3Unavailable where
        that may change by itself.
        """
        arguments = {"Bucket": reference.bucket, "Key": reference.name}
        if reference.version is not None:
            arguments["VersionId"] = reference.version
        try:
            answer: dict[str, Any] = self.client().get_object(**arguments)  # type: ignore[arg-type,assignment]
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
