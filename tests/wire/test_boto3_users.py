"""Users through boto3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from wire_server import Running, inline, running

from facerec.engine.fake import FakeFace, draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

UNKNOWN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def client(server: Running) -> RekognitionClient:
    return server.client()


@pytest.fixture
def album(client: RekognitionClient) -> str:
    name = str(uuid.uuid4())
    client.create_collection(CollectionId=name)
    return name


def indexed(client: RekognitionClient, album: str, identity: str, variation: int = 0) -> str:
    answer = client.index_faces(CollectionId=album, Image=inline(draw(identity, variation=variation)))
    return answer["FaceRecords"][0]["Face"]["FaceId"]


def enrolled(client: RekognitionClient, album: str, identity: str, variations: range = range(2)) -> list[str]:
    """A user with a face of each variation; the ids of the faces."""
    client.create_user(CollectionId=album, UserId=identity)
    stored = [indexed(client, album, identity, variation) for variation in variations]
    client.associate_faces(CollectionId=album, UserId=identity, FaceIds=stored)
    return stored


def test_the_life_of_a_user(client: RekognitionClient, album: str) -> None:
    created = client.create_user(CollectionId=album, UserId="staff:ann_1.b-2")
    assert set(created) == {"ResponseMetadata"}
    users = client.list_users(CollectionId=album)["Users"]
    assert users == [{"UserId": "staff:ann_1.b-2", "UserStatus": "CREATED"}]

    face = indexed(client, album, "ann")
    answer = client.associate_faces(CollectionId=album, UserId="staff:ann_1.b-2", FaceIds=[face])
    assert answer["AssociatedFaces"] == [{"FaceId": face}]
    assert answer["UnsuccessfulFaceAssociations"] == []
    assert answer["UserStatus"] == "ACTIVE"
    assert client.list_users(CollectionId=album)["Users"][0]["UserStatus"] == "ACTIVE"

    released = client.disassociate_faces(CollectionId=album, UserId="staff:ann_1.b-2", FaceIds=[face])
    assert released["DisassociatedFaces"] == [{"FaceId": face}]
    assert released["UnsuccessfulFaceDisassociations"] == []
    assert released["UserStatus"] == "CREATED"

    deleted = client.delete_user(CollectionId=album, UserId="staff:ann_1.b-2")
    assert set(deleted) == {"ResponseMetadata"}
    assert client.list_users(CollectionId=album)["Users"] == []


def test_deleting_a_user_leaves_its_faces(client: RekognitionClient, album: str) -> None:
    (face, _) = enrolled(client, album, "ann")
    client.delete_user(CollectionId=album, UserId="ann")
    faces = client.list_faces(CollectionId=album, FaceIds=[face])["Faces"]
    assert "UserId" not in set(faces[0])
    found = client.search_users_by_image(CollectionId=album, Image=inline(draw("ann")))
    assert found["UserMatches"] == []


def test_what_exists_and_what_does_not(client: RekognitionClient, album: str) -> None:
    errors = client.exceptions
    client.create_user(CollectionId=album, UserId="ann")
    with pytest.raises(errors.ConflictException):
        client.create_user(CollectionId=album, UserId="ann")
    with pytest.raises(errors.ResourceNotFoundException):
        client.create_user(CollectionId="gone", UserId="ann")
    with pytest.raises(errors.ResourceNotFoundException):
        client.delete_user(CollectionId=album, UserId="bob")
    with pytest.raises(errors.ResourceNotFoundException):
        client.associate_faces(CollectionId=album, UserId="bob", FaceIds=[UNKNOWN])
    with pytest.raises(errors.ResourceNotFoundException):
        client.disassociate_faces(CollectionId=album, UserId="bob", FaceIds=[UNKNOWN])
    with pytest.raises(errors.ResourceNotFoundException):
        client.search_users(CollectionId=album, UserId="bob")


def test_listing_in_pages(client: RekognitionClient, album: str) -> None:
    names = [f"user-{number}" for number in range(5)]
    for name in names:
        client.create_user(CollectionId=album, UserId=name)
    paginator = client.get_paginator("list_users")
    pages = list(paginator.paginate(CollectionId=album, PaginationConfig={"PageSize": 2}))
    assert [len(page["Users"]) for page in pages] == [2, 2, 1]
    assert sorted(user["UserId"] for page in pages for user in page["Users"]) == names
    assert len(pages[0]["NextToken"]) <= 255


def test_faces_that_can_not_be_associated(client: RekognitionClient, album: str) -> None:
    ann, bob = enrolled(client, album, "ann"), enrolled(client, album, "bob")
    stranger, third = indexed(client, album, "eve"), indexed(client, album, "ann", 7)
    answer = client.associate_faces(
        CollectionId=album, UserId="ann", FaceIds=[ann[0], bob[0], UNKNOWN, stranger, third]
    )
    assert answer["AssociatedFaces"] == [{"FaceId": third}]
    other, missing, unlike = answer["UnsuccessfulFaceAssociations"]
    assert other == {"FaceId": bob[0], "UserId": "bob", "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}
    assert missing == {"FaceId": UNKNOWN, "Reasons": ["FACE_NOT_FOUND"]}
    assert (unlike["FaceId"], unlike["Reasons"]) == (stranger, ["LOW_MATCH_CONFIDENCE"])
    assert unlike["Confidence"] < 75
    loose = client.associate_faces(CollectionId=album, UserId="ann", FaceIds=[stranger], UserMatchThreshold=0)
    assert loose["AssociatedFaces"] == [{"FaceId": stranger}]


def test_a_first_face_needs_no_likeness(client: RekognitionClient, album: str) -> None:
    client.create_user(CollectionId=album, UserId="ann")
    face = indexed(client, album, "eve")
    answer = client.associate_faces(CollectionId=album, UserId="ann", FaceIds=[face], UserMatchThreshold=100)
    assert answer["AssociatedFaces"] == [{"FaceId": face}]


def test_a_user_has_a_hundred_faces_at_most(client: RekognitionClient, album: str) -> None:
    stored = enrolled(client, album, "ann", range(98))
    extra = [indexed(client, album, "ann", variation) for variation in range(98, 102)]
    answer = client.associate_faces(CollectionId=album, UserId="ann", FaceIds=extra[:3])
    assert len(answer["AssociatedFaces"]) == 2
    assert [failure["FaceId"] for failure in answer["UnsuccessfulFaceAssociations"]] == [extra[2]]
    with pytest.raises(client.exceptions.ServiceQuotaExceededException):
        client.associate_faces(CollectionId=album, UserId="ann", FaceIds=[extra[3]])
    again = client.associate_faces(CollectionId=album, UserId="ann", FaceIds=stored[:1])
    assert (again["AssociatedFaces"], again["UnsuccessfulFaceAssociations"]) == ([], [])


def test_faces_that_can_not_be_disassociated(client: RekognitionClient, album: str) -> None:
    enrolled(client, album, "ann")
    bob = enrolled(client, album, "bob")
    answer = client.disassociate_faces(CollectionId=album, UserId="ann", FaceIds=[bob[0], UNKNOWN])
    assert answer["DisassociatedFaces"] == []
    assert answer["UnsuccessfulFaceDisassociations"] == [
        {"FaceId": bob[0], "UserId": "bob", "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]},
        {"FaceId": UNKNOWN, "Reasons": ["FACE_NOT_FOUND"]},
    ]
    assert answer["UserStatus"] == "ACTIVE"


def test_a_repeated_request_is_answered_alike(client: RekognitionClient, album: str) -> None:
    errors = client.exceptions
    face, other = indexed(client, album, "ann"), indexed(client, album, "ann", 1)
    for _ in range(2):
        client.create_user(CollectionId=album, UserId="ann", ClientRequestToken="create")
    with pytest.raises(errors.IdempotentParameterMismatchException, match="create"):
        client.create_user(CollectionId=album, UserId="bob", ClientRequestToken="create")
    answers = [
        client.associate_faces(
            CollectionId=album, UserId="ann", FaceIds=[face], ClientRequestToken="associate"
        )
        for _ in range(2)
    ]
    assert answers[0]["AssociatedFaces"] == answers[1]["AssociatedFaces"] == [{"FaceId": face}]
    with pytest.raises(errors.IdempotentParameterMismatchException):
        client.associate_faces(
            CollectionId=album, UserId="ann", FaceIds=[other], ClientRequestToken="associate"
        )
    released = [
        client.disassociate_faces(
            CollectionId=album, UserId="ann", FaceIds=[face], ClientRequestToken="disassociate"
        )
        for _ in range(2)
    ]
    assert released[0]["DisassociatedFaces"] == released[1]["DisassociatedFaces"] == [{"FaceId": face}]
    for _ in range(2):
        client.delete_user(CollectionId=album, UserId="ann", ClientRequestToken="delete")
    with pytest.raises(errors.ResourceNotFoundException):
        client.delete_user(CollectionId=album, UserId="ann", ClientRequestToken="another")


def test_searching_users_like_a_user_or_a_face(client: RekognitionClient, album: str) -> None:
    ann = enrolled(client, album, "ann")
    enrolled(client, album, "bob")
    client.create_user(CollectionId=album, UserId="twin")
    client.associate_faces(CollectionId=album, UserId="twin", FaceIds=[indexed(client, album, "ann", 9)])
    by_user = client.search_users(CollectionId=album, UserId="ann")
    assert [match["User"] for match in by_user["UserMatches"]] == [{"UserId": "twin", "UserStatus": "ACTIVE"}]
    assert by_user["SearchedUser"] == {"UserId": "ann"}
    assert "SearchedFace" not in set(by_user)
    by_face = client.search_users(CollectionId=album, FaceId=ann[0])
    assert {match["User"]["UserId"] for match in by_face["UserMatches"]} == {"ann", "twin"}
    assert by_face["SearchedFace"] == {"FaceId": ann[0]}
    assert "SearchedUser" not in set(by_face)
    assert by_face["FaceModelVersion"] == "1.0"
    assert len(client.search_users(CollectionId=album, FaceId=ann[0], MaxUsers=1)["UserMatches"]) == 1
    everyone = client.search_users(CollectionId=album, FaceId=ann[0], UserMatchThreshold=0)
    assert {match["User"]["UserId"] for match in everyone["UserMatches"]} == {"ann", "twin", "bob"}


def test_searching_users_takes_one_of_two_ids(client: RekognitionClient, album: str) -> None:
    errors = client.exceptions
    with pytest.raises(errors.InvalidParameterException, match="neither"):
        client.search_users(CollectionId=album)
    with pytest.raises(errors.InvalidParameterException, match="both"):
        client.search_users(CollectionId=album, UserId="ann", FaceId=UNKNOWN)
    with pytest.raises(errors.InvalidParameterException, match="not found in the collection"):
        client.search_users(CollectionId=album, FaceId=UNKNOWN)


def test_searching_users_by_the_largest_face_of_an_image(client: RekognitionClient, album: str) -> None:
    enrolled(client, album, "ann")
    enrolled(client, album, "bob")
    image = draw("bob", "ann", "eve", variation=5)
    found = client.search_users_by_image(CollectionId=album, Image=inline(image))
    assert [match["User"]["UserId"] for match in found["UserMatches"]] == ["bob"]
    assert found["UserMatches"][0]["Similarity"] > 80
    details = client.detect_faces(Image=inline(image))["FaceDetails"]
    assert found["SearchedFace"]["FaceDetail"]["BoundingBox"] == details[0]["BoundingBox"]
    assert [face["Reasons"] for face in found["UnsearchedFaces"]] == [["FACE_NOT_LARGEST"]] * 2
    assert [face["FaceDetails"]["BoundingBox"] for face in found["UnsearchedFaces"]] == [
        detail["BoundingBox"] for detail in details[1:]
    ]


def test_an_image_without_a_face_finds_nobody_and_is_no_error(client: RekognitionClient, album: str) -> None:
    enrolled(client, album, "ann")
    empty = client.search_users_by_image(CollectionId=album, Image=inline(draw()))
    assert (empty["UserMatches"], empty["UnsearchedFaces"]) == ([], [])
    assert "SearchedFace" not in set(empty)
    dim = client.search_users_by_image(
        CollectionId=album, Image=inline(draw(FakeFace("ann", dim=True))), QualityFilter="AUTO"
    )
    assert dim["UserMatches"] == []
    assert dim["UnsearchedFaces"][0]["Reasons"] == ["LOW_BRIGHTNESS"]
