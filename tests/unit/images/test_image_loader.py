"""Loading from requests and files, and from a real S3 server (moto's) over HTTP."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from facerec.config import read_settings
from facerec.domain import InlineImage, LocalImage, S3Image
from facerec.errors import ImageTooLarge, InvalidImage, InvalidS3Object, S3Unavailable
from facerec.images import s3 as s3_source
from facerec.images.base import ImageLoader
from facerec.images.loader import open_loader

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "photos"
AWS_MESSAGE = (
    r"^Unable to get object metadata from S3\. Check object key, region and/or access permissions\.$"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def s3(s3_url: str, credentials: None) -> Iterator[S3Client]:
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    yield client
    for version in client.list_object_versions(Bucket=BUCKET).get("Versions", []):
        client.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture
def loader(s3_url: str) -> ImageLoader:
    return open_loader(read_settings(max_image_bytes=1000, max_s3_image_bytes=3000, s3_endpoint_url=s3_url))


# --- with the request


def test_an_image_of_the_request_comes_back_as_it_is(loader: ImageLoader) -> None:
    assert loader.load(InlineImage(bytes(1000))) == bytes(1000)


def test_an_image_of_the_request_that_is_too_large(loader: ImageLoader) -> None:
    with pytest.raises(ImageTooLarge, match="1001 bytes, at most 1000"):
        loader.load(InlineImage(bytes(1001)))


def test_an_empty_image(loader: ImageLoader) -> None:
    with pytest.raises(InvalidImage, match="empty"):
        loader.load(InlineImage(b""))


# --- of a file


def test_a_file(loader: ImageLoader, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(3000))
    assert loader.load(LocalImage(path)) == bytes(3000)


def test_a_file_that_is_too_large(loader: ImageLoader, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(3001))
    with pytest.raises(ImageTooLarge, match="more than 3000 bytes"):
        loader.load(LocalImage(path))


def test_a_file_that_is_not_there(loader: ImageLoader, tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match=r"none\.jpg can not be read: No such file"):
        loader.load(LocalImage(tmp_path / "none.jpg"))
    with pytest.raises(InvalidImage, match="Is a directory"):
        loader.load(LocalImage(tmp_path))


# --- in S3


def test_an_object(loader: ImageLoader, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="albums/ä b.jpg", Body=bytes(3000))
    assert loader.load(S3Image(BUCKET, "albums/ä b.jpg")) == bytes(3000)


def test_a_version_of_an_object(loader: ImageLoader, s3: S3Client) -> None:
    first = s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"first")["VersionId"]
    s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"second")
    assert loader.load(S3Image(BUCKET, "a.jpg", first)) == b"first"
    assert loader.load(S3Image(BUCKET, "a.jpg")) == b"second"


def test_an_object_that_is_too_large(loader: ImageLoader, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=bytes(3001))
    with pytest.raises(ImageTooLarge, match="at most 3000 bytes"):
        loader.load(S3Image(BUCKET, "a.jpg"))


def test_an_empty_object(loader: ImageLoader, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"")
    with pytest.raises(InvalidImage, match="empty"):
        loader.load(S3Image(BUCKET, "a.jpg"))


@pytest.mark.parametrize(
    "reference",
    [
        S3Image(BUCKET, "none.jpg"),
        S3Image("no-such-bucket", "a.jpg"),
        S3Image(BUCKET, "a.jpg", "no-such-version"),
        S3Image("..", "a.jpg"),
    ],
    ids=["key", "bucket", "version", "name"],
)
def test_objects_that_are_not_there(loader: ImageLoader, s3: S3Client, reference: S3Image) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"a")
    with pytest.raises(InvalidS3Object, match=AWS_MESSAGE):
        loader.load(reference)


def test_a_server_that_is_not_there() -> None:
    loader = open_loader(read_settings(s3_endpoint_url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(InvalidS3Object, match=AWS_MESSAGE):
        loader.load(S3Image(BUCKET, "a.jpg"))


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials where boto3 looks for some."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


def test_credentials_of_the_settings_file(
    s3: S3Client, s3_url: str, nowhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"bytes")
    (tmp_path / ".env").write_text("AWS_ACCESS_KEY_ID=testing\nAWS_SECRET_ACCESS_KEY=the secret\n")
    monkeypatch.chdir(tmp_path)
    settings = read_settings(s3_endpoint_url=s3_url)
    assert open_loader(settings).load(S3Image(BUCKET, "a.jpg")) == b"bytes"
    assert "the secret" not in repr((settings, settings.aws_credentials))


def test_without_credentials(s3_url: str, nowhere: None) -> None:
    loader = open_loader(read_settings(s3_endpoint_url=s3_url))
    with pytest.raises(InvalidS3Object, match=AWS_MESSAGE):
        loader.load(S3Image(BUCKET, "a.jpg"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + bytes(500), InvalidS3Object),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + bytes(500), ImageTooLarge),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", InvalidS3Object),
    ],
    ids=["cut off", "declared too large", "forbidden"],
)
def test_answers_that_are_not_whole(answer: bytes, error: type[Exception]) -> None:
    """A server of one answer, then a closed connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        loader = open_loader(read_settings(s3_endpoint_url=f"http://127.0.0.1:{port}"))
        with pytest.raises(error):
            loader.load(S3Image(BUCKET, "a.jpg"))
        server.shutdown(socket.SHUT_RDWR)


def test_a_store_that_gives_a_byte_now_and_then_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_source, "LONGEST_SECONDS", 0.5)
    given = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
                for _ in range(3000):
                    connection.sendall(b"x")
                    time.sleep(0.02)
                given.set()

        threading.Thread(target=serve, daemon=True).start()
        loader = open_loader(read_settings(s3_endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(S3Unavailable):
            loader.load(S3Image(BUCKET, "a.jpg"))
    assert not given.is_set()


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server that gives these answers, one a connection, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked


def test_a_bucket_of_another_region() -> None:
    elsewhere = b"x-amz-bucket-region: eu-west-3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    found = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nbytes"
    with answering(b"HTTP/1.1 301 Moved\r\n" + elsewhere, found, found) as (url, asked):
        loader = open_loader(read_settings(s3_endpoint_url=url, s3_region="us-east-1"))
        for _ in range(2):
            assert loader.load(S3Image(BUCKET, "a//../b.jpg")) == b"bytes"
    regions = [re.findall(rb"/([a-z0-9-]+)/s3/aws4_request", each) for each in asked]
    assert regions == [[b"us-east-1"], [b"eu-west-3"], [b"eu-west-3"]]
    assert asked[0].startswith(b"GET /photos/a//../b.jpg HTTP/1.1\r\n")


def test_a_store_that_asks_for_patience() -> None:
    slow_down = b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    found = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nbytes"
    with answering(slow_down, found) as (url, _):
        loader = open_loader(read_settings(s3_endpoint_url=url))
        assert loader.load(S3Image(BUCKET, "a.jpg")) == b"bytes"


def test_addresses_at_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked through a proxy, as the environment says, which lets nothing through."""
    refused = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    with answering(*[refused] * 6) as (url, asked):
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        loader = open_loader(read_settings(s3_region="eu-west-1"))
        for bucket in (BUCKET, "with.dots"):
            with pytest.raises(S3Unavailable):
                loader.load(S3Image(bucket, "a.jpg"))
    hosts = [each.split()[1] for each in asked]
    assert hosts == [b"photos.s3.eu-west-1.amazonaws.com:443"] * 3 + [b"s3.eu-west-1.amazonaws.com:443"] * 3
