"""The service on a disk that is full: it says so, goes on with what needs no room, and recovers by itself."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import httpx
import pytest
import serving
from botocore.exceptions import ClientError

from facerec.engine.fake import draw

pytestmark = pytest.mark.slow

SMALL_DISK = """#!/bin/sh
exec {bwrap} --unshare-user --uid 0 --gid 0 --die-with-parent --dev-bind / / \\
    --size {size} --tmpfs "$FACEREC_DATA_DIR" {facerec} "$@"
"""
SIZE = 8 * 2**20


def small_disk(server: serving.Server) -> Path:
    """The data folder as the service in its sandbox sees it, which is not the disk of whoever runs this."""
    process = server.process.pid
    while shutil.disk_usage(seen := Path(f"/proc/{process}/root{server.data}")).total != SIZE:
        process = int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
    return seen


def process_of(server: serving.Server) -> int:
    """One of the processes that answer."""
    return int(httpx.get(f"{server.url}/health").json()["process"]["pid"])


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        write_blocks(ballast, SIZE // 4096)
    return ballast


def write_blocks(file: Path, count: int) -> None:
    """Write so many blocks, as far as they go."""
    with file.open("wb", buffering=0) as opened:
        for _ in range(count):
            opened.write(bytes(4096))


def test_a_full_disk_is_told_and_searches_go_on_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        client = server.client()
        client.create_collection(CollectionId="guests")
        client.index_faces(CollectionId="guests", ExternalImageId="ann", Image={"Bytes": draw("ann")})
        rest.post("/api/v1/albums", json={"album_id": "feast"}).raise_for_status()
        part = rest.get("/health").json()["parts"]["disk"]
        assert part["status"] == "ok"
        assert 1 <= part["free_mib"] < 8

        ballast = fill(small_disk(server))
        for name in ("ben", "cat"):
            with pytest.raises(ClientError) as refused:
                client.index_faces(CollectionId="guests", ExternalImageId=name, Image={"Bytes": draw(name)})
            assert refused.value.response["Error"]["Code"] == "ThrottlingException"
            assert refused.value.response["Error"]["Message"].startswith("The disk is full.")
        answer = rest.post("/api/v1/collections", json={"collection_id": "others"})
        assert (answer.status_code, answer.json()["code"]) == (503, "StorageError")
        assert "room" in answer.json()["hint"]
        assert "Retry-After" in answer.headers
        sent = {"files": ("ann.jpg", draw("ann", variation=2) + bytes(2**21), "image/jpeg")}
        for refused_answer in (
            rest.post("/api/v1/videos/upload", params={"collection": "guests"}, content=bytes(10_000)),
            rest.post("/api/v1/albums/feast/uploads", files=sent),
        ):
            assert (refused_answer.status_code, refused_answer.json()["code"]) == (503, "StorageError")
            assert refused_answer.json()["message"].startswith("The disk is full.")
        found = client.search_faces_by_image(CollectionId="guests", Image={"Bytes": draw("ann", variation=1)})
        assert [match["Face"].get("ExternalImageId") for match in found["FaceMatches"]] == ["ann"]
        serving.wait_until(lambda: rest.get("/health").json()["status"] != "ok")  # it is told for a second
        health = rest.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["parts"]["disk"] | {"milliseconds": 0} == {
            "status": "full",
            "name": "local",
            "free_mib": 0,
            "milliseconds": 0,
        }
        assert rest.get("/health/ready").status_code == 200
        os.kill(before := process_of(server), signal.SIGKILL)
        serving.wait_until(lambda: len({process_of(server) for _ in range(8)} - {before}) == 2)
        for _ in range(50):
            client.search_faces_by_image(CollectionId="guests", Image={"Bytes": draw("ann", variation=1)})
        assert 'facerec_part_up{name="local",part="disk"} 0.0' in rest.get("/metrics").text

        ballast.unlink()
        client.index_faces(CollectionId="guests", ExternalImageId="ben", Image={"Bytes": draw("ben")})
        assert client.describe_collection(CollectionId="guests")["FaceCount"] == 2
        client.close()
        server.stop()
        assert "database or disk is full" in server.output
        assert "Traceback" not in server.output
