"""Stores outside the database over real HTTP: down, killed, emptied, and filled by several processes."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from killing import times
from numpy.typing import NDArray

from facerec.db import Database
from facerec.domain import BoundingBox, Collection, EmbeddingContract, EntityKind, NewFace, RowKey
from facerec.errors import VectorStoreUnavailable
from facerec.metastore import collections, faces, open_at, users
from facerec.metastore.scopes import ScopeLedger
from facerec.vectors.quantization import quantize, quantize_batch
from facerec.vectors.remote.store import RemoteStore
from facerec.vectors.remote.target import Target
from pinecone_double import PineconeDouble
from remote_stores import pinecone_target, qdrant_target, remote_store

DIMENSION = 128
FACE, USER = EntityKind.FACE, EntityKind.USER

Vectors = NDArray[np.float32]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_at(tmp_path)
    contract = EmbeddingContract(id="c", pack="p", model_version="1.0", dimension=DIMENSION)
    with database.write() as connection:
        collections.insert(connection, name="a", contract=contract, created_at=0.0)
    yield database
    database.close()


@pytest.fixture
def double() -> Iterator[PineconeDouble]:
    double = PineconeDouble(delay=0.05)
    yield double
    double.stop()


def unit(seed: int, count: int) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def find(database: Database) -> Collection:
    with database.read() as connection:
        return collections.find(connection, "a")


def add(database: Database, vectors: Vectors) -> Collection:
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
    with database.write() as connection:
        faces.insert(connection, collections.find(connection, "a"), new)
        return collections.find(connection, "a")


def found(store: RemoteStore, collection: Collection, vectors: Vectors, kind: EntityKind = FACE) -> list[int]:
    """How many vectors like each of these are found."""
    return [len(hits) for hits in store.search(collection, kind, vectors, limit=5, min_cosine=0.99)]


def wait_until_current(store: RemoteStore, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while (condition := store.condition()).changes_behind or not condition.reachable:
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def test_a_store_that_is_down_fails_searches_alone_and_recovers_by_itself(
    database: Database, double: PineconeDouble
) -> None:
    store = remote_store(database, pinecone_target(database, double.url), patience=1)
    vectors = unit(1, 20)
    collection = add(database, vectors[:10])
    assert store.verify(collection, FACE) == []
    store.start()
    double.stop()
    collection = add(database, vectors[10:])  # is not held up
    for _ in range(6):
        with pytest.raises(VectorStoreUnavailable, match="try your call again"):
            found(store, collection, vectors)
    assert not store.condition().reachable
    double.start()
    deadline = time.monotonic() + 30
    while True:
        try:
            assert found(store, collection, vectors) == [1] * 20
            break
        except VectorStoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    wait_until_current(store)
    assert store.verify(collection, FACE) == []
    store.close()


@pytest.mark.slow
def test_a_store_killed_again_and_again_under_load_loses_nothing(
    database: Database, double: PineconeDouble
) -> None:
    rng = random.Random(7)
    store = remote_store(database, pinecone_target(database, double.url), patience=1)
    store.start()
    vectors = unit(2, 3000)
    written: list[int] = []
    wrong: list[str] = []
    right = 0
    done = threading.Event()

    def write() -> None:
        for place in range(len(vectors)):
            add(database, vectors[place : place + 1])
            written.append(place)
            if place % 7 == 0:
                time.sleep(0.01)
            if done.is_set():
                return

    def search(seed: int) -> None:
        nonlocal right
        choose = random.Random(seed)
        while not done.is_set():
            if not written:
                continue
            place = choose.choice(written)
            try:
                counts = found(store, find(database), vectors[place : place + 1])
            except VectorStoreUnavailable:
                time.sleep(0.02)
                continue
            if counts != [1]:
                wrong.append(f"face {place} found {counts} times")
            right += counts == [1]

    threads = [
        threading.Thread(target=write),
        *(threading.Thread(target=search, args=(n,)) for n in range(3)),
    ]
    for thread in threads:
        thread.start()
    for _ in range(times(14)):
        time.sleep(rng.uniform(0.05, 0.5))
        double.stop()
        time.sleep(rng.uniform(0.05, 0.4))
        double.start()
        if rng.random() < 0.4:
            double.refusing = True
            time.sleep(rng.uniform(0.05, 0.4))
            double.refusing = False
    done.set()
    for thread in threads:
        thread.join()
    wait_until_current(store)
    collection = find(database)
    assert wrong == []
    assert right > 0
    assert found(store, collection, vectors[:50]) == [1] * 50
    assert collection.face_count == len(written)
    assert store.verify(collection, FACE) == []
    assert double.vectors() == len(written)
    store.close()


def test_a_store_that_lost_its_data_is_filled_again_by_itself(
    database: Database, double: PineconeDouble
) -> None:
    store = remote_store(database, pinecone_target(database, double.url))
    vectors = unit(3, 1500)
    collection = add(database, vectors)
    assert found(store, collection, vectors[:50]) == [1] * 50
    double.lose_everything()
    assert found(store, collection, vectors[:50]) == [1] * 50
    collection = add(database, unit(4, 5))
    assert store.verify(collection, FACE) == []
    assert double.vectors() == 1505
    store.close()


def test_another_database_in_the_same_store_is_left_alone(
    database: Database, double: PineconeDouble, tmp_path: Path
) -> None:
    other = open_at(tmp_path / "other")
    contract = EmbeddingContract(id="c", pack="p", model_version="1.0", dimension=DIMENSION)
    with other.write() as connection:
        collections.insert(connection, name="a", contract=contract, created_at=0.0)
    vectors = unit(5, 20)
    stores = {each: remote_store(each, pinecone_target(each, double.url)) for each in (database, other)}
    first, second = add(database, vectors[:10]), add(other, vectors[10:])
    assert stores[database].verify(first, FACE) == stores[other].verify(second, FACE) == []
    assert found(stores[database], first, vectors) == [1] * 10 + [0] * 10
    assert found(stores[other], second, vectors) == [0] * 10 + [1] * 10
    stores[database].drop(first.key)
    stores[database].purge()
    assert stores[other].verify(second, FACE) == []
    for store in stores.values():
        store.close()
    other.close()


@pytest.mark.parametrize("kind", ["pinecone", "qdrant"])
def test_a_late_write_neither_hides_what_is_newer_nor_brings_back_what_is_gone(
    database: Database, double: PineconeDouble, kind: str
) -> None:
    target: Target
    if kind == "pinecone":
        target = pinecone_target(database, double.url)
    else:
        target = qdrant_target(database, path=":memory:")
    store = remote_store(database, target)
    vectors = unit(6, 4)
    ledger = ScopeLedger(database, target.name)

    def set_user(vector: Vectors) -> RowKey:
        with database.write() as connection:
            present = collections.find(connection, "a")
            if not users.list_after(connection, present, "", 10):
                users.insert(connection, present, "one")
            user = users.find(connection, present, "one")
            users.set_aggregate(connection, present, user, face_count=1, aggregate=quantize(vector))
            return user.key

    user = set_user(vectors[0])
    collection = add(database, vectors[2:3])
    version = collection.change_number
    for each in EntityKind:
        assert store.verify(collection, each) == []
    set_user(vectors[1])
    (face,) = store.search(collection, FACE, vectors[2:3], limit=1, min_cosine=0.9)[0]
    with database.write() as connection:
        faces.delete(connection, collections.find(connection, "a"), [face.key])
    collection = find(database)
    for each in EntityKind:
        assert store.verify(collection, each) == []
    for each, row, vector in ((USER, user, vectors[:1]), (FACE, face.key, vectors[2:3])):
        scope = ledger.searched(collection, each)
        assert scope is not None
        target.put(scope, [row], vector, version)  # what a process does that slept since then
        target.settle(scope)
    assert found(store, collection, vectors[:2], USER) == [0, 1]
    assert found(store, collection, vectors[2:3]) == [0]
    store.close()


def test_an_index_is_rebuilt_beside_the_one_that_is_searched(
    database: Database, double: PineconeDouble
) -> None:
    store = remote_store(database, pinecone_target(database, double.url))
    vectors = unit(8, 2500)
    collection = add(database, vectors)
    assert store.verify(collection, FACE) == []
    seen: list[int] = []

    def look(count: int) -> None:
        seen.append(count)
        assert found(store, collection, vectors[:20]) == [1] * 20

    assert store.rebuild(collection, FACE, look)
    assert sum(seen) == 2500
    assert found(store, collection, vectors[-20:]) == [1] * 20
    assert store.verify(collection, FACE) == []
    time.sleep(0.1)  # the double shows removals after its delay
    assert double.vectors() == 2500
    store.close()


PROGRAM = """
import sys, time
sys.path[:0] = {paths!r}
from test_stores_outside import add, find, unit
from remote_stores import pinecone_target, remote_store
from facerec.metastore import open_at
from pathlib import Path

database = open_at(Path({folder!r}))
store = remote_store(database, pinecone_target(database, {url!r}), lease_seconds=2)
store.start()
print("ready", flush=True)
for place, vector in enumerate(unit({seed}, {count})):
    add(database, vector[None])
    print(place, flush=True)
store.close()
database.close()
"""


@pytest.mark.slow
def test_processes_take_turns_and_one_that_is_killed_holds_nobody_up(
    database: Database, double: PineconeDouble, tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM.format(paths=paths, folder=str(tmp_path), url=double.url, seed=seed, count=400),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (21, 22)
    ]
    output = started[0].stdout
    assert output is not None
    for line in output:
        if line.strip() == "150":
            break
    started[0].kill()
    for process in started:
        process.communicate()
    assert started[1].returncode == 0
    store = remote_store(database, pinecone_target(database, double.url), lease_seconds=2)
    collection = find(database)
    assert collection.face_count >= 551
    assert found(store, collection, unit(21, 400)[:151]) == [1] * 151
    assert found(store, collection, unit(22, 400)) == [1] * 400
    assert store.verify(collection, FACE) == []
    assert double.vectors() == collection.face_count
    store.close()


@pytest.mark.slow
def test_among_thirty_thousand_faces_true_matches_come_first_as_with_float32(
    database: Database, double: PineconeDouble
) -> None:
    store = remote_store(database, pinecone_target(database, double.url), patience=300)
    exact = unit(30, 30_000)
    for start in range(0, len(exact), 10_000):
        collection = add(database, exact[start : start + 10_000])
    rng = np.random.default_rng(31)
    matches = rng.integers(0, len(exact), 1000)
    probes = exact[matches] + np.sqrt(3 / DIMENSION) * rng.standard_normal((1000, DIMENSION))
    probes = np.asarray(probes / np.linalg.norm(probes, axis=1, keepdims=True), dtype=np.float32)
    right = (probes @ exact.T).argmax(axis=1)
    keys = [hits[0].key for hits in store.search(collection, FACE, exact[:1], limit=1, min_cosine=0.5)]
    found_keys: list[int] = []
    for start in range(0, 1000, 50):
        some = probes[start : start + 50]
        found_keys += [hits[0].key for hits in store.search(collection, FACE, some, limit=1, min_cosine=0.0)]
    assert np.mean(np.array(found_keys) - keys[0] == right) >= 0.999
    store.close()
