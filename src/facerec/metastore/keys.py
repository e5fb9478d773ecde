"""Access keys, their secrets sealed by the caller: nothing here can open one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from facerec.access import AccessKey, KeyKind, Scope, parse_rate
from facerec.errors import AlreadyExists, NotFound
from facerec.metastore.tables import access_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key with what was sealed of it: the secret of an AWS key, the digest of an API key."""

    key: AccessKey
    sealed_secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(default=None, repr=False)
    """The one from before the last rotation, good until the key's `previous_until`."""


def insert(connection: sa.Connection, stored: StoredKey) -> None:
    """Store a new key. Raises AlreadyExists."""
    key = stored.key
    if find(connection, key.access_key_id) is not None:
        raise AlreadyExists(f"The access key {key.access_key_id} already exists.")
    connection.execute(
        access_keys.insert().values(
            access_key_id=key.access_key_id,
            sealed_secret=stored.sealed_secret,
            label=key.label,
            created_at=key.created_at,
            revoked_at=key.revoked_at,
            kind=key.kind,
            scope=key.scope,
            collections="\n".join(key.collections),
            rate=None if key.rate is None else str(key.rate),
            expires_at=key.expires_at,
            previous_secret=stored.previous_secret,
            previous_until=key.previous_until,
        )
    )


def find(connection: sa.Connection, access_key_id: str) -> StoredKey | None:
    """The key of that id, revoked or not; None where there is none."""
    row = connection.execute(
        sa.select(access_keys).where(access_keys.c.access_key_id == access_key_id)
    ).one_or_none()
    if row is None:
        return None
    previous = None if row.previous_secret is None else bytes(row.previous_secret)
    return StoredKey(key=_key(row), sealed_secret=bytes(row.sealed_secret), previous_secret=previous)


def get(connection: sa.Connection, access_key_id: str) -> StoredKey:
    """The key of that id, revoked or not. Raises NotFound."""
    stored = find(connection, access_key_id)
    if stored is None:
        raise NotFound(f"The access key {access_key_id} does not exist.")
    return stored


def list_keys(connection: sa.Connection) -> list[AccessKey]:
    """Every key, revoked ones too, oldest first."""
    ordered = sa.select(access_keys).order_by(access_keys.c.created_at, access_keys.c.access_key_id)
    return [_key(row) for row in connection.execute(ordered)]


def revoke(connection: sa.Connection, access_key_id: str, when: float) -> None:
    """Revoke a key at `when` (seconds since the epoch); one already revoked stays so. Raises NotFound."""
    get(connection, access_key_id)
    connection.execute(
        access_keys.update()
        .where(access_keys.c.access_key_id == access_key_id, access_keys.c.revoked_at.is_(None))
        .values(revoked_at=when)
    )


def rotate(connection: sa.Connection, access_key_id: str, sealed_secret: bytes, *, until: float) -> None:
    """Give a key another secret; the present one becomes the previous one, good `until`.

    The one that was the previous one until now is forgotten.
    """
    connection.execute(
        access_keys.update()
        .where(access_keys.c.access_key_id == access_key_id)
        .values(
            sealed_secret=sealed_secret,
            previous_secret=access_keys.c.sealed_secret,
            previous_until=until,
        )
    )


def any_active(connection: sa.Connection) -> bool:
    """Whether a key exists that is not revoked: secrets sealed with the master key are in use."""
    active = sa.select(access_keys.c.access_key_id).where(access_keys.c.revoked_at.is_(None)).limit(1)
    return connection.scalar(active) is not None


def _key(row: sa.Row[Any]) -> AccessKey:
    return AccessKey(
        access_key_id=row.access_key_id,
        label=row.label,
        kind=KeyKind(row.kind),
        scope=Scope(row.scope),
        collections=tuple(row.collections.split("\n")) if row.collections else (),
        rate=None if row.rate is None else parse_rate(row.rate),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        previous_until=row.previous_until,
    )
