"""The audit log: entries in chains, only ever added, and removed by age from the beginning of a chain.

The digest of an entry is a keyed hash of the digest before it, its number, time and content: an entry that
was changed, removed or put in between shows. Each process writes a chain of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from facerec.db.prepared import Prepared
from facerec.metastore.tables import audit_chains, audit_entries

ENTRIES_A_STEP = 5000
"""Entries in memory at once."""

# Statements of every change are built once: SQLAlchemy takes longer to build one than to run it.
_MINE = audit_chains.c.chain == sa.bindparam("mine")
_HEAD = Prepared(
    sa.select(audit_chains.c.last_number, audit_chains.c.last_digest).where(_MINE).with_for_update()
)
_ADD = Prepared(
    audit_entries.insert().values(
        **{name: sa.bindparam(name) for name in ("chain", "number", "at", "content", "digest")}
    )
)
_MOVE = Prepared(
    audit_chains.update()
    .where(_MINE)
    .values(last_number=sa.bindparam("last_number"), last_digest=sa.bindparam("last_digest"))
)


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """Where an entry is among all."""

    chain: str
    number: int
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class AuditRow(AuditPlace):
    """An entry as it is stored."""

    content: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class ChainState:
    """What was found of a chain."""

    chain: str
    last_number: int
    last_digest: str
    """To be kept elsewhere: whoever can write the database can not write another chain with it."""
    fault: str | None
    """What is wrong, None for nothing."""


def append(connection: sa.Connection, key: bytes, chain: str, entries: Sequence[tuple[float, str]]) -> None:
    """Add entries (time, content) to the end of a chain, which is begun with the first ones."""
    head = _HEAD.rows(connection, {"mine": chain})
    number, digest = head[0] if head else (0, "")
    rows = []
    for at, content in entries:
        number += 1
        digest = _digest(key, digest, chain, number, at, content)
        rows.append({"chain": chain, "number": number, "at": at, "content": content, "digest": digest})
    if not rows:
        return
    _ADD.change_each(connection, rows)
    if not head:
        started = {"chain": chain, "pruned_number": 0, "pruned_digest": ""}
        connection.execute(audit_chains.insert().values(**started, last_number=number, last_digest=digest))
    else:
        _MOVE.change(connection, {"mine": chain, "last_number": number, "last_digest": digest})


def latest(
    connection: sa.Connection,
    *,
    since: float,
    limit: int,
    person: str | None = None,
    after: AuditPlace | None = None,
) -> list[AuditRow]:
    """The newest entries from `since` (seconds since the epoch) on, the newest first.

    person: only those with this pseudonym, which is nothing else's id. after: only those that come after the
    entry of this place in that order.
    """
    entry = audit_entries.c
    query = sa.select(entry.chain, entry.number, entry.at, entry.content).where(entry.at >= since)
    if person is not None:
        query = query.where(_has(entry.content, person))
    if after is not None:
        later = sa.and_(entry.chain == after.chain, entry.number < after.number)
        same_moment = sa.and_(entry.at == after.at, sa.or_(entry.chain > after.chain, later))
        query = query.where(sa.or_(entry.at < after.at, same_moment))
    query = query.order_by(entry.at.desc(), entry.chain, entry.number.desc()).limit(limit)
    return [AuditRow(*row) for row in connection.execute(query)]


def mentioned(connection: sa.Connection, names: Sequence[str]) -> set[str]:
    """Those of some ids or pseudonyms that any entry has."""
    content = audit_entries.c.content
    return {
        name
        for name in names
        if connection.scalar(sa.select(audit_entries.c.number).where(_has(content, name)).limit(1))
        is not None
    }


def verify(connection: sa.Connection, key: bytes) -> list[ChainState]:
    """Every chain, with the first fault of each; entries without a chain are a fault too."""
    found = []
    chains = list(connection.execute(sa.select(audit_chains).order_by(audit_chains.c.chain)))
    for head in chains:
        number, digest, fault = head.pruned_number, head.pruned_digest, None
        for row in _entries(connection, head.chain):
            if row.number != number + 1:
                fault = f"entry {number + 1} is missing"
            elif row.digest != _digest(key, digest, row.chain, row.number, row.at, row.content):
                fault = f"entry {row.number} was changed, or the one before it"
            if fault is not None:
                break
            number, digest = row.number, row.digest
        if fault is None and (number, digest) != (head.last_number, head.last_digest):
            fault = f"the end is missing: {number} is the last entry, and {head.last_number} were written"
        found.append(ChainState(head.chain, head.last_number, head.last_digest, fault))
    known = {head.chain for head in chains}
    written = set(connection.scalars(sa.select(audit_entries.c.chain).distinct()))
    orphans = [ChainState(chain, 0, "", "the chain's own row is missing") for chain in written - known]
    return found + orphans


def any_before(connection: sa.Connection, before: float) -> bool:
    """Whether an entry is from before that time."""
    entry = audit_entries.c
    return connection.scalar(sa.select(entry.number).where(entry.at < before).limit(1)) is not None


def prune(connection: sa.Connection, before: float) -> int:
    """Remove the entries from before that time at the beginning of each chain; how many they were."""
    entry, removed = audit_entries.c, 0
    old = connection.scalars(sa.select(entry.chain).where(entry.at < before).distinct()).all()
    for chain in old:
        mine = audit_chains.c.chain == chain
        head = connection.execute(sa.select(audit_chains).where(mine).with_for_update()).one_or_none()
        if head is None:
            continue
        kept = sa.select(sa.func.min(entry.number)).where(entry.chain == chain, entry.at >= before)
        first_kept = connection.scalar(kept)
        last = head.last_number if first_kept is None else first_kept - 1
        digest = connection.scalar(sa.select(entry.digest).where(entry.chain == chain, entry.number == last))
        if digest is None:  # nothing at its beginning is old enough, or somebody removed it: that has to show
            continue
        gone = audit_entries.delete().where(entry.chain == chain, entry.number <= last)
        removed += connection.execute(gone).rowcount
        if last == head.last_number:  # its process has ended, or begins anew
            connection.execute(audit_chains.delete().where(mine))
        else:
            pruned = {"pruned_number": last, "pruned_digest": digest}
            connection.execute(audit_chains.update().where(mine).values(**pruned))
    return removed


def _has(content: sa.ColumnElement[str], name: str) -> sa.ColumnElement[bool]:
    """Whether an entry has an id or pseudonym, which is nothing else's."""
    return content.contains(f'"{name}"', autoescape=True)


def _entries(connection: sa.Connection, chain: str) -> Iterator[Any]:
    """The entries of a chain in their order."""
    entry, after = audit_entries.c, 0
    columns = (entry.chain, entry.number, entry.at, entry.content, entry.digest)
    while True:
        query = sa.select(*columns).where(entry.chain == chain, entry.number > after)
        rows = connection.execute(query.order_by(entry.number).limit(ENTRIES_A_STEP)).all()
        yield from rows
        if len(rows) < ENTRIES_A_STEP:
            return
        after = rows[-1].number


def _digest(key: bytes, before: str, chain: str, number: int, at: float, content: str) -> str:
    text = f"{before}\n{chain}\n{number}\n{at!r}\n{content}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
