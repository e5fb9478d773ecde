"""Qdrant as a store outside the database: one collection there for each length of embeddings.

All scopes of that length share it, told apart by a payload field that is indexed as the tenant's: Qdrant then
keeps a scope's vectors together and builds a graph for each (`payload_m`), and none over all of them (`m` 0).

The id of a point is a UUID of 6 bytes of the scope's name, 5 of the row and 5 of a user's version: rows are
read off the ids, and a face costs no payload but its scope. The marker is the row 0, which no row has.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facerec.domain import EntityKind, IndexScope, RowKey
from facerec.errors import ConfigurationError
from facerec.vectors.remote.naming import scope_name
from facerec.vectors.remote.target import Found, NotAnswering, ScopeLost, Stored

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException, UnexpectedResponse
except ImportError as error:
    raise ConfigurationError(
        "VECTOR_STORE=qdrant needs Qdrant's client: pip install 'facerec[qdrant]'"
    ) from error

T = TypeVar("T")

BATCH = 250
"""Vectors sent in a request: half a megabyte of 512 dimensions."""

SCROLL = 1000
"""Vectors read in a request."""

OVERSAMPLING = 2.0
"""How many times more candidates the int8 codes give than are rescored and answered."""

_SCOPE, _USER, _VERSION, _NUMBER = "scope", "user", "version", "number"


class QdrantTarget:
    """Implements `facerec.vectors.remote.target.Target`."""

    name = "qdrant"
    most = 10_000

    def __init__(
        self,
        client: QdrantClient,
        *,
        prefix: str,
        store_id: str,
        local: bool,
        m: int,
        ef_construct: int,
        ef: int,
        quantization: bool,
    ) -> None:
        """prefix: of the collections' names. store_id: of the database.

        local: the client computes everything itself, and is used by one thread at a time then. m,
        ef_construct, quantization: of collections made here. ef: candidates followed in a search, at least.
        """
        self._client = client
        self._prefix = prefix
        self._store_id = store_id
        self._local = local
        self._turn = threading.Lock() if local else contextlib.nullcontext()
        self._m, self._ef_construct, self._ef = m, ef_construct, ef
        self._quantization = quantization

    def check(self) -> None:
        """See `Target.check`."""
        self._call(self._client.get_collections)

    def begin(self, scope: IndexScope) -> None:
        """See `Target.begin`. The collection is made where it is missing."""
        name = self._collection(scope)
        if not self._call(lambda: self._client.collection_exists(name)):
            self._make_collection(name, scope.dimension)
        marker = models.PointStruct(
            id=self._id(scope, 0, 0),
            vector=[1.0] + [0.0] * (scope.dimension - 1),
            payload={_SCOPE: f"marker of {self._name(scope)}", _NUMBER: 0, "database": self._store_id},
        )
        self._call(lambda: self._client.upsert(name, [marker], wait=True))

    def position(self, scope: IndexScope) -> int:
        """See `Target.position`."""
        found = self._in_scope(
            lambda: self._client.retrieve(
                self._collection(scope), [self._id(scope, 0, 0)], with_payload=[_NUMBER], with_vectors=False
            )
        )
        return _number(found)

    def advance(self, scope: IndexScope, number: int) -> None:
        """See `Target.advance`. Qdrant answers 404 for a point that is not there, and makes none."""
        self._in_scope(
            lambda: self._client.set_payload(
                self._collection(scope), {_NUMBER: number}, [self._id(scope, 0, 0)], wait=True
            )
        )

    def put(
        self, scope: IndexScope, rows: Sequence[RowKey], vectors: NDArray[np.float32], version: int
    ) -> None:
        """See `Target.put`."""
        name, tenant = self._collection(scope), self._name(scope)
        versions = version if scope.kind is EntityKind.USER else 0
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            payloads: list[dict[str, object]] = [{_SCOPE: tenant} for _ in part]
            if scope.kind is EntityKind.USER:
                payloads = [{_SCOPE: tenant, _USER: row, _VERSION: version} for row in part]
            batch = models.Batch(
                ids=[self._id(scope, row, versions) for row in part],
                vectors=vectors[start : start + BATCH].tolist(),
                payloads=payloads,
            )
            self._in_scope(lambda batch=batch: self._client.upsert(name, batch, wait=True))  # type: ignore[misc]
        if scope.kind is EntityKind.USER:
            self.remove(scope, rows, version)

    def remove(self, scope: IndexScope, rows: Sequence[RowKey], version: int) -> None:
        """See `Target.remove`."""
        selector: models.PointIdsList | models.FilterSelector
        if scope.kind is EntityKind.USER:
            older = models.Filter(
                must=[
                    self._own(scope),
                    models.FieldCondition(key=_USER, match=models.MatchAny(any=[int(row) for row in rows])),
                    models.FieldCondition(key=_VERSION, range=models.Range(lt=version)),
                ]
            )
            selector = models.FilterSelector(filter=older)
        else:
            selector = models.PointIdsList(points=[self._id(scope, row, 0) for row in rows])
        self._in_scope(lambda: self._client.delete(self._collection(scope), selector, wait=True))

    def nearest(self, scope: IndexScope, probes: NDArray[np.float32], count: int) -> Found:
        """See `Target.nearest`. The marker is read in the same request."""
        params = (
            None
            if self._local
            else models.SearchParams(
                hnsw_ef=max(self._ef, count),
                quantization=models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
                if self._quantization
                else None,
            )
        )
        own = models.Filter(must=[self._own(scope)])
        requests = [
            models.QueryRequest(query=probe, filter=own, limit=count, params=params)
            for probe in probes.tolist()
        ]
        marker = models.Filter(must=[models.HasIdCondition(has_id=[self._id(scope, 0, 0)])])
        requests.append(models.QueryRequest(filter=marker, limit=1, with_payload=[_NUMBER]))
        answers = self._in_scope(
            lambda: self._client.query_batch_points(self._collection(scope), requests=requests)
        )
        return Found(
            position=_number(answers[-1].points),
            rows=[_rows(answer.points) for answer in answers[:-1]],
            scores=[np.array([point.score for point in answer.points]) for answer in answers[:-1]],
        )

    def settle(self, scope: IndexScope) -> None:
        """See `Target.settle`: every write was waited for."""

    def count(self, scope: IndexScope) -> int:
        """See `Target.count`."""
        own = models.Filter(must=[self._own(scope)])
        return self._in_scope(
            lambda: self._client.count(self._collection(scope), count_filter=own, exact=True).count
        )

    def stored(self, scope: IndexScope) -> Iterator[Stored]:
        """See `Target.stored`."""
        own = models.Filter(must=[self._own(scope)])
        offset: models.ExtendedPointId | None = None
        while True:
            points, offset = self._in_scope(
                lambda offset=offset: self._client.scroll(  # type: ignore[misc]
                    self._collection(scope),
                    scroll_filter=own,
                    limit=SCROLL,
                    offset=offset,
                    with_payload=False,
                    with_vectors=True,
                )
            )
            if points:
                yield Stored(_rows(points), np.array([point.vector for point in points], dtype=np.float32))
            if offset is None:
                return

    def drop(self, scope: IndexScope) -> None:
        """See `Target.drop`. The marker goes first, so that no search takes a part for the whole."""
        name = self._collection(scope)
        marker = models.PointIdsList(points=[self._id(scope, 0, 0)])
        own = models.FilterSelector(filter=models.Filter(must=[self._own(scope)]))
        with contextlib.suppress(ScopeLost):
            self._in_scope(lambda: self._client.delete(name, marker, wait=True))
            self._in_scope(lambda: self._client.delete(name, own, wait=True))

    def close(self) -> None:
        """See `Target.close`."""
        with self._turn:
            self._client.close()

    def _make_collection(self, name: str, dimension: int) -> None:
        """Make the collection; a no-op where another process was faster."""
        quantization = models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        )
        try:
            self._call(
                lambda: self._client.create_collection(
                    name,
                    vectors_config=models.VectorParams(
                        size=dimension, distance=models.Distance.COSINE, on_disk=self._quantization
                    ),
                    hnsw_config=models.HnswConfigDiff(
                        m=0, payload_m=self._m, ef_construct=self._ef_construct
                    ),
                    quantization_config=quantization if self._quantization else None,
                )
            )
        except (UnexpectedResponse, ValueError):
            if not self._call(lambda: self._client.collection_exists(name)):
                raise
        if self._local:
            return  # it has no indexes
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        user = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)
        self._call(lambda: self._client.create_payload_index(name, _SCOPE, tenant))
        self._call(lambda: self._client.create_payload_index(name, _USER, user))

    def _collection(self, scope: IndexScope) -> str:
        return f"{self._prefix}-{scope.dimension}"

    def _name(self, scope: IndexScope) -> str:
        return scope_name(self._store_id, scope)

    def _own(self, scope: IndexScope) -> models.FieldCondition:
        return models.FieldCondition(key=_SCOPE, match=models.MatchValue(value=self._name(scope)))

    def _id(self, scope: IndexScope, row: int, version: int) -> str:
        head = bytes.fromhex(self._name(scope))[:6]
        return str(uuid.UUID(bytes=head + row.to_bytes(5, "big") + version.to_bytes(5, "big")))

    def _in_scope(self, call: Callable[[], T]) -> T:
        """The answer of a call on a scope's collection. Raises ScopeLost where there is none."""
        try:
            return self._call(call)
        except UnexpectedResponse as error:
            if error.status_code == 404:
                raise ScopeLost from error
            raise
        except ValueError as error:  # the local mode's form of 404
            if "not found" in str(error):
                raise ScopeLost from error
            raise

    def _call(self, call: Callable[[], T]) -> T:
        """The answer of a call; what may pass becomes NotAnswering, and a refused key says so."""
        try:
            with self._turn:
                return call()
        except UnexpectedResponse as error:
            status = error.status_code or 500
            if status in (401, 403):
                raise NotAnswering(f"Qdrant refuses QDRANT_API_KEY (HTTP {status})") from error
            if status in (408, 429) or status >= 500:
                raise NotAnswering(f"Qdrant answers HTTP {status}") from error
            raise
        except (ApiException, QdrantException, OSError) as error:
            raise NotAnswering(f"Qdrant can not be reached: {type(error).__name__}") from error


def open_client(*, url: str | None, api_key: str | None, path: str | None, seconds: float) -> QdrantClient:
    """A client of the server at `url`, or of the local mode in the folder `path` (or :memory:).

    seconds: longest time of one request. Nothing is asked yet. Raises ConfigurationError.
    """
    if (url is None) == (path is None):
        raise ConfigurationError(
            "VECTOR_STORE=qdrant needs QDRANT_URL (a server) or QDRANT_PATH (local mode)."
        )
    if path == ":memory:":
        return QdrantClient(":memory:")
    if path is not None:
        return QdrantClient(path=path, force_disable_check_same_thread=True)
    return QdrantClient(url=url, api_key=api_key, timeout=max(1, round(seconds)), check_compatibility=False)


def _rows(points: Sequence[models.Record | models.ScoredPoint]) -> NDArray[np.int64]:
    """The rows that points stand for, (N,)."""
    return np.array(
        [int.from_bytes(uuid.UUID(str(point.id)).bytes[6:11], "big") for point in points], dtype=np.int64
    )


def _number(found: Sequence[models.Record | models.ScoredPoint]) -> int:
    """The marker's number. Raises ScopeLost where there is no marker."""
    if not found or not found[0].payload or _NUMBER not in found[0].payload:
        raise ScopeLost
    return int(found[0].payload[_NUMBER])
