"""An album of real pictures in S3: everybody in it finds exactly the photos they are in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from album_house import ListedQueue, leased

from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.domain import InlineImage
from facerec.images.loader import open_sources
from facerec.jobs.base import JobQueue
from facerec.services.albums.indexing import AlbumIndexing
from facerec.services.albums.searching import AlbumSearch
from facerec.services.albums.service import IMAGE_JOB, AlbumService, AlbumState
from facerec.services.engines import Engines

BUCKET = "lfw"
PEOPLE = ("Tony_Blair", "Silvio_Berlusconi", "David_Beckham", "Pervez_Musharraf")
PHOTOS = 10
"""Of each person; one more is the selfie."""


@pytest.fixture(scope="module")
def pictures(shared: Path) -> dict[str, list[Path]]:
    folder = shared / "data" / "lfw" / "images"
    return {name: sorted(folder.glob(f"{name}_*.jpg"))[: PHOTOS + 1] for name in PEOPLE}


@pytest.fixture(scope="module")
def service(
    scrfd_pack: Path, s3_url: str, pictures: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3: Any = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        for photos in pictures.values():
            for photo in photos[1:]:
                s3.put_object(Bucket=BUCKET, Key=f"party/{photo.name}", Body=photo.read_bytes())
        settings = read_settings(
            model_path=str(scrfd_pack), data_dir=tmp_path_factory.mktemp("data"), s3_endpoint_url=s3_url
        )
        with open_service(settings) as opened:
            yield opened


def test_each_guest_finds_exactly_the_photos_they_are_in(
    service: Service, pictures: dict[str, list[Path]]
) -> None:
    images, objects = open_sources(service.settings)
    engines, queue = Engines(service.engine, service.database), ListedQueue()
    albums = AlbumService(service.database, service.vectors, engines, cast(JobQueue, queue))
    work = AlbumIndexing(service.database, albums, service.faces, objects)
    albums.create("party")
    albums.add_prefix("party", BUCKET, "party/")
    while queue.jobs:
        job = queue.jobs.pop(0)
        (work.index_image if job.kind == IMAGE_JOB else work.list_prefix)(leased(job.kind, job.payload))
    progress = albums.progress("party")
    assert (progress.state, progress.album.images) == (AlbumState.DONE, PHOTOS * len(PEOPLE))
    assert progress.faces >= PHOTOS * len(PEOPLE)
    search = AlbumSearch(service.database, service.vectors, engines, images)
    for photos in pictures.values():
        found = search.search(InlineImage(photos[0].read_bytes()), ["party"], threshold=80).photos
        assert {photo.source for photo in found} == {
            f"s3://{BUCKET}/party/{photo.name}" for photo in photos[1:]
        }
