"""Columns whose bytes are sealed at rest: AES-256-GCM, a nonce of its own for each value.

A copy of the database alone, of a backup or of the disk it lay on, opens no value. What is sealed says by
which key, so that keys can change while both are at hand; a value that was stored before there was a key is
read as it is.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.types import TypeDecorator

from facerec.errors import ConfigurationError, StorageError

KEY_BYTES = 32
NONCE_BYTES = 12
FINGERPRINT_BYTES = 4
MARK = b"\x80"
"""First byte of all that is sealed. As a whole number of 8 bits it is -128, which no int8 code is."""

_CIPHER = "facerec_cipher"


class ValueCipher:
    """Seals with the first of some keys, and opens what any of them has sealed. Safe to share by threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take one or more keys of 32 bytes. ValueError for any other length."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"one or more keys of {KEY_BYTES} bytes are needed")
        self._ciphers = {fingerprint(key): AESGCM(key) for key in keys}
        self._first = fingerprint(keys[0])

    @property
    def first(self) -> bytes:
        """Fingerprint of the key that seals."""
        return self._first

    @property
    def fingerprints(self) -> frozenset[bytes]:
        """Fingerprints of the keys that open."""
        return frozenset(self._ciphers)

    def seal(self, value: bytes) -> bytes:
        """Seal a value: 33 bytes more. Each call gives other bytes."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return MARK + self._first + nonce + self._ciphers[self._first].encrypt(nonce, value, None)

    def open(self, stored: bytes) -> bytes:
        """The value of what was stored, sealed or not.

        Raises ConfigurationError when its key is not among these, StorageError for one that was changed.
        """
        if stored[:1] != MARK:
            return stored
        key, rest = stored[1 : 1 + FINGERPRINT_BYTES], stored[1 + FINGERPRINT_BYTES :]
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise missing_keys([key])
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], None)
        except (InvalidTag, ValueError) as error:
            raise StorageError("A sealed embedding was changed in the database: it does not open.") from error


class SealedBytes(TypeDecorator[bytes]):
    """A column of bytes, sealed where its database has a cipher; see `set_cipher`."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: sa.Dialect) -> bytes | None:
        """Seal what is written."""
        cipher = _cipher(dialect)
        return value if value is None or cipher is None else cipher.seal(value)

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> bytes | None:
        """Open what is read."""
        return None if value is None else opened(dialect, [value])[0]


def set_cipher(engine: sa.Engine, cipher: ValueCipher | None) -> None:
    """Seal an engine's columns by `cipher`. A column's type knows its engine's dialect alone."""
    setattr(engine.dialect, _CIPHER, cipher)


def opened(dialect: sa.Dialect, stored: Sequence[bytes]) -> Sequence[bytes]:
    """The values of a sealed column that were read past SQLAlchemy. Raises as `ValueCipher.open`."""
    cipher = _cipher(dialect)
    if cipher is not None:
        return [cipher.open(value) for value in stored]
    if any(value[:1] == MARK for value in stored):
        raise missing_keys({value[1 : 1 + FINGERPRINT_BYTES] for value in stored if value[:1] == MARK})
    return stored


def fingerprint(key: bytes) -> bytes:
    """What a key is known by: the first bytes of a digest, which tell nothing of it."""
    return hashlib.sha256(b"facerec embedding key" + key).digest()[:FINGERPRINT_BYTES]


def missing_keys(keys: Collection[bytes]) -> ConfigurationError:
    """What to tell where embeddings are sealed by keys that are not at hand."""
    named = ", ".join(sorted(key.hex() for key in keys))
    return ConfigurationError(
        f"Embeddings are sealed by keys that are not given (fingerprints {named}). Give them, after the key "
        "that seals new ones, by FACEREC_EMBEDDING_KEY_FILE or FACEREC_EMBEDDING_KEY."
    )


def _cipher(dialect: sa.Dialect) -> ValueCipher | None:
    cipher: ValueCipher | None = getattr(dialect, _CIPHER, None)
    return cipher
