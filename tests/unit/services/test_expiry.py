"""Faces past their time are never answered, whenever they are swept; users are made of what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from service_house import House, open_house, picture

from facerec.domain import FOREVER, AssociationFailure, EntityKind, UserStatus
from facerec.errors import FaceNotInCollection, HistoryPruned, InvalidParameter
from facerec.metastore import leases
from facerec.metastore.changes import DatabaseFeed
from facerec.metastore.tables import faces as face_rows
from facerec.services.retention import sweeping
from facerec.vectors.embedded import EmbeddedStore

DAY = 86_400


@pytest.fixture
def house(tmp_path: Path, database_url: str | None) -> Iterator[House]:
    with open_house(tmp_path, database_url=database_url) as opened:
        opened.collections.create("album")
        yield opened


def index(house: House, *people: str, expires_in: int | None = None, variation: int = 0) -> list[str]:
    image = picture(*people, variation=variation)
    return [f.face.face_id for f in house.faces.index("album", image, expires_in=expires_in).indexed]


def names(house: House, person: str) -> set[str]:
    found = house.faces.search_by_image("album", picture(person, variation=9), threshold=0)
    return {match.face.face_id for match in found.matches}


def rows(house: House) -> int:
    with house.database.read() as connection:
        return len(connection.execute(face_rows.select()).all())


def test_a_face_past_its_time_is_answered_by_nothing(house: House) -> None:
    (ann,) = index(house, "ann", expires_in=DAY)
    (ben,) = index(house, "ben")
    house.clock.now += DAY - 1
    assert names(house, "ann") == {ann, ben}
    house.clock.now += 1
    assert names(house, "ann") == {ben}
    assert [face.face_id for face in house.faces.list("album").page.items] == [ben]
    assert house.faces.list("album", face_ids=[ann]).page.items == ()
    assert house.collections.describe("album").face_count == 1
    assert [match.face.face_id for match in house.faces.search("album", ben, threshold=0).matches] == []
    with pytest.raises(FaceNotInCollection):
        house.faces.search("album", ann)
    with pytest.raises(FaceNotInCollection):
        house.people.search("album", face_id=ann)
    assert house.faces.delete("album", [ann]).failures[0].reasons == (AssociationFailure.FACE_NOT_FOUND,)
    assert rows(house) == 2  # and yet it is not swept


def test_a_collection_keeps_faces_for_a_time_that_may_change(house: House) -> None:
    index(house, "ann")
    house.clock.now += 10 * DAY
    index(house, "ben")
    house.collections.retain("album", 5 * DAY)
    assert house.collections.describe("album").face_count == 1
    house.collections.retain("album", FOREVER)
    assert house.collections.describe("album").face_count == 2
    assert house.collections.tags("album") == {"facerec:face-ttl": "forever"}
    house.collections.retain("album", None)
    assert house.collections.tags("album") == {}


def test_an_end_of_its_own_outweighs_the_collections(house: House) -> None:
    (short,) = index(house, "ann", expires_in=DAY)
    (kept,) = index(house, "ben", expires_in=FOREVER)
    (plain,) = index(house, "cid")
    house.collections.retain("album", 2 * DAY)
    house.clock.now += DAY
    assert names(house, "ann") == {kept, plain}
    house.clock.now += DAY
    assert names(house, "ann") == {kept}
    assert house.ends.set("album", [kept, short], DAY).not_found == (short,)
    house.clock.now += DAY
    assert names(house, "ann") == set()
    assert house.sweeper.expire() == {"album": 3}


def test_a_face_can_be_given_back_to_its_collections_time(house: House) -> None:
    (ann,) = index(house, "ann", expires_in=DAY)
    (changed,) = house.ends.set("album", [ann], None).faces
    assert changed.expires_at is None
    house.clock.now += 2 * DAY
    assert names(house, "ann") == {ann}


def test_the_services_default_is_for_collections_that_say_nothing(tmp_path: Path) -> None:
    with open_house(tmp_path, default_ttl=DAY) as house:
        house.collections.create("album")
        house.collections.create("archive", {"facerec:face-ttl": "forever"})
        for name in ("album", "archive"):
            house.faces.index(name, picture("ann"))
        house.clock.now += DAY
        assert house.sweeper.expire() == {"album": 1}
        assert house.collections.describe("archive").face_count == 1


def test_an_image_is_indexed_anew_when_its_faces_have_ended(house: House) -> None:
    first = house.faces.index("album", picture("ann"), external_image_id="x", expires_in=DAY)
    again = house.faces.index("album", picture("ann"), external_image_id="x", expires_in=5 * DAY)
    assert again.indexed[0].face.face_id == first.indexed[0].face.face_id
    house.clock.now += DAY  # the second call stored nothing, and the face ends when it would have
    anew = house.faces.index("album", picture("ann"), external_image_id="x")
    assert anew.indexed[0].face.face_id != first.indexed[0].face.face_id
    assert names(house, "ann") == {anew.indexed[0].face.face_id}


def test_more_faces_past_their_time_than_are_asked_for_hide_no_other(house: House) -> None:
    for variation in range(30):
        index(house, "ann", expires_in=DAY, variation=variation)
    (ben,) = index(house, "ben")
    house.clock.now += DAY
    found = house.faces.search_by_image("album", picture("ann"), threshold=0, limit=1)
    assert [match.face.face_id for match in found.matches] == [ben]


@pytest.mark.parametrize("matching", ["average", "best"])
def test_a_user_is_made_of_the_faces_that_have_not_ended(tmp_path: Path, matching: str) -> None:
    with open_house(tmp_path, matching="best" if matching == "best" else "average") as house:
        house.collections.create("album")
        ended, kept = index(house, "ann", expires_in=DAY) + index(house, "ben")
        house.people.create("album", "mix")
        house.people.associate("album", "mix", [ended, kept], threshold=0)
        before = house.people.search_by_image("album", picture("ann"), threshold=0).matches[0].similarity
        house.clock.now += DAY
        (match,) = house.people.search_by_image("album", picture("ann"), threshold=0).matches
        assert match.similarity < before - 20
        (exact,) = house.people.search_by_image("album", picture("ben"), threshold=90).matches
        assert exact.user.user_id == "mix"


@pytest.mark.parametrize("matching", ["average", "best"])
def test_a_user_whose_faces_have_all_ended_resembles_nobody(tmp_path: Path, matching: str) -> None:
    with open_house(tmp_path, matching="best" if matching == "best" else "average") as house:
        house.collections.create("album")
        face_ids = index(house, "ann", expires_in=DAY)
        house.people.create("album", "ann")
        house.people.associate("album", "ann", face_ids)
        house.clock.now += DAY
        assert house.people.list("album").items[0].status is UserStatus.CREATED
        assert house.people.search_by_image("album", picture("ann"), threshold=0).matches == ()
        assert house.people.search("album", user_id="ann", threshold=0).matches == ()


def test_sweeping_takes_the_aggregate_with_the_last_face(house: House) -> None:
    first, second = index(house, "ann", expires_in=DAY) + index(house, "ann", expires_in=2 * DAY, variation=1)
    house.people.create("album", "ann")
    house.people.associate("album", "ann", [first, second])
    house.clock.now += DAY
    assert house.sweeper.expire() == {"album": 1}
    assert [user.face_count for user in house.people.list("album").items] == [1]
    house.clock.now += DAY
    assert house.sweeper.expire("album") == {"album": 1}
    (user,) = house.people.list("album").items
    assert (user.face_count, user.status) == (0, UserStatus.CREATED)
    assert house.people.search_by_image("album", picture("ann"), threshold=0).matches == ()


def test_sweeping_goes_in_steps_and_one_process_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "FACES_A_STEP", 2)
    for variation in range(5):
        index(house, "ann", expires_in=DAY, variation=variation)
    house.clock.now += DAY
    with house.database.write() as connection:
        assert leases.take(connection, sweeping.LEASE, "another", 60)
    assert house.sweeper.sweep() is None
    assert rows(house) == 5
    with house.database.write() as connection:
        leases.give_back(connection, sweeping.LEASE, "another")
    swept = house.sweeper.sweep()
    assert swept is not None
    assert swept.faces == 5
    assert rows(house) == 0
    with house.database.read() as connection:
        assert leases.find(connection, sweeping.LEASE) is None


@pytest.mark.parametrize(
    "tags", [{"facerec:face-ttl": "a month"}, {"facerec:face-ttl": "0d"}, {"facerec:ttl": "30d"}]
)
def test_reserved_tags_are_understood_or_refused(house: House, tags: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter, match="facerec:face-ttl"):
        house.collections.tag("album", tags)
    with pytest.raises(InvalidParameter, match="facerec:face-ttl"):
        house.collections.create("another", tags)
    assert house.collections.tags("album") == {}
    assert [found.name for found in house.collections.list().items] == ["album"]


def test_old_removals_are_forgotten_and_a_snapshot_from_before_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "TOMBSTONES_KEPT", 3)
    with open_house(tmp_path) as house:
        house.collections.create("album")
        for variation in range(12):
            index(house, "ann", variation=variation)
        feed = DatabaseFeed(house.database)
        album = house.collections.describe("album")
        probe = np.eye(1, album.dimension, dtype=np.float32)
        store = EmbeddedStore(tmp_path / "old", feed, snapshot_from=5)
        assert len(store.search(album, EntityKind.FACE, probe, limit=50, min_cosine=-1)[0]) == 12
        store.close()
        (snapshot,) = (tmp_path / "old").iterdir()
        listed = [face.face_id for face in house.faces.list("album").page.items]
        house.faces.delete("album", listed[:8])
        swept = house.sweeper.sweep()
        assert swept is not None
        assert swept.tombstones == 5
        album = house.collections.describe("album")
        with pytest.raises(HistoryPruned):
            list(feed.changes(album.key, EntityKind.FACE, 12))
        store = EmbeddedStore(tmp_path / "old", feed, snapshot_from=5)
        (hits,) = store.search(album, EntityKind.FACE, probe, limit=50, min_cosine=-1)
        assert len(hits) == 4
        assert store.verify(album, EntityKind.FACE) == []
        assert not snapshot.exists()
        store.close()
        house.clock.now += 60
        again = house.sweeper.sweep()  # the next look at them is an hour later
        assert again is not None
        assert again.tombstones == 0
