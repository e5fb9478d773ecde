"""Pinecone as a store outside the database: an index a length of embeddings, a namespace a scope.

Pinecone's reads are behind its writes for a while. Each write is answered with its log sequence number (LSN),
and each query with the one up to which it sees. The marker holds pairs of a change number and the LSN of the
last vector put before it: a query that sees that LSN sees every change up to that number. So the position
that `nearest` gives is true for the very query, and what is newer is compared from the database. Removals
need no LSN, because rows that have gone are left out of answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facerec.domain import EntityKind, IndexScope, RowKey
from facerec.errors import ConfigurationError
from facerec.vectors.remote.naming import scope_name
from facerec.vectors.remote.target import Found, NotAnswering, ScopeLost, Stored

try:
    from pinecone import (
        ApiError,
        ConflictError,
        NotFoundError,
        Pinecone,
        PineconeError,
        PineconeValueError,
        RetryConfig,
        ServerlessSpec,
    )
    from pinecone.index import Index
except ImportError as error:
    raise ConfigurationError(
        "VECTOR_STORE=pinecone needs its SDK: pip install 'facerec[pinecone]'"
    ) from error

T = TypeVar("T")

BATCH = 200
"""Vectors sent in a request; Pinecone takes 1000, or 2 MB."""

FETCH = 100
"""Vectors read in a request: their ids stand in its address."""

DELETE = 1000
"""Ids removed in a request, Pinecone's most."""

PAIRS = 8
"""Pairs of change number and LSN that a marker holds."""

SETTLE_SECONDS = 60.0
"""How long a write may take to be seen before that counts as not answering."""

MARKER = "marker"

_CONNECTIONS = 8


class PineconeTarget:
    """Implements `facerec.vectors.remote.target.Target`."""

    name = "pinecone"
    most = 10_000

    def __init__(self, client: Pinecone, *, prefix: str, environment: str, store_id: str) -> None:
        """prefix: of the indexes' names. environment: cloud and region where a missing index is made.

        store_id: of the database.
        """
        self._client = client
        self._prefix = prefix
        self._cloud, _, self._region = environment.partition("-")
        self._store_id = store_id
        self._lock = threading.Lock()  # of the next two
        self._indexes: dict[int, Index] = {}
        self._left: list[Index] = []
        # Of each scope, what this process knows before reads show it: LSN of the last vector put, position.
        self._written: dict[str, int] = {}
        self._advanced: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(_CONNECTIONS, "vectors-pinecone")

    def check(self) -> None:
        """See `Target.check`."""
        _call(self._client.indexes.list)

    def begin(self, scope: IndexScope) -> None:
        """See `Target.begin`. The index is made where it is missing, which takes up to a minute."""
        if not self._exists(scope.dimension):
            self._make_index(scope.dimension)
        record = {
            "id": MARKER,
            "values": [1.0] + [0.0] * (scope.dimension - 1),
            "metadata": {"pairs": json.dumps([[0, 0]]), "database": self._store_id},
        }
        self._in_scope(scope, lambda index, space: index.upsert(vectors=[record], namespace=space))
        self._wait(lambda: self._pairs(scope) is not None)

    def position(self, scope: IndexScope) -> int:
        """See `Target.position`: how far was written, seen by queries or not."""
        return max(self._marker(scope)[-1][0], self._advanced.get(self._name(scope), 0))

    def advance(self, scope: IndexScope, number: int) -> None:
        """See `Target.advance`. An update of a record that is not there makes none."""
        before = self._marker(scope)
        pairs = [*before, (number, max(before[-1][1], self._written.get(self._name(scope), 0)))]
        metadata = {"pairs": json.dumps(pairs[-PAIRS:])}
        self._in_scope(
            scope, lambda index, space: index.update(id=MARKER, set_metadata=metadata, namespace=space)
        )
        self._advanced[self._name(scope)] = number

    def put(
        self, scope: IndexScope, rows: Sequence[RowKey], vectors: NDArray[np.float32], version: int
    ) -> None:
        """See `Target.put`."""
        users = scope.kind is EntityKind.USER
        for start in range(0, len(rows), BATCH):
            records: list[Mapping[str, object]] = [
                {
                    "id": f"{row}-{version}" if users else str(row),
                    "values": vector,
                    **({"metadata": {"user": row, "version": version}} if users else {}),
                }
                for row, vector in zip(
                    rows[start : start + BATCH], vectors[start : start + BATCH].tolist(), strict=True
                )
            ]
            answer = self._in_scope(
                scope,
                lambda index, space, records=records: index.upsert(vectors=records, namespace=space),  # type: ignore[misc]
            )
            committed = None if answer.response_info is None else answer.response_info.lsn_committed
            if committed is None:
                raise NotAnswering(
                    "the index does not say when a write is seen (no x-pinecone-request-lsn): it has to be "
                    "serverless"
                )
            name = self._name(scope)
            self._written[name] = max(committed, self._written.get(name, 0))
        if users:
            self.remove(scope, rows, version)

    def remove(self, scope: IndexScope, rows: Sequence[RowKey], version: int) -> None:
        """See `Target.remove`."""
        for start in range(0, len(rows), DELETE):
            part = rows[start : start + DELETE]
            if scope.kind is EntityKind.USER:
                older = {"$and": [{"user": {"$in": list(part)}}, {"version": {"$lt": version}}]}
                self._in_scope(
                    scope,
                    lambda index, space, older=older: index.delete(filter=older, namespace=space),  # type: ignore[misc]
                )
            else:
                ids = [str(row) for row in part]
                self._in_scope(
                    scope,
                    lambda index, space, ids=ids: index.delete(ids=ids, namespace=space),  # type: ignore[misc]
                )

    def nearest(self, scope: IndexScope, probes: NDArray[np.float32], count: int) -> Found:
        """See `Target.nearest`. All probes and the marker are asked for at once."""
        marker = self._pool.submit(self._marker, scope)
        answers = list(
            self._pool.map(
                lambda probe: self._in_scope(
                    scope,
                    lambda index, space: index.query(
                        vector=probe, top_k=min(count + 1, self.most), namespace=space
                    ),
                ),
                probes.tolist(),
            )
        )
        pairs = marker.result()
        seen = min((0 if a.response_info is None else a.response_info.lsn_reconciled or 0) for a in answers)
        matches = [[match for match in answer.matches if match.id != MARKER][:count] for answer in answers]
        return Found(
            position=max((number for number, lsn in pairs if lsn <= seen), default=0),
            rows=[np.array([_row(match.id) for match in found], dtype=np.int64) for found in matches],
            scores=[np.array([match.score for match in found], dtype=np.float64) for found in matches],
        )

    def settle(self, scope: IndexScope) -> None:
        """See `Target.settle`: waits for the marker's newest LSN."""
        number = self.position(scope)
        probe = np.ones((1, scope.dimension), np.float32)
        self._wait(lambda: self.nearest(scope, probe, 1).position >= number)

    def count(self, scope: IndexScope) -> int:
        """See `Target.count`. Pinecone's count is behind its writes for a while."""
        stats = self._in_scope(scope, lambda index, _: index.describe_index_stats())
        space = stats.namespaces.get(self._name(scope))
        return 0 if space is None else max(0, space.vector_count - 1)

    def stored(self, scope: IndexScope) -> Iterator[Stored]:
        """See `Target.stored`."""
        token: str | None = None
        while True:
            page = self._in_scope(
                scope,
                lambda index, space, token=token: index.list_paginated(  # type: ignore[misc]
                    limit=FETCH, pagination_token=token, namespace=space
                ),
            )
            ids = [item.id for item in page.vectors if item.id is not None and item.id != MARKER]
            if ids:
                found = self._in_scope(
                    scope,
                    lambda index, space, ids=ids: index.fetch(ids=ids, namespace=space),  # type: ignore[misc]
                )
                yield Stored(
                    np.array([_row(each) for each in found.vectors], dtype=np.int64),
                    np.array([each.values for each in found.vectors.values()], dtype=np.float32),
                )
            token = None if page.pagination is None else page.pagination.next
            if not token:
                return

    def drop(self, scope: IndexScope) -> None:
        """See `Target.drop`."""
        self._written.pop(self._name(scope), None)
        self._advanced.pop(self._name(scope), None)
        try:
            self._in_scope(scope, lambda index, space: index.delete(delete_all=True, namespace=space))
        except ScopeLost:
            return

    def close(self) -> None:
        """See `Target.close`."""
        self._pool.shutdown(wait=True)
        for index in [*self._indexes.values(), *self._left]:
            index.close()
        self._client.close()

    def _marker(self, scope: IndexScope) -> list[tuple[int, int]]:
        """The marker's pairs, the newest last. Raises ScopeLost once it was missed several times."""
        for pause in (0.2, 0.5, 1.0, None):
            pairs = self._pairs(scope)
            if pairs is not None:
                return pairs
            if pause is not None:  # a read may be behind the write that made it
                time.sleep(pause)
        raise ScopeLost

    def _pairs(self, scope: IndexScope) -> list[tuple[int, int]] | None:
        found = self._in_scope(scope, lambda index, space: index.fetch(ids=[MARKER], namespace=space))
        marker = found.vectors.get(MARKER)
        if marker is None or not marker.metadata:
            return None
        return [(int(number), int(lsn)) for number, lsn in json.loads(str(marker.metadata["pairs"]))]

    def _wait(self, seen: Callable[[], bool]) -> None:
        """Ask until it is so. Raises NotAnswering when that takes too long."""
        deadline = time.monotonic() + SETTLE_SECONDS
        pause = 0.05
        while not seen():
            if time.monotonic() > deadline:
                raise NotAnswering(f"Pinecone does not show a write after {SETTLE_SECONDS:.0f} seconds")
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _index_name(self, dimension: int) -> str:
        return f"{self._prefix}-{dimension}"

    def _name(self, scope: IndexScope) -> str:
        return scope_name(self._store_id, scope)

    def _exists(self, dimension: int) -> bool:
        try:
            _call(lambda: self._client.indexes.describe(self._index_name(dimension)))
        except NotFoundError:
            self._leave(dimension)
            return False
        return True

    def _make_index(self, dimension: int) -> None:
        """Make the index, and wait until it is ready; a no-op where another process was faster."""
        spec = ServerlessSpec(cloud=self._cloud, region=self._region)
        try:
            _call(
                lambda: self._client.indexes.create(
                    name=self._index_name(dimension), dimension=dimension, metric="cosine", spec=spec
                )
            )
        except ConflictError:
            self._wait(lambda: self._exists(dimension))

    def _in_scope(self, scope: IndexScope, call: Callable[[Index, str], T]) -> T:
        """The answer of a call on a scope's index and namespace. Raises ScopeLost where there is none."""
        try:
            return _call(lambda: call(self._index(scope.dimension), self._name(scope)))
        except NotFoundError as error:
            self._leave(scope.dimension)
            raise ScopeLost from error

    def _index(self, dimension: int) -> Index:
        with self._lock:
            if dimension not in self._indexes:
                self._indexes[dimension] = self._client.index(name=self._index_name(dimension))
            return self._indexes[dimension]

    def _leave(self, dimension: int) -> None:
        """Look an index that has gone up anew: it may be elsewhere. Others may still ask the old one."""
        with self._lock:
            if dimension in self._indexes:
                self._left.append(self._indexes.pop(dimension))


def open_client(*, api_key: str | None, host: str | None, seconds: float) -> Pinecone:
    """A client of Pinecone. Nothing is asked yet. Raises ConfigurationError.

    host: of its API in place of the public one. seconds: longest time of one request. Retries are ours.
    """
    if not api_key:
        raise ConfigurationError("VECTOR_STORE=pinecone needs PINECONE_API_KEY.")
    try:
        return Pinecone(api_key=api_key, host=host, timeout=seconds, retry_config=RetryConfig(max_retries=0))
    except PineconeValueError as error:
        raise ConfigurationError(f"PINECONE_API_KEY or PINECONE_CONTROLLER_HOST: {error}") from error


def _row(record: str) -> int:
    """The row that a record stands for."""
    return int(record.partition("-")[0])


def _call(call: Callable[[], T]) -> T:
    """The answer of a call; what may pass becomes NotAnswering, and a refused key says so."""
    try:
        return call()
    except (NotFoundError, ConflictError):
        raise
    except ApiError as error:
        if error.status_code in (401, 403):
            raise NotAnswering(f"Pinecone refuses PINECONE_API_KEY (HTTP {error.status_code})") from error
        if error.status_code in (402, 408, 429) or error.status_code >= 500:
            raise NotAnswering(f"Pinecone answers HTTP {error.status_code}") from error
        raise
    except (PineconeError, OSError) as error:
        raise NotAnswering(f"Pinecone can not be reached: {type(error).__name__}") from error
