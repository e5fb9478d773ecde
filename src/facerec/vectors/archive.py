"""The folder of snapshots: which collections have one, and that none outlives what it was made of."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facerec.config import SnapshotPolicy
from facerec.domain import CollectionKey, EntityKind
from facerec.errors import StorageError
from facerec.vectors import snapshot
from facerec.vectors.base import ChangeFeed
from facerec.vectors.index import CollectionIndex
from facerec.vectors.snapshot import Identity, Part, Snapshot, UnusableSnapshotError

SNAPSHOT_DIMENSION = 256
"""Largest dimension of which the policy "auto" keeps snapshots, so that a face costs less than 1 KB on disk:
at 512 dimensions it would be 720 bytes in the database and 588 in the snapshot."""

CHECKED_AT_ONCE = 256 << 20
"""Bytes of mapped codes up to which they are checked before their use, which takes a tenth of a second. More
are used at once, and checked beside the searches."""

WORTH_WRITING = 0.01
"""Share of rows that have to have changed before a file is written anew: few are soon read from the database,
and the file of ten million rows has 6 GB."""

_ABANDONED_SECONDS = 3600.0
"""Age at which an unfinished file is nobody's: another process may be writing a younger one."""

_SNAPSHOT_NAME = re.compile(rf"(\d+)-({'|'.join(EntityKind)}){re.escape(snapshot.SUFFIX)}")

_log = logging.getLogger(__name__)


class Archive:
    """Snapshots of indexes. Safe to use from many threads; several processes may share the folder.

    One thread of its own writes and checks files. A mapped file stays whole in memory whatever becomes of it.

    What goes wrong with a file is logged and never raised: a snapshot only saves time.
    """

    def __init__(self, folder: Path, feed: ChangeFeed, policy: SnapshotPolicy, snapshot_from: int) -> None:
        """Make the folder where it is missing, and rid it of what is nobody's. Raises StorageError.

        snapshot_from: vectors from which a collection has one, where the policy allows it.
        """
        self._folder = folder
        self._feed = feed
        self._policy = policy
        self._snapshot_from = snapshot_from
        self._background = ThreadPoolExecutor(1, "vectors-files")
        self._closing = threading.Event()
        self._store_id = feed.store_id()
        self._names = threading.Lock()  # of the names in the folder, and of the two fields below
        self._queued: set[Identity] = set()
        self._forgotten: set[CollectionKey] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clean_up()
        except OSError as error:
            raise StorageError(f"The index folder {folder} cannot be used: {error}") from error

    def load(self, index: CollectionIndex, newest: int) -> bool:
        """Fill an empty index from its snapshot; the caller holds its `turn`. False where none can be used.

        newest: the collection's change number. A snapshot beyond it is of a database that went back in time.
        """
        if not self._allowed(index):
            self.discard(index)
            return False
        identity = self._identity(index)
        try:
            found = snapshot.read(self._folder, identity)
            if found.mapped_bytes <= CHECKED_AT_ONCE:
                found.check_codes()
            if found.number > newest:
                raise UnusableSnapshotError(f"it knows change {found.number}, the database only {newest}")
        except FileNotFoundError:
            return False
        except (OSError, UnusableSnapshotError) as error:
            _log.warning("Snapshot %s is not used, the index is built anew: %s", identity.file_name, error)
            self.discard(index)
            return False
        index.adopt(found.segments, found.number)
        if found.mapped_bytes > CHECKED_AT_ONCE:
            self._later(lambda: self._check(index, found))
        return True

    def due(self, index: CollectionIndex) -> bool:
        """Whether enough has changed since the last snapshot that a new one is worth its writing."""
        return self._kept(index) and index.unsaved >= max(self._snapshot_from, len(index) // 4)

    def save_later(self, index: CollectionIndex) -> None:
        """Save in the background."""
        identity = self._identity(index)
        with self._names:
            if identity in self._queued:
                return
            self._queued.add(identity)
        self._later(lambda: self.save(index))

    def close(self) -> None:
        """Finish what is under way in the background, and take on no more of it. `save` works still."""
        self._closing.set()
        self._background.shutdown(wait=True)

    def save(self, index: CollectionIndex) -> None:
        """Write the index as it is now, unless the file that there is serves nearly as well.

        Of several processes one writes at a time: those that end together write one file, not one each.
        """
        identity = self._identity(index)
        with self._names:
            self._queued.discard(identity)
        try:
            with snapshot.alone(self._folder):
                self._save(index, identity)
        except (OSError, StorageError) as error:
            _log.warning("The index was not saved to %s: %s", self._folder / identity.file_name, error)

    def _save(self, index: CollectionIndex, identity: Identity) -> None:
        with index.turn:
            if not self._kept(index):
                self.discard(index)
                return
            number, removals = index.built, index.removals
            index.unsaved = 0
            if self._is_written(index, identity):
                return
            parts = [Part.of(segment) for segment in index.segments]

        def still_right() -> bool:
            """Whether nothing was removed or dropped that is in the file."""
            return (
                self._wanted(index.collection)
                and index.removals == removals
                and not self._feed.removed_since(index.collection, index.kind, number)
            )

        unfinished = snapshot.write_unfinished(self._folder, identity, parts, number)
        with index.turn, self._names:
            if not still_right():
                unfinished.unlink()
                return
            snapshot.put_in_place(unfinished, identity)
        # Another process may have looked for a file to remove just before there was one.
        if not still_right():
            self.discard(index)

    def _is_written(self, index: CollectionIndex, identity: Identity) -> bool:
        """Whether there is a file, whoever wrote it, that lacks little and holds nothing that was removed."""
        try:
            number = snapshot.number_of(self._folder / identity.file_name, self._store_id)
        except (OSError, UnusableSnapshotError):
            return False
        lacking = index.built - number  # each changed row took a number
        return lacking < max(1, int(len(index) * WORTH_WRITING)) and not self._feed.removed_since(
            index.collection, index.kind, number
        )

    def discard(self, index: CollectionIndex) -> None:
        """Remove the index's snapshot: it holds vectors that have been removed, or cannot be used."""
        self._remove(self._identity(index))

    def forget(self, collection: CollectionKey) -> None:
        """Remove what there is of a deleted collection, and keep nothing of it again."""
        with self._names:
            self._forgotten.add(collection)
        for kind in EntityKind:
            self._remove(Identity(self._store_id, collection, kind, 0))

    def purge(self) -> None:
        """Remove every snapshot that holds what has been removed from the database, and what is nobody's.

        Of all collections, whoever wrote it. Raises StorageError.
        """
        try:
            for path in stale_files(self._folder, self._feed, self._policy):
                with self._names:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"The index folder {self._folder} cannot be cleaned: {error}") from error

    def _remove(self, identity: Identity) -> None:
        """Remove a snapshot that may be there."""
        with self._names:
            try:
                (self._folder / identity.file_name).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("Snapshot %s could not be removed: %s", identity.file_name, error)

    def _check(self, index: CollectionIndex, found: Snapshot) -> None:
        """Find damaged codes in what the index was loaded from; it is built anew then."""
        try:
            found.check_codes(lambda: not self._closing.is_set())
        except (OSError, UnusableSnapshotError) as error:
            name = self._identity(index).file_name
            _log.warning(
                "Snapshot %s was in use and is damaged, so answers since the start may have been wrong; "
                "the index is built anew: %s",
                name,
                error,
            )
            with index.turn:
                index.clear()
                self.discard(index)

    def _later(self, work: Callable[[], None]) -> None:
        """Do it in the background, unless that has come to its end."""
        with contextlib.suppress(RuntimeError):
            self._background.submit(work)

    def _kept(self, index: CollectionIndex) -> bool:
        """Whether an index like this has a snapshot."""
        return self._allowed(index) and len(index) >= self._snapshot_from

    def _allowed(self, index: CollectionIndex) -> bool:
        """Whether the policy allows a snapshot of the index."""
        if self._policy == "auto":
            return index.dimension <= SNAPSHOT_DIMENSION
        return self._policy == "always"

    def _wanted(self, collection: CollectionKey) -> bool:
        """Whether the collection still exists, as far as this process and the database know."""
        return collection not in self._forgotten and collection in self._feed.collections()

    def _clean_up(self) -> None:
        """Remove snapshots that may not be, those of collections that are gone, and files that a killed
        process left unfinished.
        """
        present = self._feed.collections()
        for path in self._folder.iterdir():
            name = _SNAPSHOT_NAME.fullmatch(path.name)
            if name:
                gone = self._policy == "never" or int(name[1]) not in present
            else:
                gone = path.name.endswith(snapshot.UNFINISHED_SUFFIX) and _age(path) > _ABANDONED_SECONDS
            if gone:
                path.unlink(missing_ok=True)

    def _identity(self, index: CollectionIndex) -> Identity:
        """What a snapshot of the index has to be of."""
        return Identity(self._store_id, index.collection, index.kind, index.dimension)


def stale_files(folder: Path, feed: ChangeFeed, policy: SnapshotPolicy) -> list[Path]:
    """Files of the folder that hold what has been removed from the database, may not be, or are nobody's.

    Raises StorageError, OSError.
    """
    if not folder.is_dir():
        return []
    present, store_id = feed.collections(), feed.store_id()
    found = []
    for path in sorted(folder.iterdir()):
        name = _SNAPSHOT_NAME.fullmatch(path.name)
        if name is None:
            stale = path.name.endswith(snapshot.UNFINISHED_SUFFIX) and _age(path) > _ABANDONED_SECONDS
        else:
            key, kind = CollectionKey(int(name[1])), EntityKind(name[2])
            stale = policy == "never" or key not in present or _outdated(path, feed, store_id, key, kind)
        if stale:
            found.append(path)
    return found


def _outdated(
    path: Path, feed: ChangeFeed, store_id: str, collection: CollectionKey, kind: EntityKind
) -> bool:
    """Whether a snapshot holds vectors that have been removed, or cannot be read."""
    try:
        number = snapshot.number_of(path, store_id)
    except FileNotFoundError:
        return False
    except UnusableSnapshotError:
        return True
    return feed.removed_since(collection, kind, number)


def _age(path: Path) -> float:
    """Seconds since the file was last written; 0 where it has just gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
