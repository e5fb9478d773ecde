"""The service on a disk that is full or read-only: it says so, searches go on, and it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import serving
from botocore.exceptions import ClientError
from worker_processes import lives, wait_for_workers

from facerec.engine.fake import draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

pytestmark = pytest.mark.slow

SMALL_DISK = """#!/bin/sh
exec {bwrap} --unshare-user --uid 0 --gid 0 --die-with-parent --dev-bind / / \\
    --size {size} --tmpfs "$FACEREC_DATA_DIR" {facerec} "$@"
"""
SIZE = 8 * 2**20


def children(process: int) -> list[int]:
    """The processes that one has started."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@dataclass(frozen=True)
class Sandbox:
    """A service of two processes on a small disk of its own, where Ann is a face of the collection guests."""

    server: serving.Server
    client: RekognitionClient
    rest: httpx.Client

    @property
    def inside(self) -> int:
        """The first process in the sandbox; those outside of it see another disk."""
        process = self.server.process.pid
        while shutil.disk_usage(f"/proc/{process}/root{self.server.data}").total != SIZE:
            (process,) = children(process)
        return process

    def index(self, name: str) -> None:
        """Store a face."""
        self.client.index_faces(CollectionId="guests", ExternalImageId=name, Image={"Bytes": draw(name)})

    def stores(self, name: str) -> bool:
        """Whether a face is stored, and not refused."""
        try:
            self.index(name)
        except self.client.exceptions.ThrottlingException:
            return False
        return True

    def search(self) -> list[str | None]:
        """Who resembles Ann."""
        picture = draw("ann", variation=1)
        found = self.client.search_faces_by_image(CollectionId="guests", Image={"Bytes": picture})
        return [match["Face"].get("ExternalImageId") for match in found["FaceMatches"]]

    def disk(self) -> dict[str, object]:
        """What /health tells of the disk."""
        told: dict[str, object] = self.rest.get("/health").json()["parts"]["disk"]
        return told

    def refuses(self, reason: str) -> None:
        """What is to be stored is refused, for a reason that passes, and what stores nothing is answered."""
        for name in ("ben", "cat"):
            with pytest.raises(ClientError) as refused:
                self.index(name)
            assert refused.value.response["Error"]["Code"] == "ThrottlingException"
            assert refused.value.response["Error"]["Message"].startswith(reason)
        sent = {"files": ("ann.jpg", draw("ann", variation=2) + bytes(2**21), "image/jpeg")}
        for answer in (
            self.rest.post("/api/v1/collections", json={"collection_id": "others"}),
            self.rest.post("/api/v1/videos/upload", params={"collection": "guests"}, content=bytes(10_000)),
            self.rest.post("/api/v1/albums/feast/uploads", files=sent),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "StorageError")
            assert answer.json()["message"].startswith(reason)
            assert "Retry-After" in answer.headers
        assert self.search() == ["ann"]

    def is_degraded(self, disk: dict[str, object]) -> None:
        """The health is not what it was for this part alone, and requests are still to be sent here."""
        # What was found is told again for a second.
        serving.wait_until(lambda: self.rest.get("/health").json()["status"] != "ok")
        health = self.rest.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert {name: value for name, value in self.disk().items() if name != "milliseconds"} == disk
        assert self.rest.get("/health/ready").status_code == 200
        assert 'facerec_part_up{name="local",part="disk"} 0.0' in self.rest.get("/metrics").text


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("bubblewrap, which makes the small disk, is not installed")
    sandboxed = tmp_path / "facerec"
    sandboxed.write_text(SMALL_DISK.format(bwrap=bwrap, size=SIZE, facerec=serving.FACEREC))
    sandboxed.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setattr(serving, "FACEREC", sandboxed)
    # What the processes count in is not to lie on that disk.
    settings = {"FACEREC_DISK_RESERVE_MIB": "1", "FACEREC_WORKERS": "2", "TMPDIR": str(data)}
    with serving.serving(data, settings=settings) as server, httpx.Client(base_url=server.url) as rest:
        opened = Sandbox(server, server.client(), rest)
        opened.client.create_collection(CollectionId="guests")
        opened.index("ann")
        rest.post("/api/v1/albums", json={"album_id": "feast"}).raise_for_status()
        wait_for_workers(server, 2)
        yield opened
        opened.client.close()
        server.stop()
        assert "Traceback" not in server.output


def kill(process: int) -> None:
    """End a process, and wait for its end."""
    os.kill(process, signal.SIGKILL)
    serving.wait_until(lambda: not lives(process))


def write_blocks(file: Path, count: int) -> None:
    """Write so many blocks, as far as they go."""
    with file.open("wb", buffering=0) as opened:
        for _ in range(count):
            opened.write(bytes(4096))


@pytest.fixture
def full(sandbox: Sandbox) -> Path:
    """What takes all the room there is."""
    ballast = Path(f"/proc/{sandbox.inside}/root{sandbox.server.data}/ballast")
    with pytest.raises(OSError, match="No space left"):
        write_blocks(ballast, SIZE // 4096)
    return ballast


@contextlib.contextmanager
def read_only(sandbox: Sandbox) -> Iterator[None]:
    """The disk takes nothing: neither new files nor, as where ext4 finds an error on it, in open ones."""
    data, processes = sandbox.server.data, [sandbox.inside, *children(sandbox.inside)]
    entered = ["nsenter", "--target", str(sandbox.inside), "--user", "--mount", "--preserve-credentials"]

    def mount(*arguments: object) -> None:
        subprocess.run([*entered, *map(str, arguments)], check=True)

    mount("mount", "--bind", data, data)
    mount("mount", "-o", "remount,bind,ro", data)
    unlimited = [resource.prlimit(process, resource.RLIMIT_FSIZE, (0, -1)) for process in processes]
    try:
        yield
    finally:
        for process, limit in zip(processes, unlimited, strict=True):
            resource.prlimit(process, resource.RLIMIT_FSIZE, limit)
        mount("mount", "-o", "remount,bind,rw", data)


def test_on_a_full_disk_changes_are_refused_and_searches_go_on_until_there_is_room(
    sandbox: Sandbox, full: Path
) -> None:
    sandbox.refuses("The disk is full.")
    assert "room" in sandbox.rest.post("/api/v1/collections", json={"collection_id": "others"}).json()["hint"]
    full.unlink()
    sandbox.index("ben")
    assert sandbox.client.describe_collection(CollectionId="guests")["FaceCount"] == 2
    assert "database or disk is full" in sandbox.server.output


def test_a_full_disk_is_a_part_of_the_health(sandbox: Sandbox, request: pytest.FixtureRequest) -> None:
    before = sandbox.disk()
    assert before["status"] == "ok"
    assert 1 <= int(str(before["free_mib"])) < 8
    request.getfixturevalue("full")
    sandbox.is_degraded({"status": "full", "name": "local", "free_mib": 0})


def test_on_a_full_disk_processes_that_ended_are_replaced(sandbox: Sandbox, full: Path) -> None:
    assert full.exists()
    before = wait_for_workers(sandbox.server, 2)
    for number in before:
        kill(before[number])
        assert wait_for_workers(sandbox.server, 2)[number] != before[number]
    # A client keeps its connection, and so its process: none of those from before is left to answer.
    for _ in range(50):
        assert sandbox.search() == ["ann"]


def test_on_a_read_only_disk_changes_are_refused_and_searches_go_on_until_it_can_be_written(
    sandbox: Sandbox,
) -> None:
    with read_only(sandbox):
        sandbox.refuses("The disk is read-only.")
    # What a process has opened to read meanwhile is found out by its next write.
    serving.wait_until(lambda: sandbox.stores("ben"))
    assert sandbox.client.describe_collection(CollectionId="guests")["FaceCount"] == 2


def test_a_read_only_disk_is_a_part_of_the_health(sandbox: Sandbox) -> None:
    free = sandbox.disk()["free_mib"]
    with read_only(sandbox):
        sandbox.is_degraded({"status": "read_only", "name": "local", "free_mib": free})
