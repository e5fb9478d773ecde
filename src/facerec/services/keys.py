"""Access keys: making, listing and revoking them, and deciding whether a request may come in."""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from facerec.auth.sealing import Sealer, read_master_key, read_or_create_master_key
from facerec.auth.sigv4 import Identity, SignedRequest, verify
from facerec.db import Database
from facerec.domain import AccessKey
from facerec.errors import AccessDenied, ConfigurationError
from facerec.metastore import keys as stored_keys

CACHE_SECONDS = 1.0
"""How long a process believes what it has read of a key, or that there is none; a change takes as long."""

_ID_ALPHABET = string.ascii_uppercase + "234567"
_SECRET_ALPHABET = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new access key with its secret, which nobody can read again."""

    key: AccessKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _CachedSecret:
    """An opened secret, or None for a revoked key, and until when (monotonic seconds) that is believed."""

    secret: str | None = field(repr=False)
    until: float


class KeyService:
    """Access keys of one database, their secrets sealed with the master key. Safe to call from many threads.

    Without any key a service is open, which only one that listens on a loopback address may be
    (`check_address`). Once a key was created, revoked since or not, every request has to be signed: revoking
    the last key closes a service, it never opens it.
    """

    def __init__(
        self,
        database: Database,
        *,
        master_key_path: Path,
        clock_skew_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is read before the first call."""
        self._database = database
        self._master_key_path = master_key_path
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        self._sealer: Sealer | None = None
        self._secrets: dict[str, _CachedSecret] = {}
        self._revoked: set[str] = set()
        self._open_until: float | None = 0.0
        self._lock = threading.Lock()

    # --- keys

    def create(self, label: str = "") -> CreatedKey:
        """Make a key; from then on every process takes it, and nothing unsigned.

        Raises ConfigurationError (master key), StorageError.
        """
        with self._database.write() as connection:
            first = not stored_keys.list_keys(connection)
            # While secrets sealed with it are in use, a missing master key is a loss to repair, not to
            # replace.
            existing = stored_keys.any_active(connection)
            sealer = (read_master_key if existing else read_or_create_master_key)(self._master_key_path)
            access_key_id = "AKIA" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))
            secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(40))
            now = self._clock()
            stored_keys.insert(
                connection,
                access_key_id=access_key_id,
                sealed_secret=sealer.seal(secret, access_key_id),
                label=label,
                created_at=now,
            )
        with self._lock:
            self._sealer = sealer
            self._open_until = None
        if first:
            time.sleep(CACHE_SECONDS)  # others believe for so long that there is none
        return CreatedKey(
            AccessKey(access_key_id=access_key_id, label=label, created_at=now, revoked_at=None), secret
        )

    def list(self) -> list[AccessKey]:
        """Every key, revoked ones too, oldest first."""
        with self._database.read() as connection:
            return stored_keys.list_keys(connection)

    def revoke(self, access_key_id: str) -> None:
        """Revoke a key: no process takes it any more when this returns. Raises NotFound."""
        with self._database.write() as connection:
            stored_keys.revoke(connection, access_key_id, self._clock())
        with self._lock:
            self._revoked.add(access_key_id)  # for good, so that no look-up under way can bring it back
        time.sleep(CACHE_SECONDS)  # others believe for so long what they have read of it

    # --- requests

    def check_address(self, host: str) -> str | None:
        """Whether the service may listen on `host`: what to warn of, or None.

        Raises ConfigurationError for an address beyond this machine while there is no key, and for a master
        key that does not open the keys there are.
        """
        keys = self.list()
        active = [key for key in keys if key.revoked_at is None]
        for key in active:
            self._secret_of(key.access_key_id)
        if active:
            return None
        if not is_loopback(host):
            raise ConfigurationError(
                f"There is no access key, so the service does not listen on {host}, which others can reach. "
                "Create one with `facerec keys create`, or listen on 127.0.0.1."
            )
        if keys:
            return (
                "Every access key is revoked: requests are refused until `facerec keys create` makes another."
            )
        return (
            "There is no access key: whoever can connect to this machine's own addresses may use the "
            "service. "
            "`facerec keys create` makes one, and from then on every request has to be signed."
        )

    def authenticate(self, request: SignedRequest) -> Identity | None:
        """Who made the request; None where the service is open. Raises AccessDenied and its kinds."""
        if self._is_open():
            _check_host(request)
            return None
        return verify(
            request,
            secret_for=self._secret_of,
            now=self._clock(),
            clock_skew_seconds=self._clock_skew_seconds,
        )

    def _is_open(self) -> bool:
        """Whether no key was ever created. Asked of the database anew every `CACHE_SECONDS` until one is."""
        with self._lock:
            if self._open_until is None:
                return False
            if time.monotonic() < self._open_until:
                return True
        has_keys = bool(self.list())
        with self._lock:
            if has_keys:
                self._open_until = None
            elif self._open_until is not None:
                self._open_until = time.monotonic() + CACHE_SECONDS
            return self._open_until is not None

    def _secret_of(self, access_key_id: str) -> str | None:
        """Secret of an active key; None for one that is unknown or revoked."""
        now = time.monotonic()
        with self._lock:
            if access_key_id in self._revoked:
                return None
            cached = self._secrets.get(access_key_id)
        if cached is not None and now < cached.until:
            return cached.secret
        with self._database.read() as connection:
            stored = stored_keys.find(connection, access_key_id)
        if stored is None:
            return None
        secret = None
        if stored.key.revoked_at is None:
            secret = self._opened(stored)
        with self._lock:
            self._secrets[access_key_id] = _CachedSecret(secret, now + CACHE_SECONDS)
        return secret

    def _opened(self, stored: stored_keys.StoredKey) -> str:
        """Open a sealed secret."""
        with self._lock:
            if self._sealer is None:
                self._sealer = read_master_key(self._master_key_path)
            sealer = self._sealer
        return sealer.open(stored.sealed_secret, stored.key.access_key_id)


def is_loopback(host: str) -> bool:
    """Whether a name or address (IPv6 in brackets or not) means this machine and nothing else."""
    name = host.strip().strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check_host(request: SignedRequest) -> None:
    """Refuse, on an open service, a request made to another name than this machine's own.

    A web page can point a name of its own at 127.0.0.1 and have a browser on this machine send what it likes
    (DNS rebinding), and a proxy can carry strangers' requests in; both show in the Host header.
    """
    hosts = [value.decode("latin-1") for name, value in request.headers if name.lower() == b"host"]
    for host in hosts:
        name = re.sub(r":\d*$", "", host)
        if not is_loopback(name):
            raise AccessDenied(
                f"The service has no access key and answers only requests to this machine's own "
                f"addresses, not to "
                f"'{name[:80]}'. Create a key with `facerec keys create`."
            )
