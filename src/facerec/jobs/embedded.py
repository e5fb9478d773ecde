"""Jobs in the service's own database: no server beside it is needed.

A job is a row. `ready_at` is when it may be leased: after its delay, or at the end of the lease that it is
under; so a lease that runs out needs nobody to notice it. Its receipt stays then, where a holder that lives
takes it off with its last word: so it is known of a job whether a worker died while it held it. Times are by
the database's clock. On PostgreSQL those who lease at once pass by each other's rows (SKIP LOCKED); SQLite
has one writer.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from facerec.db import Connection, Database
from facerec.db.clock import NOW
from facerec.db.numbers import is_among, number_list
from facerec.db.prepared import Prepared
from facerec.errors import JobQueueUnavailable, StorageError
from facerec.jobs.base import (
    SUSPECT_ATTEMPTS,
    Job,
    JobCounts,
    NewJob,
    Payload,
    SetAsideJob,
    encode,
    new_holder,
)

T = TypeVar("T")

MOST_REASON = 500
"""Letters of a reason that are kept."""

_LANE = -2
"""Writes of jobs share their commits with each other, and with no collection's."""

# The tables themselves are two of the metastore's, which makes them.
_jobs = sa.table(
    "jobs",
    sa.column("key", sa.BigInteger),
    sa.column("kind", sa.String),
    sa.column("unique_key", sa.String),
    sa.column("payload", sa.Text),
    sa.column("priority", sa.SmallInteger),
    sa.column("queued_at", sa.Double),
    sa.column("ready_at", sa.Double),
    sa.column("attempts", sa.Integer),
    sa.column("receipt", sa.String),
    sa.column("reason", sa.String),
)
_set_aside = sa.table(
    "jobs_set_aside",
    sa.column("key", sa.BigInteger),
    sa.column("kind", sa.String),
    sa.column("unique_key", sa.String),
    sa.column("payload", sa.Text),
    sa.column("priority", sa.SmallInteger),
    sa.column("attempts", sa.Integer),
    sa.column("reason", sa.String),
    sa.column("set_aside_at", sa.Double),
)

_PUT = (
    "INSERT INTO jobs (kind, unique_key, payload, priority, queued_at, ready_at, attempts) "
    "VALUES (:kind, :unique_key, :payload, :priority, {now}, {now} + :delay, 0) "
    "ON CONFLICT (kind, unique_key) DO NOTHING"
)
_GONE = Prepared(_jobs.delete().where(is_among(_jobs.c.key, "keys")))


class EmbeddedJobs:
    """A `JobQueue` in the service's database."""

    def __init__(self, database: Database, holder: str | None = None) -> None:
        """holder: what the leases of this process are known by (`new_holder`); by default one of its own."""
        self._database = database
        self._holder = new_holder() if holder is None else holder
        now = NOW[database.name]
        self._put = sa.text(_PUT.format(now=now))
        self._now = sa.literal_column(now, sa.Double)
        # Made once: to make them anew costs as much as to execute them.
        # By the index of the order: SQLite prefers that of the keys where it can serve a condition on the
        # kind, and sorts all that waits for the sake of ten.
        kind = _jobs.c.kind.concat("") if database.name == "sqlite" else _jobs.c.kind
        ready = (kind.in_(sa.bindparam("kinds", expanding=True)), _jobs.c.ready_at <= self._now)
        self._any_ready = sa.select(_jobs.c.key).where(*ready).limit(1)
        first = (
            sa.select(_jobs.c.key)
            .where(*ready)
            .order_by(_jobs.c.priority, _jobs.c.key)
            .limit(sa.bindparam("most", type_=sa.Integer))
            .with_for_update(skip_locked=True)
            .cte("first")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        self._taking = (
            _jobs.update()
            .where(_jobs.c.key.in_(sa.select(first.c.key)))
            .values(
                ready_at=self._now + sa.bindparam("seconds", type_=sa.Double),
                receipt=sa.bindparam("receipt"),
                attempts=_jobs.c.attempts + 1,
                reason=sa.case((_jobs.c.receipt.is_(None), _jobs.c.reason)),
            )
            .returning(*_jobs.c)
        )

    def put(self, jobs: Sequence[NewJob]) -> None:
        """See `JobQueue.put`."""
        if not jobs:
            return
        rows = [_row(job) for job in jobs]
        self._write(lambda connection: connection.execute(self._put, rows))

    def lease(self, kinds: Collection[str], limit: int, *, seconds: float) -> list[Job]:
        """See `JobQueue.lease`."""
        if not kinds or limit < 1:
            return []
        # Asked first by a reading alone: those that wait for jobs write nothing.
        asked = {"kinds": sorted(kinds)}
        with _meant():
            if self._database.look(lambda connection: connection.scalar(self._any_ready, asked)) is None:
                return []
        receipt = f"{self._holder}{secrets.token_hex(8)}"
        values = {"kinds": sorted(kinds), "most": limit, "seconds": seconds, "receipt": receipt}
        with _meant(), self._database.write() as connection:
            rows = connection.execute(self._taking, values).all()
        return [_job(row) for row in sorted(rows, key=lambda row: (row.priority, row.key))]

    def extend(self, jobs: Sequence[Job], *, seconds: float) -> frozenset[str]:
        """See `JobQueue.extend`."""
        if not jobs:
            return frozenset()
        extending = (
            _jobs.update()
            .where(_held(jobs), _jobs.c.ready_at > self._now)
            .values(ready_at=self._now + seconds)
            .returning(_jobs.c.key)
        )
        kept = self._write(lambda connection: set(connection.scalars(extending)))
        return frozenset(job.id for job in jobs if int(job.id) not in kept)

    def done(self, jobs: Sequence[Job]) -> None:
        """See `JobQueue.done`."""
        if not jobs:
            return
        keys = number_list(int(job.id) for job in jobs)
        self._write(lambda connection: _GONE.change(connection, {"keys": keys}))

    def retry(self, job: Job, *, reason: str, delay_seconds: float) -> None:
        """See `JobQueue.retry`."""
        waiting = (
            _jobs.update()
            .where(_held([job]))
            .values(ready_at=self._now + delay_seconds, receipt=None, reason=reason[:MOST_REASON])
        )
        self._write(lambda connection: connection.execute(waiting))

    def release(self, jobs: Sequence[Job]) -> None:
        """See `JobQueue.release`."""
        if not jobs:
            return
        free = (
            _jobs.update()
            .where(_held(jobs))
            .values(ready_at=self._now, receipt=None, attempts=_jobs.c.attempts - 1)
        )
        self._write(lambda connection: connection.execute(free))

    def bury(self, holder: str) -> int:
        """See `JobQueue.bury`."""
        theirs = sa.and_(_jobs.c.receipt.startswith(holder), _jobs.c.ready_at > self._now)
        ending = _jobs.update().where(theirs).values(ready_at=self._now)
        return self._write(lambda connection: connection.execute(ending).rowcount)

    def set_aside(self, job: Job, *, reason: str) -> None:
        """See `JobQueue.set_aside`."""

        def work(connection: Connection) -> None:
            gone = connection.execute(_jobs.delete().where(_held([job])).returning(*_jobs.c)).one_or_none()
            if gone is not None:
                kept = {name: getattr(gone, name) for name in _KEPT}
                connection.execute(
                    _set_aside.insert().values(**kept, reason=reason[:MOST_REASON], set_aside_at=self._now)
                )

        self._write(work)

    def list_set_aside(self, kind: str | None = None, *, limit: int = 100) -> list[SetAsideJob]:
        """See `JobQueue.list_set_aside`."""
        newest = sa.select(_set_aside).order_by(_set_aside.c.set_aside_at.desc(), _set_aside.c.key.desc())
        if kind is not None:
            newest = newest.where(_set_aside.c.kind == kind)
        with _meant(), self._database.read() as connection:
            rows = connection.execute(newest.limit(limit)).all()
        return [
            SetAsideJob(
                id=str(row.key),
                kind=row.kind,
                payload=json.loads(row.payload),
                attempts=row.attempts,
                reason=row.reason,
                set_aside_at=row.set_aside_at,
            )
            for row in rows
        ]

    def put_back(self, ids: Collection[str]) -> int:
        """See `JobQueue.put_back`."""
        keys = [int(each) for each in ids if each.isdecimal()]
        if not keys:
            return 0
        back = _set_aside.delete().where(_set_aside.c.key.in_(keys)).returning(*_set_aside.c)

        def work(connection: Connection) -> int:
            rows = [
                {
                    "kind": row.kind,
                    "unique_key": row.unique_key,
                    "payload": row.payload,
                    "priority": row.priority,
                    "delay": 0.0,
                }
                for row in connection.execute(back)
            ]
            if rows:
                connection.execute(self._put, rows)
            return len(rows)

        return self._write(work)

    def counts(self) -> Mapping[str, JobCounts]:
        """See `JobQueue.counts`."""
        leased = sa.and_(_jobs.c.receipt.is_not(None), _jobs.c.ready_at > self._now)
        at_work = sa.func.sum(sa.case((leased, 1), else_=0))
        oldest = sa.func.min(sa.case((leased, None), else_=_jobs.c.queued_at))
        open_jobs = sa.select(_jobs.c.kind, sa.func.count(), at_work, self._now - oldest).group_by(
            _jobs.c.kind
        )
        aside = sa.select(_set_aside.c.kind, sa.func.count()).group_by(_set_aside.c.kind)
        with _meant(), self._database.read() as connection:
            rows = connection.execute(open_jobs).all()
            set_aside = {kind: int(count) for kind, count in connection.execute(aside)}
        counted = {
            kind: JobCounts(
                waiting=count - int(held),
                leased=int(held),
                set_aside=set_aside.pop(kind, 0),
                oldest_seconds=max(float(age or 0.0), 0.0),
            )
            for kind, count, held, age in rows
        }
        return counted | {kind: JobCounts(set_aside=count) for kind, count in set_aside.items()}

    def ping(self) -> None:
        """See `JobQueue.ping`."""
        with _meant(), self._database.read() as connection:
            connection.scalar(sa.select(_jobs.c.key).limit(1))

    def close(self) -> None:
        """Nothing is open but the database, which is not this queue's."""

    def _write(self, work: Callable[[Connection], T]) -> T:
        with _meant():
            return self._database.write_together(work, lane=_LANE)


_KEPT = ("key", "kind", "unique_key", "payload", "priority", "attempts")
"""What a job that is set aside keeps."""


@contextmanager
def _meant() -> Iterator[None]:
    """Raise JobQueueUnavailable where the database does not do what is asked."""
    try:
        yield
    except StorageError as error:
        raise JobQueueUnavailable from error


def _row(job: NewJob) -> dict[str, object]:
    return {
        "kind": job.kind,
        "unique_key": job.key,
        "payload": encode(job),
        "priority": int(job.priority),
        "delay": job.delay_seconds,
    }


def _job(row: sa.Row[Any]) -> Job:
    payload: Payload = json.loads(row.payload)
    return Job(
        id=str(row.key),
        kind=row.kind,
        payload=payload,
        attempt=row.attempts,
        queued_at=row.queued_at,
        receipt=row.receipt,
        suspect=row.attempts >= SUSPECT_ATTEMPTS and row.reason is None,
    )


def _held(jobs: Sequence[Job]) -> sa.ColumnElement[bool]:
    """The rows of jobs that nobody else has leased since. Those of one call of `lease` share a receipt."""
    keys: dict[str, list[int]] = {}
    for job in jobs:
        keys.setdefault(job.receipt, []).append(int(job.id))
    return sa.or_(
        *(sa.and_(_jobs.c.receipt == receipt, _jobs.c.key.in_(numbers)) for receipt, numbers in keys.items())
    )
