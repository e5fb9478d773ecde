"""A service killed at any instant: what it answered is there, the rest wholly or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service_house import open_house, picture

from facerec.metastore import collections, faces

PROGRAM = """
import sys
from pathlib import Path
from service_house import open_house, picture

with open_house(Path(sys.argv[1]), max_faces=100_000) as house:
    house.collections.create("album")
    for number in range(100_000):
        indexed = house.faces.index("album", picture("ann", "bob", variation=number), external_image_id="1")
        print(number, *(record.face.face_id for record in indexed.indexed), flush=True)
"""


def test_a_killed_service_has_kept_all_that_it_answered(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    ) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline().split() for _ in range(12)]
        process.kill()
        answered += [line.split() for line in process.stdout if line.endswith("\n")]
    with open_house(tmp_path) as house:
        with house.database.read() as connection:
            collection = collections.find(connection, "album")
            rows = [face for _, face in faces.list_after(connection, collection, 0, 1_000_000)]
        stored = {face.face_id for face in rows}
        assert len(rows) == len(stored) == collection.face_count == collection.change_number
        assert len(rows) in (2 * len(answered), 2 * len(answered) + 2)
        for number, *face_ids in answered:
            assert stored.issuperset(face_ids)
            again = house.faces.index(
                "album", picture("ann", "bob", variation=int(number)), external_image_id="1"
            )
            assert [record.face.face_id for record in again.indexed] == face_ids
        assert house.collections.describe("album").face_count == len(rows)
        matches = house.faces.search_by_image("album", picture("bob"), limit=4096).matches
        assert len(matches) == len(rows) // 2
