"""What albums and imports of persons are made of: items, each with a number, a state, and perhaps a job.

Images and listings of albums and entries of imports lie in tables of their own, of which these columns are
alike: the owner's key, `number`, `state`, `queued` (whether a job was queued for it) and `finished_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import sqlalchemy as sa

LONGEST_REASON = 255
"""Characters that are kept of the reason why an item has failed."""


class ItemState(IntEnum):
    """How far an item has come."""

    WAITING = 0
    DONE = 1
    FAILED = 2
    CANCELLED = 3


@dataclass(frozen=True, slots=True)
class Finished:
    """Items that were finished since some moment, and when the first of them was (None: there are none)."""

    items: int
    first_at: float | None

    def rate(self, now: float) -> float:
        """Items a second up to now (seconds since the epoch)."""
        return 0.0 if self.first_at is None else self.items / max(now - self.first_at, 1.0)


class Items:
    """The items of one table."""

    def __init__(self, table: sa.Table, owner: sa.Column[int]) -> None:
        """owner: the column of the owner's key."""
        self._table = table
        self._columns = table.c
        self._owner = owner

    def counts(self, connection: sa.Connection, owner: int) -> dict[ItemState, int]:
        """How many are in each state."""
        state = self._columns.state
        rows = connection.execute(
            sa.select(state, sa.func.count()).where(self._owner == owner).group_by(state)
        )
        found = {ItemState(state): number for state, number in rows}
        return {state: found.get(state, 0) for state in ItemState}

    def finished_since(self, connection: sa.Connection, owner: int, moment: float) -> Finished:
        """What was finished after a moment (seconds since the epoch)."""
        finished_at = self._columns.finished_at
        number, first = connection.execute(
            sa.select(sa.func.count(), sa.func.min(finished_at)).where(
                self._owner == owner, finished_at > moment
            )
        ).one()
        return Finished(number, first)

    def unqueued(self, connection: sa.Connection, owner: int, limit: int) -> list[int]:
        """Numbers of up to `limit` that wait and for which no job was queued, in their order."""
        query = sa.select(self._columns.number).where(self._owner == owner, sa.not_(self._columns.queued))
        return list(connection.scalars(query.order_by(self._columns.number).limit(limit)))

    def mark_queued(self, connection: sa.Connection, owner: int, numbers: Sequence[int]) -> None:
        """Note that jobs were queued for these."""
        connection.execute(
            self._table.update()
            .where(self._owner == owner, self._columns.number.in_(numbers))
            .values(queued=True)
        )

    def owners_with_unqueued(self, connection: sa.Connection) -> set[int]:
        """The keys of those that have items for which no job was queued."""
        query = sa.select(self._owner).where(sa.not_(self._columns.queued)).distinct()
        return set(connection.scalars(query))
