"""Embeddings sealed at rest: the keys, which of them the database needs, and sealing anew what is stored."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from facerec.config import Settings
from facerec.db import Connection
from facerec.db.sealed import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    MARK,
    SealedBytes,
    ValueCipher,
    missing_keys,
)
from facerec.domain import RowKey
from facerec.errors import ConfigurationError
from facerec.metastore import meta
from facerec.metastore.tables import faces, users

NEEDED = "embedding_keys"
"""Name of the fact which keys may have sealed a row: their fingerprints."""

SEALED_TABLES = (faces, users)
"""The tables with embeddings, each in its column `codes`."""


@dataclass(frozen=True, slots=True)
class SealedRows:
    """How many embeddings are stored, and in which form."""

    newest: int
    """Sealed by the key that seals."""
    older: int
    """Sealed by another one."""
    plain: int


def read_cipher(settings: Settings) -> ValueCipher | None:
    """The cipher of the settings' keys; None where none is set.

    Raises ConfigurationError for a file that can not be read and for what is no key, never telling it.
    """
    if settings.embedding_key is not None and settings.embedding_key_file is not None:
        raise ConfigurationError(
            "FACEREC_EMBEDDING_KEY and FACEREC_EMBEDDING_KEY_FILE are both set; one of them is enough"
        )
    if settings.embedding_key_file is not None:
        try:
            text = settings.embedding_key_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigurationError(
                f"FACEREC_EMBEDDING_KEY_FILE {settings.embedding_key_file} can not be read: {reason}"
            ) from error
        lines = (line.strip() for line in text.splitlines())
        return _cipher("FACEREC_EMBEDDING_KEY_FILE", [line for line in lines if line and line[0] != "#"])
    if settings.embedding_key is not None:
        keys = settings.embedding_key.get_secret_value().split(",")
        return _cipher("FACEREC_EMBEDDING_KEY", [key.strip() for key in keys])
    return None


def agree(connection: Connection, cipher: ValueCipher | None) -> None:
    """See to it that the keys at hand open all that may be stored, and note that the first one seals.

    Raises ConfigurationError where one is missing: nothing is served or written then.
    """
    needed = needed_keys(connection)
    missing = needed - (cipher.fingerprints if cipher else frozenset())
    if missing:
        raise missing_keys(missing)
    if cipher is not None and cipher.first not in needed:
        _need(connection, needed | {cipher.first})


def needed_keys(connection: Connection) -> frozenset[bytes]:
    """Fingerprints of the keys that may have sealed a row."""
    value = meta.find(connection, NEEDED) or ""
    return frozenset(bytes.fromhex(each) for each in value.split(",") if each)


def need_only(connection: Connection, key: bytes | None) -> None:
    """Note that no row is sealed by another key than that of this fingerprint; None: that none is sealed."""
    _need(connection, frozenset([key] if key is not None else []))


def count_rows(connection: Connection, first: bytes | None) -> SealedRows:
    """Count the embeddings by their form. first: fingerprint of the key that seals. Reads every row."""
    newest = older = plain = 0
    for table in SEALED_TABLES:
        sealed, by_first = _start(table, len(MARK)) == MARK, _start(table) == MARK + (first or b"")
        form = sa.case((by_first, "newest"), (sealed, "older"), else_="plain")
        query = sa.select(form, sa.func.count()).where(table.c.codes.is_not(None)).group_by(form)
        found = {name: int(count) for name, count in connection.execute(query)}
        newest += found.get("newest", 0)
        older += found.get("older", 0)
        plain += found.get("plain", 0)
    return SealedRows(newest, older, plain)


def seal_some(
    connection: Connection, table: sa.Table, after: RowKey, limit: int, first: bytes
) -> tuple[RowKey, int] | None:
    """Seal by the first key, of this fingerprint, what is not among the next rows; see `_rewrite_some`."""
    return _rewrite_some(connection, table, after, limit, _start(table) != MARK + first, SealedBytes())


def open_some(
    connection: Connection, table: sa.Table, after: RowKey, limit: int
) -> tuple[RowKey, int] | None:
    """Store as they are the embeddings that are sealed among the next rows; see `_rewrite_some`."""
    return _rewrite_some(connection, table, after, limit, _start(table, len(MARK)) == MARK, sa.LargeBinary())


def _rewrite_some(
    connection: Connection,
    table: sa.Table,
    after: RowKey,
    limit: int,
    wanted: sa.ColumnElement[bool],
    form: sa.types.TypeEngine[bytes],
) -> tuple[RowKey, int] | None:
    """Write anew, as `form` does, the wanted ones of the `limit` rows that follow `after`.

    Gives the key of the last row looked at, and how many were written; None where no row follows. The vectors
    stay what they are, so no change number is taken.
    """
    window = sa.select(table.c.key).where(table.c.key > after).order_by(table.c.key).limit(limit)
    keys = connection.scalars(window).all()
    if not keys:
        return None
    # On PostgreSQL a row that another transaction is changing is waited for, and read as that one leaves it.
    query = sa.select(table.c.key, table.c.codes).where(
        table.c.key.between(keys[0], keys[-1]), table.c.codes.is_not(None), wanted
    )
    rows = [{"row": key, "plain": codes} for key, codes in connection.execute(query.with_for_update())]
    if rows:
        written = {table.c.codes: sa.bindparam("plain", type_=form)}
        connection.execute(table.update().where(table.c.key == sa.bindparam("row")).values(written), rows)
    return RowKey(keys[-1]), len(rows)


def _start(table: sa.Table, length: int = len(MARK) + FINGERPRINT_BYTES) -> sa.ColumnElement[bytes]:
    """The first bytes of an embedding as it is stored."""
    stored = sa.type_coerce(table.c.codes, sa.LargeBinary)
    return sa.func.substr(stored, 1, length, type_=sa.LargeBinary)


def _need(connection: Connection, keys: frozenset[bytes]) -> None:
    meta.put(connection, NEEDED, ",".join(sorted(key.hex() for key in keys)))


def _cipher(setting: str, texts: Sequence[str]) -> ValueCipher:
    """The cipher of keys in base64."""
    keys = []
    for text in texts:
        try:
            keys.append(base64.b64decode(text, validate=True))
        except ValueError:  # no base64, or not even ASCII
            keys.append(b"")
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise ConfigurationError(
            f"{setting} holds no usable keys: each is {KEY_BYTES} random bytes in base64, as "
            f"`head -c {KEY_BYTES} /dev/urandom | base64` prints; the first one seals, all open"
        )
    return ValueCipher(keys)
