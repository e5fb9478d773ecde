"""Who may do what: scopes, keys, how often, and the caller of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

_COLLECTION = re.compile(r"[a-zA-Z0-9_.\-]{1,255}\*?|\*")
_RATE = re.compile(r"(\d{1,9})\s*/\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Scope(StrEnum):
    """What a key may do. Each one includes those before it."""

    READ = "read"
    """Look: detect, compare, search, list, describe."""
    WRITE = "write"
    """Change what is in collections: faces, users, persons, albums."""
    ADMIN = "admin"
    """Make and remove collections, and say how they are kept."""

    def includes(self, needed: Scope) -> bool:
        """Whether a key of this scope may do what needs `needed`."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class KeyKind(StrEnum):
    """How a key shows who sends a request."""

    AWS = "aws"
    """It signs requests, as AWS clients do (SigV4)."""
    API = "api"
    """It is sent in the header X-API-Key."""


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """With what the service itself asks AWS. Without any, boto3 looks where it always does."""

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many requests in how many seconds; so many may come at once."""

    count: int
    seconds: int

    @property
    def per_second(self) -> float:
        """Requests a second, for as long as it lasts."""
        return self.count / self.seconds

    def __str__(self) -> str:
        """As `parse_rate` reads it."""
        return f"{self.count}/{next(unit for unit, length in _SECONDS.items() if length == self.seconds)}"


def parse_rate(text: str) -> RateLimit:
    """A rate limit as text: 10/s, 600/m, 5000/h, 100000/d. Raises ValueError."""
    found = _RATE.fullmatch(text.strip().lower())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text[:40]!r} is no rate: it has to be like 10/s, 600/m, 5000/h or 100000/d")
    return RateLimit(int(found[1]), _SECONDS[found[2]])


def parse_collections(names: Iterable[str]) -> tuple[str, ...]:
    """Names of collections, or their beginnings with * after them; () for all. Raises ValueError."""
    limits = tuple(dict.fromkeys(names))
    for limit in limits:
        if _COLLECTION.fullmatch(limit) is None:
            raise ValueError(
                f"{limit[:80]!r} is no name of a collection (letters, digits, _ . -), nor the beginning of "
                "one with * after it"
            )
    return () if "*" in limits else limits


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key, without its secret."""

    access_key_id: str
    label: str = ""
    kind: KeyKind = KeyKind.AWS
    scope: Scope = Scope.ADMIN
    collections: tuple[str, ...] = ()
    """Names, or beginnings with * after them, of the collections that it is good for; empty: all."""
    rate: RateLimit | None = None
    """Of this key; None: the service's own limit."""
    created_at: float
    """Seconds since the epoch, as all times here."""
    expires_at: float | None = None
    revoked_at: float | None = None
    previous_until: float | None = None
    """How long the secret from before the last rotation is taken too."""

    def active(self, now: float) -> bool:
        """Whether requests with it are taken at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request, and what it may."""

    key_id: str | None
    """None: nobody in particular, of a service without keys."""
    scope: Scope = Scope.ADMIN
    collections: tuple[str, ...] = ()
    rate: RateLimit | None = None

    def may(self, needed: Scope) -> bool:
        """Whether the scope suffices."""
        return self.scope.includes(needed)

    def reaches(self, collection: str) -> bool:
        """Whether it may touch the collection of that name, which may exist or not."""
        return not self.collections or any(
            collection.startswith(limit[:-1]) if limit.endswith("*") else collection == limit
            for limit in self.collections
        )


ANYBODY = Caller(key_id=None)
"""The caller of a service without keys."""
