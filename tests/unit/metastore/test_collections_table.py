from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from stored import CONTRACT, add, open_stored, remove

from facerec.db import Database
from facerec.domain import Collection
from facerec.errors import AlreadyExists, NotFound
from facerec.metastore import collections
from facerec.metastore.tables import metadata

Stored = tuple[Database, Collection]


@pytest.fixture
def stored(tmp_path: Path, database_url: str | None) -> Iterator[Stored]:
    with open_stored(tmp_path, database_url) as opened:
        yield opened


def test_of_those_who_make_a_collection_at_once_one_does(stored: Stored) -> None:
    database, _ = stored

    def make(_: int) -> bool:
        try:
            with database.write() as connection:
                collections.insert(connection, name="new", contract=CONTRACT, created_at=1.0)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(8))) == 1


def test_a_deleted_collection_is_removed_in_steps_by_several_at_once(stored: Stored) -> None:
    database, collection = stored
    add(database, collection, *range(600))
    remove(database, collection, *range(0, 600, 3))
    with database.write() as connection:
        collections.mark_deleted(connection, collection.key)

    def finish(_: int) -> int:
        steps = 1
        while True:
            with database.write(sweep=True) as connection:
                if collections.remove_some(connection, collection.key, 20):
                    return steps
            steps += 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(finish, range(4))) >= 600 / 20
    with database.read() as connection:
        left = [
            name
            for name in ("collections", "faces", "deletions")
            if connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[name]))
        ]
    assert left == []


def test_a_writer_that_waited_for_a_deletion_finds_nothing(stored: Stored) -> None:
    database, collection = stored

    def late() -> None:
        with database.write() as connection:
            collections.find(connection, collection.name, lock=True)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            collections.find(connection, collection.name, lock=True)
            waiting = pool.submit(late)
            collections.mark_deleted(connection, collection.key)
        with pytest.raises(NotFound):
            waiting.result()
