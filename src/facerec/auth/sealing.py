"""Sealing of secrets at rest: AES-256-GCM with one master key that lies in a file beside the database.

A copy of the database alone opens no secret. What is sealed is bound to a name (an access key id), so a
sealed secret can not be put in another one's place.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from facerec.errors import ConfigurationError

KEY_BYTES = 32
NONCE_BYTES = 12
_FORM = b"\x01"
"""First byte of everything sealed: AES-256-GCM, 12-byte nonce, 16-byte tag."""


class Sealer:
    """Seals and opens secrets with the master key of one file."""

    def __init__(self, key: bytes, path: Path) -> None:
        """Take the 32-byte `key`; `path` is where it came from, for messages."""
        self._cipher = AESGCM(key)
        self._path = path

    def seal(self, secret: str, name: str) -> bytes:
        """Seal `secret`, bound to `name`. Each call gives other bytes."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, secret.encode(), name.encode())

    def open(self, sealed: bytes, name: str) -> str:
        """Open what `seal` made for `name`. Raises ConfigurationError where another key sealed it."""
        nonce, encrypted = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            if sealed[:1] != _FORM:
                raise InvalidTag
            return self._cipher.decrypt(nonce, encrypted, name.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError(
                f"The master key {self._path} does not open the secret of {name}: it is not the key that "
                f"sealed it, or "
                "the database is damaged. Put the right key file back, or revoke the access key and "
                "create a new one."
            ) from error


def read_master_key(path: Path) -> Sealer:
    """Read the master key. Raises ConfigurationError when it is missing, unreadable or no key."""
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"The master key {path} is missing, and access keys exist that it sealed. Put it back "
            "(FACEREC_MASTER_KEY_FILE names it), or revoke those keys and create new ones."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"The master key {path} can not be read: {error.strerror}.") from error
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"The file {path} holds no master key: {KEY_BYTES} random bytes in base64 are expected "
            f"(as `head -c {KEY_BYTES} /dev/urandom | base64` prints)."
        )
    return Sealer(key, path)


def read_or_create_master_key(path: Path) -> Sealer:
    """Read the master key; where there is none make one, readable by its owner alone.

    Of several processes that do so at once, one makes it and all read that one: the file appears under its
    name complete or not at all. Raises ConfigurationError when it can not be made or read.
    """
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        except OSError as error:
            raise ConfigurationError(f"The master key {path} can not be made: {error.strerror}.") from error
    return read_master_key(path)


def _create(path: Path, content: bytes) -> None:
    """Write a new file durably, mode 0600; leave one that is already there as it is."""
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{path.name}.", dir=path.parent
    )  # mode 0600 by contract
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        os.unlink(temporary)
