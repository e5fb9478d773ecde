"""Removing what is past its time, and what is left over: at once, or in the background in small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from facerec.db import Connection, Database
from facerec.domain import CollectionKey
from facerec.errors import NotFound
from facerec.metastore import changes, collections, expiry, faces, leases, tokens
from facerec.metastore.leases import Lease
from facerec.services.collections import remove_deleted
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.removal import remove_faces
from facerec.sessions.embedded import remove_expired
from facerec.vectors.base import VectorStore

LEASE = "retention"
LEASE_SECONDS = 60.0
"""How long a sweep that was killed holds up the next one; each of its transactions renews it."""

FACES_A_STEP = 500
"""Faces removed in one transaction, for which other writers wait: a few hundredths of a second."""

TOMBSTONES_A_STEP = 10_000

TOMBSTONES_SECONDS = 3600.0
"""Pause between two looks at how many removals are remembered: it reads them all."""

TOMBSTONES_KEPT = 10_000
"""Removals that are always remembered, of faces and of users each; in large collections a quarter as many as
they hold faces: taking in as many costs an index as much as being built anew."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep removed, as counts."""

    faces: int = 0
    tombstones: int = 0
    tokens: int = 0
    leases: int = 0
    sessions: int = 0


class LostLeaseError(Exception):
    """Another process sweeps by now."""


class Sweeper:
    """Removes what is past its time. Safe to call from many threads, and in several processes at once."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        lifetimes: Lifetimes,
        *,
        forget_images: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """forget_images: told the ids of images of which faces were removed."""
        self._database = database
        self._vectors = vectors
        self._lifetimes = lifetimes
        self._forget_images = forget_images
        self._looked_at_removals = float("-inf")

    def expire(self, name: str | None = None) -> dict[str, int]:
        """Remove at once all faces that are past their time, of one collection or of all; counts by name.

        Raises NotFound.
        """
        if name is not None:
            with self._database.read() as connection:
                keys = [collections.find(connection, name).key]
        else:
            keys = self._with_past()
        removed: dict[str, int] = {}
        for key in keys:
            title, count = self._expire_in(key, _always)
            if count:
                removed[title] = count
        if removed:
            self._vectors.purge()
        return removed

    def sweep(self) -> Swept | None:
        """Remove what is past its time or left over, unless another process is doing so (None then)."""
        lease = Lease(self._database, LEASE, seconds=LEASE_SECONDS)
        if not lease.take():
            return None

        def hold(connection: Connection) -> None:
            if not leases.take(connection, LEASE, lease.holder, LEASE_SECONDS):
                raise LostLeaseError

        try:
            swept = Swept(faces=sum(self._expire_in(key, hold)[1] for key in self._with_past()))
            remove_deleted(self._database, self._vectors)
            with self._database.write() as connection:
                hold(connection)
                swept = replace(
                    swept,
                    tokens=tokens.remove_expired(connection, self._lifetimes.clock()),
                    leases=leases.remove_run_out(connection),
                    sessions=remove_expired(connection),
                )
            if self._lifetimes.clock() - self._looked_at_removals >= TOMBSTONES_SECONDS:
                self._looked_at_removals = self._lifetimes.clock()
                swept = replace(swept, tombstones=self._forget_removals(hold))
        except LostLeaseError:
            return None
        lease.give_back()
        return swept

    def let_go(self) -> None:
        """Let this process forget what any process has removed: its index, and snapshots on disk."""
        self._vectors.purge()

    def sweep_all(self) -> Swept:
        """Remove at once everything that `sweep` would, whoever sweeps beside."""
        faces_removed = sum(self.expire().values())
        remove_deleted(self._database, self._vectors)
        with self._database.write() as connection:
            now = self._lifetimes.clock()
            answers = tokens.remove_expired(connection, now)
            run_out = leases.remove_run_out(connection)
            ended = remove_expired(connection)
        return Swept(faces_removed, self._forget_removals(_always), answers, run_out, ended)

    def _with_past(self) -> list[CollectionKey]:
        with self._database.read() as connection:
            return expiry.collections_with_past(
                connection, self._lifetimes.clock(), self._lifetimes.default_ttl
            )

    def _expire_in(self, key: CollectionKey, hold: Callable[[Connection], None]) -> tuple[str, int]:
        """Remove a collection's faces past their time, step by step; its name, and how many they were."""
        total, name = 0, ""
        while True:
            with self._database.write() as connection:
                hold(connection)
                try:
                    target = collections.find_by_key(connection, key)
                    name = target.name
                    if not target.hidden:
                        target = collections.find(connection, target.name, lock=True)
                except NotFound:
                    return name, total
                if target.key != key or target.hidden:
                    return name, total  # the faces of a twin go with those of its collection
                past = expiry.past(connection, target, self._lifetimes.present(target), FACES_A_STEP)
                images = faces.images_of(connection, past)
                remove_faces(connection, target, past)
            self._forget_images(images)
            total += len(past)
            if len(past) < FACES_A_STEP:
                return name, total

    def _forget_removals(self, hold: Callable[[Connection], None]) -> int:
        total = 0
        with self._database.read() as connection:
            waiting = changes.removals_remembered(connection, more_than=TOMBSTONES_KEPT)
        for key, face_count in waiting.items():
            keep = max(TOMBSTONES_KEPT, face_count // 4)
            while True:
                with self._database.write() as connection:
                    hold(connection)
                    forgotten = changes.prune(connection, key, keep=keep, limit=TOMBSTONES_A_STEP)
                total += forgotten
                if not forgotten:
                    break
        return total


def _always(_connection: Connection) -> None:
    """Go on without a lease: a person waits for it, and doing it twice at once is harmless."""
