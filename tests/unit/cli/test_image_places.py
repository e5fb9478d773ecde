"""Where `--images` says that the image of a face lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from facerec.cli.image_places import open_places
from facerec.domain import BoundingBox, Face, ImageReference, LocalImage, RowKey, S3Image, UrlImage
from facerec.engine.image_ids import image_id_of
from facerec.errors import InvalidParameter, NotFound

IMAGE_ID, FACE_ID = image_id_of(b"anna"), "11111111-2222-3333-4444-555555555555"


def face(external: str | None = "team:anna.jpg", *, source: str | None = None) -> Face:
    return Face(
        key=RowKey(1),
        face_id=FACE_ID,
        image_id=IMAGE_ID,
        external_image_id=external,
        box=BoundingBox(left=0, top=0, width=1, height=1),
        confidence=99.0,
        model_version="1.0",
        user_id=None,
        source=source,
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("s3://album", S3Image("album", "team:anna.jpg")),
        ("s3://album/in/", S3Image("album", "in/team:anna.jpg")),
        ("s3://album/in/{path}", S3Image("album", "in/team/anna.jpg")),
        ("s3://album/{image_id}.jpg", S3Image("album", f"{IMAGE_ID}.jpg")),
        ("https://host/a/{external_image_id}?k=1", UrlImage("https://host/a/team%3Aanna.jpg?k=1")),
        ("http://host/{path}", UrlImage("http://host/team/anna.jpg")),
        ("/photos/{face_id}.png", LocalImage(Path(f"/photos/{FACE_ID}.png"))),
    ],
)
def test_patterns(where: str, expected: ImageReference) -> None:
    assert open_places(where).find(face()) == expected


def test_a_face_without_what_a_pattern_needs_has_no_place() -> None:
    assert open_places("s3://album/{external_image_id}").find(face(None)) is None
    assert open_places("s3://album/{image_id}").find(face(None)) == S3Image("album", IMAGE_ID)


@pytest.mark.parametrize("external", ["..:..:etc:passwd", "..:photos2:a.jpg"])
def test_an_external_id_leads_out_of_no_folder(tmp_path: Path, external: str) -> None:
    (tmp_path / "photos").mkdir()
    assert open_places(f"{tmp_path}/photos/{{path}}").find(face(external)) is None
    inside = open_places(f"{tmp_path}/photos/{{path}}").find(face("a:b.jpg"))
    assert inside == LocalImage(tmp_path / "photos" / "a" / "b.jpg")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("s3://album/{name}", "a pattern takes"),
        ("https://host/a.jpg", "a pattern takes"),
        ("https://me:secret@host/{image_id}", "without a user"),
        ("https://{external_image_id}/a", "the host has to be named"),
        ("/photos/{image_id", "expected '}'"),
    ],
)
def test_patterns_that_are_none(where: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        open_places(where)


def test_where_the_request_said(tmp_path: Path) -> None:
    assert open_places("recorded").find(face(source="s3://album/in/anna.jpg")) == S3Image(
        "album", "in/anna.jpg"
    )
    assert open_places("recorded").find(face()) is None


def test_lists(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("external_image_id,image\nteam:anna.jpg,in/a.jpg\n", encoding="utf-8-sig")
    assert open_places(str(table)).find(face()) == LocalImage(tmp_path / "in" / "a.jpg")
    assert open_places(str(table)).find(face("other")) is None
    lines = tmp_path / "list.jsonl"
    lines.write_text(
        f'{{"image_id": "{IMAGE_ID}", "image": "https://host/a.jpg"}}\n\n'
        f'{{"face_id": "{FACE_ID}", "image": "s3://album/b.jpg"}}\n'
    )
    # The nearest id counts: of the face, of its image, of what the customer calls it.
    assert open_places(str(lines)).find(face()) == S3Image("album", "b.jpg")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "external_image_id,picture\nanna,a.jpg\n", "entry 1 needs image and one of"),
        ("a.csv", "name,image\nanna,a.jpg\n", "entry 1 needs image and one of"),
        ("a.jsonl", '{"image_id": "a", "image": "b"}\n{\n', "line 2 is no JSON"),
        ("a.jsonl", "[]\n", "line 1 is no JSON object"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidParameter, match=reason):
        open_places(str(tmp_path / name))


def test_a_folder_is_known_by_paths_names_stems_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "anna.jpg").write_bytes(b"other")
    (tmp_path / "team" / "renamed.jpg").write_bytes(b"anna")
    places = open_places(str(tmp_path))
    for external in ("team:anna.jpg", "anna.jpg", "anna"):
        assert places.find(face(external)) == LocalImage(tmp_path / "team" / "anna.jpg")
    assert places.find(face("nobody")) == LocalImage(tmp_path / "team" / "renamed.jpg")
    assert places.find(face(None)) == LocalImage(tmp_path / "team" / "renamed.jpg")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "anna.jpg").write_bytes(b"another")
    # A name of two pictures stands for neither.
    assert open_places(str(tmp_path)).find(face("anna.jpg")) == LocalImage(tmp_path / "team" / "renamed.jpg")


def test_what_is_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no such folder"):
        open_places(str(tmp_path / "none"))
    with pytest.raises(NotFound, match="can not be read"):
        open_places(str(tmp_path / "none.csv"))
