"""Starting and stopping: `facerec serve` as an operator meets it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
import serving as serving_module
from serving import FACEREC, Server, serving, wait_until
from talking import answer_on, connect, head

pytest_plugins = ["server_fixtures"]


def run(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run a `facerec` command to its end."""
    return subprocess.run(
        [str(FACEREC), *arguments],
        env={**os.environ, "FACEREC_DATA_DIR": str(data), "MODEL_PATH": "fake"},
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_first_lines_say_where_and_how(server: Server) -> None:
    assert f"facerec listens on {server.url} with the model pack fake." in server.output
    assert f'boto3.client("rekognition", endpoint_url="{server.url}"' in server.output
    assert f"aws rekognition list-collections --endpoint-url {server.url}" in server.output
    assert "There is no access key" in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_with_exit_code_0(server: Server, number: signal.Signals) -> None:
    client = server.client()
    client.list_collections()  # an idle connection is open
    server.process.send_signal(number)
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.output
    server.stop()
    client.close()


def test_one_process_outlives_a_reload_and_says_that_it_reads_nothing_anew(server: Server) -> None:
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP is ignored" in server.output)
    assert server.client().list_collections()["CollectionIds"] == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reload_in_the_first_moments_of_a_start_is_no_end(tmp_path: Path, workers: str) -> None:
    settings = tmp_path / ".env"
    os.mkfifo(settings)  # to read them, the start waits until somebody writes them
    log = tmp_path / "log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [str(FACEREC), "serve", "--port", "0", "--workers", workers],
            env={**os.environ, "FACEREC_DATA_DIR": str(tmp_path / "data"), "MODEL_PATH": "fake"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        with settings.open("w"):
            settings.unlink()
            process.send_signal(signal.SIGHUP)
        wait_until(lambda: "facerec listens on" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_end_of_its_terminal_is_the_end_of_the_service(tmp_path: Path, workers: str) -> None:
    near, far = pty.openpty()
    log = tmp_path / "log"
    with log.open("w") as written:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", str(FACEREC), "serve", "--port", "0", "--workers", workers],
            env={**os.environ, "FACEREC_DATA_DIR": str(tmp_path / "data"), "MODEL_PATH": "fake"},
            cwd=tmp_path,
            stdin=far,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    os.close(far)
    try:
        wait_until(lambda: "facerec listens on" in log.read_text())
        os.close(near)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "SIGHUP" not in log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_where_nothing_can_be_printed(tmp_path: Path, workers: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "FACEREC_DATA_DIR": str(tmp_path), "MODEL_PATH": "fake"}
    with Path("/dev/full").open("wb") as full:  # every write finds the disk full
        process = subprocess.Popen(
            [str(FACEREC), "serve", "--port", str(port), "--workers", workers],
            env=environment,
            cwd=tmp_path,
            stdout=full,
            stderr=full,
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}"))
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("limit", ["-S -n 90", "-n 90"])
def test_more_connections_than_descriptors_end_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, workers: str
) -> None:
    limited = tmp_path / "facerec"
    limited.write_text(f'#!/bin/sh\nulimit {limit}\nexec {FACEREC} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr(serving_module, "FACEREC", limited)
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data", settings={"FACEREC_WORKERS": workers}) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            if "-S" in limit:  # the service takes what the system lets it have
                client = server.client()
                assert client.list_collections()["CollectionIds"] == []
                client.close()
            else:
                time.sleep(1)
        wait_until(lambda: answers(server.url))
        assert server.process.poll() is None
        assert "another one is started" not in server.output
        assert "Traceback" not in server.output
        assert server.stop() == 0


def answers(url: str) -> bool:
    """Whether a new connection is answered."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health/live").status_code == 200
    return False


def test_a_request_at_work_is_finished_before_the_end(server: Server) -> None:
    body = b'{"MaxResults": 5}'
    with connect(server) as connection:
        connection.sendall(head(len(body), "ListCollections") + body[:5])
        wait_until(lambda: server.client().list_collections() is not None)  # the first one has been taken up
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server))
        connection.sendall(body[5:])
        assert answer_on(connection)[0] == 200
    assert server.process.wait(60) == 0
    server.stop()


def refuses(server: Server) -> bool:
    """Whether the server takes no more connections."""
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), data=tmp_path / "data")
    assert done.returncode != 0
    assert f"Can not listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_other_machines_are_not_served_without_a_key(tmp_path: Path) -> None:
    done = run("serve", "--host", "0.0.0.0", "--port", "0", data=tmp_path / "data")
    assert done.returncode != 0
    assert "facerec keys create" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_keys_are_created_listed_and_revoked(server: Server) -> None:
    data = server.data
    assert "no access keys" in run("keys", "list", data=data).stdout
    created = json.loads(run("keys", "create", "--label", "camera", "--json", data=data).stdout)
    assert server.process.poll() is None
    listed = run("keys", "list", data=data).stdout
    assert created["AccessKeyId"] in listed
    assert "camera" in listed
    assert created["SecretAccessKey"] not in listed
    client = server.client(created["AccessKeyId"], created["SecretAccessKey"])
    assert client.list_collections()["CollectionIds"] == []
    assert run("keys", "revoke", created["AccessKeyId"], data=data).returncode == 0
    wait_until(lambda: is_refused(server, created))
    (entry,) = json.loads(run("keys", "list", "--json", data=data).stdout)
    assert (entry["AccessKeyId"], entry["Status"]) == (created["AccessKeyId"], "Revoked")
    assert run("keys", "revoke", "AKIANOBODY", data=data).returncode != 0
    client.close()


def is_refused(server: Server, key: dict[str, str]) -> bool:
    client = server.client(key["AccessKeyId"], key["SecretAccessKey"])
    try:
        client.list_collections()
    except client.exceptions.ClientError as error:
        return error.response["Error"]["Code"] == "UnrecognizedClientException"
    finally:
        client.close()
    return False


def test_faces_outlive_a_restart(tmp_path: Path) -> None:
    from facerec.engine.fake import draw

    with serving(tmp_path / "data") as server:
        client = server.client()
        client.create_collection(CollectionId="people")
        indexed = client.index_faces(CollectionId="people", Image={"Bytes": draw("anna")})
        client.close()
        assert server.stop() == 0
    with serving(tmp_path / "data") as server:
        client = server.client()
        found = client.search_faces_by_image(
            CollectionId="people", Image={"Bytes": draw("anna", variation=1)}
        )
        assert [match["Face"]["FaceId"] for match in found["FaceMatches"]] == [
            record["Face"]["FaceId"] for record in indexed["FaceRecords"]
        ]
        client.close()


def test_a_restart_with_a_key_and_without_its_master_key_says_so(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        server.create_key()
        assert server.stop() == 0
    (tmp_path / "data" / "master.key").unlink()
    done = run("serve", "--port", "0", data=tmp_path / "data")
    assert done.returncode != 0
    assert "master.key is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_many_clients_at_once_get_their_own_answers(server: Server) -> None:
    """Ids of requests are never shared, and no answer reaches another's connection."""
    client = server.client()
    for number in range(8):
        client.create_collection(CollectionId=f"collection{number}")
    ids: list[str] = []
    wrong: list[object] = []

    def ask(number: int) -> None:
        own = server.client()
        for _ in range(30):
            answer = own.describe_collection(CollectionId=f"collection{number}")
            ids.append(answer["ResponseMetadata"]["RequestId"])
            if not answer["CollectionARN"].endswith(f"/collection{number}"):
                wrong.append(answer)
        own.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(set(ids)) == len(ids) == 240
    client.close()
