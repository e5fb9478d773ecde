"""Bringing a store up to date: the changes in order, in pages, at least once, by one process at a time."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from facerec.domain import ChangePage, Collection, CollectionKey, EntityKind, IndexScope
from facerec.errors import HistoryPruned, StorageError
from facerec.vectors.remote.asking import Asking
from facerec.vectors.remote.target import Lease, Ledger, PagedFeed, ScopeLost, Target

PAGE = 1000
"""Rows applied in a step, after which the marker is moved."""

LEASE_SECONDS = 15.0
"""How long a process that was killed keeps the others from applying; renewed after each page."""

Key = tuple[CollectionKey, EntityKind]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Filling:
    """A scope that is being filled."""

    collection: Collection
    kind: EntityKind
    scope: IndexScope
    lease: Lease
    deadline: float


class Applier:
    """Applies changes to a store. Safe to use from many threads."""

    def __init__(
        self, target: Target, feed: PagedFeed, ledger: Ledger, asking: Asking, *, lease_seconds: float
    ) -> None:
        self._target = target
        self._feed = feed
        self._ledger = ledger
        self._asking = asking
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()  # of the next two
        self._turns: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
        self._reached: dict[Key, int] = {}
        self._stopping = threading.Event()

    def reached(self, collection: CollectionKey, kind: EntityKind) -> int:
        """Change number up to which the store is known to be built; 0 where nothing is known."""
        return self._reached.get((collection, kind), 0)

    def forget(self, collection: CollectionKey, kind: EntityKind) -> None:
        """Know nothing of the store any more: it was found without its data."""
        self._reached.pop((collection, kind), None)

    def catch_up(self, collection: Collection, kind: EntityKind, deadline: float) -> bool:
        """Apply what the store has not seen, up to `collection.change_number` at least.

        False when the deadline (time.monotonic) came first, or while another process does it. Raises
        VectorStoreUnavailable, StorageError.
        """
        key = (collection.key, kind)
        if self.reached(*key) >= collection.change_number:
            return True
        with self._lock:
            turn = self._turns[key]
        if not turn.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            return False
        try:
            if self.reached(*key) >= collection.change_number:
                return True
            if self._done_elsewhere(collection, kind, deadline):
                return True
            lease = self._lease("catch up", collection, kind)
            if not lease.take():
                return False
            try:
                scope, position = self._place(collection, kind, deadline)
                if scope is None:
                    return True
                fill = _Filling(collection, kind, scope, lease, deadline)
                return self._fill(fill, position, lambda _: None)
            finally:
                lease.give_back()
        finally:
            turn.release()

    def rebuild(self, collection: Collection, kind: EntityKind, seen: Callable[[int], None]) -> bool:
        """Build a new scope beside the one that is searched, and put it in its place.

        The old one is searched and kept up to date meanwhile. seen: told the number of rows after each page.
        False where another process builds, or began to. Raises VectorStoreUnavailable, StorageError.
        """
        lease = self._lease("rebuild", collection, kind)
        if not lease.take():
            return False
        try:
            scope = self._begin(collection, kind)
            return self._fill(_Filling(collection, kind, scope, lease, float("inf")), 0, seen)
        finally:
            lease.give_back()

    def stop(self) -> None:
        """Have long work end after its page."""
        self._stopping.set()

    def _done_elsewhere(self, collection: Collection, kind: EntityKind, deadline: float) -> bool:
        """Whether another process has applied it already."""
        scope = self._ledger.searched(collection, kind)
        if scope is None:
            return False
        try:
            position = self._position(scope, deadline)
        except ScopeLost:
            return False
        if position < collection.change_number:
            return False
        self._reached[(collection.key, kind)] = position
        return True

    def _place(
        self, collection: Collection, kind: EntityKind, deadline: float
    ) -> tuple[IndexScope | None, int]:
        """The scope to go on with and its position; a new one where there is none that can be gone on with.

        (None, 0): the collection has no vectors of this kind, and needs none.
        """
        for scope in (self._ledger.searched(collection, kind), self._ledger.building(collection, kind)):
            position = 0 if scope is None else self._continued(scope, deadline)
            if scope is not None and position:
                return scope, position
        page = self._feed.page(collection.key, kind, 0, 1)
        if not page.keys:
            self._reached[(collection.key, kind)] = page.newest
            return None, 0
        return self._begin(collection, kind), 0

    def _continued(self, scope: IndexScope, deadline: float) -> int:
        """The position from which a scope can be gone on with; 0 where it can not, and a new one is needed.

        One at 0 can not: its first page may be there in part, with rows that have gone meanwhile.
        """
        try:
            position = self._position(scope, deadline)
            newest = self._feed.page(scope.collection, scope.kind, position, 1).newest
        except HistoryPruned as error:
            _log.warning("An index in %s falls behind and is built anew: %s", self._target.name, error)
            return 0
        except ScopeLost:
            position, newest = 0, 0
        if 0 < position <= newest:
            return position
        _log.warning(
            "The index of collection %d is not in %s any more, or is of another past; it is built anew.",
            scope.collection,
            self._target.name,
        )
        self.forget(scope.collection, scope.kind)
        self._ledger.retire(scope)
        return 0

    def _position(self, scope: IndexScope, deadline: float) -> int:
        return self._asking.ask(partial(self._target.position, scope), deadline)

    def _begin(self, collection: Collection, kind: EntityKind) -> IndexScope:
        scope = self._ledger.begin(collection, kind)
        self._asking.ask(partial(self._target.begin, scope), time.monotonic() + self._lease_seconds)
        return scope

    def _fill(self, filling: _Filling, position: int, seen: Callable[[int], None]) -> bool:
        """Apply page after page from `position` on; True once the scope is complete, and searched."""
        collection, kind, scope = filling.collection, filling.kind, filling.scope
        while True:
            page = self._feed.page(collection.key, kind, position, PAGE)
            try:
                self._asking.ask(
                    partial(self._apply, scope, page), time.monotonic() + self._lease_seconds / 2
                )
            except ScopeLost:
                self._ledger.retire(scope)
                return False
            position = page.number
            seen(len(page.keys))
            if page.number >= page.newest:
                break
            if time.monotonic() > filling.deadline or self._stopping.is_set() or not filling.lease.take():
                return False
        if self._ledger.searched(collection, kind) != scope and not self._ledger.promote(
            collection, kind, scope
        ):
            return False
        self._reached[(collection.key, kind)] = position
        return True

    def _apply(self, scope: IndexScope, page: ChangePage) -> None:
        """One page: what is gone, what was put, and then the marker. Doing it again changes nothing."""
        if page.removed:
            self._target.remove(scope, page.removed, page.newest)
        if page.keys:
            self._target.put(scope, page.keys, _codes(scope, page), page.newest)
        self._target.advance(scope, page.number)

    def _lease(self, work: str, collection: Collection, kind: EntityKind) -> Lease:
        store = hashlib.blake2b(self._target.name.encode(), digest_size=4).hexdigest()
        return self._ledger.lease(f"{work} {store} {collection.key} {kind}", self._lease_seconds)


def _codes(scope: IndexScope, page: ChangePage) -> NDArray[np.float32]:
    """The vectors put, (N, d), as their codes: whole numbers are short on the wire, and the length drops out.

    Raises StorageError, naming a row, for codes no vector has.
    """
    for key, embedding in zip(page.keys, page.embeddings, strict=True):
        if len(embedding.codes) != scope.dimension or not any(embedding.codes):
            raise StorageError(
                f"The embedding of {scope.kind} row {key} of collection {scope.collection} is damaged: "
                f"{len(embedding.codes)} bytes where {scope.dimension}, not all of them zero, belong."
            )
    codes = np.frombuffer(b"".join(embedding.codes for embedding in page.embeddings), dtype=np.int8)
    return codes.reshape(len(page.keys), scope.dimension).astype(np.float32)
