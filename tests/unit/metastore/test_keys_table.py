from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import open_database

from facerec.access import AccessKey, KeyKind, RateLimit, Scope
from facerec.db import Database
from facerec.errors import AlreadyExists, NotFound
from facerec.metastore import keys


@pytest.fixture
def database(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    database = open_database(tmp_path, database_url)
    yield database
    database.close()


def stored(access_key_id: str, sealed: bytes, *, label: str = "", created_at: float) -> keys.StoredKey:
    key = AccessKey(access_key_id=access_key_id, label=label, created_at=created_at)
    return keys.StoredKey(key=key, sealed_secret=sealed)


def test_what_a_key_may_do_is_kept(database: Database) -> None:
    key = AccessKey(
        access_key_id="frk_A",
        kind=KeyKind.API,
        scope=Scope.READ,
        collections=("door", "hall-*"),
        rate=RateLimit(600, 60),
        created_at=1.0,
        expires_at=9.5,
    )
    with database.write() as connection:
        keys.insert(connection, keys.StoredKey(key=key, sealed_secret=b"1"))
        assert keys.list_keys(connection) == [key]


def test_a_rotation_keeps_one_secret_from_before(database: Database) -> None:
    with database.write() as connection:
        keys.insert(connection, stored("AK1", b"first", created_at=1.0))
        keys.rotate(connection, "AK1", b"second", until=5.0)
        found = keys.get(connection, "AK1")
        assert (found.sealed_secret, found.previous_secret) == (b"second", b"first")
        assert found.key.previous_until == 5.0
        keys.rotate(connection, "AK1", b"third", until=7.0)
        found = keys.get(connection, "AK1")
        assert (found.sealed_secret, found.previous_secret) == (b"third", b"second")
        with pytest.raises(NotFound, match="AK2"):
            keys.get(connection, "AK2")


def test_a_key_is_found_with_its_sealed_secret(database: Database) -> None:
    with database.write() as connection:
        assert not keys.any_active(connection)
        keys.insert(connection, stored("AK1", b"\0sealed", label="door", created_at=5.0))
        found = keys.find(connection, "AK1")
        assert keys.any_active(connection)
        assert keys.find(connection, "AK2") is None
    assert found is not None
    assert found.key == AccessKey(access_key_id="AK1", label="door", created_at=5.0, revoked_at=None)
    assert found.sealed_secret == b"\0sealed"
    assert "sealed" not in repr(found).replace("sealed_secret", "")


def test_an_id_is_given_once(database: Database) -> None:
    with database.write() as connection:
        keys.insert(connection, stored("AK1", b"1", label="", created_at=1.0))
        with pytest.raises(AlreadyExists, match="AK1"):
            keys.insert(connection, stored("AK1", b"2", label="", created_at=2.0))


def test_a_revoked_key_stays_listed_and_is_not_active(database: Database) -> None:
    with database.write() as connection:
        keys.insert(connection, stored("B", b"1", label="", created_at=2.0))
        keys.insert(connection, stored("A", b"1", label="", created_at=1.0))
        keys.revoke(connection, "A", 10.0)
        keys.revoke(connection, "A", 20.0)
        assert [(key.access_key_id, key.revoked_at) for key in keys.list_keys(connection)] == [
            ("A", 10.0),
            ("B", None),
        ]
        assert keys.any_active(connection)
        keys.revoke(connection, "B", 30.0)
        assert not keys.any_active(connection)
        with pytest.raises(NotFound, match="C"):
            keys.revoke(connection, "C", 1.0)
