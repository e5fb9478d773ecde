"""The C# client of examples/csharp, compiled by Mono and run against the service."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from wire_server import running

from facerec.engine.fake import draw

EXAMPLE = Path(__file__).parents[2] / "examples" / "csharp"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled example."""
    compiler = shutil.which("mcs")
    if compiler is None or shutil.which("mono") is None:
        pytest.skip("Mono (Debian: mono-mcs, mono-runtime, libmono-system-net-http4.0-cil) is not installed")
    built = tmp_path_factory.mktemp("csharp") / "Enrol.exe"
    references = ("-r:System.Net.Http.dll", "-r:System.Runtime.Serialization.dll")
    sources = [str(EXAMPLE / name) for name in ("FacerecClient.cs", "Program.cs")]
    subprocess.run([compiler, f"-out:{built}", "-warnaserror", *references, *sources], check=True)
    return built


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Files of a stranger, of another picture of Ann, and three to enrol her from, one of them of nobody."""
    drawn = [draw("eve"), draw("ann", variation=9), draw("ann"), draw(), draw("ann", variation=1)]
    for number, data in enumerate(drawn):
        (tmp_path / f"{number}.png").write_bytes(data)
    return [str(tmp_path / f"{number}.png") for number in range(len(drawn))]


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mono", str(program), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_it_enrols_verifies_and_understands_errors(
    program: Path, pictures: list[str], tmp_path: Path
) -> None:
    with running(tmp_path / "data") as server:
        done = run(program, server.url, "-", "ann", *pictures)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "enrolled ann from 2 pictures",
        "picture 1 refused: FaceNotDetected",
        "probe is ann",
        "stranger is unknown",
        "stranger as ann: False",
        "now from 3 pictures",
        "an old version: VersionConflict (409)",
        "no picture: InvalidImage (400)",
        "a deleted person: PersonNotFound (404)",
    ]


def test_it_tries_again_while_the_service_is_busy(program: Path, pictures: list[str]) -> None:
    """A server that is busy at first, and then says something that no retry would help with."""
    heads = ["503 Service Unavailable\r\nRetry-After: 0", "429 Too Many Requests\r\nRetry-After: 0"]
    body = '{"code": "AccessDenied", "message": "no", "hint": "", "correlation_id": "7"}'
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=answer, args=(listening, [*heads, "403 Forbidden"], body))
        thread.start()
        done = run(program, f"http://127.0.0.1:{listening.getsockname()[1]}", "key", "ann", *pictures)
        thread.join()
    assert done.returncode != 0
    assert "FacerecException: no" in done.stderr  # the third answer's: the first two were repeated


def answer(listening: socket.socket, heads: list[str], body: str) -> None:
    """Answer one connection for each head, after its request was read."""
    for head in heads:
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            length = 0
            while (line := stream.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
                if line.startswith(b"expect:"):
                    stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    stream.flush()
            assert stream.read(length)
            stream.write(
                f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )
