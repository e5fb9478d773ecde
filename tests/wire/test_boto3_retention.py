"""Retention as an unmodified AWS client sets and sees it, and the service's sweep beside its requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from wire_server import ACCOUNT, REGION, Running, inline, running

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import InlineImage
from facerec.engine.fake import FakeEngine, draw

ARN = f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/album"


@pytest.fixture
def server(tmp_path: Path, database_url: str | None) -> Iterator[Running]:
    with running(tmp_path, database_url=database_url, result_cache_mib=8) as opened:
        yield opened


def test_a_tag_says_how_long_a_collection_keeps_faces(server: Running) -> None:
    client = server.client()
    client.create_collection(CollectionId="album", Tags={"facerec:face-ttl": "1s", "team": "door"})
    (record,) = client.index_faces(CollectionId="album", Image=inline(draw("ann")))["FaceRecords"]
    face_id = record["Face"]["FaceId"]
    client.tag_resource(ResourceArn=ARN, Tags={"facerec:face-ttl": "1h"})
    assert len(client.list_faces(CollectionId="album")["Faces"]) == 1
    deadline = time.monotonic() + 30
    client.tag_resource(ResourceArn=ARN, Tags={"facerec:face-ttl": "1s"})
    while client.describe_collection(CollectionId="album")["FaceCount"]:
        assert time.monotonic() < deadline
    assert client.list_faces(CollectionId="album")["Faces"] == []
    found = client.search_faces_by_image(CollectionId="album", Image=inline(draw("ann")))
    assert found["FaceMatches"] == []
    with pytest.raises(client.exceptions.InvalidParameterException):
        client.search_faces(CollectionId="album", FaceId=face_id)
    assert server.service.sweeper.expire() == {"album": 1}
    client.untag_resource(ResourceArn=ARN, TagKeys=["facerec:face-ttl"])
    assert client.list_tags_for_resource(ResourceArn=ARN)["Tags"] == {"team": "door"}
    client.index_faces(CollectionId="album", Image=inline(draw("ann")))
    assert client.describe_collection(CollectionId="album")["FaceCount"] == 1


@pytest.mark.parametrize("tags", [{"facerec:face-ttl": "soon"}, {"facerec:keep": "1d"}])
def test_reserved_tags_that_mean_nothing_are_refused(server: Running, tags: dict[str, str]) -> None:
    client = server.client()
    with pytest.raises(client.exceptions.InvalidParameterException, match="facerec:face-ttl"):
        client.create_collection(CollectionId="album", Tags=tags)
    client.create_collection(CollectionId="album")
    with pytest.raises(ClientError, match="facerec:face-ttl"):
        client.tag_resource(ResourceArn=ARN, Tags=tags)
    assert client.list_tags_for_resource(ResourceArn=ARN)["Tags"] == {}


def test_deleting_a_face_forgets_what_is_remembered_of_its_image(server: Running) -> None:
    client = server.client()
    client.create_collection(CollectionId="album")
    (ann,) = client.index_faces(CollectionId="album", Image=inline(draw("ann")))["FaceRecords"]
    client.index_faces(CollectionId="album", Image=inline(draw("ben")))
    engine = server.service.engine
    assert engine.counts.images == 2  # type: ignore[attr-defined]
    client.delete_faces(CollectionId="album", FaceIds=[ann["Face"]["FaceId"]])
    assert engine.counts.images == 1  # type: ignore[attr-defined]


def test_a_service_sweeps_beside_its_requests(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path, sweep_seconds=0.05, face_ttl="1s")
    with open_service(settings, engine=FakeEngine(), background=True) as service:
        service.collections.create("album")
        service.faces.index("album", InlineImage(draw("ann")))
        deadline = time.monotonic() + 30
        while True:
            with service.database.read() as connection:
                if not connection.exec_driver_sql("SELECT count(*) FROM faces").scalar():
                    break
            assert time.monotonic() < deadline
            time.sleep(0.02)
