"""One suite over every vector store, on the real database: found is what an exhaustive search finds.

FACEREC_RECALL_FACES: faces among which recall is measured, in place of a number for each store.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from backends import BACKENDS, OpenDatabase, database_of
from numpy.typing import NDArray

from facerec.db import Database
from facerec.domain import (
    BoundingBox,
    Collection,
    EmbeddingContract,
    EntityKind,
    NewFace,
    QuantizedEmbedding,
    RowKey,
    VectorHit,
)
from facerec.errors import StorageError, VectorStoreUnavailable
from facerec.metastore import collections, faces, users
from facerec.metastore.changes import DatabaseFeed
from facerec.vectors.base import VectorStore
from facerec.vectors.quantization import dequantize_batch, quantize, quantize_batch

DIMENSION = 128

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


class House:
    """A database with collections, and what an exhaustive search over its vectors would answer."""

    def __init__(self, folder: Path, open_database: OpenDatabase, dimension: int = DIMENSION) -> None:
        self.folder = folder
        self.dimension = dimension
        self.open_database = open_database
        self.database = open_database(folder)

    def create(self, name: str) -> Collection:
        contract = EmbeddingContract(id="c", pack="p", model_version="1.0", dimension=self.dimension)
        with self.database.write() as connection:
            return collections.insert(connection, name=name, contract=contract, created_at=0.0)

    def find(self, name: str) -> Collection:
        with self.database.read() as connection:
            return collections.find(connection, name)

    def add(self, name: str, vectors: Vectors, database: Database | None = None) -> Collection:
        """Store a face for each vector (n, d)."""
        box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
        new = [
            NewFace(
                face_id=str(uuid.uuid4()),
                image_id=str(uuid.uuid4()),
                external_image_id=None,
                box=box,
                confidence=99.0,
                embedding=embedding,
            )
            for embedding in quantize_batch(vectors)
        ]
        with (database or self.database).write() as connection:
            faces.insert(connection, collections.find(connection, name), new)
            return collections.find(connection, name)

    def remove(self, name: str, keys: Sequence[RowKey]) -> Collection:
        with self.database.write() as connection:
            faces.delete(connection, collections.find(connection, name), keys)
            return collections.find(connection, name)

    def put_user(self, name: str, user_id: str, vector: Vectors | None) -> Collection:
        """Give a user, made where missing, an aggregate vector (d,), or take it away."""
        with self.database.write() as connection:
            collection = collections.find(connection, name)
            if user_id not in {u.user_id for u in users.list_after(connection, collection, "", 1000)}:
                users.insert(connection, collection, user_id)
            user = users.find(connection, collection, user_id)
            users.set_aggregate(
                connection,
                collection,
                user,
                face_count=0 if vector is None else 1,
                aggregate=None if vector is None else quantize(vector),
            )
            return collections.find(connection, name)

    def remove_user(self, name: str, user_id: str) -> Collection:
        with self.database.write() as connection:
            collection = collections.find(connection, name)
            users.delete(connection, collection, users.find(connection, collection, user_id))
            return collections.find(connection, name)

    def stored(self, collection: Collection, kind: EntityKind) -> dict[RowKey, QuantizedEmbedding]:
        """Every vector that the database holds."""
        feed = DatabaseFeed(self.database)
        return {
            key: QuantizedEmbedding(codes=codes, scale=scale)
            for batch in feed.changes(collection.key, kind, 0)
            for key, codes, scale in zip(batch.keys, batch.codes, batch.scales, strict=True)
        }

    def exhaustive(
        self, collection: Collection, kind: EntityKind, probe: Vectors, limit: int, min_cosine: float
    ) -> list[VectorHit]:
        """The answer by definition, in float64."""
        stored = self.stored(collection, kind)
        if not stored:
            return []
        keys = np.array(list(stored), dtype=np.int64)
        decoded = dequantize_batch(list(stored.values())).astype(np.float64)
        cosines = np.round(decoded @ probe.astype(np.float64), 6)
        order = np.lexsort((keys, -cosines))[:limit]
        return [VectorHit(RowKey(int(keys[i])), float(cosines[i])) for i in order if cosines[i] >= min_cosine]


def assert_same(found: list[VectorHit], expected: list[VectorHit]) -> None:
    """Equal but for the last digits of a cosine, which may also swap two neighbours that nearly tie."""
    assert len(found) == len(expected)
    np.testing.assert_allclose([h.cosine for h in found], [h.cosine for h in expected], atol=3e-6)
    right = {h.key: h.cosine for h in expected}
    worst = min((h.cosine for h in expected), default=0.0)
    for hit in found:
        assert abs(hit.cosine - right.get(hit.key, worst)) < 3e-6
    assert found == sorted(found, key=lambda h: (-h.cosine, h.key))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The store under test."""
    return str(request.param)


@pytest.fixture
def open_database(backend: str, request: pytest.FixtureRequest) -> OpenDatabase:
    """Opens the database that the store under test is over, always the same one."""
    return database_of(backend, request)


@pytest.fixture
def open_store(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[House], VectorStore]]:
    """Opens the store under test over a house's database; what it opened is closed at the end."""
    opened: list[VectorStore] = []
    open_one = BACKENDS[backend](request, monkeypatch)

    def open_over(house: House) -> VectorStore:
        store = open_one(house.database, house.folder)
        opened.append(store)
        return store

    yield open_over
    for store in opened:
        store.close()


Opener = Callable[[House], VectorStore]


@pytest.fixture
def house(tmp_path: Path, open_database: OpenDatabase) -> Iterator[House]:
    house = House(tmp_path, open_database)
    yield house
    house.database.close()


def test_an_empty_collection_answers_empty_lists(house: House, open_store: Opener) -> None:
    collection = house.create("a")
    store = open_store(house)
    probes = unit(np.random.default_rng(0).standard_normal((3, DIMENSION)))
    for kind in EntityKind:
        assert store.search(collection, kind, probes, limit=5, min_cosine=-1) == [[], [], []]
        assert store.status(collection, kind) == (0, 0)
        assert store.verify(collection, kind) == []
    store.drop(collection.key)


@pytest.mark.parametrize("dimension", [128, 512, 100])
def test_every_face_is_found_by_its_own_vector_first(
    tmp_path: Path, open_database: OpenDatabase, open_store: Opener, dimension: int
) -> None:
    house = House(tmp_path, open_database, dimension)
    house.create("a")
    vectors = unit(np.random.default_rng(1).standard_normal((500, dimension)))
    collection = house.add("a", vectors)
    store = open_store(house)
    probes = dequantize_batch(list(house.stored(collection, EntityKind.FACE).values()))
    keys = list(house.stored(collection, EntityKind.FACE))
    found = store.search(collection, EntityKind.FACE, probes, limit=1, min_cosine=0.5)
    assert found == [[VectorHit(key, 1.0)] for key in keys]
    store.close()
    house.database.close()


@pytest.mark.parametrize(
    ("limit", "min_cosine"), [(1, 0.5), (10, 0.3), (10, -1.0), (300, -1.0), (4096, -1.0), (4096, 0.1)]
)
def test_answers_are_those_of_an_exhaustive_search(
    house: House, open_store: Opener, limit: int, min_cosine: float
) -> None:
    rng = np.random.default_rng(2)
    house.create("a")
    # 300 people with 1 to 20 photos each, in random order.
    people = unit(rng.standard_normal((300, DIMENSION)))
    owners = rng.permutation(np.repeat(np.arange(300), rng.integers(1, 21, 300)))
    collection = house.add("a", unit(people[owners] + 0.06 * rng.standard_normal((len(owners), DIMENSION))))
    store = open_store(house)
    probes = unit(people[:7] + 0.06 * rng.standard_normal((7, DIMENSION)))
    found = store.search(collection, EntityKind.FACE, probes, limit=limit, min_cosine=min_cosine)
    for probe, hits in zip(probes, found, strict=True):
        assert_same(hits, house.exhaustive(collection, EntityKind.FACE, probe, limit, min_cosine))


def _fill(store: VectorStore, collection: Collection, probes: Vectors) -> None:
    """Ask until a store outside the database has all of a large collection."""
    while True:
        try:
            store.search(collection, EntityKind.FACE, probes, limit=1, min_cosine=0.0)
        except VectorStoreUnavailable:
            continue
        return


@pytest.mark.parametrize("dimension", [128, 512])
def test_true_matches_come_first_as_with_float32_vectors(
    tmp_path: Path, open_database: OpenDatabase, open_store: Opener, backend: str, dimension: int
) -> None:
    # Qdrant's local mode is Python that goes through every point for each probe.
    size, asked = (3000, 200) if backend == "qdrant in local mode" else (20_000, 1000)
    size = int(os.environ.get("FACEREC_RECALL_FACES", size))
    rng = np.random.default_rng(3)
    house = House(tmp_path, open_database, dimension)
    house.create("a")
    exact = unit(rng.standard_normal((size, dimension)))
    for start in range(0, len(exact), 5000):
        collection = house.add("a", exact[start : start + 5000])
    store = open_store(house)
    _fill(store, collection, exact[:1])
    # Probes at cosines of about 0.5 with their match, the lower end of what one person's photos show.
    matches = rng.integers(0, len(exact), asked)
    probes = unit(exact[matches] + np.sqrt(3 / dimension) * rng.standard_normal((asked, dimension)))
    truth = probes @ exact.T
    found = []
    for start in range(0, asked, 100):
        some = probes[start : start + 100]
        found += store.search(collection, EntityKind.FACE, some, limit=1, min_cosine=0.0)
    keys = np.array(sorted(house.stored(collection, EntityKind.FACE)))
    first = np.searchsorted(keys, [hits[0].key for hits in found])
    assert np.mean(first == truth.argmax(axis=1)) >= 0.999
    # Six standard deviations of the error that quantization.py documents.
    error = np.array([hits[0].cosine for hits in found]) - truth[np.arange(asked), first]
    assert np.abs(error).max() < 6 * 0.0010 * np.sqrt(128 / dimension)
    store.close()
    house.database.close()


def test_large_components_do_not_hide_a_face(house: House, open_store: Opener) -> None:
    rng = np.random.default_rng(4)
    house.create("a")
    plain = rng.standard_normal((300, DIMENSION))
    spiked = rng.standard_normal((300, DIMENSION))
    spiked[:, 5] = np.sqrt(DIMENSION) * rng.uniform(0.5, 3, 300)
    collection = house.add("a", unit(rng.permutation(np.concatenate([plain, spiked]))))
    store = open_store(house)
    scales = {e.scale for e in house.stored(collection, EntityKind.FACE).values()}
    assert len(scales) >= 2
    for probe in unit(np.concatenate([plain[:5], spiked[:5]])):
        (hits,) = store.search(collection, EntityKind.FACE, probe[None], limit=40, min_cosine=-1)
        assert_same(hits, house.exhaustive(collection, EntityKind.FACE, probe, 40, -1))


def test_equal_vectors_are_ordered_by_key(house: House, open_store: Opener) -> None:
    rng = np.random.default_rng(5)
    house.create("a")
    one = unit(rng.standard_normal((1, DIMENSION)))
    others = unit(rng.standard_normal((500, DIMENSION)))
    collection = house.add("a", rng.permutation(np.concatenate([np.repeat(one, 200, axis=0), others])))
    store = open_store(house)
    (hits,) = store.search(collection, EntityKind.FACE, one, limit=10, min_cosine=0.9)
    copies = sorted(
        key
        for key, embedding in house.stored(collection, EntityKind.FACE).items()
        if embedding == quantize(one[0])
    )
    assert [hit.key for hit in hits] == copies[:10]


def test_changes_of_this_and_of_other_connections_are_seen_at_once(house: House, open_store: Opener) -> None:
    rng = np.random.default_rng(6)
    house.create("a")
    store = open_store(house)
    elsewhere = house.open_database(house.folder)
    for database in (house.database, elsewhere, house.database):
        vector = unit(rng.standard_normal((1, DIMENSION)))
        collection = house.add("a", vector, database)
        (hits,) = store.search(collection, EntityKind.FACE, vector, limit=1, min_cosine=0.99)
        assert len(hits) == 1
        collection = house.remove("a", [hits[0].key])
        assert store.search(collection, EntityKind.FACE, vector, limit=1, min_cosine=0.99) == [[]]
    elsewhere.close()


def test_a_users_newest_aggregate_counts(house: House, open_store: Opener) -> None:
    vectors = unit(np.random.default_rng(7).standard_normal((3, DIMENSION)))
    house.create("a")
    store = open_store(house)
    house.put_user("a", "one", vectors[0])
    collection = house.put_user("a", "two", vectors[1])

    def matched(vector: Vectors) -> int:
        return len(store.search(collection, EntityKind.USER, vector[None], limit=5, min_cosine=0.9)[0])

    assert [matched(v) for v in vectors] == [1, 1, 0]
    collection = house.put_user("a", "one", vectors[2])
    assert [matched(v) for v in vectors] == [0, 1, 1]
    collection = house.put_user("a", "one", None)
    assert [matched(v) for v in vectors] == [0, 1, 0]
    collection = house.put_user("a", "one", vectors[1])
    assert [matched(v) for v in vectors] == [0, 2, 0]
    collection = house.remove_user("a", "two")
    assert [matched(v) for v in vectors] == [0, 1, 0]
    assert store.verify(collection, EntityKind.USER) == []


def test_collections_and_kinds_never_mix(house: House, open_store: Opener) -> None:
    vectors = unit(np.random.default_rng(8).standard_normal((2, DIMENSION)))
    house.create("a")
    house.create("b")
    house.put_user("a", "one", vectors[1])
    a, b = house.add("a", vectors[:1]), house.add("b", vectors[1:])
    store = open_store(house)

    def counts(collection: Collection, kind: EntityKind) -> list[int]:
        return [len(hits) for hits in store.search(collection, kind, vectors, limit=5, min_cosine=0.9)]

    assert counts(a, EntityKind.FACE) == [1, 0]
    assert counts(a, EntityKind.USER) == [0, 1]
    assert counts(b, EntityKind.FACE) == [0, 1]
    store.drop(a.key)
    assert counts(b, EntityKind.FACE) == [0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_changes_searches_and_restarts_gives_the_truth(
    house: House, open_store: Opener, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    house.create("a")
    people = unit(rng.standard_normal((30, DIMENSION)))
    store = open_store(house)

    def photos(count: int) -> Vectors:
        drawn = people[rng.integers(0, 30, count)]
        vectors = drawn + 0.05 * rng.standard_normal((count, DIMENSION))
        vectors[rng.random(count) < 0.1, 3] += 3.0  # some need another scale
        return unit(vectors)

    for _ in range(60):
        collection = house.find("a")
        match rng.choice(["add", "add", "remove", "user", "user", "forget", "restart"]):
            case "add":
                house.add("a", photos(int(rng.integers(1, 80))))
            case "remove":
                keys = list(house.stored(collection, EntityKind.FACE))
                chosen = rng.choice(len(keys), size=min(len(keys), int(rng.integers(1, 60))), replace=False)
                house.remove("a", [keys[i] for i in chosen])
            case "user":
                house.put_user("a", f"user{rng.integers(0, 12)}", photos(1)[0])
            case "forget":
                house.put_user("a", f"user{rng.integers(0, 12)}", None)
            case "restart":
                store.close()
                store = open_store(house)
        if rng.random() < 0.4:
            continue  # let several changes gather before the next look
        collection = house.find("a")
        for kind in EntityKind:
            limit, min_cosine = int(rng.integers(1, 40)), float(rng.choice([-1.0, 0.2, 0.6]))
            probes = photos(2)
            found = store.search(collection, kind, probes, limit=limit, min_cosine=min_cosine)
            for probe, hits in zip(probes, found, strict=True):
                assert_same(hits, house.exhaustive(collection, kind, probe, limit, min_cosine))
            assert store.verify(collection, kind) == []
            count, number = store.status(collection, kind)
            assert count == len(house.stored(collection, kind))
            assert number >= collection.change_number


def test_searches_run_beside_changes_and_see_what_was_there_when_they_began(
    house: House, open_store: Opener
) -> None:
    house.create("a")
    store = open_store(house)
    vectors = unit(np.random.default_rng(9).standard_normal((400, DIMENSION)))
    present = threading.Semaphore(0)
    added: list[int] = []

    def write() -> None:
        for place in range(len(vectors)):
            house.add("a", vectors[place : place + 1])
            added.append(place)
            present.release()

    def read(seed: int) -> int:
        rng, missed = np.random.default_rng(seed), 0
        for _ in range(100):
            present.acquire()
            place = int(rng.choice(added))
            hits = store.search(
                house.find("a"), EntityKind.FACE, vectors[place : place + 1], limit=1, min_cosine=0.99
            )
            missed += len(hits[0]) != 1
        return missed

    with ThreadPoolExecutor(5) as threads:
        writing = threads.submit(write)
        assert sum(threads.map(read, range(4))) == 0
        writing.result()
    assert store.verify(house.find("a"), EntityKind.FACE) == []


def test_searches_at_the_same_moment_each_get_their_own_answer(house: House, open_store: Opener) -> None:
    rng = np.random.default_rng(12)
    house.create("a")
    collection = house.add("a", unit(rng.standard_normal((3000, DIMENSION))))
    store = open_store(house)
    asked = [
        (unit(rng.standard_normal((int(rng.integers(0, 4)), DIMENSION))), int(rng.integers(1, 200)), least)
        for least in rng.choice([-1.0, 0.1, 0.3], 40).tolist()
    ]
    with ThreadPoolExecutor(8) as threads:
        found = list(
            threads.map(
                lambda a: store.search(collection, EntityKind.FACE, a[0], limit=a[1], min_cosine=a[2]), asked
            )
        )
    for (probes, limit, least), answers in zip(asked, found, strict=True):
        for probe, hits in zip(probes, answers, strict=True):
            assert_same(hits, house.exhaustive(collection, EntityKind.FACE, probe, limit, least))


def test_an_older_description_of_the_collection_is_no_obstacle(house: House, open_store: Opener) -> None:
    vectors = unit(np.random.default_rng(10).standard_normal((2, DIMENSION)))
    house.create("a")
    older = house.add("a", vectors[:1])
    newer = house.add("a", vectors[1:])
    store = open_store(house)
    for collection in (newer, older):
        found = store.search(collection, EntityKind.FACE, vectors, limit=1, min_cosine=0.99)
        assert [len(hits) for hits in found] == [1, 1]


def test_probes_of_another_shape_and_senseless_limits_are_refused(house: House, open_store: Opener) -> None:
    collection = house.create("a")
    store = open_store(house)
    good = unit(np.random.default_rng(11).standard_normal((1, DIMENSION)))
    for probes, limit in ((good[:, :64], 1), (good[0], 1), (good, 0)):
        with pytest.raises(ValueError, match="limit"):
            store.search(collection, EntityKind.FACE, probes, limit=limit, min_cosine=0)


def test_a_closed_store_says_so(house: House, open_store: Opener) -> None:
    collection = house.create("a")
    store = open_store(house)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.search(collection, EntityKind.FACE, np.ones((1, 128), np.float32), limit=1, min_cosine=0)
