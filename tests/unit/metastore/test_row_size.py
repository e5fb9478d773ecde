from __future__ import annotations

from pathlib import Path

import pytest
from stored import new_face, open_stored

from facerec.metastore import faces

FACES = 3000


@pytest.mark.parametrize(("dimension", "limit"), [(128, 350), (512, 800)])
def test_a_face_costs_less_than_a_kilobyte_on_disk(tmp_path: Path, dimension: int, limit: int) -> None:
    with open_stored(tmp_path) as (database, collection):
        database.close()
        empty = (tmp_path / "facerec.db").stat().st_size
        for start in range(0, FACES, 100):
            with database.write() as connection:
                new = [new_face(number, dimension=dimension) for number in range(start, start + 100)]
                faces.insert(connection, collection, new)
    assert ((tmp_path / "facerec.db").stat().st_size - empty) / FACES < limit
