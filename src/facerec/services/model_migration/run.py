"""Running a migration: the faces that wait are taken in pieces, by as many processes as run.

A piece is leased, so that two processes do not look at the same images; and should they, because one was
asleep past its lease, a face still gets one new embedding, for it is stored under the collection's lock. What
is stored is stored; a process that is killed has lost what it had under way, and the next one does it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from facerec.db import Connection, Database
from facerec.domain import Face, ImageReference, ModelMigration
from facerec.errors import Conflict
from facerec.metastore import collections, faces, model_migrations
from facerec.metastore.leases import Lease, new_holder
from facerec.services.aggregates import mirror_user
from facerec.services.model_migration.control import MigrationStatus, ModelMigrations
from facerec.services.model_migration.looking import FaceFinder, ImagePlaces, of_one_image

PIECE = 512
"""Change numbers of the faces that are leased and worked through at a time."""

LEASE_SECONDS = 30.0
"""How long a piece stays with a process that has stopped; one at work renews it three times as often."""

PATIENCE_SECONDS = 1.0
"""Pause before a look whether what other processes work on is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a migration stands: done, failed and waiting make up all faces of the collection."""

    done: int
    failed: int
    pending: int
    faces_per_second: float
    """Of this process in this run, those that failed included."""
    seconds_left: float | None
    """At the rate at which faces went from the list, whoever did them; None while nothing is known of it."""


class MigrationRun:
    """Works through the list of one collection."""

    def __init__(
        self,
        database: Database,
        finder: FaceFinder,
        places: ImagePlaces,
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """workers: images looked at together. clock: for the rate. sleep: while others work on the rest."""
        self._database = database
        self._finder = finder
        self._places = places
        self._workers = workers
        self._clock = clock
        self._sleep = sleep
        self._holder = new_holder()
        self._control = ModelMigrations(database)
        self._done_to = 0
        """Change number up to which no face waited when it was last looked."""

    def run(self, name: str, report: Callable[[Progress], None]) -> MigrationStatus:
        """Go on until no face waits; `report` is told after every piece. May be killed at any moment.

        Raises NotFound, Conflict where the migration has ended meanwhile (finished or aborted), StorageError.
        """
        begun, worked = self._clock(), 0
        waiting = self._control.status(name).pending
        with ThreadPoolExecutor(self._workers, "migrate") as pool:
            try:
                while True:
                    piece = self._next_piece(name)
                    if piece is not None:
                        worked += self._work_through(pool, name, *piece)
                    status = self._control.status(name)
                    seconds = max(self._clock() - begun, 1e-9)
                    gone = waiting - status.pending
                    report(
                        Progress(
                            done=status.done,
                            failed=sum(status.failed.values()),
                            pending=status.pending,
                            faces_per_second=worked / seconds,
                            seconds_left=status.pending * seconds / gone if gone > 0 else None,
                        )
                    )
                    if piece is None:
                        if not status.pending:
                            break
                        self._sleep(PATIENCE_SECONDS)
            finally:
                pool.shutdown(cancel_futures=True)
        self._control.equalize_users(name)
        return self._control.status(name)

    def _next_piece(self, name: str) -> tuple[Lease, ModelMigration, list[Face]] | None:
        """The first piece with waiting faces that no other process has, leased; None where there is none."""
        after, first = self._done_to, True
        while True:
            status = self._control.status(name)
            if status.finished:
                raise Conflict(f"The collection id: {name} has been switched to its new model meanwhile.")
            with self._database.read() as connection:
                found = model_migrations.pending(connection, status.collection, status.migration, after, 1)
            if not found and first and after:
                after = self._done_to = 0  # once more from the beginning: what failed may wait again
                continue
            if not found:
                return None
            piece = found[0][0] // PIECE
            if first:
                self._done_to, first = max(piece * PIECE - 1, 0), False
            lease = Lease(
                self._database,
                f"migrate-model/{status.migration.new}/{piece}",
                seconds=LEASE_SECONDS,
                holder=self._holder,
            )
            last = (piece + 1) * PIECE - 1
            if lease.take():
                waiting = self._waiting(status, piece * PIECE - 1, last)
                if waiting:
                    return lease, status.migration, waiting
                lease.give_back()  # done by the one who had it before
            after = last

    def _waiting(self, status: MigrationStatus, after: int, last: int) -> list[Face]:
        with self._database.read() as connection:
            found = model_migrations.pending(connection, status.collection, status.migration, after, PIECE)
        return [face for number, face in found if number <= last]

    def _work_through(
        self,
        pool: ThreadPoolExecutor,
        name: str,
        lease: Lease,
        migration: ModelMigration,
        waiting: list[Face],
    ) -> int:
        """Look at the images of a piece; how many faces that were."""
        renewed = self._clock()
        jobs = [
            pool.submit(self._do, name, migration, group, self._place(group))
            for group in of_one_image(waiting)
        ]
        for job in as_completed(jobs):
            job.result()
            if self._clock() - renewed > LEASE_SECONDS / 3:
                renewed = self._clock()
                lease.take()
        lease.give_back()
        return len(waiting)

    def _place(self, group: Sequence[Face]) -> ImageReference | None:
        """Where the image of these faces lies, by whichever of them tells it."""
        places = (self._places.find(face) for face in group)
        return next((place for place in places if place is not None), None)

    def _do(
        self, name: str, migration: ModelMigration, group: Sequence[Face], place: ImageReference | None
    ) -> None:
        """Look at one image, and store what came of it."""
        looked = self._finder.look(group, place)

        def store(connection: Connection) -> None:
            old = collections.find(connection, name, lock=True)
            new = collections.twin_of(connection, old)
            if new is None or new.key != migration.new:
                raise Conflict(f"The migration of the collection id: {name} has ended meanwhile.")
            for user_id in sorted(model_migrations.store(connection, old, new, looked.embedded)):
                mirror_user(connection, old, user_id)
            failed = dict(looked.failed)
            for key in faces.in_twin(connection, old, list(failed)):
                del failed[key]
            model_migrations.note_failures(connection, migration, failed)

        self._database.write_together(store, lane=migration.old)
