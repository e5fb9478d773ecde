"""Images in S3, or in a store that speaks its protocol."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from facerec.access import AwsCredentials
from facerec.domain import S3Image
from facerec.errors import ImageTooLarge, InvalidS3Object, S3Unavailable
from facerec.images.s3_requests import S3Refused, S3Requests

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 10
ATTEMPTS = 3
"""Requests made for one image at most; each of them is bounded by the time-outs above."""

LONGEST_SECONDS = 60.0
"""In which an image has to be there: a store that gives a byte now and then holds up a thread meanwhile."""

_PIECE_BYTES = 2**18

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
        self._opened: tuple[S3Client, S3Requests] | None = None
        self._lock = threading.Lock()

    def read(self, reference: S3Image) -> bytes:
        """The object's bytes.

        Raises ImageTooLarge above `max_bytes`, told by Content-Length before anything is read, and counted
        while reading; InvalidS3Object for every way in which the object can not be had: S3Unavailable where
        that may change by itself.
        """
        with self._asked("GET", reference) as answer:
            size = int(answer.headers.get("Content-Length", 0))
            self._check_size(size)
            data = self._body(answer)
        if len(data) < size:
            _log.warning("S3 did not give an object: its answer was cut short")
            raise S3Unavailable
        return data

    def _body(self, answer: AWSResponse) -> bytes:
        """An answer's body, as it comes. Raises ImageTooLarge, S3Unavailable."""
        until = time.monotonic() + LONGEST_SECONDS
        pieces: list[bytes] = []
        size = 0
        while piece := answer.raw.read1(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            self._check_size(size)
            if time.monotonic() > until:
                _log.warning("S3 did not give an object: it takes more than %g seconds", LONGEST_SECONDS)
                raise S3Unavailable
        return b"".join(pieces)

    def look_up(self, reference: S3Image) -> S3Object:
        """What is known of an object; nothing of it is read. Raises InvalidS3Object, S3Unavailable."""
        with self._asked("HEAD", reference) as answer:
            return S3Object(reference, int(answer.headers["Content-Length"]), answer.headers["ETag"])

    def read_part(self, found: S3Object, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, not included, of an object that was looked up.

        Raises InvalidS3Object where it is another one by now, S3Unavailable where S3 does not answer.
        """
        headers = {"Range": f"bytes={start}-{end - 1}", "If-Match": found.tag}
        try:
            with self._asked("GET", found.reference, headers) as answer:
                data: bytes = answer.raw.read(end - start)
        except S3Unavailable:
            raise
        except InvalidS3Object as error:
            raise InvalidS3Object("The object in S3 was changed or removed while it was read.") from error
        if len(data) != end - start:
            raise S3Unavailable
        return data

    @contextlib.contextmanager
    def _asked(
        self, method: str, reference: S3Image, headers: Mapping[str, str] | None = None
    ) -> Iterator[AWSResponse]:
        """S3's answer with an object. Raises InvalidS3Object, S3Unavailable, also while the body is read."""
        try:
            answer = self._open()[1].ask(method, reference, headers)
            try:
                yield answer
            except BaseException:
                answer.raw.close()  # what was not read would be the next answer
                raise
            finally:
                answer.raw.release_conn()
        except S3Refused as error:
            _log.info("S3 refused an object: %s", error)
            raise (S3Unavailable if error.away else InvalidS3Object) from error
        except (BotoCoreError, HTTPError, ValueError) as error:
            # No credentials, no connection, time-outs, an answer that is none.
            _log.warning("S3 did not give an object: %s", type(error).__name__)
            raise S3Unavailable from error

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise ImageTooLarge(
                f"Image size is too large: an S3 object may have at most {self.max_bytes} bytes."
            )

    def client(self) -> S3Client:
        """The client, for what is no object's content."""
        return self._open()[0]

    def _open(self) -> tuple[S3Client, S3Requests]:
        """The client and what asks for objects, made at the first call: that takes a noticeable moment."""
        with self._lock:
            if self._opened is None:
                import botocore.session
                from botocore.config import Config

                session, own = botocore.session.get_session(), self._credentials
                if own.access_key_id is not None and own.secret_access_key is not None:
                    session.set_credentials(own.access_key_id, own.secret_access_key, own.session_token)
                client = session.create_client(
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
                client = cast("S3Client", client)
                requests = S3Requests(
                    session,
                    client,
                    endpoint_url=self._endpoint_url,
                    timeouts=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
                    attempts=ATTEMPTS,
                    connections=self._connections,
                )
                self._opened = client, requests
            return self._opened
