from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from stored import new_face, open_stored

from facerec.db import Database
from facerec.domain import Collection, NewFace
from facerec.metastore import faces

FACES = 3000


def fill(database: Database, collection: Collection, new: Sequence[NewFace]) -> None:
    for start in range(0, len(new), 100):
        with database.write() as connection:
            faces.insert(connection, collection, new[start : start + 100])


@pytest.mark.parametrize(("dimension", "limit"), [(128, 350), (512, 800)])
def test_a_face_costs_less_than_a_kilobyte_on_disk(tmp_path: Path, dimension: int, limit: int) -> None:
    with open_stored(tmp_path) as (database, collection):
        database.close()
        empty = (tmp_path / "facerec.db").stat().st_size
        fill(database, collection, [new_face(number, dimension=dimension) for number in range(FACES)])
    assert ((tmp_path / "facerec.db").stat().st_size - empty) / FACES < limit


@pytest.mark.parametrize(("dimension", "limit"), [(128, 550), (512, 950)])
def test_a_face_costs_less_than_a_kilobyte_in_postgresql(
    tmp_path: Path, postgres_url: str, dimension: int, limit: int
) -> None:
    """With its indexes, an external image id and an image of its own."""
    with open_stored(tmp_path, postgres_url) as (database, collection):
        new = [
            dataclasses.replace(
                new_face(number, dimension=dimension),
                image_id=new_face(number).face_id,
                external_image_id=f"photo{number:06}.jpg",
            )
            for number in range(FACES)
        ]
        fill(database, collection, new)
        with database.read() as connection:
            size = connection.scalar(sa.select(sa.func.pg_total_relation_size("faces", type_=sa.BigInteger)))
        assert size is not None
        assert size / FACES < limit
