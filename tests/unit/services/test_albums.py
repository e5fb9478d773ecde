from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from album_house import BUCKET, AlbumHouse, leased, open_albums
from service_house import picture

from facerec.domain import ImageReference, S3Image, UrlImage
from facerec.errors import (
    AlbumNotFound,
    AlreadyExists,
    DatabaseBusy,
    IdempotencyMismatch,
    InvalidImage,
    InvalidPaginationToken,
    InvalidParameter,
    JobQueueUnavailable,
    NotFound,
    S3Unavailable,
)
from facerec.jobs.base import NewJob, Priority
from facerec.metastore import album_listings
from facerec.metastore import albums as album_rows
from facerec.metastore.items import ItemState
from facerec.services.albums import indexing
from facerec.services.albums.service import IMAGE_JOB, LISTING_JOB, AlbumState
from facerec.services.albums.sources import new_image, parse_source


@pytest.fixture
def albums(tmp_path: Path, database_url: str | None) -> Iterator[AlbumHouse]:
    with open_albums(tmp_path, database_url) as opened:
        yield opened


def counts(albums: AlbumHouse, album_id: str = "wedding") -> tuple[int, int, int, int]:
    """Waiting, done, failed, cancelled."""
    found = albums.albums.progress(album_id).counts
    return tuple(found[state] for state in ItemState)  # type: ignore[return-value]


def test_an_album_is_indexed_and_a_client_finds_its_faces(albums: AlbumHouse) -> None:
    album = albums.albums.create("wedding", title="Ann and Bob")
    albums.bucket.paint("w/1.jpg", "ann", "bob")
    albums.bucket.paint("w/2.jpg", "ann")
    albums.add("wedding", "w/1.jpg", "w/2.jpg")
    assert albums.albums.progress("wedding").state is AlbumState.WORKING
    assert counts(albums) == (2, 0, 0, 0)
    albums.drain()
    progress = albums.albums.progress("wedding")
    assert (progress.state, progress.faces, counts(albums)) == (AlbumState.DONE, 3, (0, 2, 0, 0))
    first, second = albums.albums.images("wedding").items
    assert (first.number, first.source, first.faces, first.attempts) == (1, f"s3://{BUCKET}/w/1.jpg", 2, 1)
    found = albums.house.faces.search_by_image("wedding", picture("ann"), threshold=90)
    assert {(match.face.image_id, match.face.external_image_id) for match in found.matches} == {
        (first.image_id, "w:1.jpg"),
        (second.image_id, "w:2.jpg"),
    }
    assert albums.albums.get("wedding").created_at == album.created_at


def test_each_job_done_twice_changes_nothing(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    for number in range(5):
        albums.bucket.paint(f"w/{number}.jpg", f"guest {number}")
    albums.bucket.page_size = 2
    albums.albums.add_prefix("wedding", BUCKET, "w/")
    albums.drain(times=2)
    assert counts(albums) == (0, 5, 0, 0)
    assert albums.house.collections.describe("wedding").face_count == 5
    (listing,) = albums.albums.progress("wedding").listings
    assert (listing.state, listing.objects, listing.found) == (ItemState.DONE, 5, 5)


def test_the_same_image_added_again_is_one(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann")
    one = albums.image("w/1.jpg")
    assert albums.albums.add("wedding", [one, one]).new == 1
    assert albums.albums.add("wedding", [one]).known == 1
    older = new_image(S3Image(BUCKET, "w/1.jpg", "v1"))
    assert albums.albums.add("wedding", [one, older]).new == 1
    assert albums.albums.get("wedding").images == 2


@pytest.mark.parametrize(
    ("step", "kept", "attempts"),
    [("finish", (1, 0, 0, 0), 2), ("index", (0, 1, 0, 0), 1)],
    ids=["before the commit", "after it"],
)
def test_a_worker_that_dies_leaves_an_image_with_its_faces_or_neither(
    albums: AlbumHouse,
    step: str,
    kept: tuple[int, ...],
    attempts: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann", "bob")
    albums.add("wedding", "w/1.jpg")
    job = leased(IMAGE_JOB, albums.queue.jobs[0].payload)
    target: Any = albums.house.faces if step == "index" else album_rows
    real = getattr(target, step)

    def die(*arguments: Any, **options: Any) -> Any:
        if step == "index":
            real(*arguments, **options)  # all is written, and nobody hears of it
        raise KeyboardInterrupt

    monkeypatch.setattr(target, step, die)
    with pytest.raises(KeyboardInterrupt):
        albums.do(job)
    monkeypatch.setattr(target, step, real)
    assert counts(albums) == kept
    assert albums.house.collections.describe("wedding").face_count == 2 * kept[1]
    albums.do(leased(IMAGE_JOB, job.payload, attempt=2))
    assert counts(albums) == (0, 1, 0, 0)
    assert albums.house.collections.describe("wedding").face_count == 2
    assert albums.albums.images("wedding").items[0].attempts == attempts


def test_faces_that_were_stored_before_the_first_attempt_are_not_stored_again(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann", "bob")
    image = albums.image("w/1.jpg")
    stored = albums.house.faces.index(
        "wedding", S3Image(BUCKET, "w/1.jpg"), external_image_id=image.external_id, max_faces=1
    )
    assert len(stored.indexed) == 1
    albums.add("wedding", "w/1.jpg")
    albums.drain()
    assert counts(albums) == (0, 1, 0, 0)
    assert albums.house.collections.describe("wedding").face_count == 2
    assert albums.albums.images("wedding").items[0].faces == 2


@pytest.mark.parametrize("page_size", [2, 5])
@pytest.mark.parametrize(
    ("rows", "step"),
    [
        (album_rows, "add"),
        (album_listings, "advance"),
        (album_rows.IMAGES, "unqueued"),
        (album_rows.IMAGES, "mark_queued"),
    ],
)
def test_a_worker_that_dies_while_it_lists_leaves_nothing_out(
    albums: AlbumHouse, rows: object, step: str, page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    albums.albums.create("wedding")
    for number in range(3):
        albums.bucket.paint(f"w/{number}.jpg", f"guest {number}")
    albums.bucket.page_size = page_size
    albums.albums.add_prefix("wedding", BUCKET, "w/")
    job = leased(LISTING_JOB, albums.queue.jobs.pop().payload)
    with monkeypatch.context() as patch:
        patch.setattr(rows, step, die)
        with pytest.raises(KeyboardInterrupt):
            albums.do(job)
    albums.do(job)
    albums.drain()
    assert counts(albums) == (0, 3, 0, 0)
    (listing,) = albums.albums.progress("wedding").listings
    assert (listing.state, listing.objects, listing.found) == (ItemState.DONE, 3, 3)


def die(*_arguments: Any, **_options: Any) -> Any:
    raise KeyboardInterrupt


def test_a_call_broken_off_before_it_queued_is_made_good(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann")
    albums.bucket.paint("more/1.jpg", "bob")
    albums.queue.fails = JobQueueUnavailable()
    with pytest.raises(JobQueueUnavailable):
        albums.add("wedding", "w/1.jpg")
    with pytest.raises(JobQueueUnavailable):
        albums.albums.add_prefix("wedding", BUCKET, "more/")
    albums.queue.fails = None
    assert not albums.queue.jobs
    albums.albums.dispatch_all()
    albums.drain()
    assert counts(albums) == (0, 2, 0, 0)
    albums.albums.dispatch_all()
    assert not albums.queue.jobs


def test_the_write_of_an_image_is_announced_while_it_is_looked_at(
    albums: AlbumHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    albums.albums.create("wedding")
    albums.add("wedding", albums.bucket.paint("w/1.jpg", "ann"))
    together, load = albums.house.database._together, albums.bucket.load
    to_come: list[int] = []

    def noted(reference: ImageReference) -> bytes:
        to_come.append(together._to_come)
        return load(reference)

    monkeypatch.setattr(albums.bucket, "load", noted)
    albums.drain()
    assert counts(albums) == (0, 1, 0, 0)
    assert to_come == [1]
    assert together._to_come == together._announced == 0


def test_one_that_dies_while_it_queues_leaves_few_images_with_two_jobs(
    albums: AlbumHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    albums.albums.create("wedding")

    def put(jobs: Sequence[NewJob]) -> None:
        albums.queue.jobs += jobs
        if len(albums.queue.jobs) >= 500:
            die()

    with monkeypatch.context() as patch:
        patch.setattr(albums.queue, "put", put)
        with pytest.raises(KeyboardInterrupt):
            albums.add("wedding", *(f"w/{number}.jpg" for number in range(1000)))
    albums.albums.dispatch_all()
    jobs = Counter(job.payload["image"] for job in albums.queue.jobs)
    assert set(jobs) == set(range(1, 1001))
    assert sum(jobs.values()) <= 1100


def test_images_that_cannot_be_had_or_read_fail_with_the_reason_and_block_no_other(
    albums: AlbumHouse,
) -> None:
    albums.albums.create("wedding")
    albums.bucket.objects["w/text.jpg"] = b"no image"
    albums.bucket.objects["w/away.jpg"] = S3Unavailable()
    albums.bucket.objects["w/poison.jpg"] = InvalidImage("It cannot be decoded.")
    albums.bucket.paint("w/good.jpg", "ann")
    albums.add("wedding", "w/text.jpg", "w/missing.jpg", "w/away.jpg", "w/poison.jpg", "w/good.jpg")
    albums.drain()
    assert counts(albums) == (0, 1, 4, 0)
    failed = albums.albums.images("wedding", state=ItemState.FAILED).items
    assert [each.attempts for each in failed] == [1, 1, indexing.ATTEMPTS, 1]
    assert failed[3].reason == "It cannot be decoded."
    assert all(each.reason for each in failed)
    albums.bucket.paint("w/away.jpg", "bob")
    albums.bucket.paint("w/missing.jpg", "cid")
    assert albums.albums.retry("wedding") == 4
    assert {job.priority for job in albums.queue.jobs} == {Priority.BACKLOG}
    albums.drain()
    assert counts(albums) == (0, 3, 2, 0)


def test_an_image_that_kills_its_workers_fails_in_the_end(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann")
    albums.add("wedding", "w/1.jpg")
    albums.do(leased(IMAGE_JOB, albums.queue.jobs[0].payload, attempt=indexing.ATTEMPTS + 1))
    (image,) = albums.albums.images("wedding").items
    assert (image.state, image.attempts) == (ItemState.FAILED, indexing.ATTEMPTS)
    assert image.reason is not None
    assert "given up" in image.reason


def test_what_may_pass_is_left_to_the_queue(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.objects["w/1.jpg"] = DatabaseBusy()
    albums.add("wedding", "w/1.jpg")
    with pytest.raises(DatabaseBusy):
        albums.do(leased(IMAGE_JOB, albums.queue.jobs[0].payload, attempt=indexing.ATTEMPTS - 1))
    assert counts(albums) == (1, 0, 0, 0)


def test_a_cancelled_album_stops_and_goes_on_when_it_is_retried(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    for number in range(4):
        albums.bucket.paint(f"w/{number}.jpg", f"guest {number}")
    albums.add("wedding", "w/0.jpg", "w/1.jpg", "w/2.jpg")
    albums.albums.add_prefix("wedding", BUCKET, "w/")
    albums.do(leased(IMAGE_JOB, albums.queue.jobs[0].payload))
    assert albums.albums.cancel("wedding") == 2
    albums.drain()
    assert counts(albums) == (0, 1, 0, 2)
    progress = albums.albums.progress("wedding")
    assert progress.state is AlbumState.CANCELLED
    assert progress.listings[0].state is ItemState.CANCELLED
    assert albums.albums.retry("wedding") == 2
    albums.drain()
    assert counts(albums) == (0, 4, 0, 0)


def test_an_image_at_work_when_its_album_is_cancelled_is_done(albums: AlbumHouse) -> None:
    album = albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann")
    albums.add("wedding", "w/1.jpg")
    load = albums.bucket.load

    def cancel_meanwhile(reference: Any) -> bytes:
        albums.albums.cancel("wedding")
        return load(reference)

    albums.bucket.load = cancel_meanwhile  # type: ignore[method-assign]
    albums.drain()
    assert counts(albums) == (0, 1, 0, 0)
    assert album.key == albums.albums.get("wedding").key


def test_a_deleted_album_leaves_nothing_and_its_jobs_do_nothing(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    for number in range(3):
        albums.bucket.paint(f"w/{number}.jpg", f"guest {number}")
    albums.add("wedding", "w/0.jpg", "w/1.jpg")
    albums.albums.add_prefix("wedding", BUCKET, "w/")
    albums.do(leased(IMAGE_JOB, albums.queue.jobs[0].payload))
    albums.albums.delete("wedding")
    with pytest.raises(AlbumNotFound):
        albums.albums.get("wedding")
    with pytest.raises(NotFound):
        albums.house.collections.describe("wedding")
    again = albums.albums.create("wedding")
    albums.drain()
    assert albums.albums.get("wedding") == again
    assert albums.house.collections.describe("wedding").face_count == 0
    with albums.house.database.read() as connection:
        assert album_rows.awaiting_removal(connection) == []


def test_an_album_deleted_and_made_anew_while_an_image_is_at_work_gets_none_of_its_faces(
    albums: AlbumHouse,
) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann")
    albums.add("wedding", "w/1.jpg")
    index = albums.house.faces.index

    def make_anew(*arguments: Any, **options: Any) -> Any:
        albums.albums.delete("wedding")
        albums.house.clock.now += 1
        albums.albums.create("wedding")
        return index(*arguments, **options)

    albums.house.faces.index = make_anew  # type: ignore[method-assign]
    albums.drain()
    assert albums.house.collections.describe("wedding").face_count == 0
    assert counts(albums) == (0, 0, 0, 0)


def test_a_prefix_that_cannot_be_listed_fails_with_the_reason(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.albums.add_prefix("wedding", "elsewhere", "w/")
    albums.albums.add_prefix("wedding", BUCKET, "nothing/")
    albums.drain()
    refused, empty = albums.albums.progress("wedding").listings
    assert (refused.state, refused.reason) == (ItemState.FAILED, "There is no such bucket.")
    assert (empty.state, empty.found) == (ItemState.DONE, 0)


def test_a_prefix_gives_images_alone(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.JPG", "ann")
    albums.bucket.objects |= {"w/": b"", "w/list.csv": b"", "w/x.jpg/": b"", "w/.DS_Store": b""}
    albums.albums.add_prefix("wedding", BUCKET, "w/")
    albums.drain()
    (listing,) = albums.albums.progress("wedding").listings
    assert (listing.objects, listing.found, counts(albums)) == (5, 1, (0, 1, 0, 0))


def test_fresh_uploads_go_before_the_backlog(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    many = [albums.image(f"old/{number}.jpg") for number in range(1001)]
    albums.albums.add("wedding", many)
    albums.add("wedding", "new/1.jpg")
    assert [job.priority for job in albums.queue.jobs] == [Priority.BACKLOG] * 1001 + [Priority.FRESH]


def test_rate_and_time_left_follow_from_the_last_minute(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    for number in range(30):
        albums.bucket.paint(f"{number}.jpg", "ann")
    albums.add("wedding", *(f"{number}.jpg" for number in range(30)))
    for job in albums.queue.jobs[:10]:
        albums.do(leased(IMAGE_JOB, job.payload))
        albums.house.clock.now += 1
    progress = albums.albums.progress("wedding")
    assert (progress.rate, progress.seconds_left) == (1.0, 20.0)
    albums.house.clock.now += 100
    progress = albums.albums.progress("wedding")
    assert (progress.rate, progress.seconds_left) == (0.0, None)


def test_jobs_that_the_queue_has_lost_are_put_again(albums: AlbumHouse) -> None:
    albums.albums.create("wedding")
    albums.bucket.paint("w/1.jpg", "ann")
    albums.add("wedding", "w/1.jpg")
    assert albums.albums.retry("wedding") == 0
    albums.queue.jobs.clear()
    assert albums.albums.retry("wedding") == 1
    albums.drain()
    assert counts(albums) == (0, 1, 0, 0)


def test_creating_is_repeatable_with_a_token_and_refused_for_names_that_are_taken(albums: AlbumHouse) -> None:
    first = albums.albums.create(title="x", client_token="t")
    assert albums.albums.create(title="x", client_token="t") == first
    with pytest.raises(IdempotencyMismatch):
        albums.albums.create(title="y", client_token="t")
    albums.albums.create("wedding")
    albums.house.collections.create("persons")
    for taken in ("wedding", "persons"):
        with pytest.raises(AlreadyExists):
            albums.albums.create(taken)
    with pytest.raises(AlbumNotFound):
        albums.albums.get("persons")


def test_listings_are_paged(albums: AlbumHouse) -> None:
    for name in ("a", "b", "c"):
        albums.albums.create(name)
    page = albums.albums.list(limit=2)
    assert [each.album_id for each in page.items] == ["a", "b"]
    assert [each.album_id for each in albums.albums.list(limit=2, token=page.next_token).items] == ["c"]
    albums.add("a", *(f"{number}.jpg" for number in range(5)))
    images = albums.albums.images("a", limit=3)
    rest = albums.albums.images("a", limit=3, token=images.next_token)
    assert [each.number for each in (*images.items, *rest.items)] == [1, 2, 3, 4, 5]
    assert rest.next_token is None
    with pytest.raises(InvalidPaginationToken):
        albums.albums.images("b", token=images.next_token)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("s3://bucket/a/b c.jpg", S3Image("bucket", "a/b c.jpg")),
        ("s3://bucket/a?b.jpg", S3Image("bucket", "a?b.jpg")),
        ("s3://bucket/a.jpg?versionId=x.y", S3Image("bucket", "a.jpg", "x.y")),
        ("https://host/a.jpg?w=1", UrlImage("https://host/a.jpg?w=1")),
    ],
)
def test_a_source_is_read(text: str, reference: S3Image | UrlImage) -> None:
    assert parse_source(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.jpg",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3://b/a.jpg",
        "ftp://host/a.jpg",
        "file:///etc/passwd",
        "s3://bucket/a\0.jpg",
        f"s3://bucket/{'a' * 1025}",
        f"https://host/{'a' * 2048}",
    ],
)
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_source(text)


def test_external_ids_follow_from_the_source_and_never_meet() -> None:
    assert new_image(S3Image("bucket", "2024/a.jpg")).external_id == "2024:a.jpg"
    spaced, underscored = (new_image(S3Image("bucket", key)).external_id for key in ("a b.jpg", "a_b.jpg"))
    assert spaced != underscored
    assert new_image(UrlImage("https://host/p/%C3%A9.jpg?x")).external_id.startswith("p:_.jpg.")
    with pytest.raises(InvalidParameter):
        new_image(S3Image("bucket", "a.jpg"), "a b")
