"""`facerec migrate-model` with the drawn-face engine: every stage, and what each of them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, command_line  # noqa: F401  (the fixture)

from facerec.engine.fake import draw

OLD, NEW = "fake", "fake@2.0"


@pytest.fixture
def album(tmp_path: Path, facerec: Run) -> Path:
    """Six pictures, indexed: nine faces."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(6):
        names = [f"p{number}"] + ([f"q{number}"] if number % 2 else [])
        (folder / f"{number}.png").write_bytes(draw(*names))
    assert facerec("index", folder, "--collection", "people", "--create").code == 0
    return folder


def faces_of(facerec: Run) -> list[dict[str, Any]]:
    listed = facerec("faces", "list", "--collection", "people", "--json").json
    return sorted(
        (
            {name: face[name] for name in ("FaceId", "ImageId", "ExternalImageId", "BoundingBox")}
            for face in listed
        ),
        key=lambda face: str(face["FaceId"]),
    )


def migrate(facerec: Run, *options: object) -> Any:
    result = facerec("migrate-model", "people", *options, "--json")
    assert result.code == 0, result.err
    return result.json


def test_a_collection_is_planned_run_compared_and_switched(facerec: Run, album: Path) -> None:
    before = faces_of(facerec)
    plan = migrate(facerec, "--plan", "--to", NEW, "--images", album)
    assert (plan["FaceCount"], plan["Found"], plan["WithoutReference"]) == (9, 9, 0)
    assert plan["NewFaceModelVersion"] == "2.0"
    assert plan["FacesPerSecond"] > 0
    assert facerec("migrate-model", "people", "--status").code == 1  # nothing was begun

    done = migrate(facerec, "--to", NEW, "--images", album)
    assert (done["State"], done["Done"], done["Pending"], done["Failed"]) == ("UNDER_WAY", 9, 0, {})
    described = facerec("collections", "describe", "people", "--json").json
    assert described["FaceModelVersion"] == "1.0"
    assert [c["CollectionId"] for c in facerec("collections", "list", "--json").json] == ["people"]

    assert migrate(facerec, "--share", 100)["Share"] == 100
    found = facerec("search", album / "0.png", "--collection", "people", "--json").json["FaceMatches"]
    assert found[0]["Face"]["ExternalImageId"] == "0.png"
    status = migrate(facerec, "--status")
    assert (status["Compared"], status["SameBest"]) == (1, 1)

    end = migrate(facerec, "--finish")
    assert (end["FaceModelVersion"], end["FaceCount"], end["OldKept"]) == ("2.0", 9, False)
    assert faces_of(facerec) == before
    # The service still runs the old pack: the collection names its own.
    found = facerec("search", album / "3.png", "--collection", "people", "--json").json["FaceMatches"]
    assert found[0]["Face"]["ExternalImageId"] == "3.png"
    assert facerec("migrate-model", "people", "--status").code == 1


def test_abort_leaves_everything_as_before(facerec: Run, album: Path) -> None:
    before, described = faces_of(facerec), facerec("collections", "describe", "people", "--json").json
    migrate(facerec, "--to", NEW, "--images", album)
    migrate(facerec, "--abort")
    assert faces_of(facerec) == before
    assert facerec("collections", "describe", "people", "--json").json == described


def test_going_back_after_the_switch(facerec: Run, album: Path) -> None:
    before = faces_of(facerec)
    migrate(facerec, "--to", NEW, "--images", album)
    assert migrate(facerec, "--finish", "--keep-old")["OldKept"] is True
    assert migrate(facerec, "--status")["State"] == "FINISHED"
    back = migrate(facerec, "--abort")
    assert (back["FaceModelVersion"], back["OldKept"]) == ("1.0", False)
    assert faces_of(facerec) == before


def test_the_old_embeddings_are_dropped_at_last(facerec: Run, album: Path) -> None:
    migrate(facerec, "--to", NEW, "--images", album)
    migrate(facerec, "--finish", "--keep-old")
    refused = facerec("migrate-model", "people", "--to", "fake@3.0", "--images", album)
    assert refused.code == 1
    assert "--drop-old" in refused.err
    assert migrate(facerec, "--drop-old")["OldKept"] is False
    # And on to a third model: nothing of the first migration is in the way.
    migrate(facerec, "--to", "fake@3.0", "--images", album)
    assert migrate(facerec, "--finish")["FaceModelVersion"] == "3.0"


def test_missing_images_are_told_retried_and_left(facerec: Run, album: Path) -> None:
    lost = (album / "1.png").read_bytes()
    (album / "1.png").unlink()
    (album / "2.png").write_bytes(draw("p2", variation=5))
    (album / "3.png").write_bytes(b"no picture")
    result = facerec("migrate-model", "people", "--to", NEW, "--images", album, "--json")
    assert result.code == 1
    assert result.json["Failed"] == {"NO_REFERENCE": 2, "IMAGE_CHANGED": 3}
    assert {face["ExternalImageId"] for face in result.json["Failures"]} == {"1.png", "2.png", "3.png"}
    (album / "1.png").write_bytes(lost)
    again = facerec("migrate-model", "people", "--retry", "--accept-changed", "--json")
    assert again.json["Failed"] == {"IMAGE_UNREADABLE": 2}
    assert again.json["Done"] == 7
    refused = facerec("migrate-model", "people", "--finish")
    assert refused.code == 1
    assert "2 faces of the collection id: people could not be migrated" in refused.err
    end = migrate(facerec, "--finish", "--leave-failed", "--keep-old")
    assert end["FaceCount"] == 7
    assert len(migrate(facerec, "--status")["Failures"]) == 2
    assert migrate(facerec, "--abort")["FaceCount"] == 9


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--to", OLD, "--images", "album"), "has the recogniser of pack fake already"),
        (("--to", "nowhere", "--images", "album"), "no model pack or folder nowhere"),
        (("--to", NEW, "--images", "nowhere"), "no such folder"),
        (("--to", NEW, "--images", "s3://album/{name}"), "a pattern takes"),
        (("--to", NEW, "--images", "list.csv"), "can not be read"),
        (("--to", NEW), "on its way to no other model"),
        (("--plan", "--to", NEW), "--plan needs --to and --images"),
        (("--finish",), "on its way to no other model"),
        (("--share", "5"), "on its way to no other model"),
        (("--finish", "--abort"), "one at a time"),
        (("--keep-old",), "go with --finish"),
    ],
)
def test_what_can_not_be_done_is_told(
    facerec: Run, album: Path, options: tuple[str, ...], reason: str
) -> None:
    result = facerec("migrate-model", "people", *options)
    assert result.code == 1
    assert reason in result.err
    assert len(result.err.splitlines()) == 1


def test_another_pack_than_the_one_begun_is_refused(facerec: Run, album: Path) -> None:
    migrate(facerec, "--to", NEW, "--images", album)
    result = facerec("migrate-model", "people", "--to", "fake@3.0", "--images", album)
    assert result.code == 1
    assert "on its way to the pack fake@2.0" in result.err


def test_a_list_names_the_images(facerec: Run, album: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    album.rename(moved)
    listed = tmp_path / "list.jsonl"
    lines = [{"external_image_id": f"{n}.png", "image": f"elsewhere/{n}.png"} for n in range(5)]
    listed.write_text("\n".join(map(json.dumps, lines)))
    result = facerec("migrate-model", "people", "--to", NEW, "--images", listed, "--json")
    assert (result.json["Done"], result.json["Failed"]) == (7, {"NO_REFERENCE": 2})
    missing = facerec("migrate-model", "people", "--images", moved, "--retry", "--json")
    assert (missing.json["Done"], missing.json["Failed"]) == (9, {})
