"""The way in, at every door: who sends the request, and whether it may send one more now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from facerec.access import Caller, RateLimit
from facerec.auth.sigv4 import SignedRequest
from facerec.errors import RateExceeded, SessionStoreUnavailable
from facerec.observability import current_request, metrics
from facerec.services.keys import KeyService
from facerec.sessions.base import SessionStore
from facerec.sessions.buckets import Buckets

AWAY_SECONDS = 5.0
"""How long a store that did not answer is not asked again, and this process counts for itself."""


class Gate:
    """Lets requests in. Safe to call from many threads.

    Where the store of the rates is away, each process counts for itself until it is back: a limit is never
    off, and no request fails for it.
    """

    def __init__(
        self,
        keys: KeyService,
        sessions: SessionStore,
        limit: RateLimit | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """limit: of each key that has none of its own, and of each address while there are no keys."""
        self._keys = keys
        self._sessions = sessions
        self._limit = limit
        self._clock = clock
        self._own = Buckets(clock)
        self._away_until = float("-inf")
        self._lock = threading.Lock()

    def signed(self, request: SignedRequest) -> Caller:
        """Let in a request of the Rekognition door. Raises AccessDenied and its kinds, RateExceeded."""
        return self._admit(self._keys.authenticate(request))

    def by_api_key(self, presented: str | None, *, host: str) -> Caller:
        """Let in a request with the header X-API-Key (None: without). Raises as `signed` does."""
        return self._admit(self._keys.authenticate_api_key(presented, host=host))

    def _admit(self, caller: Caller) -> Caller:
        context = current_request()
        context.caller = caller
        limit = caller.rate or self._limit
        if limit is not None:
            who = f"address:{context.client}" if caller.key_id is None else f"key:{caller.key_id}"
            wait = self._take(who, limit)
            if wait > 0:
                metrics.rate_limited.inc()
                raise RateExceeded(seconds=wait)
        return caller

    def _take(self, bucket: str, limit: RateLimit) -> float:
        with self._lock:
            away = self._clock() < self._away_until
        if not away:
            try:
                return self._sessions.take(bucket, per_second=limit.per_second, burst=limit.count)
            except SessionStoreUnavailable:
                with self._lock:
                    self._away_until = self._clock() + AWAY_SECONDS
        return self._own.take(bucket, per_second=limit.per_second, burst=limit.count)
