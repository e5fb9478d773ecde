"""`facerec albums` and `facerec import-images`: filled, followed and searched from the command line."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from command_line import Run, command_line, three_pictures  # noqa: F401  (fixtures)

from facerec.engine.fake import draw


@pytest.fixture
def bucket(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with two photos and a file that is none."""
    for name, value in {
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"cli-{abs(hash(tmp_path))}"
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket=name)
    for person in ("ann", "ben"):
        s3.put_object(Bucket=name, Key=f"day/{person}.png", Body=draw(person))
    s3.put_object(Bucket=name, Key="day/notes.txt", Body=b"none")
    return name


def test_a_folder_fills_an_album_once_and_is_searched(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    assert facerec("albums", "list").out == "There are no albums.\n"
    assert facerec("albums", "create", "party", "--title", "Ann's", "--json").json["AlbumId"] == "party"
    (pictures / "bad.png").write_bytes(b"no picture")
    for _ in range(2):
        added = facerec("albums", "add", "party", pictures, "--json")
        assert added.code == 1
        assert "bad.png" in added.err
        assert (added.json["Done"], added.json["Faces"], added.json["State"]) == (3, 3, "DONE")
    assert facerec("albums", "list", "--json").json == [{"AlbumId": "party", "Title": "Ann's", "Images": 3}]
    selfie = tmp_path / "selfie.png"
    selfie.write_bytes(draw("ben", variation=1))
    photos = facerec("albums", "search", selfie, "--album", "party", "--json").json["Photos"]
    assert [photo["Source"] for photo in photos] == ["upload:b.png"]
    assert "upload:b.png" in facerec("albums", "search", selfie).out
    assert facerec("albums", "delete", "party", "--yes").code == 0
    assert facerec("albums", "show", "party").code == 1
    assert "in no photo" in facerec("albums", "search", selfie).out


def test_a_prefix_is_queued_cancelled_retried_and_waited_for(facerec: Run, bucket: str) -> None:
    facerec("albums", "create", "day")
    queued = facerec("albums", "add", "day", f"s3://{bucket}/day/ann.png", "--json")
    assert queued.code == 0
    assert "facerec worker" in queued.err
    assert (queued.json["Waiting"], queued.json["State"]) == (1, "WORKING")
    assert facerec("albums", "cancel", "day", "--json").json["Cancelled"] == 1
    assert facerec("albums", "show", "day", "--json").json["State"] == "CANCELLED"
    retried = facerec("albums", "retry", "day", "--wait", "--json")
    assert (retried.code, retried.json["Done"]) == (0, 1)
    done = facerec("albums", "add", "day", f"s3://{bucket}/day", "--prefix", "--wait", "--json")
    assert (done.code, done.json["Done"], done.json["Faces"]) == (0, 2, 2)
    shown = facerec("albums", "show", "day", "--follow")
    assert "DONE, 2 images" in shown.out


def test_images_of_a_manifest_are_imported_and_failures_named(
    facerec: Run, bucket: str, tmp_path: Path
) -> None:
    facerec("collections", "create", "guests")
    manifest = tmp_path / "photos.csv"
    lines = ["source,external_id", f"s3://{bucket}/day/ann.png,ann", f"s3://{bucket}/day/none.png,none"]
    manifest.write_text("\n".join(lines))
    done = facerec("import-images", manifest, "--collection", "guests", "--wait", "--json")
    assert (done.code, done.json["Done"], done.json["Failed"]) == (1, 1, 1)
    assert [failure["Source"] for failure in done.json["Failures"]] == [f"s3://{bucket}/day/none.png"]
    assert done.json["CollectionId"] == "guests"
    assert facerec("collections", "describe", "guests", "--json").json["FaceCount"] == 1


@pytest.mark.parametrize("place", ["nowhere", "s3://x/key", "s3://!!/"])
def test_what_names_no_image_is_refused(facerec: Run, place: str) -> None:
    facerec("albums", "create", "party")
    refused = facerec("albums", "add", "party", place)
    assert (refused.code, refused.err.count("\n")) == (1, 1)


def test_a_manifest_of_another_name_is_refused(facerec: Run, tmp_path: Path) -> None:
    facerec("collections", "create", "guests")
    (tmp_path / "photos.txt").write_text("source\n")
    assert facerec("import-images", tmp_path / "photos.txt", "--collection", "guests").code == 1
    assert facerec("import-images", tmp_path / "none.csv", "--collection", "guests").code == 1
