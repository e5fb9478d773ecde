from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import CONTRACT, add, new_face, open_stored, remove

from facerec.db import Database
from facerec.domain import Collection, EntityKind, QuantizedEmbedding, RowKey, VectorChanges
from facerec.errors import HistoryPruned, NotFound
from facerec.metastore import changes, collections, faces, open_at, users
from facerec.metastore.changes import DatabaseFeed

Stored = tuple[Database, Collection]


@pytest.fixture
def stored(tmp_path: Path, database_url: str | None) -> Iterator[Stored]:
    with open_stored(tmp_path, database_url) as opened:
        yield opened


def stream(stored: Stored, kind: EntityKind, after: int = 0) -> list[VectorChanges]:
    database, collection = stored
    return list(DatabaseFeed(database).changes(collection.key, kind, after))


def vectors(batch: VectorChanges) -> dict[RowKey, QuantizedEmbedding]:
    """What a batch puts."""
    return {
        key: QuantizedEmbedding(codes=codes, scale=scale)
        for key, codes, scale in zip(batch.keys, batch.codes, batch.scales, strict=True)
    }


def puts(stored: Stored, kind: EntityKind, after: int = 0) -> dict[RowKey, QuantizedEmbedding]:
    """What a stream puts, in its order."""
    return {key: vector for batch in stream(stored, kind, after) for key, vector in vectors(batch).items()}


def removed(stored: Stored, kind: EntityKind, after: int) -> list[RowKey]:
    return [key for batch in stream(stored, kind, after) for key in batch.removed]


def last_number(stored: Stored) -> int:
    database, collection = stored
    with database.read() as connection:
        return collections.find(connection, collection.name).change_number


def test_every_face_takes_the_next_number(stored: Stored) -> None:
    add(*stored, 1, 2)
    add(*stored, 3)
    assert list(puts(stored, EntityKind.FACE).values()) == [new_face(n).embedding for n in (1, 2, 3)]
    assert list(puts(stored, EntityKind.FACE, after=2).values()) == [new_face(3).embedding]
    assert last_number(stored) == 3


def test_a_removal_comes_as_a_change_to_an_index_that_has_seen_the_face(stored: Stored) -> None:
    add(*stored, 1, 2)
    keys = list(puts(stored, EntityKind.FACE))
    remove(*stored, 1)
    add(*stored, 3)
    assert removed(stored, EntityKind.FACE, after=2) == [keys[0]]
    assert list(puts(stored, EntityKind.FACE, after=2).values()) == [new_face(3).embedding]
    assert {batch.number for batch in stream(stored, EntityKind.FACE, after=2)} == {4}
    assert removed(stored, EntityKind.FACE, after=3) == []


def test_a_new_index_reads_present_vectors_alone(stored: Stored) -> None:
    add(*stored, 1, 2)
    remove(*stored, 1)
    assert list(puts(stored, EntityKind.FACE).values()) == [new_face(2).embedding]
    assert removed(stored, EntityKind.FACE, after=0) == []


def test_a_collection_keeps_to_its_own_changes(stored: Stored) -> None:
    database, collection = stored
    add(database, collection, 1)
    with database.write() as connection:
        other = collections.insert(connection, name="other", contract=CONTRACT, created_at=1.0)
    add(database, other, 2)
    remove(database, other, 2)
    assert list(puts(stored, EntityKind.FACE).values()) == [new_face(1).embedding]
    assert stream(stored, EntityKind.FACE, after=1) == []
    assert last_number(stored) == 1


def test_users_share_the_sequence_and_come_in_their_own_stream(stored: Stored) -> None:
    database, collection = stored
    add(*stored, 1)
    with database.write() as connection:
        users.insert(connection, collection, "ann")
        user = users.find(connection, collection, "ann")
        users.set_aggregate(connection, collection, user, face_count=1, aggregate=new_face(1).embedding)
    assert puts(stored, EntityKind.USER) == {user.key: new_face(1).embedding}
    with database.write() as connection:
        users.set_aggregate(connection, collection, user, face_count=0, aggregate=None)
    assert stream(stored, EntityKind.USER) == []
    assert stream(stored, EntityKind.USER, after=2) == [VectorChanges(number=3, removed=[user.key])]
    with database.write() as connection:
        users.set_aggregate(connection, collection, user, face_count=1, aggregate=new_face(2).embedding)
    first, second = stream(stored, EntityKind.USER, after=2)
    assert first == VectorChanges(number=4, removed=[user.key])
    assert (second.removed, vectors(second)) == ((), {user.key: new_face(2).embedding})
    assert list(puts(stored, EntityKind.FACE).values()) == [new_face(1).embedding]


def test_long_streams_come_in_batches_in_order(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BATCH", 4)
    add(*stored, *range(10))
    remove(*stored, 0, 5)
    batches = stream(stored, EntityKind.FACE, after=3)
    assert [list(vectors(batch).values()) for batch in batches] == [
        [],
        [new_face(n).embedding for n in (3, 4, 6, 7)],
        [new_face(n).embedding for n in (8, 9)],
    ]


def test_a_stream_is_one_snapshot(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BATCH", 2)
    database, collection = stored
    add(*stored, 1, 2, 3, 4)
    batches = DatabaseFeed(database).changes(collection.key, EntityKind.FACE, 0)
    first = next(batches)
    remove(*stored, 3)
    add(*stored, 5)
    rest = list(batches)
    assert {batch.number for batch in (first, *rest)} == {4}
    seen = [vector for batch in (first, *rest) for vector in vectors(batch).values()]
    assert seen == [new_face(n).embedding for n in (1, 2, 3, 4)]
    assert len(removed(stored, EntityKind.FACE, after=4)) == 1
    assert list(puts(stored, EntityKind.FACE, after=4).values()) == [new_face(5).embedding]


def test_an_index_that_follows_writers_never_misses_a_change(stored: Stored) -> None:
    database, collection = stored
    feed = DatabaseFeed(database)
    index: dict[RowKey, QuantizedEmbedding] = {}
    seen = 0

    def catch_up() -> None:
        nonlocal seen
        reached = seen
        for batch in feed.changes(collection.key, EntityKind.FACE, seen):
            assert batch.number > seen
            reached = batch.number
            for key in batch.removed:
                index.pop(key, None)
            index.update(vectors(batch))
        seen = reached

    def write(start: int) -> None:
        for number in range(start, start + 30):
            add(database, collection, number * 2, number * 2 + 1)
            if number % 2:
                remove(database, collection, number * 2)

    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 100, 200)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        catch_up()
    catch_up()
    present = puts(stored, EntityKind.FACE)
    assert index == present
    assert len(present) == 3 * 45
    assert seen == last_number(stored)


def test_embeddings_of_rows_that_are_gone_are_left_out(stored: Stored) -> None:
    database, _ = stored
    add(*stored, 1, 2)
    keys = list(puts(stored, EntityKind.FACE))
    remove(*stored, 2)
    assert DatabaseFeed(database).embeddings(EntityKind.FACE, keys) == {keys[0]: new_face(1).embedding}


def test_a_deleted_collection_takes_no_change(stored: Stored) -> None:
    database, collection = stored
    with database.write() as connection:
        collections.mark_deleted(connection, collection.key)
    with pytest.raises(NotFound):
        add(*stored, 1)


def test_keys_are_never_used_again(stored: Stored) -> None:
    database, collection = stored
    add(*stored, 1, 2)
    keys = list(puts(stored, EntityKind.FACE))
    remove(*stored, 1, 2)
    add(*stored, 3)
    assert min(puts(stored, EntityKind.FACE)) > max(keys)
    with database.write() as connection:
        collections.mark_deleted(connection, collection.key)
        assert collections.remove_some(connection, collection.key, 1000)
        again = collections.insert(connection, name="album", contract=CONTRACT, created_at=1.0)
    assert again.key > collection.key


def test_two_databases_have_two_identities(stored: Stored, tmp_path: Path) -> None:
    database, _ = stored
    other = open_at(tmp_path / "other")
    assert DatabaseFeed(database).store_id() == DatabaseFeed(database).store_id()
    assert DatabaseFeed(database).store_id() != DatabaseFeed(other).store_id()
    other.close()


def test_a_face_comes_back_as_it_was_stored(stored: Stored) -> None:
    database, collection = stored
    add(*stored, 7)
    new = new_face(7)
    with database.read() as connection:
        face = faces.find(connection, collection, [new.face_id])[new.face_id]
    assert (face.face_id, face.image_id, face.external_image_id) == (new.face_id, new.image_id, None)
    assert (face.box, face.confidence, face.model_version, face.user_id) == (new.box, 99.5, "1.0", None)


def pruned(database: Database, collection: Collection, *, keep: int, limit: int = 100) -> int:
    with database.write() as connection:
        return changes.prune(connection, collection.key, keep=keep, limit=limit)


def test_an_index_that_is_behind_what_is_remembered_is_refused_and_a_newer_one_served(stored: Stored) -> None:
    database, collection = stored
    feed = changes.DatabaseFeed(database)
    add(database, collection, *range(10))  # changes 1 to 10
    remove(database, collection, *range(6))  # changes 11 to 16
    assert pruned(database, collection, keep=2) == 4  # 11 to 14
    with pytest.raises(HistoryPruned):
        list(feed.changes(collection.key, EntityKind.FACE, 13))
    (batch,) = feed.changes(collection.key, EntityKind.FACE, 14)
    assert (batch.number, len(batch.removed)) == (16, 2)
    anew = list(feed.changes(collection.key, EntityKind.FACE, 0))
    assert sum(len(batch.keys) for batch in anew) == 4


def test_removals_are_forgotten_in_steps_and_only_the_oldest(stored: Stored) -> None:
    database, collection = stored
    add(database, collection, *range(10))
    remove(database, collection, *range(10))
    assert [pruned(database, collection, keep=3, limit=5) for _ in range(3)] == [5, 2, 0]
    feed = changes.DatabaseFeed(database)
    assert not feed.removed_since(collection.key, EntityKind.FACE, 20)
    assert feed.removed_since(collection.key, EntityKind.FACE, 19)
    assert feed.removed_since(collection.key, EntityKind.FACE, 16)
    assert pruned(database, collection, keep=0) == 3
    assert not feed.removed_since(collection.key, EntityKind.FACE, 20)
    assert feed.removed_since(collection.key, EntityKind.FACE, 19)
