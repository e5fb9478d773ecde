"""Who is in an album of real pictures: found without being told anybody, in whatever order photos arrive."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from album_house import ListedQueue, leased

from facerec.bootstrap import open_service
from facerec.cli.pairs import FaceChoice, embed_images
from facerec.clustering.grouping import group_faces
from facerec.clustering.limits import limits_of
from facerec.config import read_settings
from facerec.engine.packs.loading import open_engine
from facerec.images.loader import open_sources
from facerec.jobs.base import JobQueue
from facerec.services.albums.uploading import Upload
from facerec.services.albums.use_cases import AlbumUseCases, album_use_cases
from facerec.services.engines import Engines
from facerec.services.retention.lifetimes import Lifetimes

House = tuple[AlbumUseCases, ListedQueue]
MOST = 8
"""Pictures of one person."""


def pictures(shared: Path, least: int) -> list[Path]:
    """Pictures of the people who have so many at least, of each at most 8, in a random order."""
    of: dict[str, list[Path]] = {}
    for path in sorted((shared / "data" / "lfw" / "images").glob("*.jpg")):
        of.setdefault(name(path.name), []).append(path)
    found = [path for paths in of.values() if len(paths) >= least for path in paths[:MOST]]
    return [found[at] for at in np.random.default_rng(0).permutation(len(found))]


def name(picture: str) -> str:
    return picture.rpartition("_")[0]


def f1(found: list[int], names: list[str]) -> float:
    """Of pairs that were put together, and of those that belong together."""
    groups, people = np.array(found), np.unique(names, return_inverse=True)[1]
    said, right = (labels[:, None] == labels for labels in (groups, people))
    np.fill_diagonal(said, val=False)
    np.fill_diagonal(right, val=False)
    return float(2 * (said & right).sum() / (said.sum() + right.sum()))


@pytest.fixture(scope="module")
def house(scrfd_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The use cases of albums, and the queue of their jobs."""
    settings = read_settings(model_path=str(scrfd_pack), data_dir=tmp_path_factory.mktemp("data"))
    with open_service(settings) as service:
        images, objects = open_sources(settings)
        queue = ListedQueue()
        albums = album_use_cases(
            service.database,
            service.vectors,
            Engines(service.engine, service.database),
            service.faces,
            images,
            objects,
            cast(JobQueue, queue),
            Lifetimes(),
            service.audit,
        )
        yield albums, queue


def upload(house: House, album: str, paths: list[Path]) -> None:
    """Add photos, and have people found."""
    albums, queue = house
    albums.uploads.add(album, [Upload(path.name, path.read_bytes()) for path in paths])
    while queue.jobs:
        job = queue.jobs.pop(0)
        albums.placing.work(leased(job.kind, job.payload))


def people(house: House, album: str) -> list[list[str]]:
    """The names of the photos of each person, those in most photos first."""
    albums, _ = house
    listed = albums.people.list(album, limit=1000)
    assert not listed.pending
    found = [
        albums.people.photos(album, each.person.person_id, limit=1000).items for each in listed.page.items
    ]
    return [[(photo.source or "").removeprefix("upload:") for photo in photos] for photos in found]


def test_people_are_found_whose_photos_arrive_bit_by_bit(house: House, shared: Path) -> None:
    """Were early people kept as they are, it would be 0.92."""
    photos = pictures(shared, 6)
    house[0].service.create("bits")
    for start in range(0, len(photos), 80):
        upload(house, "bits", photos[start : start + 80])
    # Others stand behind some: who a picture is named after is the one of them who is in most photos.
    person = {photo: rank for rank, of in reversed(list(enumerate(people(house, "bits")))) for photo in of}
    assert len(person) == len(photos)
    assert f1(list(person.values()), [name(photo) for photo in person]) > 0.97


def test_nobody_is_twice_in_a_group_picture(house: House, shared: Path) -> None:
    folder = shared / "data" / "photos"
    with (folder / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    house[0].service.create("groups")
    upload(house, "groups", [folder / row["image"] for row in rows])
    found = people(house, "groups")
    for photos in found:
        assert len(set(photos)) == len(photos)
    faces = [photo for photos in found for photo in photos]
    assert all(faces.count(row["image"]) > 1 for row in rows if int(row["faces"]) > 1)
    for who in ("A", "B"):
        own = {row["image"] for row in rows if row["person"] == who}
        assert sum(own <= set(photos) for photos in found) == 1


def test_the_default_pack_tells_people_apart(shared: Path) -> None:
    photos = pictures(shared, 8)
    settings = read_settings(model_path="dlib")
    engine = open_engine(settings)
    try:
        names = [path.name for path in photos]
        embedded = embed_images(engine, photos[0].parent, names, FaceChoice.CENTRE, settings.threads)
        limits = limits_of(engine.calibration.cosine, len(photos))
    finally:
        engine.close()
    assert embedded.found.all()
    found = group_faces(embedded.vectors, np.arange(len(photos)), limits)
    assert f1(found.tolist(), [name(photo) for photo in names]) > 0.95
