"""Keys: making, listing, rotating and revoking them, and where a service may listen with those there are."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from facerec.access import AccessKey, Caller, KeyKind, RateLimit, Scope
from facerec.auth import api_key
from facerec.auth.sealing import read_master_key, read_or_create_master_key
from facerec.auth.sigv4 import SignedRequest
from facerec.db import Database
from facerec.errors import ConfigurationError, Conflict
from facerec.metastore import keys as stored_keys
from facerec.services.authentication import CACHE_SECONDS, Authenticator, KeyRules, is_loopback

_ID_ALPHABET = string.ascii_uppercase + "234567"
_SECRET_ALPHABET = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key, or an old one with a new secret, which nobody can read again."""

    key: AccessKey
    secret: str = field(repr=False)
    """Of an AWS key what its requests are signed with; of an API key the whole header X-API-Key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a new key may do."""

    scope: Scope = Scope.ADMIN
    collections: tuple[str, ...] = ()
    """Names, or beginnings with * after them; empty: all."""
    rate: RateLimit | None = None
    seconds: float | None = None
    """How long it is good for; None: until it is revoked."""


NO_LIMITS = KeyLimits()


class KeyService:
    """The keys of one database, what is kept of their secrets sealed with the master key."""

    def __init__(
        self, database: Database, rules: KeyRules, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Nothing is read before the first call."""
        self._database = database
        self._rules = rules
        self._clock = clock
        self._authenticator = Authenticator(database, rules, clock=clock)

    def create(
        self, label: str = "", *, kind: KeyKind = KeyKind.AWS, limits: KeyLimits = NO_LIMITS
    ) -> CreatedKey:
        """Make a key; from then on every process takes it, and nothing without a key.

        Raises ConfigurationError (master key), StorageError.
        """
        access_key_id, secret, kept = _new(kind)
        now = self._clock()
        key = AccessKey(
            access_key_id=access_key_id,
            label=label,
            kind=kind,
            scope=limits.scope,
            collections=limits.collections,
            rate=limits.rate,
            created_at=now,
            expires_at=None if limits.seconds is None else now + limits.seconds,
        )
        with self._database.write() as connection:
            first = not stored_keys.list_keys(connection)
            # While secrets sealed with it are in use, a missing master key is a loss to repair, not to
            # replace.
            existing = stored_keys.any_active(connection)
            sealer = (read_master_key if existing else read_or_create_master_key)(self._rules.master_key_path)
            sealed = sealer.seal(kept, access_key_id)
            stored_keys.insert(connection, stored_keys.StoredKey(key=key, sealed_secret=sealed))
        self._authenticator.close_service()
        if first:
            time.sleep(CACHE_SECONDS)  # others believe for so long that there is none
        return CreatedKey(key, secret)

    def list(self) -> list[AccessKey]:
        """Every key, revoked ones too, oldest first."""
        with self._database.read() as connection:
            return stored_keys.list_keys(connection)

    def rotate(self, access_key_id: str, *, grace_seconds: float) -> CreatedKey:
        """Give a key another secret; the present one is taken for `grace_seconds` more.

        The id, scope and limits stay. When this returns every process takes the new one. The secret from
        before an earlier rotation is refused from now on. Raises NotFound, Conflict for a key that is not
        active, ConfigurationError.
        """
        now = self._clock()
        sealer = read_master_key(self._rules.master_key_path)
        with self._database.write() as connection:
            key = stored_keys.get(connection, access_key_id).key
            if not key.active(now):
                raise Conflict(f"The key {access_key_id} is revoked or expired: create a new one.")
            _, secret, kept = _new(key.kind, access_key_id)
            until = now + grace_seconds
            stored_keys.rotate(connection, access_key_id, sealer.seal(kept, access_key_id), until=until)
        self._authenticator.forget(access_key_id, revoked=False)
        time.sleep(CACHE_SECONDS)  # others believe for so long what they have read of it
        return CreatedKey(replace(key, previous_until=until), secret)

    def revoke(self, access_key_id: str) -> None:
        """Revoke a key: no process takes it any more when this returns. Raises NotFound."""
        with self._database.write() as connection:
            stored_keys.revoke(connection, access_key_id, self._clock())
        self._authenticator.forget(access_key_id, revoked=True)
        time.sleep(CACHE_SECONDS)  # others believe for so long what they have read of it

    def check_address(self, host: str) -> str | None:
        """Whether the service may listen on `host`: what to warn of, or None.

        Raises ConfigurationError for an address beyond this machine while there is no key, and for a master
        key that does not open the keys there are.
        """
        keys = self.list()
        active = [key for key in keys if key.active(self._clock())]
        self._authenticator.open_all(active)
        if active or self._rules.service_key is not None:
            return None
        if not is_loopback(host):
            raise ConfigurationError(
                f"There is no access key, so the service does not listen on {host}, which others can reach. "
                "Create one with `facerec keys create`, set API_KEY, or listen on 127.0.0.1."
            )
        if self._rules.always and not keys:
            raise ConfigurationError(
                "There is no access key, and this ENVIRONMENT lets nobody in without one. Create one with "
                "`facerec keys create`, or set API_KEY."
            )
        if keys:
            return (
                "Every access key is revoked or expired: requests are refused until `facerec keys create` "
                "makes another."
            )
        return (
            "There is no access key: whoever can connect to this machine's own addresses may use the "
            "service. "
            "`facerec keys create` makes one, and from then on every request needs a key."
        )

    def authenticate(self, request: SignedRequest) -> Caller:
        """Who signed the request. Raises AccessDenied and its kinds, RateExceeded."""
        return self._authenticator.signed(request)

    def authenticate_api_key(self, presented: str | None, *, host: str) -> Caller:
        """Who sends the header X-API-Key (None: it is missing); host: the request's Host.

        Raises MissingCredentials, UnknownAccessKey, AccessDenied, RateExceeded.
        """
        return self._authenticator.by_api_key(presented, host=host)


def _new(kind: KeyKind, key_id: str | None = None) -> tuple[str, str, str]:
    """Id (a new one where it is None), secret as its owner gets it, and what is kept of it."""
    if kind is KeyKind.AWS:
        access_key_id = key_id or "AKIA" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))
        secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(40))
        return access_key_id, secret, secret
    key = api_key.ApiKey(key_id or api_key.new_id(), api_key.new_secret())
    return key.key_id, key.text, api_key.digest(key.secret)
