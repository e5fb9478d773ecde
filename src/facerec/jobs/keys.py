"""Which keys of jobs are taken, for a queue that cannot tell: SQS sends whatever it is given.

A key is first reserved for a moment, and taken for good once its message is sent; so a process that dies in
between holds it up for that moment, and no job is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from facerec.db import Database
from facerec.db.clock import NOW
from facerec.errors import JobQueueUnavailable, StorageError
from facerec.jobs.base import NewJob

RESERVED_SECONDS = 60.0
TAKEN_SECONDS = 14 * 86_400.0
"""As long as SQS keeps a message at most."""

# The table itself is one of the metastore's, which makes it.
_keys = sa.table(
    "job_keys",
    sa.column("kind", sa.String),
    sa.column("unique_key", sa.String),
    sa.column("expires_at", sa.Double),
)

_RESERVE = (
    "INSERT INTO job_keys (kind, unique_key, expires_at) VALUES (:kind, :key, {now} + :seconds) "
    "ON CONFLICT (kind, unique_key) DO UPDATE SET expires_at = excluded.expires_at "
    "WHERE job_keys.expires_at <= {now}"
)


class JobKeys:
    """The keys of open jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        now = NOW[database.name]
        self._reserve = sa.text(_RESERVE.format(now=now))
        self._now = sa.literal_column(now, sa.Double)

    def reserve(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """The jobs that may be sent: without a key, or with one that was free. Raises JobQueueUnavailable."""
        if all(job.key is None for job in jobs):
            return list(jobs)
        with self._writing() as connection:
            return [
                job
                for job in jobs
                if job.key is None
                or connection.execute(
                    self._reserve, {"kind": job.kind, "key": job.key, "seconds": RESERVED_SECONDS}
                ).rowcount
            ]

    def take(self, jobs: Sequence[NewJob]) -> None:
        """They were sent. Raises JobQueueUnavailable."""
        named = [(job.kind, job.key) for job in jobs if job.key is not None]
        if named:
            with self._writing() as connection:
                for kind, key in named:
                    taken = _keys.update().where(_keys.c.kind == kind, _keys.c.unique_key == key)
                    connection.execute(taken.values(expires_at=self._now + TAKEN_SECONDS))

    def free(self, named: Sequence[tuple[str, str]]) -> None:
        """Jobs of these kinds and keys are open no longer. Raises JobQueueUnavailable."""
        if named:
            with self._writing() as connection:
                for kind, key in named:
                    gone = _keys.delete().where(_keys.c.kind == kind, _keys.c.unique_key == key)
                    connection.execute(gone)
                connection.execute(_keys.delete().where(_keys.c.expires_at <= self._now))

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            with self._database.write() as connection:
                yield connection
        except StorageError as error:
            raise JobQueueUnavailable from error
