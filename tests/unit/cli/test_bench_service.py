"""`facerec bench service`: the load that it sends, what it tells of the server, and the command itself."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import Run, command_line, three_pictures  # noqa: F401 - fixtures

from facerec.bootstrap import open_service
from facerec.cli.bench.gallery import fill_gallery
from facerec.cli.bench.load import Client, Operation, Requests, request_bytes
from facerec.cli.bench.process import Process
from facerec.cli.bench.server import loopback_address
from facerec.config import read_settings
from facerec.engine.fake import FakeEngine
from facerec.errors import InvalidParameter


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("http://127.1.2.3/", ("127.1.2.3", 80)),
        ("http://localhost:9", ("localhost", 9)),
        ("http://[::1]:8000", ("::1", 8000)),
    ],
)
def test_addresses_of_this_machine(url: str, address: tuple[str, int]) -> None:
    assert loopback_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8000",
        "http://0.0.0.0:8000",
        "http://rekognition.us-east-1.amazonaws.com",
        "http://127.0.0.1.example.org:8000",
        "http://127.0.0.1@example.org",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8000/elsewhere",
        "http://127.0.0.1:99999",
        "127.0.0.1:8000",
        "",
    ],
)
def test_no_load_is_sent_elsewhere(url: str) -> None:
    with pytest.raises(InvalidParameter, match="--url"):
        loopback_address(url)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "gallery", "used"),
    [
        ("DetectFaces", 0, 3),
        ("IndexFaces", 0, 3),
        ("SearchFacesByImage", 0, 2),
        ("SearchFacesByImage", 1000, 2),
        ("CompareFaces", 0, 2),
    ],
)
def test_bench_service(facerec: Run, pictures: Path, operation: str, gallery: int, used: int) -> None:
    done = facerec(
        *("bench", "service", "--images", pictures, "--operation", operation, "--gallery", gallery),
        *("--clients", "1,3", "--seconds", 0.3, "--json"),
    )
    assert done.code == 0, done.err
    # A picture without a face can not be searched for.
    assert (done.json["images"], done.json["images_left_out"]) == (used, 3 - used)
    assert [run["clients"] for run in done.json["runs"]] == [1, 3]
    for run in done.json["runs"]:
        assert run["errors"] == 0
        assert run["requests"] >= run["clients"]
        assert 0 < run["p50_ms"] <= run["p95_ms"] <= run["p99_ms"]
        assert run["server_peak_mib"] >= 0.9 * done.json["start_mib"] > 0
        assert run["server_cpu_ms"] > 0
        assert run["client_cpu_ms"] > 0
        # Both are rounded to hundredths of a millisecond.
        share = done.json["engine_cpu_ms"] / run["server_cpu_ms"]
        assert run["engine_share"] == pytest.approx(share, rel=0.05, abs=0.02)
        assert run["of_engine"] == pytest.approx(
            run["requests_per_second"] / done.json["engine_per_second"], abs=0.01
        )


def test_a_gallery_is_written_for_the_service_to_search(tmp_path: Path) -> None:
    engine = FakeEngine()
    fill_gallery(tmp_path, "invented", engine.contract, 300)
    with open_service(read_settings(data_dir=tmp_path), engine=engine) as service:
        collection = service.collections.describe("invented")
        assert (collection.face_count, collection.contract_id) == (300, engine.contract.id)
        listed = service.faces.list("invented").page.items
        near = service.faces.search("invented", listed[7].face_id, threshold=0, limit=300).matches
    # Directions of their own: in 128 dimensions no two of so many come near each other.
    assert len(near) == 299
    assert max(match.cosine for match in near) < 0.5


WORK = """
import sys, time
print("ready", flush=True)
sys.stdin.readline()
block = b"x" * (64 << 20)
began = time.process_time()
while time.process_time() - began < 0.2:
    pass
print("done", flush=True)
sys.stdin.read()
"""
"""A process that takes memory and time when it is told to."""


def test_a_process_tells_its_time_and_memory() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        process = Process(worker.pid)
        before, held = process.processor_seconds(), process.resident_mib()
        process.forget_peak()
        worker.stdin.write("\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "done\n"
        after, peak = process.processor_seconds(), process.peak_mib()
        worker.stdin.close()
    if before is None or held is None:
        pytest.skip("the system has no /proc")
    assert after is not None
    assert peak is not None
    assert after - before >= 0.15
    assert peak >= held + 60
    assert Process(2**22 + 1).peak_mib() is None


def test_a_process_counts_for_those_that_it_started() -> None:
    alone = Process(os.getpid()).resident_mib()
    if alone is None or not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("the system does not tell a process's children")
    held = "import subprocess, sys; held = b'x' * (64 << 20); "
    work = held + "subprocess.run([sys.executable, '-c', sys.argv[1]])"
    grandchild = held + "print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", work, grandchild]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        together = Process(os.getpid()).resident_mib()
        child.stdin.close()
    assert together is not None
    assert together > alone + 120


def test_clients_tell_an_answer_that_breaks_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def serve(answer: bytes) -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        client = Client(listening.getsockname())
        for answer, told in (
            (b"HTTP/1.1 200 OK\r\nContent-Le", "closed"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234", "closed"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "length"),
        ):
            served = pool.submit(serve, answer)
            with pytest.raises(OSError, match=told):
                client.ask(request_bytes("DetectFaces", b"{}"))
            served.result()
        served = pool.submit(serve, b"HTTP/1.1 400 Bad\r\ncontent-length: 3\r\n\r\nabc")
        assert client.ask(request_bytes("DetectFaces", b"{}")) == (400, b"abc")
        served.result()
        client.close()


def test_every_indexing_request_has_an_id_of_its_own() -> None:
    requests = Requests(Operation.INDEX_FACES, "album", [b"one", b"two"])
    sent = [requests.about(number) for number in range(4)]
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in sent]
    assert len({body["ExternalImageId"] for body in bodies}) == 4
    assert [base64.b64decode(body["Image"]["Bytes"]) for body in bodies] == [b"one", b"two"] * 2
    for request, body in zip(sent, bodies, strict=True):
        head, _, content = request.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(content) in head
        assert body["CollectionId"] == "album"


def test_bench_service_takes_no_other_machine(facerec: Run, pictures: Path) -> None:
    done = facerec("bench", "service", "--images", pictures, "--url", "http://192.0.2.1:8000", "--json")
    assert (done.code, done.out) == (1, "")
    assert "192.0.2.1" in done.err
    both = facerec("bench", "service", "--images", pictures, "--url", "http://127.0.0.1:1", "--pack", "fake")
    assert "--pack" in both.err
    nowhere = facerec("bench", "service", "--images", pictures, "--gallery", 10, "--json")
    assert "DetectFaces uses none" in nowhere.err.replace("\n", " ")
    assert facerec("bench", "service", "--images", pictures, "--operation", "DetectCats").code == 2


def test_bench_service_tells_why_the_service_does_not_start(facerec: Run, pictures: Path) -> None:
    done = facerec("bench", "service", "--images", pictures, "--pack", "no_such_pack")
    assert done.code == 1
    assert "no model pack or folder no_such_pack" in done.err.replace("\n", " ")
