"""Leases: of several processes, one does a piece of background work at a time.

A lease is a row: name, holder, deadline. It is taken, renewed and given back in short transactions; when its
holder is killed it runs out at its deadline and the next one who asks has it. Deadlines are by the database's
clock, so that machines whose clocks differ agree.

A holder that was asleep past its deadline does not know that another one works. Work under a lease is
therefore such that doing it twice at once is harmless, or it renews in the transaction that does the work
(`take` with that connection): then it is done by a holder, or undone.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass

import sqlalchemy as sa

from facerec.db import Database
from facerec.db.clock import database_time
from facerec.metastore.tables import leases

# One statement, so that of two who ask at once the later one sees what the first one wrote.
_TAKE = sa.text(
    "INSERT INTO leases (name, holder, deadline) VALUES (:name, :holder, :deadline) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, deadline = excluded.deadline "
    "WHERE leases.holder = excluded.holder OR leases.deadline <= :now"
)


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who holds a lease, and until when (seconds since the epoch by the database's clock)."""

    holder: str
    deadline: float


def take(
    connection: sa.Connection, name: str, holder: str, seconds: float, *, now: float | None = None
) -> bool:
    """Take or renew a lease for `seconds` from now; False while another one holds it.

    now: seconds since the epoch, the database's time where it is None.
    """
    if now is None:
        now = database_time(connection)
    values = {"name": name, "holder": holder, "deadline": now + seconds, "now": now}
    return connection.execute(_TAKE, values).rowcount == 1


def give_back(connection: sa.Connection, name: str, holder: str) -> None:
    """Free a lease at once. A no-op where `holder` has it no longer."""
    connection.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))


def find(connection: sa.Connection, name: str, *, now: float | None = None) -> LeaseState | None:
    """Who holds a lease; None where it is free or has run out."""
    if now is None:
        now = database_time(connection)
    row = connection.execute(
        sa.select(leases.c.holder, leases.c.deadline).where(leases.c.name == name, leases.c.deadline > now)
    ).one_or_none()
    return None if row is None else LeaseState(row.holder, row.deadline)


def remove_run_out(connection: sa.Connection) -> int:
    """Remove the leases that have run out: of work that was never taken up again. How many there were."""
    past = leases.c.deadline <= database_time(connection)
    return connection.execute(leases.delete().where(past)).rowcount


def count_run_out(connection: sa.Connection) -> int:
    """How many leases have run out and were neither given back nor taken again."""
    past = leases.c.deadline <= database_time(connection)
    return connection.scalar(sa.select(sa.func.count()).select_from(leases).where(past)) or 0


def new_holder() -> str:
    """A name for a holder: the machine and the process, to be read by people, and what no other one has."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(8)}"


class Lease:
    """One lease as one holder asks for it. Each call is a transaction of its own; all raise StorageError."""

    def __init__(self, database: Database, name: str, *, seconds: float, holder: str | None = None) -> None:
        """name: of the work, at most 128 characters. seconds: for how long it is taken at a time.

        holder: a new one where it is None (`new_holder`).
        """
        self.name = name
        self.holder = new_holder() if holder is None else holder
        self._database = database
        self._seconds = seconds

    def take(self) -> bool:
        """Take the lease, or renew it when it is held; False while another one has it.

        Asked first by a reading alone: those that wait for their turn write nothing.
        """
        with self._database.read() as connection:
            present = find(connection, self.name)
        if present is not None and present.holder != self.holder:
            return False
        with self._database.write() as connection:
            return take(connection, self.name, self.holder, self._seconds)

    def give_back(self) -> None:
        """Free the lease, so that another one need not wait for its end. A no-op where it was lost."""
        with self._database.write() as connection:
            give_back(connection, self.name, self.holder)
