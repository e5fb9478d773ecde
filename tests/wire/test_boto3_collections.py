"""Collections and their tags through boto3."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from wire_server import ACCOUNT, REGION, Running, running

from facerec.engine.fake import draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def client(server: Running) -> RekognitionClient:
    return server.client()


def full_arn(name: str) -> str:
    return f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/{name}"


def test_the_life_of_a_collection(client: RekognitionClient) -> None:
    before = time.time()
    created = client.create_collection(CollectionId="My.Album-1_a")
    assert created["StatusCode"] == 200
    assert created["CollectionArn"] == f"aws:rekognition:{REGION}:{ACCOUNT}:collection/My.Album-1_a"
    assert re.fullmatch(r"[0-9.]+", created["FaceModelVersion"])
    assert re.fullmatch(r"[0-9a-f-]{36}", created["ResponseMetadata"]["RequestId"])

    described = client.describe_collection(CollectionId="My.Album-1_a")
    assert described["CollectionARN"] == full_arn("My.Album-1_a")
    assert described["FaceModelVersion"] == created["FaceModelVersion"]
    assert (described["FaceCount"], described["UserCount"]) == (0, 0)
    assert before - 1 < described["CreationTimestamp"].timestamp() < time.time() + 1

    client.index_faces(CollectionId="My.Album-1_a", Image={"Bytes": draw("ann", "bob")})
    client.create_user(CollectionId="My.Album-1_a", UserId="ann")
    described = client.describe_collection(CollectionId="My.Album-1_a")
    assert (described["FaceCount"], described["UserCount"]) == (2, 1)

    assert client.delete_collection(CollectionId="My.Album-1_a")["StatusCode"] == 200
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_collection(CollectionId="My.Album-1_a")


def test_a_name_used_again_gives_an_empty_collection(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="album")
    client.index_faces(CollectionId="album", Image={"Bytes": draw("ann")})
    client.delete_collection(CollectionId="album")
    client.create_collection(CollectionId="album")
    assert client.list_faces(CollectionId="album")["Faces"] == []
    assert (
        client.search_faces_by_image(CollectionId="album", Image={"Bytes": draw("ann")})["FaceMatches"] == []
    )


def test_names_tell_capitals_apart(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="Album")
    client.create_collection(CollectionId="album")
    assert sorted(client.list_collections()["CollectionIds"]) == ["Album", "album"]


def test_what_exists_and_what_does_not(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="album")
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as caught:
        client.create_collection(CollectionId="album")
    assert caught.value.response["Error"]["Message"] == "The collection id: album already exists"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.delete_collection(CollectionId="gone")
    assert "gone" in missing.value.response["Error"]["Message"]


def test_listing_in_pages(client: RekognitionClient) -> None:
    names = [f"album-{number}" for number in range(5)]
    for name in names:
        client.create_collection(CollectionId=name)
    pages = list(client.get_paginator("list_collections").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["CollectionIds"]) for page in pages] == [2, 2, 1]
    assert sorted(name for page in pages for name in page["CollectionIds"]) == names
    assert all(len(page["FaceModelVersions"]) == len(page["CollectionIds"]) for page in pages)
    assert len(pages[0]["NextToken"]) <= 255
    assert "NextToken" not in pages[-1]


def test_a_page_of_no_size_is_a_page_of_the_usual_size(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="album")
    listed = client.list_collections(MaxResults=0)
    assert listed["CollectionIds"] == ["album"]
    assert "NextToken" not in listed


@pytest.mark.parametrize("prefix", ["arn:aws:", "aws:"])
def test_tags(client: RekognitionClient, prefix: str) -> None:
    arn = full_arn("album").replace("arn:aws:", prefix)
    client.create_collection(CollectionId="album", Tags={"stage": "test", "Größe": ""})
    assert client.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"stage": "test", "Größe": ""}
    client.tag_resource(ResourceArn=arn, Tags={"stage": "live", "team": "a+b=c @:/-_."})
    client.untag_resource(ResourceArn=arn, TagKeys=["Größe", "never there"])
    assert client.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"stage": "live", "team": "a+b=c @:/-_."}


def test_the_arn_that_create_answers_can_be_tagged(client: RekognitionClient) -> None:
    arn = client.create_collection(CollectionId="album")["CollectionArn"]
    client.tag_resource(ResourceArn=arn, Tags={"a": "b"})
    assert client.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"a": "b"}


def test_tags_of_what_is_not_here(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="album")
    errors = client.exceptions
    for arn, error in [
        (full_arn("gone"), errors.ResourceNotFoundException),
        (full_arn("album").replace(REGION, "us-east-1"), errors.ResourceNotFoundException),
        (full_arn("album").replace("collection/", "project/"), errors.ResourceNotFoundException),
        (full_arn("album").replace(ACCOUNT, "000000000001"), errors.AccessDeniedException),
        ("album-that-is-no-arn-at-all", errors.InvalidParameterException),
    ]:
        with pytest.raises(error):
            client.list_tags_for_resource(ResourceArn=arn)
        with pytest.raises(error):
            client.tag_resource(ResourceArn=arn, Tags={"a": "b"})
        with pytest.raises(error):
            client.untag_resource(ResourceArn=arn, TagKeys=["a"])


def test_a_collection_has_two_hundred_tags_at_most(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="album", Tags={f"key{number}": "" for number in range(200)})
    with pytest.raises(client.exceptions.ServiceQuotaExceededException):
        client.tag_resource(ResourceArn=full_arn("album"), Tags={"one more": ""})
    client.tag_resource(ResourceArn=full_arn("album"), Tags={"key0": "another value"})
    assert client.list_tags_for_resource(ResourceArn=full_arn("album"))["Tags"]["key0"] == "another value"
