"""Imports of persons: the entries of a manifest, and how far each has come.

What an entry says of its person is kept until the person is enrolled, and then its number, id and outcome.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NewType

import sqlalchemy as sa

from facerec.errors import NotFound
from facerec.metastore.items import LONGEST_REASON, Items, ItemState
from facerec.metastore.tables import person_import_entries as entries
from facerec.metastore.tables import person_imports as imports

PersonImportKey = NewType("PersonImportKey", int)
"""Database key of an import. Never reused."""

ENTRIES = Items(entries, entries.c.import_key)
"""The entries of imports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonImport:
    """An import of persons."""

    key: PersonImportKey
    import_id: str
    manifest: str
    """Name of the file."""
    review: str | None
    """How strictly its pictures are looked at; None: as the service does."""
    created_at: float
    """Seconds since the epoch."""
    last_number: int
    """Of the last entry that was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPersonEntry:
    """An entry of a manifest: a person, or (person_id "") the reason why it is none."""

    number: int
    """Of its line, from 1."""
    person_id: str = ""
    images: tuple[str, ...] = ()
    """Where the pictures lie."""
    metadata: str | None = None
    """As JSON."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """A picture that was not taken: its place, and why, as a code and for people."""

    image: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonEntry:
    """An entry as it is stored."""

    owner: PersonImportKey
    number: int
    person_id: str
    images: tuple[str, ...]
    """Where the pictures lie; () once the person is enrolled."""
    metadata: str | None
    state: ItemState
    reason: str | None
    """Why it has failed."""
    pictures: int
    """How many were taken."""
    refused: tuple[RefusedPicture, ...] = field(default=())
    finished_at: float | None


def insert(
    connection: sa.Connection, *, import_id: str, manifest: str, review: str | None, created_at: float
) -> PersonImport:
    """Make an empty import."""
    values = {"import_id": import_id, "manifest": manifest, "review": review, "created_at": created_at}
    connection.execute(imports.insert().values(**values))
    return find(connection, import_id)


def find(connection: sa.Connection, import_id: str, *, lock: bool = False) -> PersonImport:
    """The import of that id; with `lock`, kept from other writers until the transaction ends.

    Raises NotFound.
    """
    query = sa.select(imports).where(imports.c.import_id == import_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"The import {import_id} does not exist")
    return _import(row)


def list_after(connection: sa.Connection, after: int, limit: int) -> list[PersonImport]:
    """Up to `limit` imports with a key greater than `after`, oldest first."""
    query = sa.select(imports).where(imports.c.key > after).order_by(imports.c.key).limit(limit)
    return [_import(row) for row in connection.execute(query)]


def delete(connection: sa.Connection, key: PersonImportKey) -> None:
    """Remove an import with its entries."""
    connection.execute(entries.delete().where(entries.c.import_key == key))
    connection.execute(imports.delete().where(imports.c.key == key))


def forget(connection: sa.Connection, person_ids: Sequence[str]) -> int:
    """Remove every entry of these persons; how many there were."""
    return connection.execute(entries.delete().where(entries.c.person_id.in_(person_ids))).rowcount


def add(connection: sa.Connection, target: PersonImport, new: Sequence[NewPersonEntry]) -> None:
    """Add entries under their numbers; those that were read before are passed over.

    The caller has locked the import.
    """
    rows = [
        {
            "import_key": target.key,
            "number": entry.number,
            "person_id": entry.person_id,
            "images": json.dumps(entry.images),
            "metadata": entry.metadata,
            "state": ItemState.WAITING if entry.person_id else ItemState.FAILED,
            "queued": not entry.person_id,
            "reason": None if entry.reason is None else entry.reason[:LONGEST_REASON],
        }
        for entry in new
        if entry.number > target.last_number
    ]
    if rows:
        connection.execute(entries.insert(), rows)
        last = imports.update().where(imports.c.key == target.key).values(last_number=rows[-1]["number"])
        connection.execute(last)


def entry(
    connection: sa.Connection, key: PersonImportKey, number: int
) -> tuple[PersonImport, PersonEntry] | None:
    """An entry with its import; None where they are not there."""
    owner = connection.execute(sa.select(imports).where(imports.c.key == key)).one_or_none()
    row = connection.execute(
        sa.select(entries).where(entries.c.import_key == key, entries.c.number == number)
    ).one_or_none()
    return None if owner is None or row is None else (_import(owner), _entry(row))


def entries_after(
    connection: sa.Connection, key: PersonImportKey, after: int, limit: int
) -> list[PersonEntry]:
    """Up to `limit` entries with a number greater than `after`, in the order of the manifest."""
    query = sa.select(entries).where(entries.c.import_key == key, entries.c.number > after)
    return [_entry(row) for row in connection.execute(query.order_by(entries.c.number).limit(limit))]


def finish(
    connection: sa.Connection,
    found: PersonEntry,
    state: ItemState,
    *,
    finished_at: float,
    reason: str | None = None,
    pictures: int = 0,
    refused: Sequence[RefusedPicture] = (),
) -> None:
    """Note what became of an entry that waits, or was cancelled while it was at work."""
    values: dict[str, Any] = {
        "state": state,
        "queued": True,
        "reason": None if reason is None else reason[:LONGEST_REASON],
        "pictures": pictures,
        "refused": json.dumps([[one.image, one.code, one.message] for one in refused]),
        "finished_at": finished_at,
    }
    if state is ItemState.DONE:
        values |= {"images": "[]", "metadata": None}
    from_states = [ItemState.WAITING, *([ItemState.CANCELLED] if state is ItemState.DONE else [])]
    connection.execute(
        entries.update()
        .where(
            entries.c.import_key == found.owner,
            entries.c.number == found.number,
            entries.c.state.in_(from_states),
        )
        .values(**values)
    )


def cancel(connection: sa.Connection, key: PersonImportKey) -> int:
    """Let what waits wait no more; how many entries that were."""
    return connection.execute(
        entries.update()
        .where(entries.c.import_key == key, entries.c.state == ItemState.WAITING)
        .values(state=ItemState.CANCELLED, queued=True)
    ).rowcount


def wait_again(connection: sa.Connection, key: PersonImportKey, states: Sequence[ItemState]) -> int:
    """Let entries of these states wait again, to be queued anew; how many that were."""
    return connection.execute(
        entries.update()
        .where(entries.c.import_key == key, entries.c.state.in_(states), entries.c.person_id != "")
        .values(state=ItemState.WAITING, queued=False, reason=None, refused="[]", finished_at=None)
    ).rowcount


def _import(row: sa.Row[Any]) -> PersonImport:
    return PersonImport(
        key=PersonImportKey(row.key),
        import_id=row.import_id,
        manifest=row.manifest,
        review=row.review,
        created_at=row.created_at,
        last_number=row.last_number,
    )


def _entry(row: sa.Row[Any]) -> PersonEntry:
    return PersonEntry(
        owner=PersonImportKey(row.import_key),
        number=row.number,
        person_id=row.person_id,
        images=tuple(json.loads(row.images)),
        metadata=row.metadata,
        state=ItemState(row.state),
        reason=row.reason,
        pictures=row.pictures,
        refused=tuple(RefusedPicture(*one) for one in json.loads(row.refused)),
        finished_at=row.finished_at,
    )
