from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_house import House, open_house, picture

from facerec.domain import InlineImage, Review, UserStatus
from facerec.engine.fake import FakeEngine, FakeFace
from facerec.errors import (
    AlreadyEnrolled,
    ImagesDisagree,
    InvalidImage,
    InvalidPaginationToken,
    InvalidParameter,
    MultipleFaces,
    NoFaceInImage,
    PersonExists,
    PersonNotFound,
    PoorQuality,
    QuotaExceeded,
    VersionConflict,
)
from facerec.metastore import collections, model_migrations, users
from facerec.services.registry.values import Enrolment, Unknown


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


def pictures(identity: str, count: int, start: int = 0) -> list[InlineImage]:
    return [picture(identity, variation=number) for number in range(start, start + count)]


def enrol(house: House, identity: str, count: int = 2, **options: object) -> Enrolment:
    return house.registry.register(identity, pictures(identity, count), **options)  # type: ignore[arg-type]


def refusals(enrolment: Enrolment) -> list[type | None]:
    return [None if image.refusal is None else type(image.refusal) for image in enrolment.images]


def test_a_person_is_enrolled_and_known_again(house: House) -> None:
    enrolment = enrol(house, "ann", 3, metadata={"department": "research"})
    assert enrolment.created
    person = enrolment.person
    assert person is not None
    assert (person.embeddings, person.version, person.metadata) == (3, 1, {"department": "research"})
    assert person.created_at is not None
    assert len(person.qualities) == 3
    assert all(0 < quality <= 100 for quality in person.qualities)
    assert house.registry.get("ann") == person
    enrol(house, "bob")
    found = house.registry.verify(picture("ann", variation=77))
    assert (found.person_id, found.unknown) == ("ann", None)
    assert found.cosine is not None
    assert found.cosine > 0.9
    assert found.similarity is not None
    assert found.similarity >= found.threshold
    assert found.confidence is not None
    assert found.confidence > 99


def test_a_stranger_is_an_empty_answer(house: House) -> None:
    assert house.registry.verify(picture("eve")).unknown is Unknown.NOBODY_NEAR  # nobody is enrolled
    enrol(house, "ann")
    found = house.registry.verify(picture("eve"))
    assert (found.person_id, found.similarity, found.cosine, found.confidence) == (None, None, None, None)
    assert found.unknown is Unknown.NOBODY_NEAR


def test_two_who_are_alike_are_nobody(house: House) -> None:
    house.registry.register("ann", pictures("ann", 2))
    house.registry.register("twin", pictures("ann", 2, 10), review=Review.OFF)
    assert house.registry.verify(picture("ann", variation=50)).unknown is Unknown.AMBIGUOUS
    # One to one nobody else is in the way.
    assert house.registry.verify(picture("ann", variation=50), person_id="twin").person_id == "twin"


def test_verifying_one_person(house: House) -> None:
    enrol(house, "ann")
    enrol(house, "bob")
    assert house.registry.verify(picture("ann", variation=9), person_id="ann").person_id == "ann"
    assert house.registry.verify(picture("ann", variation=9), person_id="bob").person_id is None
    with pytest.raises(PersonNotFound):
        house.registry.verify(picture("ann"), person_id="nobody")


def test_a_threshold_may_be_asked_for(house: House) -> None:
    enrol(house, "ann")
    assert house.registry.verify(picture("ann", variation=9), threshold=99.9999).person_id is None
    assert house.registry.verify(picture("ann", variation=9), threshold=50.0).person_id == "ann"


def test_every_image_has_its_own_result_and_the_good_ones_are_taken(house: House) -> None:
    enrolment = house.registry.register(
        "ann",
        [
            picture("ann"),
            picture(FakeFace("ann", blurred=True)),
            picture(),
            InlineImage(b"no image"),
            picture("ann", "bob"),
            picture("ann", variation=5),
        ],
    )
    assert refusals(enrolment) == [None, PoorQuality, NoFaceInImage, InvalidImage, MultipleFaces, None]
    assert [image.face_id is not None for image in enrolment.images] == [True, *[False] * 4, True]
    assert enrolment.person is not None
    assert enrolment.person.embeddings == 2
    assert "hold still" in str(enrolment.images[1].refusal)


def test_where_no_image_is_good_nothing_is_stored(house: House) -> None:
    enrolment = house.registry.register("ann", [picture(FakeFace("ann", dim=True))])
    assert enrolment.person is None
    with pytest.raises(PersonNotFound):
        house.registry.get("ann")


def test_images_have_to_show_one_person(house: House) -> None:
    odd_one = [*pictures("ann", 3), picture("bob")]
    assert refusals(house.registry.register("ann", odd_one)) == [None, None, None, ImagesDisagree]
    nobody = house.registry.register("eve", [picture("eve"), picture("kim")])
    assert refusals(nobody) == [ImagesDisagree, ImagesDisagree]
    # With OFF they may be anybody's.
    assert (
        refusals(house.registry.register("x", [picture("x"), picture("y")], review=Review.OFF)) == [None] * 2
    )


def test_nobody_is_enrolled_twice(house: House) -> None:
    enrol(house, "ann")
    again = house.registry.register("other", pictures("ann", 2, 20))
    assert refusals(again) == [AlreadyEnrolled, AlreadyEnrolled]
    assert {image.other_person for image in again.images} == {"ann"}
    with pytest.raises(PersonExists):
        house.registry.register("ann", pictures("ann", 1, 30))


def test_a_registration_that_is_repeated_gets_the_same_answer(house: House) -> None:
    first = enrol(house, "ann")
    again = enrol(house, "ann")
    assert again.person == first.person
    assert [image.face_id for image in again.images] == [image.face_id for image in first.images]
    assert not again.created


def test_the_same_image_twice_is_one_picture(house: House) -> None:
    enrolment = house.registry.register("ann", [picture("ann"), picture("ann")])
    assert enrolment.person is not None
    assert enrolment.person.embeddings == 1
    assert len({image.face_id for image in enrolment.images}) == 1


def test_pictures_are_added_and_replaced(house: House) -> None:
    enrol(house, "ann")
    added = house.registry.update("ann", pictures("ann", 1, 10), version=1).person
    assert added is not None
    assert (added.embeddings, added.version) == (3, 2)
    replaced = house.registry.update("ann", pictures("ann", 1, 20), replaces=True).person
    assert replaced is not None
    assert replaced.embeddings == 1
    faces = house.faces.list("persons").page.items
    assert len(faces) == 1
    assert refusals(house.registry.update("ann", [picture("bob")])) == [ImagesDisagree]
    assert house.registry.get("ann") == replaced


def test_metadata_are_changed_alone(house: House) -> None:
    enrol(house, "ann", metadata={"a": 1})
    person = house.registry.update("ann", metadata={"b": [2, None]}).person
    assert person is not None
    assert (person.metadata, person.version, person.embeddings) == ({"b": [2, None]}, 2, 2)
    cleared = house.registry.update("ann", metadata={}).person
    assert cleared is not None
    assert cleared.metadata == {}
    with pytest.raises(InvalidParameter, match="at most 2048"):
        house.registry.update("ann", metadata={"text": "x" * 3000})
    with pytest.raises(InvalidParameter):
        house.registry.update("ann")


def test_a_change_of_an_older_version_is_refused(house: House) -> None:
    enrol(house, "ann")
    house.registry.update("ann", pictures("ann", 1, 10))
    with pytest.raises(VersionConflict, match="version 2"):
        house.registry.update("ann", pictures("ann", 1, 20), version=1)
    with pytest.raises(PersonNotFound):
        house.registry.update("bob", pictures("bob", 1))


def test_deleting_takes_the_faces_along(house: House) -> None:
    enrol(house, "ann")
    enrol(house, "bob")
    assert house.registry.delete("ann").embeddings == 2
    assert {face.user_id for face in house.faces.list("persons").page.items} == {"bob"}
    assert house.registry.verify(picture("ann", variation=9)).person_id is None
    with pytest.raises(PersonNotFound):
        house.registry.delete("ann")


def test_persons_are_listed_in_pages(house: House) -> None:
    assert house.registry.persons().items == ()
    for name in ("cleo", "ann", "bob"):
        enrol(house, name, 1)
    page = house.registry.persons(limit=2)
    assert [person.person_id for person in page.items] == ["ann", "bob"]
    rest = house.registry.persons(limit=2, token=page.next_token)
    assert [person.person_id for person in rest.items] == ["cleo"]
    assert rest.next_token is None
    with pytest.raises(InvalidPaginationToken):
        house.registry.persons(token="forged")


def test_all_faces_of_a_photo(house: House) -> None:
    enrol(house, "ann")
    enrol(house, "bob")
    found = house.registry.identify(picture("bob", "eve", "ann", variation=40))
    assert [one.person_id for one in found] == ["bob", None, "ann"]
    assert house.registry.identify(picture()) == []


def test_verification_wants_one_face(house: House) -> None:
    enrol(house, "ann")
    with pytest.raises(NoFaceInImage):
        house.registry.verify(picture())
    with pytest.raises(MultipleFaces):
        house.registry.verify(picture("ann", "bob"))
    assert house.registry.verify(picture("ann", "bob"), review=Review.OFF).person_id == "ann"
    with pytest.raises(PoorQuality, match="light"):
        house.registry.verify(picture(FakeFace("ann", dim=True)), review=Review.STRICT)


def test_persons_are_the_users_of_a_collection(house: House) -> None:
    enrol(house, "ann")
    (user,) = house.people.list("persons").items
    assert (user.user_id, user.status, user.face_count) == ("ann", UserStatus.ACTIVE, 2)
    matches = house.people.search_by_image("persons", picture("ann", variation=9)).matches
    assert matches[0].user.user_id == "ann"
    # And what an AWS client enrols is a person.
    house.people.create("persons", "kim")
    face = house.faces.index("persons", picture("kim")).indexed[0].face
    house.people.associate("persons", "kim", [face.face_id])
    person = house.registry.get("kim")
    assert (person.embeddings, person.qualities, person.version) == (1, (), 1)
    assert house.registry.verify(picture("kim", variation=3)).person_id == "kim"


def test_a_person_has_at_most_a_hundred_pictures(house: House) -> None:
    enrol(house, "ann", 10)
    for start in range(10, 100, 10):
        house.registry.update("ann", pictures("ann", 10, start))
    with pytest.raises(QuotaExceeded):
        house.registry.update("ann", pictures("ann", 1, 200))


def test_too_many_images_and_wrong_ids_are_refused(house: House) -> None:
    with pytest.raises(InvalidParameter, match="at most 10"):
        house.registry.register("ann", pictures("ann", 11))
    with pytest.raises(InvalidParameter, match="at least one"):
        house.registry.register("ann", [])
    for wrong in ("", "a b", "x" * 129, "ü"):
        with pytest.raises(InvalidParameter, match="person_id"):
            house.registry.register(wrong, pictures("ann", 1))


def test_of_two_who_enrol_one_face_at_once_one_is_refused(house: House) -> None:
    """The look for whoever has the face already and the change are of one state of the collection."""
    house.registry.open()
    results: list[Enrolment] = []
    barrier = threading.Barrier(4)

    def work(name: str, start: int) -> None:
        barrier.wait()
        results.append(house.registry.register(name, pictures("ann", 2, start)))

    threads = [threading.Thread(target=work, args=(f"p{n}", 10 * n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.person is not None for result in results) == 1
    assert len(house.registry.persons().items) == 1


def test_what_is_kept_with_a_person_goes_to_another_model(house: House) -> None:
    enrol(house, "ann", metadata={"a": 1})
    with house.database.write() as connection:
        old = collections.find(connection, "persons", lock=True)
        contract = FakeEngine(model_version="2.0").contract
        model_migrations.begin(
            connection, old, contract, old_pack="fake", new_pack="fake@2.0", images="-", now=1.0
        )
    house.registry.update("ann", pictures("ann", 1, 10))
    with house.database.read() as connection:
        old = collections.find(connection, "persons")
        twin = collections.twin_of(connection, old)
        assert twin is not None
        own, other = users.find(connection, old, "ann"), users.find(connection, twin, "ann")
    assert (own.face_count, other.face_count) == (3, 1)  # the two of before wait for the migration
    assert (other.metadata, other.version, other.created_at) == (own.metadata, 2, own.created_at)


def test_the_same_over_both_databases(tmp_path: Path, database_url: str | None) -> None:
    with open_house(tmp_path, database_url=database_url) as house:
        created = enrol(house, "ann", metadata={"team": "ä"}).person
        assert created is not None
        assert (created.version, created.metadata) == (1, {"team": "ä"})
        enrol(house, "bob", 1)
        changed = house.registry.update("ann", pictures("ann", 1, 10), replaces=True, metadata={}).person
        assert changed is not None
        assert (changed.embeddings, changed.metadata) == (1, {})
        assert house.registry.verify(picture("ann", variation=20)).person_id == "ann"
        assert [person.person_id for person in house.registry.persons().items] == ["ann", "bob"]
        house.registry.delete("ann")
        assert house.registry.verify(picture("ann", variation=20)).person_id is None
