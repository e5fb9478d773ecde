"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from postgres_server import PostgresServer
from redis_server import RedisServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REPOSITORY = Path(__file__).resolve().parents[1]

# Tests that run a network by ONNX Runtime itself, past facerec, which switches this off: it tells its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Most servers that tests start have an empty data folder: they need not compile the same networks each time.
os.environ["FACEREC_COMPILED_DIR"] = str(REPOSITORY / "build" / "compiled")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is imported and collected stays until the end: no search for garbage need go through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real weights and pictures beside the checkout; tests that need them are skipped without it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("the folder shared (real weights and pictures) does not lie beside the checkout")
    return folder


@pytest.fixture(scope="session")
def scrfd_pack(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of the real SCRFD-500M detector and the MobileFaceNet recogniser."""
    folder = tmp_path_factory.mktemp("scrfd_mobilefacenet")
    for name in ("scrfd_500m_bnkps.onnx", "mobilefacenet_128d.onnx"):
        (folder / name).symlink_to(shared / "models" / name)
    (folder / "pack.toml").symlink_to(REPOSITORY / "benchmarks" / "small_pack.toml")
    return folder


@pytest.fixture(scope="session")
def liveness_pack(scrfd_pack: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of `scrfd_pack`, with the two real networks that judge liveness."""
    folder = tmp_path_factory.mktemp("scrfd_liveness")
    for file in scrfd_pack.glob("*.onnx"):
        (folder / file.name).symlink_to(file.resolve())
    text = (scrfd_pack / "pack.toml").read_text()
    for name, scale in (("minifasnet_v2_2.7_80x80.onnx", 2.7), ("minifasnet_v1se_4.0_80x80.onnx", 4.0)):
        (folder / name).symlink_to(shared / "models" / name)
        text += f'\n[[liveness]]\nkind = "minifasnet"\nfile = "{name}"\nscale = {scale}\n'
    (folder / "pack.toml").write_text(text)
    return folder


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real S3 server (moto's)."""
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + 60
            while b"Running on" not in log.read_bytes():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield log.read_text().partition("Running on ")[2].split()[0]
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def s3(s3_url: str) -> Iterator[S3Client]:
    """A client of that server, with keys of its own."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that the tests of a session share: each has databases of its own in it."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address (DATABASE_URL) of an empty PostgreSQL database of one test."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server that the tests of a session share; whoever kills it starts it again."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The setting `database_url` over SQLite (None: in the data folder) and, once more, over PostgreSQL."""
    if request.param == "sqlite":
        return None
    return str(request.getfixturevalue("postgres_url"))
