"""An album of real pictures in S3: everybody in it finds exactly the photos they are in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
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
from facerec.services.albums.placing import PEOPLE_JOB
from facerec.services.albums.service import IMAGE_JOB, LISTING_JOB, AlbumState
from facerec.services.albums.use_cases import AlbumUseCases, album_use_cases
from facerec.services.engines import Engines
from facerec.services.retention.lifetimes import Lifetimes

BUCKET = "lfw"
PEOPLE = ("Tony_Blair", "Silvio_Berlusconi", "David_Beckham", "Pervez_Musharraf", "Hugo_Chavez")
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


@pytest.fixture(scope="module")
def albums(service: Service) -> AlbumUseCases:
    """With the album "party", of which every photo is indexed and every face has a person."""
    images, objects = open_sources(service.settings)
    engines, queue = Engines(service.engine, service.database), ListedQueue()
    made = album_use_cases(
        service.database,
        service.vectors,
        engines,
        service.faces,
        images,
        objects,
        cast(JobQueue, queue),
        Lifetimes(),
        service.audit,
    )
    work = {
        IMAGE_JOB: made.indexing.index_image,
        LISTING_JOB: made.indexing.list_prefix,
        PEOPLE_JOB: made.placing.work,
    }
    made.service.create("party")
    made.service.add_prefix("party", BUCKET, "party/")
    while queue.jobs:
        job = queue.jobs.pop(0)
        work[job.kind](leased(job.kind, job.payload))
    return made


def test_each_guest_finds_exactly_the_photos_they_are_in(
    albums: AlbumUseCases, pictures: dict[str, list[Path]]
) -> None:
    progress = albums.service.progress("party")
    assert (progress.state, progress.album.images) == (AlbumState.DONE, PHOTOS * len(PEOPLE))
    assert progress.faces >= PHOTOS * len(PEOPLE)
    for photos in pictures.values():
        found = albums.search.search(InlineImage(photos[0].read_bytes()), ["party"], threshold=80).photos
        assert {photo.source for photo in found} == {
            f"s3://{BUCKET}/party/{photo.name}" for photo in photos[1:]
        }


def test_the_album_knows_who_is_in_it(albums: AlbumUseCases) -> None:
    """Without being told anybody: who is who is compared with the names of the pictures, pair by pair."""
    people = albums.people.list("party", limit=1000)
    assert not people.pending
    numbers = [summary.photos for summary in people.page.items]
    assert numbers == sorted(numbers, reverse=True)
    of_picture: dict[str, list[int]] = {}
    for rank, summary in enumerate(people.page.items):
        photos = albums.people.photos("party", summary.person.person_id).items
        sources = [photo.source or "" for photo in photos]
        assert len(set(sources)) == len(sources) == summary.photos  # no photo with one person twice
        for source in sources:
            of_picture.setdefault(source, []).append(rank)
    assert len(of_picture) == PHOTOS * len(PEOPLE)
    # Others stand behind some: who a picture is named after is the one of them who is in most photos.
    guessed = {source: min(ranks) for source, ranks in of_picture.items()}
    named = {source: source.rpartition("/")[2].rpartition("_")[0] for source in guessed}
    pairs = list(combinations(sorted(guessed), 2))
    found = {(one, other) for one, other in pairs if guessed[one] == guessed[other]}
    true = {(one, other) for one, other in pairs if named[one] == named[other]}
    assert 2 * len(found & true) / (len(found) + len(true)) > 0.97
