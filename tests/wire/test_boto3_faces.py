"""Indexing, listing, deleting and searching faces through boto3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from wire_server import Running, inline, running

from facerec.engine.fake import FakeEngine, FakeFace, draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_rekognition.type_defs import IndexFacesResponseTypeDef

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


def face_ids(indexed: IndexFacesResponseTypeDef) -> list[str]:
    return [record["Face"]["FaceId"] for record in indexed["FaceRecords"]]


# --- IndexFaces -------------------------------------------------------------------------------------


def test_every_face_of_an_image_is_stored_largest_first(client: RekognitionClient, album: str) -> None:
    indexed = client.index_faces(
        CollectionId=album, Image=inline(draw("ann", "bob", "cat")), ExternalImageId="party:1.jpg"
    )
    assert len(indexed["FaceRecords"]) == 3
    assert indexed["UnindexedFaces"] == []
    assert "OrientationCorrection" not in set(indexed)
    for record in indexed["FaceRecords"]:
        face, detail = record["Face"], record["FaceDetail"]
        assert face["ExternalImageId"] == "party:1.jpg"
        assert face["IndexFacesModelVersion"] == indexed["FaceModelVersion"]
        assert face["BoundingBox"] == detail["BoundingBox"]
        assert face["Confidence"] == detail["Confidence"]
        assert "UserId" not in set(face)
        assert set(detail) == {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
    areas = [
        record["Face"]["BoundingBox"]["Width"] * record["Face"]["BoundingBox"]["Height"]
        for record in indexed["FaceRecords"]
    ]
    assert areas == sorted(areas, reverse=True)
    assert len({record["Face"]["ImageId"] for record in indexed["FaceRecords"]}) == 1


@pytest.mark.parametrize(
    ("names", "added"),
    [
        (["DEFAULT"], set()),
        (["GENDER"], {"Gender"}),
        (["DEFAULT", "AGE_RANGE"], {"AgeRange"}),
        (["ALL"], {"AgeRange", "Gender"}),
        (["ALL", "DEFAULT"], {"AgeRange", "Gender"}),
        (["EMOTIONS", "BEARD"], set()),
    ],
)
def test_attributes_that_the_engine_has_are_answered(
    client: RekognitionClient, album: str, names: list[str], added: set[str]
) -> None:
    indexed = client.index_faces(
        CollectionId=album,
        Image=inline(draw("ann")),
        DetectionAttributes=names,  # type: ignore[arg-type]  # the stubs want a list of literals
    )
    detail = indexed["FaceRecords"][0]["FaceDetail"]
    assert set(detail) - {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"} == added


def test_an_image_without_a_face_stores_nothing(client: RekognitionClient, album: str) -> None:
    indexed = client.index_faces(CollectionId=album, Image=inline(draw()))
    assert (indexed["FaceRecords"], indexed["UnindexedFaces"]) == ([], [])


def test_of_too_many_faces_the_smallest_are_left_out(client: RekognitionClient, album: str) -> None:
    indexed = client.index_faces(CollectionId=album, Image=inline(draw("ann", "bob", "cat")), MaxFaces=1)
    assert len(indexed["FaceRecords"]) == 1
    assert [face["Reasons"] for face in indexed["UnindexedFaces"]] == [["EXCEEDS_MAX_FACES"]] * 2
    assert all(face["FaceDetail"]["BoundingBox"] for face in indexed["UnindexedFaces"])
    largest = indexed["FaceRecords"][0]["Face"]["BoundingBox"]["Width"]
    assert all(face["FaceDetail"]["BoundingBox"]["Width"] < largest for face in indexed["UnindexedFaces"])


def test_of_too_many_faces_those_of_low_quality_go_first(client: RekognitionClient, album: str) -> None:
    image = draw(FakeFace("dim", dim=True), "clear", "small")
    indexed = client.index_faces(CollectionId=album, Image=inline(image), MaxFaces=2, QualityFilter="NONE")
    dropped = indexed["UnindexedFaces"][0]["FaceDetail"]
    assert dropped["Quality"]["Brightness"] == 2.0
    assert all(r["FaceDetail"]["Quality"]["Brightness"] == 70.0 for r in indexed["FaceRecords"])


def test_the_quality_filter_is_automatic_unless_it_is_turned_off(
    client: RekognitionClient, album: str
) -> None:
    image = draw("clear", FakeFace("dim", dim=True), FakeFace("turned", turned=True))
    strict = client.index_faces(CollectionId=album, Image=inline(image))
    assert len(strict["FaceRecords"]) == 1
    reasons = [set(face["Reasons"]) for face in strict["UnindexedFaces"]]
    assert {"LOW_BRIGHTNESS"} in reasons
    assert {"EXTREME_POSE"} in reasons
    loose = client.index_faces(CollectionId=album, Image=inline(image), QualityFilter="NONE")
    assert len(loose["FaceRecords"]) == 3


def test_the_same_image_under_the_same_name_is_stored_once(client: RekognitionClient, album: str) -> None:
    image = inline(draw("ann", "bob"))
    first = client.index_faces(CollectionId=album, Image=image, ExternalImageId="one")
    again = client.index_faces(CollectionId=album, Image=image, ExternalImageId="one")
    assert face_ids(again) == face_ids(first)
    other = client.index_faces(CollectionId=album, Image=image, ExternalImageId="two")
    assert not set(face_ids(other)) & set(face_ids(first))
    assert client.describe_collection(CollectionId=album)["FaceCount"] == 4


def test_without_a_name_the_image_is_recognised_and_its_faces_are_new(
    client: RekognitionClient, album: str
) -> None:
    image = inline(draw("ann"))
    first = client.index_faces(CollectionId=album, Image=image)["FaceRecords"][0]["Face"]
    again = client.index_faces(CollectionId=album, Image=image)["FaceRecords"][0]["Face"]
    assert again["ImageId"] == first["ImageId"]
    assert again["FaceId"] != first["FaceId"]


def test_the_same_image_has_the_same_faces_in_two_collections(client: RekognitionClient, album: str) -> None:
    image = inline(draw("ann", "bob"))
    other = f"{album}.2"
    client.create_collection(CollectionId=other)
    first = client.index_faces(CollectionId=album, Image=image, ExternalImageId="one")
    second = client.index_faces(CollectionId=other, Image=image, ExternalImageId="one")
    assert face_ids(first) == face_ids(second)
    assert all(uuid.UUID(face_id).version == 5 for face_id in face_ids(first))


# --- ListFaces, DeleteFaces -------------------------------------------------------------------------


def test_listing_in_pages(client: RekognitionClient, album: str) -> None:
    stored = [
        face_id
        for number in range(5)
        for face_id in face_ids(
            client.index_faces(CollectionId=album, Image=inline(draw("ann", variation=number)))
        )
    ]
    paginator = client.get_paginator("list_faces")
    pages = list(paginator.paginate(CollectionId=album, PaginationConfig={"PageSize": 2}))
    assert [len(page["Faces"]) for page in pages] == [2, 2, 1]
    assert sorted(face["FaceId"] for page in pages for face in page["Faces"]) == sorted(stored)
    assert {page["FaceModelVersion"] for page in pages} == {"1.0"}
    assert len(pages[0]["NextToken"]) <= 255
    assert len(client.list_faces(CollectionId=album, MaxResults=0)["Faces"]) == 5


def test_listing_some_faces(client: RekognitionClient, album: str) -> None:
    ann, bob = face_ids(client.index_faces(CollectionId=album, Image=inline(draw("ann", "bob"))))
    client.create_user(CollectionId=album, UserId="ann")
    client.associate_faces(CollectionId=album, UserId="ann", FaceIds=[ann])
    by_id = client.list_faces(CollectionId=album, FaceIds=[bob, UNKNOWN])["Faces"]
    assert [face["FaceId"] for face in by_id] == [bob]
    by_user = client.list_faces(CollectionId=album, UserId="ann")["Faces"]
    assert [(face["FaceId"], face["UserId"]) for face in by_user] == [(ann, "ann")]
    assert client.list_faces(CollectionId=album, UserId="ann", FaceIds=[bob])["Faces"] == []


def test_a_token_of_another_listing_is_refused(client: RekognitionClient, album: str) -> None:
    for number in range(2):
        client.index_faces(CollectionId=album, Image=inline(draw("ann", variation=number)))
    other = f"{album}.2"
    client.create_collection(CollectionId=other)
    token = client.list_faces(CollectionId=album, MaxResults=1)["NextToken"]
    assert len(client.list_faces(CollectionId=album, MaxResults=1, NextToken=token)["Faces"]) == 1
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.list_faces(CollectionId=other, NextToken=token)
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.list_faces(CollectionId=album, UserId="ann", NextToken=token)
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.list_users(CollectionId=album, NextToken=token)
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.list_collections(NextToken="made up")


def test_deleting_tells_what_could_not_be_deleted(client: RekognitionClient, album: str) -> None:
    ann, bob = face_ids(client.index_faces(CollectionId=album, Image=inline(draw("ann", "bob"))))
    client.create_user(CollectionId=album, UserId="ann")
    client.associate_faces(CollectionId=album, UserId="ann", FaceIds=[ann])
    deleted = client.delete_faces(CollectionId=album, FaceIds=[ann, bob, UNKNOWN])
    assert deleted["DeletedFaces"] == [bob]
    assert deleted["UnsuccessfulFaceDeletions"] == [
        {"FaceId": ann, "UserId": "ann", "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]},
        {"FaceId": UNKNOWN, "Reasons": ["FACE_NOT_FOUND"]},
    ]
    client.disassociate_faces(CollectionId=album, UserId="ann", FaceIds=[ann])
    assert client.delete_faces(CollectionId=album, FaceIds=[ann])["DeletedFaces"] == [ann]
    assert client.list_faces(CollectionId=album)["Faces"] == []


# --- SearchFaces, SearchFacesByImage ----------------------------------------------------------------


def test_a_face_is_found_at_once_and_never_finds_itself(client: RekognitionClient, album: str) -> None:
    stored = [
        face_ids(client.index_faces(CollectionId=album, Image=inline(draw("ann", variation=number))))[0]
        for number in range(3)
    ]
    client.index_faces(CollectionId=album, Image=inline(draw("bob")))
    found = client.search_faces(CollectionId=album, FaceId=stored[0])
    assert found["SearchedFaceId"] == stored[0]
    assert found["FaceModelVersion"] == "1.0"
    assert {match["Face"]["FaceId"] for match in found["FaceMatches"]} == set(stored[1:])
    similarities = [match["Similarity"] for match in found["FaceMatches"]]
    assert similarities == sorted(similarities, reverse=True)
    assert all(90 < similarity <= 100 for similarity in similarities)
    limited = client.search_faces(CollectionId=album, FaceId=stored[0], MaxFaces=1)["FaceMatches"]
    assert [match["Face"]["FaceId"] for match in limited] == [found["FaceMatches"][0]["Face"]["FaceId"]]


def test_the_threshold_is_a_similarity_and_eighty_by_default(client: RekognitionClient, album: str) -> None:
    client.index_faces(CollectionId=album, Image=inline(draw("ann")), ExternalImageId="ann")
    client.index_faces(CollectionId=album, Image=inline(draw("bob")), ExternalImageId="bob")
    image = inline(draw("ann", variation=1))

    def names(**options: float) -> list[str]:
        found = client.search_faces_by_image(CollectionId=album, Image=image, **options)  # type: ignore[arg-type]  # mypy can not tell which keyword it is
        return [match["Face"]["ExternalImageId"] for match in found["FaceMatches"]]

    assert names() == ["ann"]
    assert names(FaceMatchThreshold=0) == ["ann", "bob"]
    assert names(FaceMatchThreshold=99.99) == []


def test_an_equal_face_is_a_hundred_per_cent_similar(client: RekognitionClient, album: str) -> None:
    client.index_faces(CollectionId=album, Image=inline(draw("ann")))
    found = client.search_faces_by_image(CollectionId=album, Image=inline(draw("ann")))
    assert found["FaceMatches"][0]["Similarity"] == pytest.approx(100, abs=0.1)


def test_an_image_is_searched_by_its_largest_face(client: RekognitionClient, album: str) -> None:
    client.index_faces(CollectionId=album, Image=inline(draw("ann")), ExternalImageId="ann")
    client.index_faces(CollectionId=album, Image=inline(draw("bob")), ExternalImageId="bob")
    image = draw("bob", "ann", variation=5)
    found = client.search_faces_by_image(CollectionId=album, Image=inline(image))
    assert [match["Face"]["ExternalImageId"] for match in found["FaceMatches"]] == ["bob"]
    detected = client.detect_faces(Image=inline(image))["FaceDetails"][0]
    assert found["SearchedFaceBoundingBox"] == detected["BoundingBox"]
    assert found["SearchedFaceConfidence"] == detected["Confidence"]


def test_the_filter_looks_at_the_largest_face_alone(client: RekognitionClient, album: str) -> None:
    client.index_faces(CollectionId=album, Image=inline(draw("ann")))
    image = inline(draw(FakeFace("bob", dim=True), "ann"))
    found = client.search_faces_by_image(CollectionId=album, Image=image)
    assert found["FaceMatches"] == []
    with pytest.raises(client.exceptions.InvalidParameterException):
        client.search_faces_by_image(CollectionId=album, Image=image, QualityFilter="AUTO")


def test_searching_with_what_is_not_there(client: RekognitionClient, album: str) -> None:
    errors = client.exceptions
    with pytest.raises(errors.InvalidParameterException) as faceless:
        client.search_faces_by_image(CollectionId=album, Image=inline(draw()))
    assert (
        faceless.value.response["Error"]["Message"]
        == "There are no faces in the image. Should be at least 1."
    )
    with pytest.raises(errors.InvalidParameterException) as unknown:
        client.search_faces(CollectionId=album, FaceId=UNKNOWN)
    assert unknown.value.response["Error"]["Message"] == "faceId was not found in the collection."


def test_a_deleted_face_is_found_no_more(client: RekognitionClient, album: str) -> None:
    (face_id,) = face_ids(client.index_faces(CollectionId=album, Image=inline(draw("ann"))))
    image = inline(draw("ann", variation=1))
    assert client.search_faces_by_image(CollectionId=album, Image=image)["FaceMatches"]
    client.delete_faces(CollectionId=album, FaceIds=[face_id])
    assert client.search_faces_by_image(CollectionId=album, Image=image)["FaceMatches"] == []


# --- model versions ---------------------------------------------------------------------------------


def test_a_collection_keeps_its_model(tmp_path: Path) -> None:
    with running(tmp_path) as before:
        client = before.client()
        client.create_collection(CollectionId="album")
        (face_id,) = face_ids(client.index_faces(CollectionId="album", Image=inline(draw("ann"))))
    with running(tmp_path, engine=FakeEngine(model_version="2.0")) as after:
        client = after.client()
        assert client.describe_collection(CollectionId="album")["FaceModelVersion"] == "1.0"
        assert client.list_faces(CollectionId="album")["Faces"][0]["IndexFacesModelVersion"] == "1.0"
        assert client.create_collection(CollectionId="new")["FaceModelVersion"] == "2.0"
        assert client.list_collections()["FaceModelVersions"] == ["1.0", "2.0"]
        with pytest.raises(client.exceptions.InvalidParameterException, match=r"made with face model 1\.0"):
            client.index_faces(CollectionId="album", Image=inline(draw("ann")))
        with pytest.raises(client.exceptions.InvalidParameterException):
            client.search_faces(CollectionId="album", FaceId=face_id)
        assert client.delete_faces(CollectionId="album", FaceIds=[face_id])["DeletedFaces"] == [face_id]
