from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from service_house import House, open_house, picture

from facerec.domain import AssociationFailure, EntityKind, QualityFilter, Reason, UserStatus
from facerec.engine.fake import FakeFace
from facerec.errors import (
    Conflict,
    FaceNotInCollection,
    IdempotencyMismatch,
    InvalidPaginationToken,
    InvalidParameter,
    NotFound,
    QuotaExceeded,
)
from facerec.metastore import changes, collections, faces, users
from facerec.services.aggregates import mean_embedding
from facerec.services.faces import FaceFailure
from facerec.vectors.quantization import dequantize, dequantize_batch, quantize

DAY = 24 * 3600


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        opened.collections.create("album")
        yield opened


def index(house: House, *identities: str, variation: int = 0) -> list[str]:
    result = house.faces.index("album", picture(*identities, variation=variation))
    return [record.face.face_id for record in result.indexed]


def failure(face_id: str, reason: AssociationFailure, **more: object) -> FaceFailure:
    return FaceFailure(face_id=face_id, reasons=(reason,), **more)  # type: ignore[arg-type]


def assert_aggregate_is_the_mean(house: House, user_id: str) -> None:
    with house.database.read() as connection:
        collection = collections.find(connection, "album")
        user = users.find(connection, collection, user_id)
        keys = faces.keys_of_user(connection, user.key)
        stored = changes.embeddings(connection, EntityKind.FACE, keys)
        aggregate = changes.embeddings(connection, EntityKind.USER, [user.key]).get(user.key)
    assert user.face_count == len(keys)
    assert user.status == (UserStatus.ACTIVE if keys else UserStatus.CREATED)
    if not keys:
        assert aggregate is None
        return
    assert aggregate is not None
    mean = dequantize_batch([stored[key] for key in keys]).mean(axis=0)
    assert float(dequantize(aggregate) @ (mean / np.linalg.norm(mean))) > 0.999


# --- users -----------------------------------------------------------------------------------------


def test_users_are_made_listed_and_deleted(house: House) -> None:
    for name in ("bob", "ann", "eve"):
        house.people.create("album", name)
    assert [user.user_id for user in house.people.list("album").items] == ["ann", "bob", "eve"]
    assert {user.status for user in house.people.list("album").items} == {UserStatus.CREATED}
    assert house.collections.describe("album").user_count == 3
    house.people.delete("album", "bob")
    assert house.collections.describe("album").user_count == 2
    with pytest.raises(NotFound, match="user id: bob does not exist in the collection: album"):
        house.people.delete("album", "bob")
    with pytest.raises(NotFound):
        house.people.create("nowhere", "ann")


def test_a_user_id_is_taken_once_in_a_collection(house: House) -> None:
    house.people.create("album", "ann")
    with pytest.raises(Conflict, match="user id: ann already exists"):
        house.people.create("album", "ann")
    assert house.collections.describe("album").user_count == 1
    house.collections.create("other")
    house.people.create("other", "ann")


def test_users_are_listed_in_pages_that_changes_do_not_disturb(house: House) -> None:
    names = [f"{letter}{'x' * 127}" for letter in "abcde"]
    for name in names:
        house.people.create("album", name)
    first = house.people.list("album", limit=2)
    assert first.next_token is not None
    assert len(first.next_token) <= 255
    house.people.delete("album", names[1])
    house.people.delete("album", names[2])
    second = house.people.list("album", limit=2, token=first.next_token)
    assert [user.user_id for user in second.items] == names[3:]
    assert second.next_token is None
    house.collections.create("other")
    with pytest.raises(InvalidPaginationToken):
        house.people.list("other", token=first.next_token)


def test_the_faces_of_a_deleted_user_stay_and_are_nobodys(house: House) -> None:
    (face,) = index(house, "ann")
    house.people.create("album", "ann")
    house.people.associate("album", "ann", [face])
    house.people.delete("album", "ann")
    (listed,) = house.faces.list("album").page.items
    assert (listed.face_id, listed.user_id) == (face, None)
    assert house.people.search_by_image("album", picture("ann")).matches == ()
    house.people.create("album", "ann")
    assert house.people.associate("album", "ann", [face]).changed == (face,)


# --- associate and disassociate --------------------------------------------------------------------


def test_a_user_is_the_mean_of_its_faces(house: House) -> None:
    stored = [index(house, "ann", variation=n)[0] for n in range(4)]
    house.people.create("album", "ann")
    assert house.people.associate("album", "ann", stored[:1]).status == UserStatus.ACTIVE
    assert_aggregate_is_the_mean(house, "ann")
    house.people.associate("album", "ann", stored[1:])
    assert_aggregate_is_the_mean(house, "ann")
    assert house.people.disassociate("album", "ann", stored[:2]).changed == tuple(stored[:2])
    assert_aggregate_is_the_mean(house, "ann")
    last = house.people.disassociate("album", "ann", stored)
    assert last.status == UserStatus.CREATED
    assert last.changed == tuple(stored[2:])
    assert last.failures == tuple(failure(face, AssociationFailure.FACE_NOT_FOUND) for face in stored[:2])
    assert_aggregate_is_the_mean(house, "ann")
    assert len(house.faces.delete("album", stored).deleted) == 4


def test_each_face_that_cannot_be_associated_says_why(house: House) -> None:
    mine, fits, far, other = (
        index(house, name, variation=n)[0] for n, name in enumerate(("ann", "ann", "bob", "ann"))
    )
    unknown = str(uuid.uuid4())
    for name in ("ann", "another"):
        house.people.create("album", name)
    house.people.associate("album", "ann", [mine])
    house.people.associate("album", "another", [other])
    result = house.people.associate("album", "ann", [mine, fits, far, other, unknown, fits])
    assert result.changed == (fits,)
    assert result.status == UserStatus.ACTIVE
    low, different, missing = result.failures
    assert (low.face_id, low.user_id, low.reasons) == (far, None, (AssociationFailure.LOW_MATCH_CONFIDENCE,))
    assert low.confidence is not None
    assert 40 < low.confidence < 75
    assert different == failure(other, AssociationFailure.ASSOCIATED_TO_A_DIFFERENT_USER, user_id="another")
    assert missing == failure(unknown, AssociationFailure.FACE_NOT_FOUND)
    assert house.people.associate("album", "ann", [far], threshold=low.confidence - 1).changed == (far,)


def test_the_first_faces_of_a_user_need_not_resemble_each_other(house: House) -> None:
    house.people.create("album", "two")
    faces = index(house, "ann", "bob")
    assert house.people.associate("album", "two", faces, threshold=100).changed == tuple(faces)


def test_a_face_of_another_user_or_of_nobody_is_not_disassociated(house: House) -> None:
    a, b = index(house, "ann", "bob")
    for name in ("ann", "bob"):
        house.people.create("album", name)
    house.people.associate("album", "bob", [b])
    result = house.people.disassociate("album", "ann", [a, b])
    assert (result.changed, result.status) == ((), UserStatus.CREATED)
    assert result.failures == (
        failure(a, AssociationFailure.FACE_NOT_FOUND),
        failure(b, AssociationFailure.ASSOCIATED_TO_A_DIFFERENT_USER, user_id="bob"),
    )


def test_a_user_has_room_for_a_hundred_faces(house: House) -> None:
    stored = [face for n in range(26) for face in index(house, *["ann"] * 4, variation=n)]
    house.people.create("album", "ann")
    house.people.associate("album", "ann", stored[:98])
    result = house.people.associate("album", "ann", stored[96:102])
    assert result.changed == tuple(stored[98:100])
    assert result.failures == (FaceFailure(face_id=stored[100]), FaceFailure(face_id=stored[101]))
    assert house.people.list("album").items[0].face_count == 100
    with pytest.raises(QuotaExceeded, match="has 100 faces"):
        house.people.associate("album", "ann", stored[102:])
    assert house.people.associate("album", "ann", stored[:3]).changed == ()
    assert_aggregate_is_the_mean(house, "ann")


def test_an_unknown_user_has_no_faces_to_change(house: House) -> None:
    for use in (house.people.associate, house.people.disassociate):
        with pytest.raises(NotFound, match="user id: ann"):
            use("album", "ann", [str(uuid.uuid4())])


def test_vectors_that_cancel_each_other_still_have_an_aggregate() -> None:
    vector = np.zeros(8, np.float32)
    vector[0] = 1
    assert mean_embedding([quantize(vector), quantize(-vector)]) == quantize(vector)


# --- client tokens ---------------------------------------------------------------------------------


def test_a_repeated_request_gets_the_same_answer_and_changes_nothing(house: House) -> None:
    (face,) = index(house, "ann")
    unknown = str(uuid.uuid4())
    house.people.create("album", "ann", client_token="1")
    house.people.create("album", "ann", client_token="1")
    first = house.people.associate("album", "ann", [face, unknown], client_token="1")
    number = house.collections.describe("album").change_number
    assert house.people.associate("album", "ann", [face, unknown], client_token="1") == first
    assert first.changed == (face,)
    assert house.collections.describe("album").change_number == number
    gone = house.people.disassociate("album", "ann", [face], client_token="1")
    assert house.people.disassociate("album", "ann", [face], client_token="1") == gone
    assert gone.changed == (face,)
    house.people.delete("album", "ann", client_token="1")
    house.people.delete("album", "ann", client_token="1")
    assert house.collections.describe("album").user_count == 0


def test_a_token_with_other_parameters_is_refused(house: House) -> None:
    (face,) = index(house, "ann")
    house.people.create("album", "ann", client_token="t")
    message = r"^The ClientRequestToken: t you have supplied is already in use\.$"
    with pytest.raises(IdempotencyMismatch, match=message):
        house.people.create("album", "bob", client_token="t")
    house.people.associate("album", "ann", [face], client_token="t")
    with pytest.raises(IdempotencyMismatch, match=message):
        house.people.associate("album", "ann", [face], threshold=80, client_token="t")
    assert [user.user_id for user in house.people.list("album").items] == ["ann"]


def test_a_failed_request_does_not_use_its_token_up(house: House) -> None:
    house.people.create("album", "ann")
    with pytest.raises(Conflict):
        house.people.create("album", "ann", client_token="t")
    house.people.delete("album", "ann")
    house.people.create("album", "ann", client_token="t")
    assert house.collections.describe("album").user_count == 1


def test_a_token_is_forgotten_after_a_day(house: House) -> None:
    house.people.create("album", "ann", client_token="t")
    house.clock.now += DAY - 1
    house.people.create("album", "ann", client_token="t")
    house.clock.now += 1
    with pytest.raises(Conflict):
        house.people.create("album", "ann", client_token="t")
    house.people.create("album", "bob", client_token="t")
    with house.database.read() as connection:
        assert connection.exec_driver_sql("select count(*) from client_tokens").scalar() == 1


# --- search ----------------------------------------------------------------------------------------


def populate(house: House) -> dict[str, str]:
    """Three users of one face each: two pictures of ann, one of bob; the face id of each."""
    found: dict[str, str] = {}
    for user, identity in (("ann1", "ann"), ("ann2", "ann"), ("bob", "bob")):
        (found[user],) = index(house, identity, variation=len(found))
        house.people.create("album", user)
        house.people.associate("album", user, [found[user]])
    return found


def test_a_user_finds_the_users_like_it_and_not_itself(house: House) -> None:
    populate(house)
    result = house.people.search("album", user_id="ann1")
    assert [match.user.user_id for match in result.matches] == ["ann2"]
    assert result.matches[0].similarity > 80
    assert result.model_version == "1.0"
    assert len(house.people.search("album", user_id="ann1", threshold=0).matches) == 2
    assert len(house.people.search("album", user_id="ann1", threshold=0, limit=1).matches) == 1


def test_a_face_finds_its_own_user_first(house: House) -> None:
    stored = populate(house)
    result = house.people.search("album", face_id=stored["ann1"])
    assert [match.user.user_id for match in result.matches] == ["ann1", "ann2"]
    (loose,) = index(house, "bob", variation=9)
    assert [m.user.user_id for m in house.people.search("album", face_id=loose).matches] == ["bob"]


def test_a_user_without_faces_resembles_nobody(house: House) -> None:
    populate(house)
    house.people.create("album", "empty")
    assert house.people.search("album", user_id="empty", threshold=0).matches == ()
    found = house.people.search("album", user_id="bob", threshold=0).matches
    assert {match.user.user_id for match in found} == {"ann1", "ann2"}


def test_a_search_names_one_thing_that_exists(house: House) -> None:
    with pytest.raises(InvalidParameter):
        house.people.search("album")
    with pytest.raises(InvalidParameter):
        house.people.search("album", user_id="ann", face_id=str(uuid.uuid4()))
    with pytest.raises(NotFound):
        house.people.search("album", user_id="ann")
    with pytest.raises(FaceNotInCollection):
        house.people.search("album", face_id=str(uuid.uuid4()))


def test_an_image_finds_users_by_its_largest_face(house: House) -> None:
    populate(house)
    result = house.people.search_by_image("album", picture("ann", "bob", variation=7))
    assert {match.user.user_id for match in result.matches} == {"ann1", "ann2"}
    assert result.searched is not None
    assert [face.reasons for face in result.unsearched] == [(Reason.FACE_NOT_LARGEST,)]
    assert result.unsearched[0].detected.box.area < result.searched.box.area


def test_an_image_without_a_face_to_search_is_no_error(house: House) -> None:
    populate(house)
    empty = house.people.search_by_image("album", picture())
    assert (empty.matches, empty.searched, empty.unsearched) == ((), None, ())
    image = picture(FakeFace("ann", dim=True), "bob")
    result = house.people.search_by_image("album", image, quality_filter=QualityFilter.AUTO)
    assert (result.matches, result.searched) == ((), None)
    assert [face.reasons for face in result.unsearched] == [
        (Reason.LOW_BRIGHTNESS,),
        (Reason.FACE_NOT_LARGEST,),
    ]
