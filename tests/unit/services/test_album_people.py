"""People of albums over a real database: found by a job, and what is said about them holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from album_house import BUCKET, AlbumHouse, leased, open_albums
from service_house import open_fake

from facerec.domain import Face, ImageReference, S3Image
from facerec.errors import (
    AlbumNotFound,
    Conflict,
    InvalidPaginationToken,
    InvalidParameter,
    NotFound,
    PersonNotFound,
    VersionConflict,
)
from facerec.metastore.tables import album_people as people_table
from facerec.metastore.tables import album_person_exclusions, album_person_faces
from facerec.services.albums.people import PersonSummary
from facerec.services.albums.placing import PEOPLE_JOB
from facerec.services.model_migration.control import ModelMigrations
from facerec.services.model_migration.looking import FaceFinder
from facerec.services.model_migration.run import MigrationRun


@pytest.fixture
def house(tmp_path: Path, database_url: str | None) -> Iterator[AlbumHouse]:
    with open_albums(tmp_path, database_url) as opened:
        opened.albums.create("party")
        yield opened


def add(house: AlbumHouse, *photos: tuple[str, ...], first: int = 1) -> None:
    """Add photos of these people, each in another variation, and do all jobs."""
    for number, names in enumerate(photos, first):
        house.bucket.paint(f"{number}.png", *names, variation=number)
    house.add("party", *(f"{number}.png" for number in range(first, first + len(photos))))
    house.drain()


def people(house: AlbumHouse, *, hidden: bool = False) -> dict[frozenset[str], PersonSummary]:
    """The people by the photos that they are in."""
    found = house.people.list("party", hidden=hidden).page.items
    made = {photos(house, each.person.person_id): each for each in found}
    assert len(made) == len(found)
    return made


def photos(house: AlbumHouse, person_id: str) -> frozenset[str]:
    found = house.people.photos("party", person_id).items
    prefix = f"s3://{BUCKET}/"
    return frozenset((photo.source or "").removeprefix(prefix).removesuffix(".png") for photo in found)


def names(*texts: str) -> frozenset[frozenset[str]]:
    """Sets of photos, one a person: "12" is those with the numbers 1 and 2."""
    return frozenset(frozenset(text) for text in texts)


def faces_of(house: AlbumHouse, person: PersonSummary, *numbers: str) -> list[str]:
    found = house.people.photos("party", person.person.person_id).items
    wanted = {f"s3://{BUCKET}/{number}.png" for number in numbers}
    return [photo.face.face_id for photo in found if photo.source in wanted]


def rows(house: AlbumHouse) -> tuple[int, int, int]:
    """People, faces of people, and exclusions in the database."""
    tables = (people_table, album_person_faces, album_person_exclusions)
    with house.house.database.read() as connection:
        counted = [connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in tables]
    return counted[0] or 0, counted[1] or 0, counted[2] or 0


def test_people_are_found_when_the_last_photo_is_indexed(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"), ("ann", "cid"), ("ann",), ("bob",))
    found = people(house)
    assert found.keys() == names("123", "14", "2")
    listed = house.people.list("party")
    assert [each.photos for each in listed.page.items] == [3, 2, 1]
    assert not listed.pending
    ann = found[frozenset("123")]
    assert (ann.person.name, ann.person.hidden, ann.person.version) == (None, False, 1)
    bob = found[frozenset("14")]
    assert bob.cover is not None
    assert bob.cover.source == f"s3://{BUCKET}/4.png"  # where his face is largest
    assert bob.cover.face.box.width > 0.4
    assert house.people.get("party", ann.person.person_id) == ann


def test_new_photos_join_and_nobody_gets_another_id(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"), ("cid",))
    before = {each.person.person_id for each in house.people.list("party").page.items}
    add(house, ("ann",), ("dan", "bob"), first=3)
    found = people(house)
    assert found.keys() == names("13", "14", "2", "4")
    assert before < {each.person.person_id for each in found.values()}


def test_an_album_is_pending_until_its_new_faces_have_people(house: AlbumHouse) -> None:
    add(house, ("ann",))
    house.bucket.paint("2.png", "ann", variation=2)
    house.add("party", "2.png")
    job = house.queue.jobs.pop()
    house.do(leased(job.kind, job.payload))
    assert [each.kind for each in house.queue.jobs] == [PEOPLE_JOB]
    assert house.people.list("party").pending
    house.drain()
    assert not house.people.list("party").pending
    assert people(house).keys() == names("12")


def test_what_was_broken_off_before_it_was_asked_for_is_asked_for_later(house: AlbumHouse) -> None:
    add(house, ("ann",))
    house.bucket.paint("2.png", "ann", variation=2)
    house.add("party", "2.png")
    job = house.queue.jobs.pop()
    house.do(leased(job.kind, job.payload))
    house.queue.jobs.clear()  # lost
    house.placing.ask_for_all()
    house.drain()
    assert people(house).keys() == names("12")
    house.placing.ask_for_all()
    assert house.queue.jobs == []


def test_a_name_survives_and_a_person_can_be_hidden(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"), ("ann",))
    ann = people(house)[frozenset("12")].person
    named = house.people.update("party", ann.person_id, name="Ann", version=ann.version)
    assert (named.person.name, named.person.confirmed, named.person.version) == ("Ann", True, ann.version + 1)
    with pytest.raises(VersionConflict):
        house.people.update("party", ann.person_id, name="Anne", version=ann.version)
    house.people.update("party", ann.person_id, hidden=True)
    house.people.regroup("party")
    add(house, ("ann",), first=3)
    assert people(house).keys() == names("1")
    again = people(house, hidden=True)[frozenset("123")].person
    assert (again.person_id, again.name, again.hidden) == (ann.person_id, "Ann", True)
    cleared = house.people.update("party", ann.person_id, name="", hidden=False)
    assert (cleared.person.name, cleared.person.hidden) == (None, False)
    with pytest.raises(InvalidParameter):
        house.people.update("party", ann.person_id, name="x" * 256)


def test_merged_people_stay_one_and_split_ones_two(house: AlbumHouse) -> None:
    add(house, ("ann",), ("ann",), ("anne",), ("bob",))
    found = people(house)
    ann, anne = found[frozenset("12")], found[frozenset("3")]
    house.people.update("party", anne.person.person_id, name="Ann")
    merged = house.people.merge("party", [ann.person.person_id, anne.person.person_id])
    assert (merged.person.person_id, merged.person.name, merged.photos) == (ann.person.person_id, "Ann", 3)
    with pytest.raises(PersonNotFound):
        house.people.get("party", anne.person.person_id)
    house.people.regroup("party")
    add(house, ("ann",), first=5)
    assert people(house).keys() == names("1235", "4")
    split = house.people.split("party", ann.person.person_id, faces_of(house, merged, "1"))
    assert (split.photos, split.person.name) == (1, None)
    house.people.regroup("party")
    house.drain()
    kept, apart = photos(house, ann.person.person_id), photos(house, split.person.person_id)
    assert "2" in kept
    assert "1" in apart
    assert not kept & apart


def test_people_of_one_photo_are_never_merged(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"), ("ann",))
    ids = [each.person.person_id for each in people(house).values()]
    with pytest.raises(Conflict):
        house.people.merge("party", ids)
    assert people(house).keys() == names("12", "1")


def test_twins_in_one_photo_are_two_people(house: AlbumHouse) -> None:
    add(house, ("ann", "ann"), ("ann",))
    assert sorted(each.photos for each in people(house).values()) == [1, 2]


def test_a_face_that_is_not_the_person_never_comes_back(house: AlbumHouse) -> None:
    add(house, ("ann",), ("ann",), ("ann",))
    ann = people(house)[frozenset("123")]
    wrong = faces_of(house, ann, "2")
    house.people.reject("party", ann.person.person_id, wrong)
    assert house.people.list("party").pending
    house.drain()
    assert people(house).keys() == names("13", "2")
    house.people.regroup("party")
    add(house, ("ann",), first=4)
    assert "2" not in photos(house, ann.person.person_id)
    other = next(each for each in people(house).values() if "2" in photos(house, each.person.person_id))
    # ...until somebody says the opposite.
    house.people.merge("party", [ann.person.person_id, other.person.person_id])
    house.people.regroup("party")
    house.drain()
    assert "2" in photos(house, ann.person.person_id)
    assert rows(house)[2] == 0


def test_who_has_no_face_left_is_gone(house: AlbumHouse) -> None:
    add(house, ("ann",), ("bob",))
    ann = people(house)[frozenset("1")]
    house.people.update("party", ann.person.person_id, name="Ann")
    house.people.reject("party", ann.person.person_id, faces_of(house, ann, "1"))
    with pytest.raises(PersonNotFound):
        house.people.get("party", ann.person.person_id)
    house.drain()
    assert people(house).keys() == names("1", "2")
    for person in people(house).values():
        house.house.faces.delete("party", [person.cover.face.face_id] if person.cover else [])
    assert rows(house) == (0, 0, 0)


def test_faces_past_their_time_are_nobodys_at_once(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"))
    ids = [face.face_id for face in house.house.faces.list("party").page.items]
    house.house.ends.set("party", ids, 60)
    assert len(house.people.list("party").page.items) == 2
    house.house.clock.now += 61
    assert house.people.list("party").page.items == ()
    house.house.sweeper.sweep()
    assert rows(house) == (0, 0, 0)


def test_nothing_is_left_of_a_deleted_album(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"), ("ann",))
    ann = people(house)[frozenset("12")]
    house.people.reject("party", ann.person.person_id, faces_of(house, ann, "2"))
    house.albums.delete("party")
    house.drain()
    assert rows(house) == (0, 0, 0)
    with pytest.raises(AlbumNotFound):
        house.people.list("party")


def test_a_deleted_collection_leaves_nobody(house: AlbumHouse) -> None:
    add(house, ("ann",))
    house.house.collections.delete("party")
    assert house.people.list("party").page.items == ()
    assert rows(house)[1] == 0


def test_a_grouping_loses_nothing_that_was_said_meanwhile(
    house: AlbumHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is given while a grouping is at work is kept: the grouping is made again."""
    add(house, ("ann",), ("ann",), ("bob",))
    ann = people(house)[frozenset("12")].person
    grouped = house.placing._group
    calls: list[int] = []

    def slow(*args: object, **named: object) -> object:
        outcome = grouped(*args, **named)  # type: ignore[arg-type]
        if not calls:
            house.people.update("party", ann.person_id, name="Ann")
        calls.append(1)
        return outcome

    monkeypatch.setattr(house.placing, "_group", slow)
    house.people.regroup("party")
    house.drain()
    assert len(calls) == 2
    assert people(house)[frozenset("12")].person.name == "Ann"


def test_changes_at_once_do_not_lose_each_other(house: AlbumHouse) -> None:
    add(house, *[("ann",)] * 6, ("bob",))
    ann, album = people(house)[frozenset("123456")], house.albums.get("party").key
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            if number % 2:
                house.people.split("party", ann.person.person_id, faces_of(house, ann, str(number)))
            else:
                house.placing.place(album, anew=True)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert people(house).keys() == names("1", "3", "5", "246", "7")


def test_people_go_with_the_collection_to_another_model(house: AlbumHouse) -> None:
    add(house, ("ann", "bob"), ("ann",), ("bob",))
    ann = people(house)[frozenset("12")]
    house.people.update("party", ann.person.person_id, name="Ann")
    house.people.reject("party", ann.person.person_id, faces_of(house, ann, "2"))
    house.drain()
    before = people(house).keys()
    assert before == names("1", "2", "13")
    migrate(house, "fake@2.0")
    assert people(house).keys() == before
    house.people.regroup("party")
    house.drain()
    assert people(house).keys() == before
    assert house.people.get("party", ann.person.person_id).person.name == "Ann"
    assert photos(house, ann.person.person_id) == frozenset("1")


def test_pages_hold_everybody_once(house: AlbumHouse) -> None:
    add(house, ("ann", "bob", "cid", "dan"), ("ann", "bob"), ("ann", "eve"))
    seen, token = [], None
    while True:
        found = house.people.list("party", limit=2, token=token).page
        seen += [each.photos for each in found.items]
        token = found.next_token
        if token is None:
            break
    assert seen == [3, 2, 1, 1, 1]
    assert len(house.people.list("party", least=2).page.items) == 2
    page = house.people.list("party", limit=1).page
    with pytest.raises(InvalidPaginationToken):
        house.people.list("party", least=2, token=page.next_token)
    ann = page.items[0].person.person_id
    first = house.people.photos("party", ann, limit=2)
    rest = house.people.photos("party", ann, limit=2, token=first.next_token)
    assert (len(first.items), len(rest.items), rest.next_token) == (2, 1, None)


def test_what_cannot_be_meant_is_refused(house: AlbumHouse) -> None:
    add(house, ("ann",), ("ann",), ("bob",))
    found = people(house)
    ann, bob = found[frozenset("12")], found[frozenset("3")]
    with pytest.raises(Conflict):
        house.people.split("party", ann.person.person_id, faces_of(house, ann, "1", "2"))
    with pytest.raises(Conflict):
        house.people.split("party", ann.person.person_id, faces_of(house, bob, "3"))
    with pytest.raises(Conflict):
        house.people.reject("party", ann.person.person_id, ["no face"])
    with pytest.raises(InvalidParameter):
        house.people.split("party", ann.person.person_id, [])
    with pytest.raises(InvalidParameter):
        house.people.merge("party", [ann.person.person_id] * 2)
    with pytest.raises(PersonNotFound):
        house.people.merge("party", [ann.person.person_id, "nobody"])
    house.albums.create("other")
    with pytest.raises(PersonNotFound):
        house.people.get("other", ann.person.person_id)
    with pytest.raises(NotFound):
        house.people.list("none")


@dataclass
class Photos:
    """Where a migration finds the photos."""

    house: AlbumHouse

    def find(self, face: Face) -> ImageReference | None:
        return S3Image(BUCKET, (face.source or "").removeprefix(f"s3://{BUCKET}/"))

    def load(self, reference: ImageReference) -> bytes:
        return self.house.bucket.load(reference)


def migrate(house: AlbumHouse, pack: str) -> None:
    """Let the album's collection have another model."""
    engine, store, control = open_fake(pack), Photos(house), ModelMigrations(house.house.database)
    control.begin("party", engine.contract, old_pack="fake", new_pack=pack, images="store")
    MigrationRun(house.house.database, FaceFinder(engine, store), store, workers=1).run(
        "party", lambda _: None
    )
    control.finish("party", keep_old=False, leave_failed=False)
