"""Which engine a collection gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_house import open_fake

from facerec.db import Database
from facerec.domain import Collection
from facerec.engine.fake import FakeEngine
from facerec.errors import FacerecError, InvalidImage, ModelMismatch
from facerec.metastore import collections, model_migrations, open_at
from facerec.services.engines import Engines


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_at(tmp_path)
    yield opened
    opened.close()


def made(database: Database, version: str) -> Collection:
    """A collection of another model."""
    contract = FakeEngine(model_version=version).contract
    with database.write() as connection:
        return collections.insert(connection, name=f"of-{version}", contract=contract, created_at=1.0)


def test_a_collection_of_another_model_is_refused_with_what_to_do(database: Database) -> None:
    engines = Engines(FakeEngine(), database)
    assert engines.of(made(database, "1.0")) is engines.default
    with pytest.raises(ModelMismatch, match=r"face model 2.0 of pack fake .*FACEREC_EXTRA_PACKS"):
        engines.of(made(database, "2.0"))


def test_extra_packs_are_opened_when_they_are_needed_and_closed_in_the_end(database: Database) -> None:
    opened: list[str] = []

    def open_pack(pack: str) -> FakeEngine:
        opened.append(pack)
        return open_fake(pack)

    engines = Engines(FakeEngine(), database, extra_packs=["fake@2.0", "fake@3.0"], open_pack=open_pack)
    assert engines.of(made(database, "1.0")) is engines.default
    assert opened == []
    second, third = made(database, "2.0"), made(database, "3.0")
    assert engines.of(second).contract.id == second.contract_id
    assert opened == ["fake@2.0"]
    engine = engines.of(third)
    assert engine.contract.id == third.contract_id
    assert engines.of(second) is engines.of(second)
    assert opened == ["fake@2.0", "fake@3.0"]
    with pytest.raises(ModelMismatch):
        engines.of(made(database, "4.0"))
    engines.close()
    with pytest.raises(FacerecError, match="closed"):
        engine.decode(b"")
    with pytest.raises(InvalidImage):
        engines.default.decode(b"")  # still open: it looks at the bytes


def test_a_migration_names_the_packs_of_both_its_models(database: Database) -> None:
    old = made(database, "2.0")
    with database.write() as connection:
        model_migrations.begin(
            connection,
            old,
            FakeEngine(model_version="3.0").contract,
            old_pack="fake@2.0",
            new_pack="fake@3.0",
            images="album",
            now=2.0,
        )
        present = collections.find(connection, old.name)
        twin = collections.twin_of(connection, present)
    assert twin is not None
    engines = Engines(FakeEngine(), database, open_pack=open_fake)
    assert engines.of(present).contract.model_version == "2.0"
    assert engines.of(twin).contract.model_version == "3.0"
    engines.close()
