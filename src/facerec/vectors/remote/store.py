"""Searches of a store outside the database: every acknowledged write counts, the database decides.

The store says to which change it is built when it answers. What changed since is read from the database and
compared here, so a search waits for the store to catch up only where it is far behind. What the store found
is looked up in the database too: a row that has gone is left out, and the cosine is that of the stored codes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from facerec.domain import (
    ChangePage,
    Collection,
    CollectionKey,
    EntityKind,
    IndexScope,
    QuantizedEmbedding,
    RowKey,
    StoreCondition,
    VectorHit,
)
from facerec.errors import HistoryPruned, StorageError, VectorStoreUnavailable
from facerec.vectors.quantization import dequantize_batch
from facerec.vectors.remote import comparison
from facerec.vectors.remote.applying import LEASE_SECONDS, Applier
from facerec.vectors.remote.asking import Asking
from facerec.vectors.remote.catcher import Catcher
from facerec.vectors.remote.circuit import Circuit
from facerec.vectors.remote.target import Found, Ledger, PagedFeed, ScopeLost, Target

RECENT = 1000
"""Most changes that a search compares itself; a store further behind has to catch up first."""

FIRST_COUNT, SPARE = 100, 16
"""Hits asked for at first, at most, and how many beyond the limit: rows that have gone take places."""

GROWTH = 4
"""How many times more hits are asked for when those found do not settle the answer."""

SCORE_ERROR = 1e-3
"""Most that a store's own cosine, in float32 and of vectors it rescored, is off."""

DECIMALS = 6
"""Cosines are rounded to this, as the embedded index does, so that equal codes tie and ties go by key."""

_log = logging.getLogger(__name__)


class RemoteStore:
    """Implements `facerec.vectors.base.VectorStore` over a store outside the database."""

    def __init__(
        self,
        target: Target,
        feed: PagedFeed,
        ledger: Ledger,
        *,
        patience: float = 10.0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """patience: seconds that a search waits for the store. lease_seconds: see `applying`."""
        self._target = target
        self._feed = feed
        self._ledger = ledger
        self._patience = patience
        self._asking = Asking(target.name, Circuit())
        self._applier = Applier(target, feed, ledger, self._asking, lease_seconds=lease_seconds)
        self._catcher = Catcher(target, ledger, self._applier, self._asking)
        self._scopes: dict[tuple[CollectionKey, EntityKind, str], IndexScope] = {}
        self._closed = threading.Event()

    def start(self) -> None:
        """Begin to keep the store up to date in the background; `close` ends it."""
        self._catcher.start()

    def search(
        self,
        collection: Collection,
        kind: EntityKind,
        probes: NDArray[np.float32],
        *,
        limit: int,
        min_cosine: float,
    ) -> list[list[VectorHit]]:
        """See `VectorStore.search`. Raises VectorStoreUnavailable where the store does not answer in time.

        ValueError: probes not (Q, dimension), or limit < 1.
        """
        if probes.ndim != 2 or probes.shape[1] != collection.dimension or limit < 1:
            raise ValueError(
                f"a search takes probes (Q, {collection.dimension}) and a limit of 1 or more; "
                f"got {probes.shape} and {limit}"
            )
        self._check_open()
        if not len(probes):
            return []
        deadline = time.monotonic() + self._patience
        probes = np.asarray(probes, dtype=np.float32)
        count = min(min(limit, FIRST_COUNT) + SPARE, self._target.most)
        while True:
            found, recent = self._look(collection, kind, probes, count, deadline)
            answers, settled = self._decide(kind, probes, found, recent, count, limit, min_cosine)
            if settled or count >= self._target.most:
                return answers
            count = min(count * GROWTH, self._target.most)

    def drop(self, collection: CollectionKey) -> None:
        """See `VectorStore.drop`. The store itself is rid of the vectors when it can be reached."""
        self._ledger.retire_collection(collection)
        for key in [key for key in self._scopes if key[0] == collection]:
            self._scopes.pop(key, None)
        self._catcher.wake()

    def purge(self) -> None:
        """See `VectorStore.purge`. Returns once the store has it too; raises VectorStoreUnavailable."""
        self._check_open()
        deadline = time.monotonic() + self._patience
        for collection in self._ledger.collections():
            for kind in EntityKind:
                self._catch_up(collection, kind, deadline)
        self._catcher.sweep(deadline)

    def status(self, collection: Collection, kind: EntityKind) -> tuple[int, int]:
        """See `VectorStore.status`: as the store has it now. Raises VectorStoreUnavailable."""
        self._check_open()
        scope = self._ledger.searched(collection, kind)
        deadline = time.monotonic() + self._patience
        if scope is None:
            return 0, self._applier.reached(collection.key, kind)
        try:
            count = self._asking.ask(partial(self._target.count, scope), deadline)
            position = self._asking.ask(partial(self._target.position, scope), deadline)
            return count, max(position, self._applier.reached(collection.key, kind))
        except ScopeLost:
            return 0, 0

    def verify(self, collection: Collection, kind: EntityKind) -> list[str]:
        """See `VectorStore.verify`: reads everything the store holds of the collection."""
        self._check_open()
        return comparison.differences(
            lambda: self._complete(collection, kind), kind, collection.key, self._target, self._feed
        )

    def rebuild(self, collection: Collection, kind: EntityKind, seen: Callable[[int], None]) -> bool:
        """Build the index anew beside the old one, which is searched meanwhile; then remove the old one.

        seen: told the number of rows after each step. False where another process rebuilds it just now.
        Raises VectorStoreUnavailable, StorageError.
        """
        self._check_open()
        if self._ledger.searched(collection, kind) is None:  # bringing it up to date builds it
            built = self._complete(collection, kind) is not None
            seen(collection.face_count if kind is EntityKind.FACE else collection.user_count)
            return built or not self._feed.page(collection.key, kind, 0, 1).keys
        built = self._applier.rebuild(collection, kind, seen)
        self._scopes.clear()
        self._catcher.sweep(time.monotonic() + self._patience)
        return built

    def condition(self) -> StoreCondition:
        """See `VectorStore.condition`."""
        return self._catcher.condition()

    def close(self) -> None:
        """See `VectorStore.close`. Later calls raise StorageError."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._applier.stop()
        self._catcher.close()
        self._target.close()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StorageError("The vector store has been closed.")

    def _look(
        self,
        collection: Collection,
        kind: EntityKind,
        probes: NDArray[np.float32],
        count: int,
        deadline: float,
    ) -> tuple[Found, ChangePage]:
        """What the store finds, and what changed since, up to the collection's change number at least."""
        while True:
            scope = self._scope(collection, kind)
            if scope is None:
                none = np.empty(0, np.int64), np.empty(0, np.float64)
                found = Found(0, [none[0]] * len(probes), [none[1]] * len(probes))
            else:
                try:
                    found = self._asking.ask(partial(self._target.nearest, scope, probes, count), deadline)
                except ScopeLost:
                    self._scopes.pop((collection.key, kind, collection.contract_id), None)
                    self._applier.forget(collection.key, kind)
                    self._catch_up(collection, kind, deadline)
                    continue
            if found.position >= collection.change_number:
                return found, ChangePage(number=found.position, newest=found.position)
            self._catcher.wake()
            try:
                recent = self._feed.page(collection.key, kind, found.position, RECENT)
                if recent.number >= collection.change_number:
                    return found, recent
            except HistoryPruned:
                pass  # far behind
            self._applier.forget(collection.key, kind)
            self._catch_up(collection, kind, deadline)
            self._scopes.pop((collection.key, kind, collection.contract_id), None)

    def _decide(
        self,
        kind: EntityKind,
        probes: NDArray[np.float32],
        found: Found,
        recent: ChangePage,
        count: int,
        limit: int,
        min_cosine: float,
    ) -> tuple[list[list[VectorHit]], bool]:
        """The answers by the database's codes, and whether no further hit of the store can change them."""
        fresh = dict(zip(recent.keys, recent.embeddings, strict=True))
        near = {RowKey(row) for rows in found.rows for row in rows.tolist()} - fresh.keys()
        stored = self._feed.embeddings(kind, sorted(near)) | fresh
        answers, settled = [], True
        for probe, rows, scores in zip(probes, found.rows, found.scores, strict=True):
            keys = [row for row in {*map(RowKey, rows.tolist()), *fresh} if row in stored]
            hits = _nearest(probe, keys, [stored[key] for key in keys], limit, min_cosine)
            answers.append(hits)
            least = hits[-1].cosine if len(hits) == limit else min_cosine
            settled &= len(rows) < count or float(scores[-1]) < least - SCORE_ERROR
        return answers, settled

    def _scope(self, collection: Collection, kind: EntityKind) -> IndexScope | None:
        """The scope to search, remembered: one that was given up answers that it is lost, or is behind."""
        key = (collection.key, kind, collection.contract_id)
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._ledger.searched(collection, kind)
            if scope is not None:
                self._scopes[key] = scope
        return scope

    def _complete(self, collection: Collection, kind: EntityKind) -> IndexScope | None:
        """The searched scope, brought up to date; None where there is nothing to index."""
        now = {each.key: each for each in self._ledger.collections()}.get(collection.key, collection)
        self._applier.forget(collection.key, kind)
        while not self._applier.catch_up(now, kind, time.monotonic() + self._patience):
            self._check_open()
            time.sleep(0.1)
        return self._ledger.searched(collection, kind)

    def _catch_up(self, collection: Collection, kind: EntityKind, deadline: float) -> None:
        """Have the store up to date. Raises VectorStoreUnavailable where it is not in time."""
        pause = 0.01
        while not self._applier.catch_up(collection, kind, deadline):
            self._check_open()
            if time.monotonic() + pause > deadline:
                self._catcher.wake()
                raise VectorStoreUnavailable(
                    f"The vector store ({self._target.name}) is being brought up to date. Try your call "
                    "again."
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.25)


def _nearest(
    probe: NDArray[np.float32],
    keys: Sequence[RowKey],
    embeddings: Sequence[QuantizedEmbedding],
    limit: int,
    min_cosine: float,
) -> list[VectorHit]:
    """The best of these rows for a unit probe (d,), best first, equal cosines by key."""
    if not keys:
        return []
    cosines = dequantize_batch(embeddings).astype(np.float64) @ probe.astype(np.float64)
    cosines = np.clip(np.round(cosines, DECIMALS), -1.0, 1.0)
    order = np.lexsort((np.array(keys, dtype=np.int64), -cosines))[:limit]
    return [
        VectorHit(keys[place], float(cosines[place]))
        for place in order.tolist()
        if cosines[place] >= min_cosine
    ]
