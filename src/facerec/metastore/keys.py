"""Access keys, their secrets sealed by the caller: nothing here can open one."""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from facerec.domain import AccessKey
from facerec.errors import AlreadyExists, NotFound
from facerec.metastore.tables import access_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """An access key with its sealed secret."""

    key: AccessKey
    sealed_secret: bytes = field(repr=False)


def insert(
    connection: sa.Connection, *, access_key_id: str, sealed_secret: bytes, label: str, created_at: float
) -> None:
    """Store a new key. Raises AlreadyExists."""
    if find(connection, access_key_id) is not None:
        raise AlreadyExists(f"The access key {access_key_id} already exists.")
    connection.execute(
        access_keys.insert().values(
            access_key_id=access_key_id, sealed_secret=sealed_secret, label=label, created_at=created_at
        )
    )


def find(connection: sa.Connection, access_key_id: str) -> StoredKey | None:
    """The key of that id, revoked or not; None where there is none."""
    row = connection.execute(
        sa.select(access_keys).where(access_keys.c.access_key_id == access_key_id)
    ).one_or_none()
    return None if row is None else StoredKey(key=_key(row), sealed_secret=bytes(row.sealed_secret))


def list_keys(connection: sa.Connection) -> list[AccessKey]:
    """Every key, revoked ones too, oldest first."""
    ordered = sa.select(access_keys).order_by(access_keys.c.created_at, access_keys.c.access_key_id)
    return [_key(row) for row in connection.execute(ordered)]


def revoke(connection: sa.Connection, access_key_id: str, when: float) -> None:
    """Revoke a key at `when` (seconds since the epoch); one already revoked stays so. Raises NotFound."""
    if find(connection, access_key_id) is None:
        raise NotFound(f"The access key {access_key_id} does not exist.")
    connection.execute(
        access_keys.update()
        .where(access_keys.c.access_key_id == access_key_id, access_keys.c.revoked_at.is_(None))
        .values(revoked_at=when)
    )


def any_active(connection: sa.Connection) -> bool:
    """Whether a key exists that is not revoked."""
    active = sa.select(access_keys.c.access_key_id).where(access_keys.c.revoked_at.is_(None)).limit(1)
    return connection.scalar(active) is not None


def _key(row: sa.Row[tuple[object, ...]]) -> AccessKey:
    return AccessKey(
        access_key_id=row.access_key_id,
        label=row.label,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
