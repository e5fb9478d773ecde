"""Who sends a request: the keys of a database as a running service reads them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from facerec.access import ANYBODY, AccessKey, Caller, KeyKind, Scope
from facerec.auth import api_key
from facerec.auth.sealing import Sealer, read_master_key
from facerec.auth.sigv4 import SignedRequest, verify
from facerec.db import Database
from facerec.errors import AccessDenied, MissingCredentials, RateExceeded, SignatureMismatch, UnknownAccessKey
from facerec.metastore import keys as stored_keys
from facerec.observability import current_request
from facerec.sessions.buckets import Buckets

CACHE_SECONDS = 1.0
"""How long a process believes what it has read of a key, or that there is none; a change takes as long."""

FAILURES, FAILURES_PER_SECOND = 20, 1 / 6
"""Wrong secrets of one key, from one address, that are looked at at once, and in the long run."""

SERVICE_KEY_ID = "API_KEY"
"""Id of the key that the settings give."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """The key of the settings, which is in no database."""

    secret: str = field(repr=False)
    scope: Scope = Scope.ADMIN

    @property
    def caller(self) -> Caller:
        """Who sends it."""
        return Caller(key_id=SERVICE_KEY_ID, scope=self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRules:
    """How keys are kept and checked."""

    master_key_path: Path
    """Of the key that seals secrets."""
    clock_skew_seconds: int
    """Most age or lead of a signature."""
    service_key: ServiceKey | None = None
    """Good beside the keys of the database."""
    always: bool = False
    """Whether a key is needed even while there is none."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A key with what was sealed of it, and until when (monotonic seconds) it is believed."""

    key: AccessKey
    secret: str = field(repr=False)
    previous: str | None = field(repr=False)
    until: float

    @property
    def caller(self) -> Caller:
        return Caller(
            key_id=self.key.access_key_id,
            scope=self.key.scope,
            collections=self.key.collections,
            rate=self.key.rate,
        )


class Authenticator:
    """Says who sends a request. Safe to call from many threads.

    Without any key a service is open, which only one that listens on a loopback address may be. Once a key
    was created, revoked or expired since or not, every request needs one: revoking the last key closes a
    service, it never opens it.
    """

    def __init__(
        self, database: Database, rules: KeyRules, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Nothing is read before the first call."""
        self._database = database
        self._rules = rules
        self._clock = clock
        self._sealer: Sealer | None = None
        self._known: dict[str, _Known | None] = {}
        self._revoked: set[str] = set()
        self._open_until: float | None = None if rules.service_key or rules.always else 0.0
        self._failures = Buckets()
        self._lock = threading.Lock()

    def signed(self, request: SignedRequest) -> Caller:
        """Who signed a request (SigV4). Raises AccessDenied and its kinds, RateExceeded."""
        if self._is_open():
            for name, value in request.headers:
                if name.lower() == b"host":
                    _check_host(value.decode("latin-1"))
            return ANYBODY
        claimed: list[tuple[str, Caller, str | None]] = []

        def secret_for(access_key_id: str) -> str | None:
            self._check_failures(access_key_id)
            if self._rules.service_key is not None and access_key_id == SERVICE_KEY_ID:
                claimed.append((access_key_id, self._rules.service_key.caller, None))
                return self._rules.service_key.secret
            known = self._find(access_key_id, KeyKind.AWS)
            if known is None:
                return None
            claimed.append((access_key_id, known.caller, known.previous))
            return known.secret

        try:
            self._verify(request, secret_for)
        except SignatureMismatch:
            if not claimed:
                raise
            key_id, _, previous = claimed[0]
            try:
                if previous is None:
                    raise
                self._verify(request, lambda _: previous)
            except SignatureMismatch:
                self._note_failure(key_id)
                raise
        return claimed[0][1]

    def by_api_key(self, presented: str | None, *, host: str) -> Caller:
        """Who sends the header X-API-Key; None: it is missing. host: the request's Host.

        Whether the key's id, its secret or its time is wrong, the error is the same. Raises
        MissingCredentials, UnknownAccessKey, AccessDenied (an open service asked by another name),
        RateExceeded.
        """
        if self._is_open():
            _check_host(host)
            return ANYBODY
        if not presented:
            raise MissingCredentials("The header X-API-Key is missing.")
        key = api_key.read(presented)
        key_id = SERVICE_KEY_ID if key is None else key.key_id
        self._check_failures(key_id)
        # First, and always: an API_KEY may have any form.
        if self._rules.service_key is not None and _same(presented, self._rules.service_key.secret):
            return self._rules.service_key.caller
        known = None if key is None else self._find(key.key_id, KeyKind.API)
        if key is not None and known is not None:
            right = api_key.matches(key.secret, known.secret)
            if right or (known.previous is not None and api_key.matches(key.secret, known.previous)):
                return known.caller
        self._note_failure(key_id)
        raise UnknownAccessKey("The API key is not valid.")

    def open_all(self, keys: list[AccessKey]) -> None:
        """Open what is sealed of keys. Raises ConfigurationError where the master key does not."""
        for key in keys:
            self._find(key.access_key_id, key.kind)

    def close_service(self) -> None:
        """From now on, in this process, nobody gets in without a key."""
        with self._lock:
            self._open_until = None

    def forget(self, access_key_id: str, *, revoked: bool) -> None:
        """Read a key anew at its next use; or never take it again, whatever a look-up under way finds."""
        with self._lock:
            self._known.pop(access_key_id, None)
            if revoked:
                self._revoked.add(access_key_id)

    def _verify(self, request: SignedRequest, secret_for: Callable[[str], str | None]) -> None:
        verify(
            request,
            secret_for=secret_for,
            now=self._clock(),
            clock_skew_seconds=self._rules.clock_skew_seconds,
        )

    def _is_open(self) -> bool:
        """Whether no key was ever created. Asked of the database anew every `CACHE_SECONDS` until one is."""
        with self._lock:
            if self._open_until is None:
                return False
            if time.monotonic() < self._open_until:
                return True
        with self._database.read() as connection:
            has_keys = bool(stored_keys.list_keys(connection))
        with self._lock:
            if has_keys:
                self._open_until = None
            elif self._open_until is not None:
                self._open_until = time.monotonic() + CACHE_SECONDS
            return self._open_until is not None

    def _find(self, access_key_id: str, kind: KeyKind) -> _Known | None:
        """A key of that kind which may be used now; None for one that is unknown, revoked or expired."""
        now = time.monotonic()
        with self._lock:
            if access_key_id in self._revoked:
                return None
            known = self._known.get(access_key_id)
        if known is None or now >= known.until:
            known = self._read(access_key_id, until=now + CACHE_SECONDS)
        if known is None or known.key.kind is not kind or not known.key.active(self._clock()):
            return None
        return known

    def _read(self, access_key_id: str, *, until: float) -> _Known | None:
        with self._database.read() as connection:
            stored = stored_keys.find(connection, access_key_id)
        if stored is None or stored.key.revoked_at is not None:
            with self._lock:
                self._known.pop(access_key_id, None)
            return None
        key, previous = stored.key, None
        if stored.previous_secret is not None and self._clock() < (key.previous_until or 0):
            previous = self._opened(stored.previous_secret, access_key_id)
        known = _Known(key, self._opened(stored.sealed_secret, access_key_id), previous, until)
        with self._lock:
            self._known[access_key_id] = known
        return known

    def _opened(self, sealed: bytes, access_key_id: str) -> str:
        with self._lock:
            if self._sealer is None:
                self._sealer = read_master_key(self._rules.master_key_path)
            sealer = self._sealer
        return sealer.open(sealed, access_key_id)

    def _check_failures(self, key_id: str) -> None:
        """Raise RateExceeded when too many wrong secrets of a key came from this request's address."""
        wait = self._failures.wait(_attempts(key_id), per_second=FAILURES_PER_SECOND, burst=FAILURES)
        if wait:
            raise RateExceeded("Too many requests with a wrong key came from this address.", seconds=wait)

    def _note_failure(self, key_id: str) -> None:
        self._failures.take(_attempts(key_id), per_second=FAILURES_PER_SECOND, burst=FAILURES)


def is_loopback(host: str) -> bool:
    """Whether a name or address (IPv6 in brackets or not) means this machine and nothing else."""
    name = host.strip().strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _attempts(key_id: str) -> str:
    return f"{current_request().client} {key_id[:128]}"


def _same(presented: str, secret: str) -> bool:
    """Whether two texts are equal, in a time that tells nothing of them."""
    return hmac.compare_digest(
        hashlib.sha256(presented.encode()).digest(), hashlib.sha256(secret.encode()).digest()
    )


def _check_host(host: str) -> None:
    """Refuse, on an open service, a request made to another name than this machine's own.

    A web page can point a name of its own at 127.0.0.1 and have a browser on this machine send what it likes
    (DNS rebinding), and a proxy can carry strangers' requests in; both show in the Host header.
    """
    name = re.sub(r":\d*$", "", host)
    if not is_loopback(name):
        raise AccessDenied(
            "The service has no access key and answers only requests to this machine's own addresses, not to "
            f"'{name[:80]}'. Create a key with `facerec keys create`."
        )
