"""Keys sent in the header X-API-Key: their form, and what is kept of their secret.

A key is `ID.SECRET`. The id finds the key; the secret has 256 random bits, so one SHA-256 of it is as good at
rest as a slow hash would be, and takes a microsecond.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass, field

_ID_ALPHABET = string.ascii_uppercase + "234567"
LONGEST = 256
"""Characters of a header that is looked at."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is sent."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """As it is written in the header."""
        return f"{self.key_id}.{self.secret}"


def new_id() -> str:
    """An id that no key has."""
    return "frk_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))


def new_secret() -> str:
    """A secret that nobody can guess."""
    return secrets.token_urlsafe(32)


def read(text: str) -> ApiKey | None:
    """A key from its header; None for what has not its form."""
    key_id, dot, secret = text.strip().partition(".")
    return ApiKey(key_id, secret) if dot and key_id and secret and len(text) <= LONGEST else None


def digest(secret: str) -> str:
    """What is kept of a secret: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(presented: str, kept: str) -> bool:
    """Whether a secret has the digest that is kept; in a time that does not depend on where they differ."""
    return hmac.compare_digest(digest(presented), kept)
