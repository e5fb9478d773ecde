from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_house import House, open_house, picture

from facerec.domain import Face
from facerec.engine.fake import FakeEngine
from facerec.errors import AlreadyExists, InvalidPaginationToken, ModelMismatch, NotFound, QuotaExceeded
from facerec.metastore import collections


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


def test_a_new_collection_is_empty_and_remembers_its_model(house: House) -> None:
    made = house.collections.create("album")
    assert made == house.collections.describe("album")
    assert (made.name, made.face_count, made.user_count, made.change_number) == ("album", 0, 0, 0)
    assert (made.contract_id, made.model_version) == (house.engine.contract.id, "1.0")
    assert made.created_at == house.clock.now


def test_a_name_is_taken_once(house: House) -> None:
    house.collections.create("album")
    with pytest.raises(AlreadyExists, match=r"^The collection id: album already exists$"):
        house.collections.create("album")
    assert house.collections.create("Album").name == "Album"


def test_an_unknown_collection_is_not_found(house: House) -> None:
    for use in (
        house.collections.describe,
        house.collections.delete,
        house.collections.tags,
        house.faces.list,
    ):
        with pytest.raises(NotFound, match=r"^The collection id: nowhere does not exist$"):
            use("nowhere")


def test_a_deleted_collection_takes_its_faces_and_users_with_it(house: House) -> None:
    first = house.collections.create("album", {"colour": "blue"})
    indexed = house.faces.index("album", picture("ann", "bob"), external_image_id="1").indexed
    house.people.create("album", "ann")
    house.people.associate("album", "ann", [indexed[0].face.face_id])
    house.faces.delete("album", [indexed[1].face.face_id])
    house.collections.delete("album")
    with pytest.raises(NotFound):
        house.collections.describe("album")
    again = house.collections.create("album")
    assert again.key > first.key
    assert (again.face_count, again.user_count) == (0, 0)
    assert house.faces.list("album").page.items == ()
    assert house.collections.tags("album") == {}
    with house.database.read() as connection:
        for table in ("faces", "users", "deletions", "tags"):
            assert connection.exec_driver_sql(f"select count(*) from {table}").scalar() == 0


def test_a_deletion_that_was_cut_short_is_finished_later(house: House) -> None:
    made = house.collections.create("album")
    house.faces.index("album", picture("ann"))
    with house.database.write() as connection:
        collections.mark_deleted(connection, made.key)
    assert house.collections.list().items == ()
    house.collections.finish_deletions()
    with house.database.read() as connection:
        assert connection.exec_driver_sql("select count(*) from faces").scalar() == 0
        assert collections.awaiting_removal(connection) == []


def test_a_large_collection_is_removed_in_steps(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facerec.services.collections.REMOVAL_STEP", 3)
    house.collections.create("album")
    for number in range(4):
        house.faces.index("album", picture("ann", "bob", variation=number))
    house.collections.delete("album")
    with house.database.read() as connection:
        assert connection.exec_driver_sql("select count(*) from faces").scalar() == 0
        assert connection.exec_driver_sql("select count(*) from collections").scalar() == 0


def test_collections_are_listed_in_pages(house: House) -> None:
    for number in range(5):
        house.collections.create(f"album{number}")
    first = house.collections.list(limit=2)
    assert [item.name for item in first.items] == ["album0", "album1"]
    house.collections.delete("album1")
    house.collections.delete("album2")
    house.collections.create("album5")
    second = house.collections.list(limit=2, token=first.next_token)
    assert [item.name for item in second.items] == ["album3", "album4"]
    last = house.collections.list(limit=2, token=second.next_token)
    assert [item.name for item in last.items] == ["album5"]
    assert last.next_token is None
    assert len(house.collections.list(limit=0).items) == 4
    with pytest.raises(InvalidPaginationToken, match=r"^Invalid Pagination Token$"):
        house.collections.list(token="another")


def test_tags_are_set_replaced_and_removed(house: House) -> None:
    house.collections.create("album", {"colour": "blue", "size": "1"})
    house.collections.tag("album", {"colour": "red", "empty": ""})
    assert house.collections.tags("album") == {"colour": "red", "empty": "", "size": "1"}
    house.collections.untag("album", ["size", "unknown"])
    assert house.collections.tags("album") == {"colour": "red", "empty": ""}
    house.collections.tag("album", {})
    assert house.collections.tags("album") == {"colour": "red", "empty": ""}


def test_tags_have_a_limit_and_beyond_it_nothing_changes(house: House) -> None:
    house.collections.create("album", {f"tag{number}": "" for number in range(200)})
    house.collections.tag("album", {"tag7": "replaced"})
    with pytest.raises(QuotaExceeded, match="201 tags"):
        house.collections.tag("album", {"tag7": "no", "one more": ""})
    assert house.collections.tags("album")["tag7"] == "replaced"
    with pytest.raises(QuotaExceeded):
        house.collections.create("other", {f"tag{number}": "" for number in range(201)})
    with pytest.raises(NotFound):
        house.collections.describe("other")


def test_another_model_does_not_touch_the_collection_and_says_why(house: House, tmp_path: Path) -> None:
    house.collections.create("album")
    face = house.faces.index("album", picture("ann")).indexed[0].face
    house.people.create("album", "ann")
    with open_house(tmp_path, engine=FakeEngine(model_version="2.0")) as newer:
        refuse_another_model(newer, face)


def refuse_another_model(newer: House, face: Face) -> None:
    uses = (
        lambda: newer.faces.index("album", picture("bob")),
        lambda: newer.faces.search("album", face.face_id),
        lambda: newer.faces.search_by_image("album", picture("ann")),
        lambda: newer.people.associate("album", "ann", [face.face_id]),
        lambda: newer.people.search("album", user_id="ann"),
        lambda: newer.people.search_by_image("album", picture("ann")),
    )
    for use in uses:
        with pytest.raises(ModelMismatch, match=r"face model 1\.0 .* runs 2\.0 .*MODEL_PATH=fake"):
            use()
    assert newer.collections.describe("album").face_count == 1
    assert newer.faces.list("album").page.items == (face,)
    assert newer.faces.delete("album", [face.face_id]).deleted == (face.face_id,)
