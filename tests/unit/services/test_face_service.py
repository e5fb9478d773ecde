from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_house import House, open_house, picture

from facerec.domain import AssociationFailure, InlineImage, QualityFilter, Reason
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.errors import (
    FaceNotInCollection,
    InvalidImage,
    InvalidPaginationToken,
    NoFaceInImage,
    NotFound,
    QuotaExceeded,
)
from facerec.services.faces import FaceFailure, IndexResult


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        opened.collections.create("album")
        yield opened


def ids(result: IndexResult) -> list[str]:
    return [record.face.face_id for record in result.indexed]


# --- index -----------------------------------------------------------------------------------------


def test_every_face_of_an_image_is_stored_largest_first(house: House) -> None:
    result = house.faces.index("album", picture("ann", "bob", "eve"), external_image_id="party.jpg")
    areas = [record.detected.box.area for record in result.indexed]
    assert len(areas) == 3
    assert areas == sorted(areas, reverse=True)
    assert result.unindexed == ()
    assert result.model_version == "1.0"
    for record in result.indexed:
        assert record.face.external_image_id == "party.jpg"
        assert record.face.confidence == record.detected.confidence
        assert record.face.box.left == pytest.approx(record.detected.box.left, abs=1e-6)
        assert uuid.UUID(record.face.face_id).version == 5
        assert uuid.UUID(record.face.image_id).version == 5
    assert house.collections.describe("album").face_count == 3
    assert house.faces.list("album").page.items == tuple(record.face for record in result.indexed)


def test_the_same_image_and_external_id_store_nothing_new(house: House) -> None:
    first = house.faces.index("album", picture("ann", "bob"), external_image_id="1")
    again = house.faces.index("album", picture("ann", "bob"), external_image_id="1")
    assert again == first
    assert house.collections.describe("album").face_count == 2
    assert house.collections.describe("album").change_number == 2


def test_a_repeat_that_asks_for_more_faces_stores_the_missing_ones_alone(house: House) -> None:
    first = house.faces.index("album", picture("ann", "bob"), external_image_id="1", max_faces=1)
    again = house.faces.index("album", picture("ann", "bob"), external_image_id="1")
    assert ids(again)[0] == ids(first)[0]
    assert house.collections.describe("album").face_count == 2


def test_a_face_that_was_deleted_is_stored_again(house: House) -> None:
    first = house.faces.index("album", picture("ann", "bob"), external_image_id="1")
    house.faces.delete("album", ids(first)[:1])
    again = house.faces.index("album", picture("ann", "bob"), external_image_id="1")
    assert again.indexed[1] == first.indexed[1]
    assert house.collections.describe("album").face_count == 2


def test_without_external_id_a_repeat_has_the_same_image_id_and_new_face_ids(house: House) -> None:
    first = house.faces.index("album", picture("ann", "bob"))
    again = house.faces.index("album", picture("ann", "bob"))
    assert {r.face.image_id for r in again.indexed} == {r.face.image_id for r in first.indexed}
    assert not set(ids(again)) & set(ids(first))
    assert house.collections.describe("album").face_count == 4


def test_another_external_id_or_image_gives_other_faces(house: House) -> None:
    first = house.faces.index("album", picture("ann"), external_image_id="1")
    named = house.faces.index("album", picture("ann"), external_image_id="2")
    other = house.faces.index("album", picture("ann", variation=1), external_image_id="1")
    assert len({*ids(first), *ids(named), *ids(other)}) == 3
    assert named.indexed[0].face.image_id == first.indexed[0].face.image_id
    assert other.indexed[0].face.image_id != first.indexed[0].face.image_id


@pytest.mark.parametrize("external", ["1", None])
def test_one_image_has_the_same_face_ids_in_every_collection_of_a_model(
    house: House, tmp_path: Path, external: str | None
) -> None:
    first = house.faces.index("album", picture("ann", "bob"), external_image_id=external)
    house.collections.create("other")
    assert ids(house.faces.index("other", picture("ann", "bob"), external_image_id=external)) == ids(first)
    with open_house(tmp_path / "elsewhere", engine=FakeEngine(model_version="2.0")) as newer:
        newer.collections.create("album")
        renewed = newer.faces.index("album", picture("ann", "bob"), external_image_id=external)
    assert not set(ids(renewed)) & set(ids(first))


def test_an_image_without_a_face_is_no_error(house: House) -> None:
    result = house.faces.index("album", picture())
    assert (result.indexed, result.unindexed) == ((), ())


def test_faces_of_low_quality_are_left_out_with_their_reasons(house: House) -> None:
    faces = ("ann", FakeFace("bob", dim=True), FakeFace("eve", turned=True, uncertain=True))
    result = house.faces.index("album", picture(*faces))
    assert len(result.indexed) == 1
    reasons = {reason for face in result.unindexed for reason in face.reasons}
    assert [len(face.reasons) for face in result.unindexed] == [1, 2]
    assert reasons == {Reason.LOW_BRIGHTNESS, Reason.EXTREME_POSE, Reason.LOW_CONFIDENCE}
    everything = house.faces.index("album", picture(*faces), quality_filter=QualityFilter.NONE)
    assert len(everything.indexed) == 3


def test_max_faces_keeps_the_largest(house: House) -> None:
    result = house.faces.index("album", picture("ann", "bob", "eve"), max_faces=2)
    assert [face.reasons for face in result.unindexed] == [(Reason.EXCEEDS_MAX_FACES,)]
    assert result.unindexed[0].detected.box.area < min(r.detected.box.area for r in result.indexed)
    assert house.collections.describe("album").face_count == 2


def test_max_faces_drops_low_quality_before_size_even_without_a_filter(house: House) -> None:
    faces = (FakeFace("ann", dim=True), "bob", "eve")
    result = house.faces.index("album", picture(*faces), max_faces=2, quality_filter=QualityFilter.NONE)
    assert [face.reasons for face in result.unindexed] == [(Reason.EXCEEDS_MAX_FACES,)]
    assert result.unindexed[0].detected.quality.brightness < 10
    assert result.unindexed[0].detected.box.area > max(r.detected.box.area for r in result.indexed)


def test_attributes_are_answered_when_asked_for(house: House) -> None:
    plain = house.faces.index("album", picture("ann"))
    asked = house.faces.index("album", picture("ann"), attributes=frozenset({"gender"}))
    assert plain.indexed[0].detected.attributes.gender is None
    assert asked.indexed[0].detected.attributes.gender is not None


def test_a_full_collection_takes_no_more_and_stays_as_it_was(tmp_path: Path) -> None:
    with open_house(tmp_path, max_faces=3) as house:
        house.collections.create("album")
        house.faces.index("album", picture("ann", "bob"), external_image_id="1")
        with pytest.raises(QuotaExceeded, match="holds 2 faces, and 2 more would exceed the limit of 3"):
            house.faces.index("album", picture("eve", "kim"))
        assert house.collections.describe("album").face_count == 2
        house.faces.index("album", picture("ann", "bob"), external_image_id="1")
        house.faces.index("album", picture("eve"))
        assert house.collections.describe("album").face_count == 3


def test_a_missing_collection_is_noticed_before_the_image(house: House) -> None:
    with pytest.raises(NotFound):
        house.faces.index("nowhere", InlineImage(b"no image"))
    with pytest.raises(InvalidImage):
        house.faces.index("album", InlineImage(b"no image"))


# --- list and delete -------------------------------------------------------------------------------


def test_faces_are_listed_in_pages_that_changes_do_not_disturb(house: House) -> None:
    stored = [ids(house.faces.index("album", picture(f"p{n}")))[0] for n in range(6)]
    first = house.faces.list("album", limit=2)
    assert [face.face_id for face in first.page.items] == stored[:2]
    house.faces.delete("album", [stored[1], stored[2]])
    new = ids(house.faces.index("album", picture("new")))
    rest = []
    token = first.page.next_token
    while token is not None:
        assert len(token) <= 255
        page = house.faces.list("album", limit=2, token=token).page
        rest += [face.face_id for face in page.items]
        token = page.next_token
    assert rest == stored[3:] + new


def test_faces_are_listed_by_user_and_by_id(house: House) -> None:
    a, b, c = (ids(house.faces.index("album", picture(name)))[0] for name in ("ann", "bob", "eve"))
    house.people.create("album", "u")
    house.people.associate("album", "u", [a, b], threshold=0)

    def listed(**filters: object) -> list[str]:
        return [face.face_id for face in house.faces.list("album", **filters).page.items]  # type: ignore[arg-type]

    assert listed(user_id="u") == [a, b]
    assert listed(user_id="nobody") == []
    assert listed(face_ids=[c, a, str(uuid.uuid4()), "no id"]) == [a, c]
    assert listed(user_id="u", face_ids=[c, b]) == [b]
    page = house.faces.list("album", user_id="u", limit=1).page
    assert [face.face_id for face in page.items] == [a]
    last = house.faces.list("album", user_id="u", limit=1, token=page.next_token).page
    assert ([face.face_id for face in last.items], last.next_token) == ([b], None)


def test_a_page_token_serves_its_own_listing_alone(house: House) -> None:
    stored = [ids(house.faces.index("album", picture(f"p{n}")))[0] for n in range(3)]
    house.collections.create("other")
    token = house.faces.list("album", limit=1).page.next_token
    assert token is not None
    for use in (
        lambda: house.faces.list("other", token=token),
        lambda: house.faces.list("album", token=token, user_id="u"),
        lambda: house.faces.list("album", token=token, face_ids=stored),
        lambda: house.people.list("album", token=token),
        lambda: house.collections.list(token=token),
        lambda: house.faces.list("album", token=token[:-2] + ("AA" if token[-2:] != "AA" else "BB")),
        lambda: house.faces.list("album", token="ä"),
        lambda: house.faces.list("album", token=""),
    ):
        with pytest.raises(InvalidPaginationToken):
            use()


def test_faces_are_deleted_and_the_others_are_told_apart(house: House) -> None:
    a, b, c = (ids(house.faces.index("album", picture(name)))[0] for name in ("ann", "bob", "eve"))
    unknown = str(uuid.uuid4())
    house.people.create("album", "u")
    house.people.associate("album", "u", [b])
    result = house.faces.delete("album", [a, b, unknown, a])
    assert result.deleted == (a,)
    assert result.failures == (
        FaceFailure(face_id=b, user_id="u", reasons=(AssociationFailure.ASSOCIATED_TO_AN_EXISTING_USER,)),
        FaceFailure(face_id=unknown, reasons=(AssociationFailure.FACE_NOT_FOUND,)),
    )
    assert [face.face_id for face in house.faces.list("album").page.items] == [b, c]
    assert house.collections.describe("album").face_count == 2
    with pytest.raises(FaceNotInCollection):
        house.faces.search("album", a)


def test_a_face_of_another_collection_is_not_deleted(house: House) -> None:
    (a,) = ids(house.faces.index("album", picture("ann")))
    house.collections.create("other")
    assert house.faces.delete("other", [a]).deleted == ()
    assert house.collections.describe("album").face_count == 1


# --- search ----------------------------------------------------------------------------------------


def test_a_stored_face_finds_the_others_of_its_person_and_not_itself(house: House) -> None:
    first, second, third = (ids(house.faces.index("album", picture("ann", variation=n)))[0] for n in range(3))
    house.faces.index("album", picture("bob"))
    result = house.faces.search("album", first)
    assert {match.face.face_id for match in result.matches} == {second, third}
    assert result.matches[0].similarity >= result.matches[1].similarity > 80
    assert all(0.9 < match.cosine <= 1 for match in result.matches)
    assert (result.model_version, result.probe) == ("1.0", None)
    assert len(house.faces.search("album", first, limit=1).matches) == 1
    assert len(house.faces.search("album", first, threshold=0).matches) == 3
    assert house.faces.search("album", first, threshold=100).matches == ()


def test_copies_of_a_face_are_found_and_the_limit_is_met_without_itself(house: House) -> None:
    (a,) = ids(house.faces.index("album", picture("ann")))
    (copy,) = ids(house.faces.index("album", picture("ann")))
    assert [m.face.face_id for m in house.faces.search("album", copy, limit=1).matches] == [a]


@pytest.mark.parametrize("face_id", ["5d0b0f5c-6f0e-4c5e-9f0a-0d8b7c6a5e4f", "no id", ""])
def test_a_face_that_is_not_there_is_a_wrong_parameter(house: House, face_id: str) -> None:
    with pytest.raises(FaceNotInCollection, match=r"^faceId was not found in the collection\.$"):
        house.faces.search("album", face_id)


def test_an_image_is_searched_by_its_largest_face(house: House) -> None:
    (a,) = ids(house.faces.index("album", picture("ann")))
    house.faces.index("album", picture("bob"))
    house.people.create("album", "u")
    house.people.associate("album", "u", [a])
    result = house.faces.search_by_image("album", picture("ann", "bob", variation=1))
    assert [(match.face.face_id, match.face.user_id) for match in result.matches] == [(a, "u")]
    assert result.probe is not None
    assert result.probe.box.area > 0.1


def test_a_search_needs_a_face_that_passes(house: House) -> None:
    with pytest.raises(NoFaceInImage):
        house.faces.search_by_image("album", picture())
    hidden = InlineImage(draw(FakeFace("ann", dim=True), "bob"))
    assert house.faces.search_by_image("album", hidden).matches == ()
    with pytest.raises(NoFaceInImage):
        house.faces.search_by_image("album", hidden, quality_filter=QualityFilter.AUTO)


def test_a_search_sees_what_was_stored_and_deleted_just_before(house: House) -> None:
    for number in range(5):
        (stored,) = ids(house.faces.index("album", picture("ann", variation=number)))
        found = house.faces.search_by_image("album", picture("ann", variation=99))
        assert stored in {match.face.face_id for match in found.matches}
        assert len(found.matches) == 1
        house.faces.delete("album", [stored])
        assert house.faces.search_by_image("album", picture("ann")).matches == ()
