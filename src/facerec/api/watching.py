"""Those who watch the service: who may see how it is inside, and whether it is about to end."""

from __future__ import annotations

import re
import threading

import anyio.to_thread
from starlette.requests import Request

from facerec.access import Caller, Scope
from facerec.config import Settings
from facerec.errors import AccessDenied, FacerecError, MissingCredentials
from facerec.services.authentication import is_loopback
from facerec.services.gate import Gate

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""Headers with which a proxy says that the request is another one's."""


class Draining:
    """Whether the service is about to end: it answers still, and wants no more requests sent to it."""

    def __init__(self) -> None:
        self._begun = threading.Event()

    @property
    def begun(self) -> bool:
        """Whether it has begun."""
        return self._begun.is_set()

    def begin(self) -> None:
        """From now on."""
        self._begun.set()


class Watchers:
    """Lets those in who may see how the service is inside.

    A key is sent in X-API-Key, or as Prometheus does it: `Authorization: Bearer`.
    """

    def __init__(self, gate: Gate, settings: Settings) -> None:
        self._gate = gate
        self._access = settings.metrics_access
        self._from_loopback = self._access == "loopback" and not settings.needs_keys
        # One at a time: who looks for keys by trying waits for the others.
        self._limiter = anyio.CapacityLimiter(1)

    async def check(self, request: Request) -> None:
        """Let the sender of a request in. Raises AccessDenied and its kinds, RateExceeded, StorageError."""
        if self._access == "open" or (self._from_loopback and _is_local(request)):
            return
        presented = _key(request)
        if presented is None:
            raise MissingCredentials(
                "This takes a key: in X-API-Key, or as Authorization: Bearer (FACEREC_METRICS_ACCESS)."
            )
        host = request.headers.get("host", "")
        caller = await anyio.to_thread.run_sync(self._admit, presented, host, limiter=self._limiter)
        if not caller.may(Scope.READ) or caller.collections:
            raise AccessDenied("The key is for some collections alone, and this is about all.")

    async def may_see(self, request: Request) -> bool:
        """Whether the sender of a request may see more than anybody."""
        try:
            await self.check(request)
        except FacerecError:
            return False
        return True

    def _admit(self, presented: str, host: str) -> Caller:
        return self._gate.by_api_key(presented, host=host)


def _key(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return request.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "") or None


def _is_local(request: Request) -> bool:
    """Whether a request comes from this machine, for itself: to a name of it, and for nobody else."""
    host = re.sub(r":\d*$", "", request.headers.get("host", ""))
    return (
        request.client is not None
        and is_loopback(request.client.host)
        and is_loopback(host)
        and not any(name in request.headers for name in FORWARDED)
    )
