"""Requests that are cut off, slow, too large, wrongly signed or not requests at all; a disk without room."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import resource
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore import auth as botocore_auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from serving import Server, serving, wait_until
from talking import COLLECTION, answer_on, connect, faces_of, head, index, post, target

from facerec.engine.fake import draw

pytest_plugins = ["server_fixtures"]

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests that leave it as it was."""
    settings = {"FACEREC_BODY_TIMEOUT_SECONDS": "2"}
    with serving(tmp_path_factory.mktemp("bad") / "data", settings=settings) as server:
        index(server, "somebody")
        yield server
        assert server.process.poll() is None, server.output


@pytest.fixture(autouse=True)
def unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends to the shared server, the faces stay the same and it still answers."""
    if "shared_server" not in request.fixturenames:
        yield
        return
    server: Server = request.getfixturevalue("shared_server")
    before = faces_of(server)
    yield
    assert faces_of(server) == before
    client = server.client()
    assert client.describe_collection(CollectionId=COLLECTION)["FaceCount"] == len(before)
    client.close()


def index_body(name: str = "stranger") -> bytes:
    image = base64.b64encode(draw(name)).decode()
    return json.dumps(
        {"CollectionId": COLLECTION, "Image": {"Bytes": image}, "ExternalImageId": name}
    ).encode()


# --- bodies


def test_a_body_cut_off_changes_nothing(shared_server: Server) -> None:
    body = index_body()
    for part in (0, 1, len(body) // 2, len(body) - 1):
        with connect(shared_server) as connection:
            connection.sendall(head(len(body)) + body[:part])
    wait_until(lambda: shared_server.output.count("the caller had gone") >= 4)


def test_a_client_that_goes_away_in_mid_request_leaves_nothing_half(tmp_path: Path) -> None:
    """Stored wholly or not at all; and sending it again stores it once."""
    names = [f"person{number}" for number in range(40)]
    with serving(tmp_path / "data") as server:
        index(server)
        for name in names:
            body = index_body(name)
            with connect(server) as connection:
                connection.sendall(head(len(body)) + body)
        wait_until(lambda: server.output.count("'/' IndexFaces") == len(names))
        client = server.client()
        assert client.describe_collection(CollectionId=COLLECTION)["FaceCount"] == len(faces_of(server)) <= 40
        index(server, *names)
        assert client.describe_collection(CollectionId=COLLECTION)["FaceCount"] == len(faces_of(server)) == 40
        for name in names:
            found = client.search_faces_by_image(
                CollectionId=COLLECTION, Image={"Bytes": draw(name, variation=1)}
            )
            assert [match["Face"]["ExternalImageId"] for match in found["FaceMatches"]] == [name]
        client.close()


def test_a_body_declared_too_large_is_refused_unread(shared_server: Server) -> None:
    with connect(shared_server) as connection:
        connection.sendall(head(1000 * MEBIBYTE))
        status, answer = answer_on(connection)
    assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")


def test_a_body_that_grows_too_large_is_refused_on_the_way(shared_server: Server) -> None:
    piece = b"100000\r\n" + b" " * MEBIBYTE + b"\r\n"
    with connect(shared_server) as connection:
        connection.sendall(head(None))
        for _ in range(16):
            connection.sendall(piece)
        connection.sendall(b"1\r\n \r\n0\r\n\r\n")
        status, answer = answer_on(connection)
    assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")


def test_a_body_that_trickles_is_given_up(shared_server: Server) -> None:
    with connect(shared_server) as connection:
        connection.sendall(head(1000) + b"{")
        status, answer = answer_on(connection)
        assert (status, answer["__type"]) == (408, "RequestTimeoutException")
        assert connection.recv(1) == b""  # and the connection is closed


def test_headers_without_end_are_given_up(shared_server: Server) -> None:
    with connect(shared_server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        received = b""
        with contextlib.suppress(OSError):  # the server closes while more is sent, which may cost its answer
            for number in range(200):
                connection.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())
            received = connection.recv(100)
        assert received[:12] in (b"", b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "raw",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
)
def test_what_is_not_http_is_refused(shared_server: Server, raw: bytes) -> None:
    with connect(shared_server) as connection:
        connection.sendall(raw)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"{", target("IndexFaces"), "SerializationException"),
        (b"\xff\xfe", target("IndexFaces"), "SerializationException"),
        (b"[" * 100_000, target("IndexFaces"), "SerializationException"),
        (b'{"CollectionId": 7}', target("DescribeCollection"), "SerializationException"),
        (b"{}", target("DescribeCollection"), "ValidationException"),
        (b"{}", target("NoSuchThing"), "UnknownOperationException"),
        (b"{}", {}, "UnknownOperationException"),
        (b"{}", target("DetectLabels"), "AccessDeniedException"),
    ],
)
def test_bodies_and_targets_that_mean_nothing(
    shared_server: Server, body: bytes, headers: dict[str, str], code: str
) -> None:
    status, answer = post(shared_server, body, headers)
    assert (status, answer["__type"]) == (400, code)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/", 405),
        ("POST", "/x", 404),
    ],
)
def test_other_addresses(shared_server: Server, method: str, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_server.port, timeout=60)
    connection.request(method, path)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    assert response.status == status
    assert content
    assert response.headers["x-amzn-RequestId"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Server"] == "facerec"
    if path == "/health":
        assert content["status"] == "ok"
        assert content["parts"]["model"]["pack"] == "fake"
        assert content["parts"]["database"]["status"] == "ok"


def test_an_open_service_answers_to_this_machines_names_alone(shared_server: Server) -> None:
    status, answer = post(shared_server, b"{}", {**target("ListCollections"), "Host": "evil.example"})
    assert (status, answer["__type"]) == (400, "AccessDeniedException")


# --- signatures


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with a key, and the key."""
    with serving(tmp_path_factory.mktemp("locked") / "data") as server:
        yield server, server.create_key()


def signed(
    server: Server, key: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, clock: timedelta = timedelta()
) -> dict[str, str]:
    """Headers of a signed ListCollections, by a client whose clock is wrong by `clock`."""
    moment = (datetime.now(UTC) + clock).replace(tzinfo=None)
    monkeypatch.setattr(botocore_auth, "get_current_datetime", lambda: moment)
    request = AWSRequest(method="POST", url=server.url + "/", headers=target("ListCollections"), data=b"{}")
    credentials = Credentials(key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"])
    botocore_auth.SigV4Auth(credentials, "rekognition", "us-east-1").add_auth(request)
    return {name: str(value) for name, value in request.headers.items()}


def test_signed_requests_and_only_those_are_answered(
    locked_server: tuple[Server, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, key = locked_server

    def code_of(body: bytes, headers: dict[str, str]) -> str:
        status, answer = post(server, body, headers)
        assert (status == 200) == ("__type" not in answer)
        return str(answer.get("__type", "ok"))

    good = signed(server, key, monkeypatch)
    assert code_of(b"{}", good) == "ok"
    assert code_of(b"{}", target("ListCollections")) == "MissingAuthenticationTokenException"
    assert code_of(b'{"MaxResults":1}', good) == "InvalidSignatureException"
    assert code_of(b"{}", {**good, **target("DeleteCollection")}) == "InvalidSignatureException"
    assert code_of(b"{}", {**good, "Authorization": "AWS4-HMAC-SHA256 x"}) == "IncompleteSignatureException"
    wrong = signed(server, {**key, "AWS_SECRET_ACCESS_KEY": "x" * 40}, monkeypatch)
    assert code_of(b"{}", wrong) == "InvalidSignatureException"
    unknown = signed(server, {**key, "AWS_ACCESS_KEY_ID": "AKIANOBODY"}, monkeypatch)
    assert code_of(b"{}", unknown) == "UnrecognizedClientException"
    for minutes in (-6, 6):
        skewed = signed(server, key, monkeypatch, clock=timedelta(minutes=minutes))
        assert code_of(b"{}", skewed) == "InvalidSignatureException"
    for minutes in (-4, 4):
        close = signed(server, key, monkeypatch, clock=timedelta(minutes=minutes))
        assert code_of(b"{}", close) == "ok"


def test_health_needs_no_signature(locked_server: tuple[Server, dict[str, str]]) -> None:
    server, _ = locked_server
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


# --- a disk without room


def test_a_full_disk_refuses_changes_and_no_more(server: Server) -> None:
    index(server, "anna", "bert")
    before = faces_of(server)
    client = server.client()
    changes: list[Callable[[], object]] = [
        lambda: client.index_faces(CollectionId=COLLECTION, Image={"Bytes": draw("carl")}),
        lambda: client.create_collection(CollectionId="more"),
        lambda: client.delete_faces(CollectionId=COLLECTION, FaceIds=before),
        lambda: client.create_user(CollectionId=COLLECTION, UserId="carl"),
        lambda: client.delete_collection(CollectionId=COLLECTION),
    ]
    # No file may grow, nor be written: every write of the process fails as on a full disk.
    unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    for change in changes:
        with pytest.raises(ClientError) as refused:
            change()
        assert refused.value.response["Error"]["Code"] == "InternalServerError"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert faces_of(server) == before
    found = client.search_faces_by_image(CollectionId=COLLECTION, Image={"Bytes": draw("anna", variation=1)})
    assert len(found["FaceMatches"]) == 1
    assert client.list_collections()["CollectionIds"] == [COLLECTION]

    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    index(server, "carl")
    assert len(faces_of(server)) == 3
    found = client.search_faces_by_image(CollectionId=COLLECTION, Image={"Bytes": draw("carl", variation=1)})
    assert len(found["FaceMatches"]) == 1
    client.close()
    assert server.stop() == 0


# --- many at once


def test_bad_and_good_requests_at_once(shared_server: Server) -> None:
    """Strangers that cut off, trickle and send nonsense do not keep others from their answers."""
    body = index_body()
    errors: list[object] = []

    def misbehave() -> None:
        for part in range(0, len(body), len(body) // 20):
            with connect(shared_server) as connection:
                connection.sendall(head(len(body)) + body[:part])

    def behave() -> None:
        client = shared_server.client()
        for _ in range(30):
            found = client.search_faces_by_image(
                CollectionId=COLLECTION, Image={"Bytes": draw("somebody", variation=1)}
            )
            if len(found["FaceMatches"]) != 1:
                errors.append(found)
        client.close()

    threads = [threading.Thread(target=work) for work in (misbehave, misbehave, behave, behave)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
