from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from album_house import BUCKET, AlbumHouse, open_albums

from facerec.domain import S3Image
from facerec.errors import AlbumNotFound, Cancelled, IdempotencyMismatch, InvalidParameter, NotFound
from facerec.metastore.albums import NewEntry
from facerec.metastore.items import ItemState
from facerec.services.albums.importing import ImportService
from facerec.services.albums.manifests import ManifestKind, read_manifest
from facerec.services.albums.service import AlbumState


@pytest.fixture
def albums(tmp_path: Path, database_url: str | None) -> Iterator[AlbumHouse]:
    with open_albums(tmp_path, database_url) as opened:
        opened.house.collections.create("people")
        yield opened


@pytest.fixture
def imports(albums: AlbumHouse) -> ImportService:
    return ImportService(albums.house.database, albums.albums, lifetimes=albums.house.lifetimes)


def manifest(*keys: str) -> Iterator[NewEntry]:
    text = "source\n" + "".join(f"s3://{BUCKET}/{key}\n" for key in keys)
    return read_manifest(io.BytesIO(text.encode()), ManifestKind.CSV)


def test_a_manifest_goes_into_a_collection_and_is_reported_line_by_line(
    albums: AlbumHouse, imports: ImportService
) -> None:
    albums.bucket.paint("1.jpg", "ann", "bob")
    albums.bucket.paint("3.jpg", "ann")
    made = imports.create("people", "upload.csv")
    assert imports.read(made.album_id, manifest("1.jpg", "missing.jpg", "3.jpg", "", "1.jpg")) == 6
    albums.drain()
    report = list(imports.report(made.album_id))
    assert [line.number for line in report] == [2, 3, 4, 5, 6]
    assert [line.image.state.name for line in report] == ["DONE", "FAILED", "DONE", "FAILED", "DONE"]
    assert [len(line.face_ids) for line in report] == [2, 0, 1, 0, 2]
    assert report[0].face_ids == report[4].face_ids
    assert "1 to 1024 bytes" in (report[3].image.reason or "")
    assert albums.house.collections.describe("people").face_count == 3
    assert albums.albums.list().items == ()
    assert [each.album_id for each in imports.list().items] == [made.album_id]


def test_a_manifest_that_broke_off_is_read_again_and_no_entry_twice(
    albums: AlbumHouse, imports: ImportService
) -> None:
    keys = [albums.bucket.paint(f"{number}.jpg", f"guest {number}") for number in range(5)]
    made = imports.create("people", "x.csv", client_token="t")

    def broken() -> Iterator[NewEntry]:
        yield from list(manifest(*keys))[:3]
        raise InvalidParameter("It broke off.")

    with pytest.raises(InvalidParameter):
        imports.read(made.album_id, broken())
    imports.read(made.album_id, list(manifest(*keys))[:2])
    again = imports.create("people", "x.csv", client_token="t")
    assert again.album_id == made.album_id
    imports.read(again.album_id, manifest(*keys))
    assert [line.number for line in imports.report(made.album_id)] == [2, 3, 4, 5, 6]
    albums.drain(times=2)
    assert albums.house.collections.describe("people").face_count == 5
    with pytest.raises(IdempotencyMismatch):
        imports.create("people", "y.csv", client_token="t")


def test_lines_that_name_no_image_are_not_tried_again(albums: AlbumHouse, imports: ImportService) -> None:
    made = imports.create("people", "x.csv")
    imports.read(made.album_id, manifest("", "missing.jpg"))
    albums.drain()
    albums.bucket.paint("missing.jpg", "ann")
    assert albums.albums.retry(made.album_id) == 1
    albums.drain()
    assert [line.image.state for line in imports.report(made.album_id)] == [
        ItemState.FAILED,
        ItemState.DONE,
    ]


def test_a_cancelled_import_takes_no_more(albums: AlbumHouse, imports: ImportService) -> None:
    made = imports.create("people", "x.csv")
    imports.read(made.album_id, manifest("1.jpg"))
    albums.albums.cancel(made.album_id)
    with pytest.raises(Cancelled):
        imports.read(made.album_id, manifest("1.jpg", "2.jpg"))


def test_deleting_an_import_keeps_the_collection(albums: AlbumHouse, imports: ImportService) -> None:
    albums.bucket.paint("1.jpg", "ann")
    made = imports.create("people", "x.csv")
    imports.read(made.album_id, manifest("1.jpg"))
    albums.drain()
    albums.albums.delete(made.album_id)
    assert albums.house.collections.describe("people").face_count == 1
    with pytest.raises(AlbumNotFound):
        imports.report(made.album_id)
    with pytest.raises(NotFound):
        imports.create("nobody", "x.csv")


def test_a_manifest_in_s3_is_read_by_a_job_that_may_come_twice(
    albums: AlbumHouse, imports: ImportService
) -> None:
    albums.bucket.paint("1.jpg", "ann")
    faces = [{"ExternalImageId": "1.jpg", "ImageId": "x"}, {"ExternalImageId": "2.jpg", "ImageId": "y"}]
    albums.bucket.objects["faces.json"] = json.dumps({"Faces": faces}).encode()
    place, template = S3Image(BUCKET, "faces.json"), f"s3://{BUCKET}/{{external_id}}"
    made = imports.create_from("people", place, template=template, client_token="t")
    assert imports.create_from("people", place, template=template, client_token="t") == made
    albums.drain(times=2)
    states = [line.image.state for line in imports.report(made.album_id)]
    assert states == [ItemState.DONE, ItemState.FAILED]
    assert albums.albums.progress(made.album_id).state is AlbumState.DONE
    assert albums.house.collections.describe("people").face_count == 1


@pytest.mark.parametrize("content", [None, b"no header"])
def test_a_manifest_in_s3_that_cannot_be_read_fails_with_the_reason(
    albums: AlbumHouse, imports: ImportService, content: bytes | None
) -> None:
    if content is not None:
        albums.bucket.objects["list.csv"] = content
    made = imports.create_from("people", S3Image(BUCKET, "list.csv"))
    albums.drain()
    (listing,) = albums.albums.progress(made.album_id).listings
    assert (listing.state, bool(listing.reason)) == (ItemState.FAILED, True)
    with pytest.raises(InvalidParameter):
        imports.create_from("people", S3Image(BUCKET, "faces.json"))
