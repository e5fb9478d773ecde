"""Notices to a web address that the service's owner has set, signed so that the receiver can trust them.

The header `X-Facerec-Signature` is `t=SECONDS,v1=HEX`: HEX is the HMAC-SHA256, by the shared secret, of
SECONDS, a full stop and the body. A receiver compares it in constant time and refuses old ones.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

import urllib3

from facerec.errors import NoticeFailed

TIMEOUT_SECONDS = 10
SIGNATURE = "X-Facerec-Signature"


class Webhook:
    """POSTs JSON to one address, and follows no redirect. Thread-safe."""

    def __init__(self, url: str, secret: str | None, *, clock: Callable[[], float] = time.time) -> None:
        """secret: None leaves the signature away."""
        self._url = url
        self._secret = secret
        self._clock = clock
        self._pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS)

    def post(self, body: str) -> None:
        """Send a body. Raises NoticeFailed for any answer but 2xx."""
        headers = {"Content-Type": "application/json", "User-Agent": "facerec"}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, body, int(self._clock()))
        try:
            answer = self._pool.request(
                "POST", self._url, body=body.encode(), headers=headers, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise NoticeFailed(f"The webhook was not told: {type(error).__name__}") from error
        if not 200 <= answer.status < 300:
            raise NoticeFailed(f"The webhook answers with the status {answer.status}.")


def signature(secret: str, body: str, seconds: int) -> str:
    """The signature of a body at a time, in seconds since the epoch."""
    digest = hmac.new(secret.encode(), f"{seconds}.{body}".encode(), "sha256").hexdigest()
    return f"t={seconds},v1={digest}"
