"""Requests for objects in S3, of botocore's parts: its credentials, signature, proxies and connections.

boto3's client applies rules of endpoints and models of shapes to every request, which takes half as long as
looking at a small picture does. Here that is done once a bucket.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import ConnectionError as NotConnected
from botocore.exceptions import HTTPClientError, NoCredentialsError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from facerec.domain import S3Image

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

MOST_ERROR_BYTES = 64 * 1024

LONGEST_PAUSE_SECONDS = 20.0

_NAME_OF_A_HOST = re.compile(r"[a-z0-9][a-z0-9-]*[a-z0-9]")
"""Such buckets have a host of their own at AWS; others, with a dot, do not fit its certificate."""

_AWS = re.compile(r"s3[.-][a-z0-9.-]*\.?amazonaws\.com(\.cn)?")

_TOLD = re.compile(rb"<(Code|Region)>([^<]{1,100})<")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the objects of a bucket are asked for: what stands before a key, and the region that signs."""

    address: str
    region: str


class S3Refused(Exception):
    """S3 answered, but not with the object. Its text is S3's code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code or f"status {status}")
        self.away = is_away(status)


class S3Requests:
    """Asks for objects. Safe to call from many threads."""

    def __init__(
        self,
        session: Session,
        client: S3Client,
        *,
        endpoint_url: str | None,
        timeouts: tuple[int, int],
        attempts: int,
        connections: int,
    ) -> None:
        """client: of that session; buckets lie at its endpoint and in its region unless S3 says otherwise.

        timeouts: seconds to connect, and between two bytes. attempts: requests made for one answer at most.
        """
        self._session = session
        self._client = client
        self._endpoint_url = endpoint_url
        self._attempts = attempts
        # As the client has them: its own are its secret.
        certificates = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        options: dict[str, Any] = {  # more than their stubs allow
            "verify": certificates or True,
            "timeout": timeouts,
            "proxies": get_environ_proxies(client.meta.endpoint_url),
        }
        self._http = URLLib3Session(**options, max_pool_connections=connections)
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    def ask(self, method: str, reference: S3Image, headers: Mapping[str, str] | None = None) -> AWSResponse:
        """The answer with the object, whose body (`raw`) is not read yet and has to be closed.

        Raises S3Refused, BotoCoreError (no credentials, no connection, time-outs): after so many attempts
        where another one may have another end.
        """
        attempt, pause = 0, 1.0
        while True:
            attempt += 1
            place = self._places.get(reference.bucket) or self._place(reference.bucket, self._region)
            try:
                answer = self._send(method, place, reference, headers or {})
            except (HTTPClientError, NotConnected):
                if attempt >= self._attempts:
                    raise
            else:
                if answer.status_code < 300:
                    return answer
                code, region = _read_error(answer)
                moved = region not in ("", place.region)
                if moved:
                    self._place(reference.bucket, region)
                if attempt >= self._attempts or not (moved or is_away(answer.status_code)):
                    raise S3Refused(answer.status_code, code)
                if moved:
                    continue
            time.sleep(random.random() * pause)  # noqa: S311  (no secret: callers should not come together)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    @property
    def _region(self) -> str:
        return self._client.meta.region_name

    def _send(
        self, method: str, place: _Place, reference: S3Image, headers: Mapping[str, str]
    ) -> AWSResponse:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        address = place.address + quote(reference.name, safe="/~")
        if reference.version is not None:
            address += f"?versionId={quote(reference.version, safe='~')}"
        request = AWSRequest(method, address, headers=dict(headers), stream_output=True)
        S3SigV4Auth(credentials.get_frozen_credentials(), "s3", place.region).add_auth(request)
        return self._http.send(request.prepare())

    def _place(self, bucket: str, region: str) -> _Place:
        """Find out, and remember, where the objects of a bucket in that region are asked for."""
        with self._lock:
            endpoint = self._client.meta.endpoint_url
            if region != self._region:
                other = self._session.create_client("s3", region_name=region, endpoint_url=self._endpoint_url)
                endpoint = other.meta.endpoint_url
                other.close()
            place = _Place(_address(endpoint, bucket, _style(self._client)), region)
            self._places[bucket] = place
            return place


def is_away(status: int) -> bool:
    """Whether S3 itself is at fault, or asks for patience, rather than the request."""
    return status >= 500 or status == 429


def _address(endpoint: str, bucket: str, style: str) -> str:
    """What stands before a key: the bucket in the host at AWS, or where `style` (of the profile) is virtual;
    else in the path, as stores of one's own have it.
    """
    url = urlsplit(endpoint)
    base = f"{url.netloc}{url.path.rstrip('/')}"
    at_aws = style == "auto" and _AWS.fullmatch(url.netloc) is not None
    if (at_aws or style == "virtual") and _NAME_OF_A_HOST.fullmatch(bucket):
        return f"{url.scheme}://{bucket}.{base}/"
    return f"{url.scheme}://{base}/{quote(bucket, safe='')}/"


def _style(client: S3Client) -> str:
    """How the profile wants buckets to be named: auto, virtual or path."""
    config: Mapping[str, str] = getattr(client.meta.config, "s3", None) or {}
    return config.get("addressing_style") or "auto"


def _read_error(answer: AWSResponse) -> tuple[str, str]:
    """S3's code, and the region in which it says the bucket lies; empty where it tells none."""
    try:
        body: bytes = answer.raw.read(MOST_ERROR_BYTES)
    except Exception:  # noqa: BLE001  (of an error the status is enough)
        body = b""
    finally:
        answer.raw.close()
        answer.raw.release_conn()
    told = {name.decode(): value.decode(errors="replace") for name, value in _TOLD.findall(body)}
    return told.get("Code", ""), answer.headers.get("x-amz-bucket-region") or told.get("Region", "")
