"""The stages of a collection's way to another model: begin, compare, finish or abort, drop the old one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from facerec.db import Connection, Database
from facerec.domain import Collection, EmbeddingContract, Face, MigrationObstacle, ModelMigration
from facerec.errors import Conflict, InvalidParameter
from facerec.metastore import collections, faces, model_migrations
from facerec.services.aggregates import mirror_user

USERS_AT_ONCE = 100
"""Users made equal in one transaction: other writers wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """How far a collection has come."""

    collection: Collection
    twin: Collection
    migration: ModelMigration
    failed: dict[MigrationObstacle, int]
    """Faces that could not be migrated, by reason."""

    @property
    def finished(self) -> bool:
        """Whether the new model answers, and the old embeddings are kept."""
        return self.migration.finished_at is not None

    @property
    def total(self) -> int:
        """Faces of the old model."""
        return (self.twin if self.finished else self.collection).face_count

    @property
    def done(self) -> int:
        """Faces that have their new embedding."""
        return (self.collection if self.finished else self.twin).face_count

    @property
    def pending(self) -> int:
        """Faces that wait for it. A face is in the twin only while it is in the collection: so they differ by
        what waits and what failed.
        """
        return 0 if self.finished else max(self.total - self.done - sum(self.failed.values()), 0)


class ModelMigrations:
    """Use cases on migrations. Safe to call from many threads and processes."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def begin(
        self, name: str, contract: EmbeddingContract, *, old_pack: str, new_pack: str, images: str
    ) -> MigrationStatus:
        """Begin to migrate a collection to embeddings of `contract`, or go on with that.

        old_pack, new_pack: of both models, as in MODEL_PATH. images: where they lie, as it was said. Raises
        NotFound, InvalidParameter where the collection has that model, Conflict where it is on its way to
        another one or its old embeddings are still kept.
        """
        with self._database.write() as connection:
            old = collections.find(connection, name, lock=True)
            if old.contract_id == contract.id:
                raise InvalidParameter(
                    f"The collection id: {name} has the recogniser of pack {contract.pack} already: there is "
                    f"nothing to migrate."
                )
            if old.twin is None:
                model_migrations.begin(
                    connection,
                    old,
                    contract,
                    old_pack=old_pack,
                    new_pack=new_pack,
                    images=images,
                    now=self._clock(),
                )
            status = self._status(connection, name)
            if status.finished:
                raise Conflict(
                    f"The collection id: {name} still keeps the embeddings of its model before this one: "
                    f"facerec migrate-model {name} --drop-old parts with them."
                )
            if status.twin.contract_id != contract.id:
                raise Conflict(
                    f"The collection id: {name} is on its way to the pack {status.migration.new_pack}, not "
                    f"to {new_pack}: go on with that one, or facerec migrate-model {name} --abort."
                )
            return status

    def status(self, name: str) -> MigrationStatus:
        """How far the collection has come. Raises NotFound, Conflict where it is on no way."""
        with self._database.read() as connection:
            return self._status(connection, name)

    def failures(self, name: str, limit: int | None = None) -> list[tuple[Face, MigrationObstacle]]:
        """Faces that could not be migrated, and why, oldest first. Raises as `status` does."""
        with self._database.read() as connection:
            status = self._status(connection, name)
            old = status.twin if status.finished else status.collection
            found = model_migrations.failed(connection, status.migration, limit)
            stored = {}
            for start in range(0, len(found), 500):
                keys = [key for key, _ in found[start : start + 500]]
                stored.update(faces.of_keys(connection, old, keys))
        return [(stored[key], reason) for key, reason in found if key in stored]

    def retry(self, name: str) -> None:
        """Put the faces that failed on the list again. Raises as `status` does, Conflict when finished."""
        with self._database.write() as connection:
            status = self._under_way(connection, name)
            model_migrations.forget_failures(connection, status.migration.new)

    def share(self, name: str, share: float) -> MigrationStatus:
        """Have the new model answer a share of the searches, 0 to 1.

        Raises as `status` does, and Conflict while faces wait for their new embedding: it would not be found.
        """
        with self._database.write() as connection:
            status = self._under_way(connection, name)
            if status.pending and share:
                raise Conflict(
                    f"{status.pending} faces of the collection id: {name} wait for their new embedding: the "
                    f"new model can not answer before they have it."
                )
            model_migrations.set_share(connection, status.migration, share)
            return self._status(connection, name)

    def finish(self, name: str, *, keep_old: bool, leave_failed: bool) -> Collection:
        """Switch the collection to its new model, in one transaction; the collection as it is then.

        keep_old: the old embeddings stay, and are kept up to date, until `drop_old`. leave_failed: faces that
        could not be migrated stay with the old embeddings, and go with them. Raises as `status` does, and
        Conflict where faces wait, or failed and may not be left.
        """
        self.equalize_users(name)
        with self._database.read() as connection:
            status = self._status(connection, name)
            # One by one, before others have to wait: under the lock they are counted.
            waiting = model_migrations.pending(connection, status.collection, status.migration, 0, 1)
        with self._database.write() as connection:
            status = self._under_way(connection, name)
            failed = sum(status.failed.values())
            if status.pending or waiting:
                raise Conflict(
                    f"{max(status.pending, len(waiting))} faces of the collection id: {name} wait for their "
                    f"new embedding: run facerec migrate-model {name} first."
                )
            if failed and not leave_failed:
                raise Conflict(
                    f"{failed} faces of the collection id: {name} could not be migrated (facerec "
                    f"migrate-model {name} --status tells which): try them again with --retry, or go on "
                    f"without them with --leave-failed."
                )
            for user_id in model_migrations.differing_users(connection, status.collection, status.twin):
                mirror_user(connection, status.collection, user_id)
            present = model_migrations.switch(connection, status.collection, finished_at=self._clock())
            return present if keep_old else self._part(connection, present, status.migration)

    def abort(self, name: str) -> Collection:
        """Go back to the old model, also after `finish` where the old embeddings were kept; it is as before.

        Faces indexed and deleted meanwhile are, and are not, there. Raises as `status` does.
        """
        with self._database.write() as connection:
            collection = collections.find(connection, name, lock=True)
            status = self._status(connection, name)
            if status.finished:
                collection = model_migrations.switch(connection, collection, finished_at=None)
            model_migrations.drop_twin(connection, collection)
            return collections.find(connection, name)

    def drop_old(self, name: str) -> Collection:
        """Part with the old embeddings.

        Raises as `status` does, and Conflict where the old model answers still.
        """
        with self._database.write() as connection:
            collection = collections.find(connection, name, lock=True)
            status = self._status(connection, name)
            if not status.finished:
                raise Conflict(
                    f"The collection id: {name} is still answered by its old model: --finish first."
                )
            return self._part(connection, collection, status.migration)

    def equalize_users(self, name: str) -> None:
        """Give the new model the users that it has not, or that have other faces there: in small steps."""
        with self._database.read() as connection:
            status = self._status(connection, name)
            user_ids = model_migrations.differing_users(connection, status.collection, status.twin)
        for start in range(0, len(user_ids), USERS_AT_ONCE):
            with self._database.write() as connection:
                collection = self._under_way(connection, name).collection
                for user_id in user_ids[start : start + USERS_AT_ONCE]:
                    mirror_user(connection, collection, user_id)

    def _part(self, connection: Connection, present: Collection, migration: ModelMigration) -> Collection:
        model_migrations.forget_failures(connection, migration.new)
        model_migrations.drop_twin(connection, present)
        return collections.find(connection, present.name)

    def _under_way(self, connection: Connection, name: str) -> MigrationStatus:
        """The status of a collection that the old model still answers for, locked until the end."""
        collections.find(connection, name, lock=True)
        status = self._status(connection, name)
        if status.finished:
            raise Conflict(f"The collection id: {name} has been switched to its new model already.")
        return status

    def _status(self, connection: Connection, name: str) -> MigrationStatus:
        collection = collections.find(connection, name)
        migration = model_migrations.of_collection(connection, collection)
        twin = collections.twin_of(connection, collection)
        if migration is None or twin is None:
            raise Conflict(f"The collection id: {name} is on its way to no other model.")
        return MigrationStatus(
            collection=collection,
            twin=twin,
            migration=migration,
            failed=model_migrations.count_failed(connection, migration),
        )
