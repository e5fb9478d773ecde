"""From the default pack to SCRFD and MobileFaceNet, on photographs, through boto3."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import numpy as np
import pytest
from commands import facerec
from serving import CREDENTIALS, Server, serving

from facerec.config import read_settings
from facerec.domain import EntityKind
from facerec.engine.base import Floats
from facerec.metastore import changes, collections, faces, open_metastore
from facerec.vectors.quantization import dequantize_batch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.slow

COLLECTION, BUCKET = "people", "album"
PEOPLE = 25
EXACT = {"FACEREC_PRECISION": "f32"}
"""In every process the same arithmetic: what a trial at the start finds faster may differ."""


@pytest.fixture(scope="module")
def album(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two portraits of each of some people of LFW."""
    folder = tmp_path_factory.mktemp("album")
    people: dict[str, list[Path]] = {}
    for path in sorted((shared / "data" / "lfw" / "images").rglob("*.jpg")):
        people.setdefault(path.stem[:-5], []).append(path)
    several = [paths for paths in people.values() if len(paths) > 1][:PEOPLE]
    assert len(several) == PEOPLE
    for paths in several:
        for path in paths[:2]:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def fresh(album: Path, scrfd_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Floats]:
    """Embeddings, by external image id, of the album indexed with the new model alone."""
    data = tmp_path_factory.mktemp("fresh") / "data"
    model = {"MODEL_PATH": str(scrfd_pack), **EXACT}
    indexed = facerec(
        data, "index", album, "--collection", COLLECTION, "--create", "--max-faces", 1, settings=model
    )
    assert indexed.code == 0, indexed.err
    return stored_embeddings(data)


def stored_embeddings(data: Path) -> dict[str, Floats]:
    database = open_metastore(read_settings(data_dir=data))
    with database.read() as connection:
        target = collections.find(connection, COLLECTION)
        found = [face for _, face in faces.list_after(connection, target, 0, 1000)]
        rows = changes.embeddings(connection, EntityKind.FACE, [face.key for face in found])
    database.close()
    vectors = dequantize_batch([rows[face.key] for face in found])
    return {str(face.external_image_id): vector for face, vector in zip(found, vectors, strict=True)}


@pytest.fixture
def s3(s3_url: str) -> Iterator[S3Client]:
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    yield client
    client.close()


def index(server: Server, images: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Index the largest face of each image; face ids by external image id."""
    client = server.client()
    client.create_collection(CollectionId=COLLECTION)
    ids = {}
    for name, image in images.items():
        answer = client.index_faces(
            CollectionId=COLLECTION,
            Image=image,  # type: ignore[arg-type]
            ExternalImageId=name,
            MaxFaces=1,
            QualityFilter="NONE",
        )
        (record,) = answer["FaceRecords"]
        ids[name] = record["Face"]["FaceId"]
    client.close()
    return ids


def listed(server: Server) -> dict[str, str]:
    client = server.client()
    found = client.list_faces(CollectionId=COLLECTION, MaxResults=1000)["Faces"]
    client.close()
    return {face["ExternalImageId"]: face["FaceId"] for face in found}


def check_as_fresh(data: Path, fresh: dict[str, Floats]) -> None:
    """The migrated embeddings are those that indexing gives, and tell people apart as well."""
    migrated = stored_embeddings(data)
    shared_names = sorted(migrated.keys() & fresh.keys())
    assert len(shared_names) >= 2 * PEOPLE - 2
    ours = np.stack([migrated[name] for name in shared_names])
    theirs = np.stack([fresh[name] for name in shared_names])
    assert float((ours * theirs).sum(axis=1).min()) > 0.999
    assert accuracy(shared_names, ours) == accuracy(shared_names, theirs)


def accuracy(names: list[str], vectors: Floats) -> float:
    """Share of all pairs that the best threshold tells right."""
    people = np.array([name.rsplit("_", 1)[0] for name in names])
    rows, columns = np.triu_indices(len(names), 1)
    same = people[rows] == people[columns]
    cosines = (vectors @ vectors.T)[rows, columns]
    thresholds = np.linspace(0, 1, 101)
    # Both kinds of pairs count alike: there are many more of strangers.
    return max(float((cosines[same] >= t).mean() + (cosines[~same] < t).mean()) / 2 for t in thresholds)


def test_from_a_folder_with_faces_indexed_meanwhile(
    album: Path, scrfd_pack: Path, fresh: dict[str, Floats], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    pictures = sorted(album.iterdir())
    early, late = pictures[:-6], pictures[-6:]
    environment = {"MODEL_PATH": "dlib", **EXACT}
    migrate = ("migrate-model", COLLECTION)
    with serving(data, model="dlib", settings=EXACT) as server:
        client = server.client()
        ids = index(server, {path.name: {"Bytes": path.read_bytes()} for path in early})
        plan = facerec(
            data, *migrate, "--plan", "--to", scrfd_pack, "--images", album, "--json", settings=environment
        )
        assert plan.json["Found"] >= len(early) - 1
        done = facerec(data, *migrate, "--to", scrfd_pack, "--images", album, "--json", settings=environment)
        assert done.json["Pending"] == 0
        assert done.json["Done"] >= len(early) - 1
        for path in late:
            answer = client.index_faces(
                CollectionId=COLLECTION,
                Image={"Bytes": path.read_bytes()},
                ExternalImageId=path.name,
                MaxFaces=1,
                QualityFilter="NONE",
            )
            ids[path.name] = answer["FaceRecords"][0]["Face"]["FaceId"]
        gone = early[0].name
        client.delete_faces(CollectionId=COLLECTION, FaceIds=[ids.pop(gone)])

        facerec(data, *migrate, "--share", "50", settings=environment)
        versions = [search(server, path)["FaceModelVersion"] for path in pictures[1:21]]
        assert set(versions) == {"1.0", "9.1"}
        status = facerec(data, *migrate, "--status", "--json", settings=environment).json
        assert status["Compared"] == versions.count("9.1") == status["SameBest"]
        assert (status["Pending"], status["Done"]) == (0, len(ids) - sum(status["Failed"].values()))

        ended = facerec(data, *migrate, "--finish", "--leave-failed", "--json", settings=environment)
        assert ended.json["FaceModelVersion"] == "9.1"
        assert listed(server).items() <= ids.items()
        assert len(listed(server)) >= len(ids) - 1
        # The service still runs the old pack; the collection has its own.
        for path in late:
            best = search(server, path)
            assert best["FaceModelVersion"] == "9.1"
            assert best["FaceMatches"][0]["Face"]["FaceId"] == ids[path.name]
        client.close()
        assert server.stop() == 0
    check_as_fresh(data, fresh)


def search(server: Server, path: Path) -> Any:
    client = server.client()
    found = client.search_faces_by_image(
        CollectionId=COLLECTION, Image={"Bytes": path.read_bytes()}, FaceMatchThreshold=50
    )
    client.close()
    return found


@pytest.mark.parametrize("images", ["recorded", "pattern", "list"])
def test_from_s3(
    album: Path,
    scrfd_pack: Path,
    fresh: dict[str, Floats],
    s3: S3Client,
    s3_url: str,
    tmp_path: Path,
    images: str,
) -> None:
    data = tmp_path / "data"
    settings = {"FACEREC_S3_ENDPOINT_URL": s3_url, **CREDENTIALS, **EXACT}
    s3.create_bucket(Bucket=BUCKET)
    for path in album.iterdir():
        s3.put_object(Bucket=BUCKET, Key=f"in/{path.name}", Body=path.read_bytes())
    lost = sorted(album.iterdir())[3].name
    with serving(data, model="dlib", settings=settings) as server:
        objects = {
            path.name: {"S3Object": {"Bucket": BUCKET, "Name": f"in/{path.name}"}} for path in album.iterdir()
        }
        ids = index(server, objects)
        s3.delete_object(Bucket=BUCKET, Key=f"in/{lost}")
        where = {
            "recorded": "recorded",
            "pattern": f"s3://{BUCKET}/in/{{external_image_id}}",
            "list": str(write_list(tmp_path / "list.csv", ids)),
        }[images]
        command = ("migrate-model", COLLECTION, "--to", scrfd_pack, "--images", where, "--json")
        environment = {"MODEL_PATH": "dlib", **settings}
        done = facerec(data, *command, settings=environment)
        assert done.code == 1
        assert done.json["Failed"]["IMAGE_MISSING"] == 1
        assert [f["ExternalImageId"] for f in done.json["Failures"] if f["Reason"] == "IMAGE_MISSING"] == [
            lost
        ]
        s3.put_object(Bucket=BUCKET, Key=f"in/{lost}", Body=(album / lost).read_bytes())
        again = facerec(data, "migrate-model", COLLECTION, "--retry", "--json", settings=environment)
        assert again.json["Failed"].keys() <= {"FACE_NOT_FOUND"}
        end = facerec(
            data, "migrate-model", COLLECTION, "--finish", "--leave-failed", "--json", settings=environment
        )
        assert end.code == 0, end.err
        assert listed(server).items() <= ids.items()
        assert server.stop() == 0
    check_as_fresh(data, fresh)


def write_list(path: Path, ids: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["face_id", "image"])
        writer.writerows([face_id, f"s3://{BUCKET}/in/{name}"] for name, face_id in ids.items())
    return path
