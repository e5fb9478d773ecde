"""Facts of the database itself: its identity, and the secret that its pagination tokens are signed with."""

from __future__ import annotations

import secrets
import uuid

import sqlalchemy as sa

from facerec.errors import StorageError
from facerec.metastore.tables import meta

STORE_ID = "store_id"
TOKEN_SECRET = "token_secret"  # noqa: S105 - the name of the row, not the secret


# Of processes that start together the first one's values stay.
_ENSURE = sa.text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")


def ensure(connection: sa.Connection) -> None:
    """Give a new database its identity and its secret. A no-op on one that has them."""
    for name, value in ((STORE_ID, str(uuid.uuid4())), (TOKEN_SECRET, secrets.token_hex(32))):
        connection.execute(_ENSURE, {"name": name, "value": value})


def find(connection: sa.Connection, name: str) -> str | None:
    """A fact by its name; None for one that was never put."""
    value: str | None = connection.scalar(sa.select(meta.c.value).where(meta.c.name == name))
    return value


def put(connection: sa.Connection, name: str, value: str) -> None:
    """Set a fact."""
    connection.execute(meta.delete().where(meta.c.name == name))
    connection.execute(meta.insert().values(name=name, value=value))


def store_id(connection: sa.Connection) -> str:
    """Identity of the database."""
    return _value(connection, STORE_ID)


def renew_store_id(connection: sa.Connection) -> None:
    """Give a restored database an identity of its own: no index of what it was before is taken for its."""
    connection.execute(meta.update().where(meta.c.name == STORE_ID).values(value=str(uuid.uuid4())))


def token_secret(connection: sa.Connection) -> bytes:
    """The 32 bytes that pagination tokens are signed with."""
    return bytes.fromhex(_value(connection, TOKEN_SECRET))


def _value(connection: sa.Connection, name: str) -> str:
    value = find(connection, name)
    if value is None:
        raise StorageError(f"The database has no {name}: it was not opened by this service, or is damaged.")
    return value
