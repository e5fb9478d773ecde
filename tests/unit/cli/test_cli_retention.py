"""The commands that remove faces, as a person types them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from command_line import Run, command_line, three_pictures  # noqa: F401 - fixtures

from facerec.metastore import open_at
from facerec.metastore.tables import faces as face_rows


def indexed(facerec: Run, pictures: Path, *options: str) -> list[str]:
    """Index the pictures; ids of the faces, oldest first."""
    facerec("index", pictures, "--collection", "album", "--create", *options)
    listed = facerec("faces", "list", "--collection", "album", "--json").json
    return [face["FaceId"] for face in listed]


def age(data: Path, seconds: int) -> None:
    """Let every face have been stored earlier, and end earlier."""
    database = open_at(data)
    with database.write() as connection:
        connection.execute(
            face_rows.update().values(
                stored_at=face_rows.c.stored_at - seconds, expires_at=face_rows.c.expires_at - seconds
            )
        )
    database.close()


def count(facerec: Run) -> int:
    return int(facerec("collections", "describe", "album", "--json").json["FaceCount"])


def test_faces_end_as_they_were_indexed(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    indexed(facerec, pictures, "--expires-in", "30d")
    age(tmp_path / "data", 29 * 86_400)
    assert count(facerec) == 3
    age(tmp_path / "data", 86_400)
    assert count(facerec) == 0
    assert facerec("expire", "--json").json == {"Removed": {"album": 3}}
    assert "No face is past its time" in facerec("expire", "--collection", "album").out


def test_a_collection_keeps_faces_as_it_is_told(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    indexed(facerec, pictures)
    told = facerec("collections", "retain", "album", "30d")
    assert "keeps its faces for 30d; 3 of them are there" in told.out
    age(tmp_path / "data", 30 * 86_400)
    assert count(facerec) == 0
    assert "until they are deleted; 3" in facerec("collections", "retain", "album", "forever").out
    assert "service's default" in facerec("collections", "retain", "album", "default").out
    wrong = facerec("collections", "retain", "album", "30")
    assert wrong.code == 1
    assert "90s, 15m, 12h, 30d, 8w or forever" in wrong.err


def test_a_face_is_given_an_end(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    first, second, third = indexed(facerec, pictures, "--expires-in", "1d")
    done = facerec("faces", "expire", first, "--collection", "album", "--in", "forever", "--json")
    assert done.json == {"Faces": [{"FaceId": first, "Expires": "never"}], "NotFound": []}
    assert facerec("faces", "expire", second, "--collection", "album", "--in", "default").code == 0
    unknown = facerec("faces", "expire", "nobody", third, "--collection", "album", "--in", "2h")
    assert unknown.code == 1
    assert "nobody is no face of album" in unknown.err
    age(tmp_path / "data", 7200)
    assert [f["FaceId"] for f in facerec("faces", "list", "--collection", "album", "--json").json] == [
        first,
        second,
    ]


def test_the_default_is_a_setting(
    facerec: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(facerec, pictures)
    age(tmp_path / "data", 3600)
    monkeypatch.setenv("FACEREC_FACE_TTL", "1h")
    assert count(facerec) == 0
    monkeypatch.setenv("FACEREC_FACE_TTL", "a while")
    wrong = facerec("expire")
    assert wrong.code == 1
    assert "FACEREC_FACE_TTL" in wrong.err


def test_a_person_is_forgotten_with_a_proof(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    first, second, _ = indexed(facerec, pictures)
    facerec("users", "create", "ann", "--collection", "album")
    facerec("users", "associate", "ann", first, second, "--collection", "album", "--threshold", "0")
    plan = facerec("forget", "ann", "--collection", "album", "--dry-run")
    assert "Would forget the user ann and 2 faces in album" in plan.out
    assert count(facerec) == 3
    report = tmp_path / "proof.json"
    done = facerec("forget", "ann", "--collection", "album", "--report", report, "--yes")
    assert done.code == 0, done.out
    told = json.loads(report.read_text())
    assert told["Confirmed"] is True
    assert [face["FaceId"] for face in told["Deleted"][0]["Faces"]] == [first, second]
    assert (tmp_path / "proof.txt").read_text() == done.out
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("proof.*")} == {0o600}
    assert count(facerec) == 1
    again = facerec("forget", "ann", "--collection", "album", "--yes")
    assert (again.code, "nothing to forget" in again.err) == (1, True)


def test_a_proof_that_cannot_be_written_keeps_from_deleting(
    facerec: Run, pictures: Path, tmp_path: Path
) -> None:
    first, *_ = indexed(facerec, pictures)
    for report in (tmp_path / "no folder" / "proof.json", tmp_path / "there.json"):
        (tmp_path / "there.json").write_text("an earlier proof")
        failed = facerec("forget", "--face-id", first, "--report", report, "--yes")
        assert failed.code == 1
        assert count(facerec) == 3


def test_forgetting_is_asked_about_and_needs_to_know_whom(facerec: Run, pictures: Path) -> None:
    first, *_ = indexed(facerec, pictures)
    assert facerec("forget", "--face-id", first).code == 1  # nobody answers
    assert "either a user, or faces" in facerec("forget", "--yes").err
    assert "either a user, or faces" in facerec("forget", "ann", "--face-id", first, "--yes").err
    assert count(facerec) == 3
    assert facerec("forget", "--external-image-id", "a.png", "--yes", "--json").json["Confirmed"] is True
    assert count(facerec) == 2


def test_cleaning_up_removes_what_belongs_to_nothing(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    indexed(facerec, pictures, "--expires-in", "1d")
    data = tmp_path / "data"
    facerec("collections", "create", "kept")
    age(data, 86_400)
    orphan = data / "indexed" / "99-123.jsonl"
    snapshot = data / "vectors" / "99-face.index"
    part = data / "packs" / "model.zip.part"
    fresh = data / "packs" / "other.zip.part"
    for path in (orphan, snapshot, part, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left over")
    os.utime(part, (time.time() - 2 * 86_400,) * 2)
    looked = facerec("clean", "--dry-run", "--json").json
    found = {item["What"]: item["Count"] for item in looked["Items"] if item["Count"]}
    assert found == {
        "faces past their time": 3,
        "index files of what is gone": 1,
        "journals of collections that are gone": 1,
        "downloads given up": 1,
    }
    assert all(path.exists() for path in (orphan, snapshot, part))
    cleaned = facerec("clean", "--json").json
    assert {item["What"]: item["Count"] for item in cleaned["Items"] if item["Count"]} == found
    assert not any(path.exists() for path in (orphan, snapshot, part))
    assert fresh.exists()
    assert "nothing to clean up" in facerec("clean").out
