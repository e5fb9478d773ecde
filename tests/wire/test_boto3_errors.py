"""Every error arrives as botocore's own exception class, whatever nonsense was sent."""

from __future__ import annotations

import random
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import orjson
import pytest
from shape_samples import sample
from wire_server import MODEL, Running, inline, running

from facerec.api.rekognition.operations import OPERATIONS
from facerec.engine.base import Picture
from facerec.engine.fake import FakeEngine, draw

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
def careless(server: Running) -> RekognitionClient:
    """A client that sends what its user says without a look."""
    return server.client(parameter_validation=False)


def post(
    server: Running, body: bytes, target: str | None = "RekognitionService.ListFaces"
) -> tuple[int, dict[str, Any], Any]:
    """Status, decoded body and headers of an answer to raw bytes."""
    request = urllib.request.Request(server.url, data=body, method="POST")
    request.add_header("Content-Type", "application/x-amz-json-1.1")
    if target is not None:
        request.add_header("X-Amz-Target", target)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, orjson.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, orjson.loads(error.read()), error.headers


# --- operations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", sorted(set(MODEL.operations) - set(OPERATIONS)))
def test_an_operation_that_is_not_offered_says_so(client: RekognitionClient, operation: str) -> None:
    method = next(name for name, mapped in client.meta.method_to_api_mapping.items() if mapped == operation)
    parameters = sample(MODEL.operations[operation].input, random.Random(1), full=False)
    with pytest.raises(client.exceptions.AccessDeniedException) as caught:
        getattr(client, method)(**parameters)
    assert caught.value.response["Error"]["Message"] == f"{operation} is not offered by this service"
    assert "AccessDeniedException" in MODEL.operations[operation].errors


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "RekognitionService",
        "RekognitionService.Nothing",
        "DynamoDB_20120810.ListTables",
        "RekognitionService.ListFaces.x",
        "rekognitionservice.ListFaces",
        "x" * 5000,
    ],
)
def test_a_target_that_names_no_operation(server: Running, target: str | None) -> None:
    status, body, headers = post(server, b"{}", target)
    assert (status, body["__type"]) == (400, "UnknownOperationException")
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
    assert len(body["message"]) < 300


# --- bodies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"no json",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"CollectionId": NaN}',
        b'{"CollectionId": ' * 50_000,
        b'{"CollectionId": 5}',
        b'{"CollectionId": "c", "MaxResults": "5"}',
        b'{"CollectionId": "c", "MaxResults": 99999999999999999999999999}',
        b'{"CollectionId": "c", "FaceIds": {"a": 1}}',
    ],
)
def test_a_body_that_can_not_be_read(server: Running, body: bytes) -> None:
    status, answer, headers = post(server, body)
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert answer["message"]
    assert len(headers["x-amzn-RequestId"]) == 36


def test_an_image_that_is_no_base64(server: Running) -> None:
    for text in ("*", "YW", "YWJj\n", "data:image/png;base64,YWJj"):
        body = orjson.dumps({"Image": {"Bytes": text}})
        status, answer, _ = post(server, body, "RekognitionService.DetectFaces")
        assert (status, answer["__type"]) == (400, "SerializationException")
        assert "image.bytes" in answer["message"]


def test_unknown_members_are_overlooked(server: Running) -> None:
    status, answer, _ = post(
        server, b'{"New": {"deep": []}, "MaxResults": 1}', "RekognitionService.ListCollections"
    )
    assert (status, answer) == (200, {"CollectionIds": [], "FaceModelVersions": []})


def test_no_body_at_all(server: Running) -> None:
    status, answer, _ = post(server, b"")
    assert (status, answer["__type"]) == (400, "ValidationException")


def test_a_body_beyond_the_limit(server: Running, client: RekognitionClient) -> None:
    size = server.service.settings.max_body_bytes + 1
    status, answer, _ = post(server, b" " * size)
    assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.detect_faces(Image={"Bytes": b"x" * size})
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"


@pytest.mark.parametrize(
    "head", [b"Content-Length: 99999999999\r\n", b"Content-Length: 17000000\r\nExpect: 100-continue\r\n"]
)
def test_a_body_known_to_be_beyond_the_limit_is_not_waited_for(server: Running, head: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_two_images_of_the_largest_size_fit(client: RekognitionClient) -> None:
    largest = draw("ann").ljust(5 * 1024 * 1024, b"\x00")
    answer = client.compare_faces(SourceImage={"Bytes": largest}, TargetImage={"Bytes": largest})
    assert answer["FaceMatches"][0]["Similarity"] == pytest.approx(100, abs=0.1)


# --- constraints ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "parameters", "path"),
    [
        ("create_collection", {"CollectionId": "a b"}, "collectionId"),
        ("create_collection", {"CollectionId": "x" * 256}, "collectionId"),
        ("create_collection", {"CollectionId": "../../etc/passwd"}, "collectionId"),
        ("create_collection", {"CollectionId": "a\n"}, "collectionId"),
        ("create_collection", {"CollectionId": "c", "Tags": {"aws:a": "b"}}, "tags"),
        ("create_collection", {"CollectionId": "c", "Tags": {str(n): "" for n in range(201)}}, "tags"),
        ("create_user", {"CollectionId": "c", "UserId": "x" * 129}, "userId"),
        ("create_user", {"CollectionId": "c", "UserId": "a/b"}, "userId"),
        (
            "create_user",
            {"CollectionId": "c", "UserId": "u", "ClientRequestToken": "a.b"},
            "clientRequestToken",
        ),
        ("search_faces", {"CollectionId": "c", "FaceId": UNKNOWN.upper() + "A"}, "faceId"),
        ("search_faces", {"CollectionId": "c", "FaceId": UNKNOWN, "MaxFaces": 4097}, "maxFaces"),
        (
            "search_faces",
            {"CollectionId": "c", "FaceId": UNKNOWN, "FaceMatchThreshold": 100.1},
            "faceMatchThreshold",
        ),
        ("search_users", {"CollectionId": "c", "UserId": "u", "MaxUsers": 501}, "maxUsers"),
        ("delete_faces", {"CollectionId": "c", "FaceIds": [UNKNOWN] * 4097}, "faceIds"),
        ("delete_faces", {"CollectionId": "c", "FaceIds": ["'; DROP TABLE faces; --"]}, "faceIds"),
        ("associate_faces", {"CollectionId": "c", "UserId": "u", "FaceIds": [UNKNOWN] * 101}, "faceIds"),
        ("list_faces", {"CollectionId": "c", "MaxResults": 4097}, "maxResults"),
        ("list_users", {"CollectionId": "c", "MaxResults": 501}, "maxResults"),
        ("list_faces", {"CollectionId": "c", "NextToken": "x" * 256}, "nextToken"),
        ("detect_faces", {"Image": {"Bytes": b"x"}, "Attributes": ["HATS"]}, "attributes"),
        ("index_faces", {"CollectionId": "c", "Image": {}, "ExternalImageId": "a b"}, "externalImageId"),
        ("index_faces", {"CollectionId": "c", "Image": {}, "QualityFilter": "NOPE"}, "qualityFilter"),
        ("list_tags_for_resource", {"ResourceArn": "arn:aws:rekognition:" + "x" * 2048}, "resourceArn"),
        ("detect_faces", {"Image": {"Bytes": b"x" * 6_000_000}}, "image.bytes"),
    ],
)
def test_what_botocore_lets_through_is_refused_here(
    client: RekognitionClient, method: str, parameters: dict[str, Any], path: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        getattr(client, method)(**parameters)
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].startswith("1 validation error detected: Value ")
    assert f" at '{path}' failed to satisfy constraint: " in error["Message"]
    assert len(error["Message"]) < 1000


@pytest.mark.parametrize(
    ("method", "parameters", "path"),
    [
        ("delete_collection", {}, "collectionId"),
        ("detect_faces", {}, "image"),
        ("detect_faces", {"Image": {"Bytes": b""}}, "image.bytes"),
        ("delete_faces", {"CollectionId": "c", "FaceIds": []}, "faceIds"),
        ("index_faces", {"CollectionId": "c", "Image": {"Bytes": b"x"}, "MaxFaces": 0}, "maxFaces"),
        (
            "search_faces",
            {"CollectionId": "c", "FaceId": UNKNOWN, "FaceMatchThreshold": -1},
            "faceMatchThreshold",
        ),
    ],
)
def test_what_botocore_would_catch_is_refused_here_too(
    careless: RekognitionClient, method: str, parameters: dict[str, Any], path: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        getattr(careless, method)(**parameters)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert f" at '{path}' failed to satisfy constraint: " in caught.value.response["Error"]["Message"]


# --- unknown things ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("delete_collection", {}),
        ("describe_collection", {}),
        ("index_faces", {"Image": {"Bytes": draw("ann")}}),
        ("list_faces", {}),
        ("delete_faces", {"FaceIds": [UNKNOWN]}),
        ("search_faces", {"FaceId": UNKNOWN}),
        ("search_faces_by_image", {"Image": {"Bytes": draw("ann")}}),
        ("create_user", {"UserId": "u"}),
        ("delete_user", {"UserId": "u"}),
        ("list_users", {}),
        ("associate_faces", {"UserId": "u", "FaceIds": [UNKNOWN]}),
        ("disassociate_faces", {"UserId": "u", "FaceIds": [UNKNOWN]}),
        ("search_users", {"UserId": "u"}),
        ("search_users_by_image", {"Image": {"Bytes": draw("ann")}}),
    ],
)
def test_a_collection_that_is_not_there(
    client: RekognitionClient, method: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        getattr(client, method)(CollectionId="never-made", **parameters)
    assert "never-made" in caught.value.response["Error"]["Message"]


# --- overload and faults ----------------------------------------------------------------------------


class HeldEngine(FakeEngine):
    """Decodes when it is let to: requests stay at work for as long as a test needs them."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def decode(self, data: bytes) -> Picture:
        self.entered.set()
        assert self.released.wait(60)
        return super().decode(data)


def test_a_full_service_refuses_in_the_way_that_clients_repeat(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    engine = HeldEngine()
    with (
        running(tmp_path_factory.mktemp("full"), engine=engine, max_queue=1) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        client = server.client()
        held = pool.submit(client.detect_faces, Image=inline(draw("ann")))
        try:
            assert engine.entered.wait(60)
            with pytest.raises(client.exceptions.ProvisionedThroughputExceededException) as caught:
                client.list_collections()
        finally:
            engine.released.set()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert len(held.result()["FaceDetails"]) == 1
        assert client.list_collections()["CollectionIds"] == []


def test_a_client_that_sends_slowly_takes_no_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("slow"), max_queue=1) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as waiting:
            waiting.sendall(
                b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: RekognitionService.ListCollections\r\n"
                b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            # The server asks for the body when the door begins to read it.
            assert waiting.recv(100).startswith(b"HTTP/1.1 100")
            assert server.client().list_collections()["CollectionIds"] == []
            waiting.sendall(b"{}")
            assert waiting.recv(100).startswith(b"HTTP/1.1 200")


def test_a_fault_of_the_service_tells_nothing_but_the_id(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path_factory.mktemp("broken")) as server:
        server.service.database.close()
        for path in (server.service.settings.data_dir).glob("*.db*"):
            path.unlink()
        client = server.client()
        with pytest.raises(client.exceptions.InternalServerError) as caught:
            client.list_collections()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert response["Error"]["Message"] == "Internal server error"
    assert any(record.exc_info for record in caplog.records)


def test_a_fault_of_the_database_puts_no_embedding_into_the_log(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path_factory.mktemp("faulty")) as server:
        client = server.client()
        client.create_collection(CollectionId="album")
        with server.service.database.write() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON faces BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )
        with pytest.raises(client.exceptions.InternalServerError):
            client.index_faces(CollectionId="album", Image={"Bytes": draw("ann")}, ExternalImageId="a.name")
        assert client.list_faces(CollectionId="album")["Faces"] == []
    assert "no more" in caplog.text
    assert "parameters: (" not in caplog.text
    assert "a.name" not in caplog.text
