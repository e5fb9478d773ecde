from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from stored import CONTRACT, add, new_face

from facerec.config import Settings, read_settings
from facerec.db import Database
from facerec.db.sealed import MARK, ValueCipher
from facerec.domain import Collection, EntityKind, QuantizedEmbedding
from facerec.errors import ConfigurationError, Conflict, StorageError
from facerec.metastore import collections, faces, open_metastore, users
from facerec.metastore.changes import DatabaseFeed
from facerec.metastore.sealing import SealedRows, read_cipher
from facerec.metastore.tables import faces as face_table
from facerec.services.encryption import EncryptionService, Rewritten

ONE, TWO = (base64.b64encode(bytes([value]) * 32).decode() for value in (1, 2))


class Store:
    """One database, opened anew with one key or another."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder = folder
        self._url = url

    def settings(self, keys: str | None) -> Settings:
        return read_settings(data_dir=self.folder, database_url=self._url, embedding_key=keys)

    @contextmanager
    def opened(self, keys: str | None) -> Iterator[Database]:
        with closing(open_metastore(self.settings(keys))) as database:
            yield database

    def fill(self, keys: str | None, *numbers: int) -> None:
        """Store faces by number, the first time in a new collection, with a user of the same vector."""
        with self.opened(keys) as database:
            with database.write() as connection:
                if not collections.list_after(connection, 0, 1):
                    album = collections.insert(connection, name="album", contract=CONTRACT, created_at=1.0)
                    users.insert(connection, album, "someone")
                    made = users.find(connection, album, "someone")
                    users.set_aggregate(
                        connection, album, made, face_count=0, aggregate=new_face(0).embedding
                    )
            add(database, found(database), *numbers)


@pytest.fixture
def store(tmp_path: Path, database_url: str | None) -> Store:
    return Store(tmp_path / "data", database_url)


def found(database: Database) -> Collection:
    with database.read() as connection:
        return collections.find(connection, "album")


def read(database: Database) -> list[bytes]:
    """The codes of all faces, as an index reads them."""
    feed = DatabaseFeed(database)
    changes = feed.changes(found(database).key, EntityKind.FACE, 0)
    return [codes for batch in changes for codes in batch.codes]


def stored(database: Database) -> list[bytes]:
    """The codes of all faces as they lie in the database."""
    with database.read() as connection:
        column = sa.type_coerce(face_table.c.codes, sa.LargeBinary)
        return [bytes(value) for value in connection.scalars(sa.select(column).order_by(face_table.c.key))]


def codes(*numbers: int) -> list[bytes]:
    return [new_face(number).embedding.codes for number in numbers]


# --- the cipher


def test_what_is_sealed_opens_by_its_key_alone_and_only_unchanged() -> None:
    first, second = ValueCipher([bytes(32)]), ValueCipher([b"x" * 32])
    sealed = first.seal(b"codes")
    assert sealed[:1] == MARK
    assert b"codes" not in sealed
    assert first.seal(b"codes") != sealed
    assert first.open(sealed) == b"codes"
    assert ValueCipher([b"x" * 32, bytes(32)]).open(sealed) == b"codes"
    assert first.open(b"plain") == b"plain"
    with pytest.raises(ConfigurationError, match=first.first.hex()):
        second.open(sealed)
    for place in range(5, len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(StorageError, match="was changed"):
            first.open(bytes(changed))
    with pytest.raises(StorageError):
        first.open(sealed[:9])


# --- the keys


@pytest.mark.parametrize("text", ["", "short", ONE[:-2], f"{ONE},{ONE}x", "é"])
def test_what_is_no_key_is_refused_and_not_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(text.replace(",", "\n"))
    settings = [read_settings(embedding_key_file=file)]
    if text:
        settings.append(read_settings(embedding_key=text))
    for each in settings:
        with pytest.raises(ConfigurationError, match="32 random bytes in base64") as raised:
            read_cipher(each)
        assert ONE[:-2] not in raised.value.message


def test_keys_come_from_a_file_or_the_environment_and_not_from_both(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# the newest first\n{TWO}\n\n{ONE}\n")
    by_file = read_cipher(read_settings(embedding_key_file=file))
    by_value = read_cipher(read_settings(embedding_key=f"{TWO}, {ONE}"))
    assert by_file is not None
    assert by_value is not None
    assert (by_file.first, by_file.fingerprints) == (by_value.first, by_value.fingerprints)
    assert len(by_file.fingerprints) == 2
    assert read_cipher(read_settings()) is None
    with pytest.raises(ConfigurationError, match="both set"):
        read_cipher(read_settings(embedding_key=ONE, embedding_key_file=file))
    with pytest.raises(ConfigurationError, match="can not be read"):
        read_cipher(read_settings(embedding_key_file=tmp_path / "nowhere"))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no text"):
        read_cipher(read_settings(embedding_key_file=file))
    assert TWO not in repr(read_settings(embedding_key=TWO))


# --- the rows


def test_sealed_embeddings_read_as_they_were(store: Store) -> None:
    store.fill(ONE, 1, 2)
    with store.opened(ONE) as database:
        assert read(database) == codes(1, 2)
        assert all(value[:1] == MARK and len(value) == 8 + 33 for value in stored(database))
        with database.read() as connection:
            faces_there = faces.find(connection, found(database), [new_face(1).face_id])
        (face,) = faces_there.values()
        feed = DatabaseFeed(database)
        assert feed.embeddings(EntityKind.FACE, [face.key]) == {
            face.key: QuantizedEmbedding(codes=codes(1)[0], scale=0.0625)
        }
        (changes,) = feed.changes(found(database).key, EntityKind.USER, 0)
        assert list(changes.codes) == codes(0)


def test_nothing_opens_without_every_key_that_is_needed(store: Store) -> None:
    store.fill(ONE, 1)
    for keys in (None, TWO):
        with pytest.raises(ConfigurationError, match="sealed by keys that are not given"), store.opened(keys):
            pass
    store.fill(f"{TWO},{ONE}", 2)
    for keys in (ONE, TWO):
        with pytest.raises(ConfigurationError, match="sealed by keys that are not given"), store.opened(keys):
            pass
    with store.opened(f"{ONE},{TWO}") as database:
        assert read(database) == codes(1, 2)


def test_what_was_plain_is_sealed_by_one_key_then_by_another_and_opened_again(store: Store) -> None:
    store.fill(None, 1, 2, 3)
    with store.opened(ONE) as database:
        add(database, found(database), 4)
        service = EncryptionService(database)
        assert service.count() == SealedRows(newest=1, older=0, plain=4)
        assert service.seal() == Rewritten(4, erased=True)
        assert service.seal() == Rewritten(0, erased=True)
        assert service.count() == SealedRows(newest=5, older=0, plain=0)
    with store.opened(f"{TWO},{ONE}") as database:
        service = EncryptionService(database)
        assert service.count() == SealedRows(newest=0, older=5, plain=0)
        looked_at: list[int] = []
        assert service.seal(looked_at.append).count == 5
        assert len(looked_at) == 2
    with store.opened(TWO) as database:
        assert read(database) == codes(1, 2, 3, 4)
        assert EncryptionService(database).unseal().count == 5
        assert stored(database) == codes(1, 2, 3, 4)
    with store.opened(None) as database:
        assert read(database) == codes(1, 2, 3, 4)
        with pytest.raises(ConfigurationError, match="No key"):
            EncryptionService(database).seal()


def test_a_process_with_other_keys_does_not_go_unnoticed(store: Store) -> None:
    store.fill(ONE, 1)
    with store.opened(ONE) as behind, store.opened(f"{TWO},{ONE}") as database:
        service = EncryptionService(database)
        tables = iter(["faces", "users"])

        def meanwhile(_looked_at: int) -> None:
            if next(tables) == "users":  # the faces have been done
                add(behind, found(behind), 5)

        with pytest.raises(Conflict, match="1 embeddings were stored in another form"):
            service.seal(meanwhile)
        # Until it is repeated, the old key stays needed.
        with pytest.raises(ConfigurationError), store.opened(TWO):
            pass
        assert service.seal().count == 1
    with store.opened(TWO) as database:
        assert read(database) == codes(1, 5)


def test_a_sealed_face_still_costs_less_than_a_kilobyte(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", None)
    store.fill(ONE, 0)
    size = (store.folder / "facerec.db").stat().st_size
    with store.opened(ONE) as database:
        for start in range(1, 2001, 100):
            with database.write() as connection:
                new = [new_face(number, dimension=512) for number in range(start, start + 100)]
                faces.insert(connection, found(database), new)
    assert ((store.folder / "facerec.db").stat().st_size - size) / 2000 < 830
