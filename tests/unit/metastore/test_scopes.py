"""Scopes: begun, filled, searched, given up; and the pages that fill them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facerec.db import Database
from facerec.domain import (
    BoundingBox,
    ChangePage,
    Collection,
    EmbeddingContract,
    EntityKind,
    NewFace,
    QuantizedEmbedding,
    RowKey,
)
from facerec.errors import HistoryPruned
from facerec.metastore import changes, collections, faces, open_at, users
from facerec.metastore.changes import DatabaseFeed
from facerec.metastore.scopes import ScopeLedger

FACE, USER = EntityKind.FACE, EntityKind.USER


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_at(tmp_path)
    yield database
    database.close()


@pytest.fixture
def collection(database: Database) -> Collection:
    return create(database, "a")


def create(database: Database, name: str) -> Collection:
    contract = EmbeddingContract(id="c", pack="p", model_version="1.0", dimension=4)
    with database.write() as connection:
        return collections.insert(connection, name=name, contract=contract, created_at=0.0)


def embedding(seed: int) -> QuantizedEmbedding:
    return QuantizedEmbedding(codes=bytes([seed % 100 + 1, 2, 3, 4]), scale=0.5)


def add(database: Database, count: int) -> None:
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    new = [
        NewFace(
            face_id=str(uuid.uuid4()),
            image_id=str(uuid.uuid4()),
            external_image_id=None,
            box=box,
            confidence=99.0,
            embedding=embedding(number),
        )
        for number in range(count)
    ]
    with database.write() as connection:
        faces.insert(connection, collections.find(connection, "a"), new)


def test_a_scope_is_searched_once_it_is_promoted(database: Database, collection: Collection) -> None:
    ledger = ScopeLedger(database, "there")
    assert ledger.searched(collection, FACE) is None
    first = ledger.begin(collection, FACE)
    assert ledger.building(collection, FACE) == first
    assert ledger.searched(collection, FACE) is None
    assert ledger.promote(collection, FACE, first)
    assert ledger.searched(collection, FACE) == first
    second = ledger.begin(collection, FACE)
    assert ledger.searched(collection, FACE) == first
    assert ledger.promote(collection, FACE, second)
    assert ledger.searched(collection, FACE) == second
    assert ledger.retired() == [first]
    ledger.forget(first)
    assert ledger.retired() == []


def test_a_scope_that_was_given_up_is_not_promoted(database: Database, collection: Collection) -> None:
    ledger = ScopeLedger(database, "there")
    first, second = ledger.begin(collection, FACE), ledger.begin(collection, FACE)
    assert not ledger.promote(collection, FACE, first)
    assert ledger.building(collection, FACE) == second
    ledger.retire(second)
    assert ledger.building(collection, FACE) is None
    assert {scope.token for scope in ledger.retired()} == {first.token, second.token}


def test_stores_kinds_contracts_and_collections_do_not_meet(
    database: Database, collection: Collection
) -> None:
    ledger = ScopeLedger(database, "there")
    ledger.promote(collection, FACE, ledger.begin(collection, FACE))
    assert ledger.searched(collection, USER) is None
    assert ledger.searched(create(database, "b"), FACE) is None
    assert ScopeLedger(database, "elsewhere").searched(collection, FACE) is None
    assert ScopeLedger(database, "elsewhere").retired() == []


def test_the_scopes_of_a_deleted_collection_are_given_up(database: Database, collection: Collection) -> None:
    ledger = ScopeLedger(database, "there")
    scope = ledger.begin(collection, USER)
    assert ledger.retired() == []
    with database.write() as connection:
        collections.mark_deleted(connection, collection.key)
    assert ledger.retired() == [scope]
    assert ledger.collections() == []
    ledger.retire_collection(collection.key)
    assert ledger.retired() == [scope]


def read(database: Database, collection: Collection, kind: EntityKind, after: int, limit: int) -> ChangePage:
    return DatabaseFeed(database).page(collection.key, kind, after, limit)


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("seed", range(3))
def test_pages_lead_to_the_present_state_whatever_changes_between(
    database: Database, collection: Collection, limit: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    held: dict[EntityKind, dict[RowKey, QuantizedEmbedding]] = {FACE: {}, USER: {}}
    reached = {FACE: 0, USER: 0}
    with database.write() as connection:
        for name in "xyz":
            users.insert(connection, collection, name)

    def change() -> None:
        add(database, int(rng.integers(0, 4)))
        with database.write() as connection:
            present = collections.find(connection, "a")
            stored = [key for batch in feed.changes(present.key, FACE, 0) for key in batch.keys]
            chosen = rng.choice(stored, size=min(len(stored), int(rng.integers(0, 3))), replace=False)
            faces.delete(connection, present, [RowKey(int(key)) for key in chosen])
            user = users.find(connection, present, str(rng.choice(list("xyz"))))
            aggregate = embedding(int(rng.integers(0, 99))) if rng.random() < 0.7 else None
            users.set_aggregate(connection, present, user, face_count=1, aggregate=aggregate)

    def take(kind: EntityKind) -> bool:
        page = read(database, collection, kind, reached[kind], limit)
        for key in page.removed:
            held[kind].pop(key, None)
        held[kind].update(zip(page.keys, page.embeddings, strict=True))
        assert len(page.removed) <= limit
        assert len(page.keys) <= limit
        assert page.number > reached[kind] or page.number == page.newest
        reached[kind] = page.number
        return page.number < page.newest

    feed = DatabaseFeed(database)
    for _ in range(25):
        change()
        for kind in EntityKind:
            take(kind)
    for kind in EntityKind:
        while take(kind):
            pass
        truth = {
            key: QuantizedEmbedding(codes=codes, scale=scale)
            for batch in feed.changes(collection.key, kind, 0)
            for key, codes, scale in zip(batch.keys, batch.codes, batch.scales, strict=True)
        }
        assert held[kind] == truth


def test_a_page_after_forgotten_removals_is_refused(database: Database, collection: Collection) -> None:
    add(database, 5)
    keys = read(database, collection, FACE, 0, 10).keys
    with database.write() as connection:
        faces.delete(connection, collections.find(connection, "a"), keys[:4])
        changes.prune(connection, collection.key, keep=1, limit=100)
    with pytest.raises(HistoryPruned):
        read(database, collection, FACE, 5, 10)
    assert read(database, collection, FACE, 0, 10).keys == keys[4:]
