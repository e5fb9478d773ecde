"""`facerec serve --workers N`: one service of several processes, as clients and an operator meet it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from serving import FACEREC, Server, serving, wait_until
from talking import answer_on, connect, head
from worker_processes import children_of, health, lives, wait_for_workers

from facerec.engine.fake import draw

pytest_plugins = ["server_fixtures"]

ALBUM = "album"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers that every test of this file may use and none may end."""
    with serving(tmp_path_factory.mktemp("pair") / "data", settings={"FACEREC_WORKERS": "2"}) as server:
        wait_for_workers(server, 2)
        yield server


@contextlib.contextmanager
def several(folder: Path, number: int = 2, **settings: str) -> Iterator[Server]:
    """Workers of one test alone."""
    with serving(folder / "data", settings={"FACEREC_WORKERS": str(number), **settings}) as server:
        wait_for_workers(server, number)
        yield server


# --- one service


def test_the_address_is_said_once_and_every_line_names_its_process(pair: Server) -> None:
    assert pair.output.count("facerec listens on") == 1
    assert f"facerec listens on {pair.url} with the model pack fake." in pair.output
    health(pair)
    wait_until(lambda: re.search(r"INFO worker-[12] facerec\.access .*'/health'", pair.output))
    assert "WARNING supervisor facerec.cli.serve [-] There is no access key" in pair.output


def test_connections_are_spread_evenly(pair: Server) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", pair.port, timeout=60) for _ in range(16)]
    counted: Counter[int] = Counter()
    for connection in connections:
        connection.connect()
    for connection in connections:
        connection.request("GET", "/health")
    for connection in connections:
        counted[json.loads(connection.getresponse().read())["process"]["worker"]] += 1
        connection.close()
    assert counted == {1: 8, 2: 8}


def test_a_collections_life_over_alternating_workers(pair: Server) -> None:
    """Each call has a connection of its own, so the other worker answers it than answered the one before."""

    def ask(operation: str, **parameters: object) -> dict[str, Any]:
        client = pair.client()
        try:
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        finally:
            client.close()
        return answer

    def matches(name: str, variation: int) -> list[str]:
        found = ask(
            "search_faces_by_image", CollectionId="life", Image={"Bytes": draw(name, variation=variation)}
        )
        return [match["Face"]["FaceId"] for match in found["FaceMatches"]]

    ask("create_collection", CollectionId="life")
    ids: dict[str, str] = {}
    for name in ("ann", "bob", "cid", "dan", "eve"):
        indexed = ask("index_faces", CollectionId="life", Image={"Bytes": draw(name)}, ExternalImageId=name)
        (record,) = indexed["FaceRecords"]
        ids[name] = record["Face"]["FaceId"]
        assert matches(name, 1) == [ids[name]]
        assert matches(name, 2) == [ids[name]]  # by the other worker
    again = ask("index_faces", CollectionId="life", Image={"Bytes": draw("ann")}, ExternalImageId="ann")
    assert [r["Face"]["FaceId"] for r in again["FaceRecords"]] == [ids["ann"]]

    token = "0123456789"
    for _ in range(3):
        ask("create_user", CollectionId="life", UserId="ann", ClientRequestToken=token)
    with pytest.raises(ClientError) as refused:
        ask("create_user", CollectionId="life", UserId="bob", ClientRequestToken=token)
    assert refused.value.response["Error"]["Code"] == "IdempotentParameterMismatchException"
    ask("associate_faces", CollectionId="life", UserId="ann", FaceIds=[ids["ann"]])
    for _ in range(2):
        found = ask("search_users_by_image", CollectionId="life", Image={"Bytes": draw("ann", variation=1)})
        assert [m["User"]["UserId"] for m in found["UserMatches"]] == ["ann"]

    listed: list[str] = []
    page = ask("list_faces", CollectionId="life", MaxResults=1)
    while True:
        listed += [face["FaceId"] for face in page["Faces"]]
        if "NextToken" not in page:
            break
        page = ask("list_faces", CollectionId="life", MaxResults=1, NextToken=page["NextToken"])
    assert listed == list(ids.values())

    for name in ("bob", "cid"):
        ask("delete_faces", CollectionId="life", FaceIds=[ids[name]])
        assert matches(name, 1) == matches(name, 2) == []
    ask("delete_collection", CollectionId="life")
    for _ in range(2):
        with pytest.raises(ClientError) as gone:
            matches("ann", 1)
        assert gone.value.response["Error"]["Code"] == "ResourceNotFoundException"
    ask("create_collection", CollectionId="life")
    assert matches("ann", 1) == matches("ann", 1) == []


def test_a_collection_deleted_in_one_worker_while_the_other_searches(pair: Server) -> None:
    """A search beside the deletion finds what was there, or that it is gone, and nothing else."""
    codes: Counter[str] = Counter()
    for _ in range(3):
        owner = pair.client()
        owner.create_collection(CollectionId="short")
        for name in ("ann", "bob"):
            owner.index_faces(CollectionId="short", Image={"Bytes": draw(name)}, ExternalImageId=name)
        over = threading.Event()
        wrong: list[object] = []

        def search(over: threading.Event = over, wrong: list[object] = wrong) -> None:
            client = pair.client()
            while not over.is_set():
                try:
                    found = client.search_faces_by_image(
                        CollectionId="short", Image={"Bytes": draw("ann", variation=1)}
                    )
                    names = [match["Face"].get("ExternalImageId") for match in found["FaceMatches"]]
                    if names not in (["ann"], []):
                        wrong.append(names)
                except ClientError as error:
                    codes[error.response["Error"]["Code"]] += 1
            client.close()

        searchers = [threading.Thread(target=search) for _ in range(4)]
        for searcher in searchers:
            searcher.start()
        time.sleep(0.3)
        owner.delete_collection(CollectionId="short")
        wait_until(lambda: codes["ResourceNotFoundException"] > 0)
        over.set()
        for searcher in searchers:
            searcher.join()
        owner.close()
        assert wrong == []
    assert set(codes) == {"ResourceNotFoundException"}


def test_a_revoked_key_is_refused_by_every_worker(tmp_path: Path) -> None:
    with several(tmp_path) as server:
        key = server.create_key()
        secrets = key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"]

        def code(*secrets: str) -> str:
            client = server.client(*secrets)
            try:
                client.list_collections()
            except ClientError as error:
                return str(error.response["Error"]["Code"])
            finally:
                client.close()
            return "none"

        assert [code(*secrets) for _ in range(4)] == 4 * ["none"]
        assert [code() for _ in range(4)] == 4 * ["UnrecognizedClientException"]
        over = threading.Event()

        def go_on() -> None:
            while not over.is_set():
                code(*secrets)

        callers = [threading.Thread(target=go_on) for _ in range(2)]  # so that both know the key well
        for caller in callers:
            caller.start()
        server.revoke_key(secrets[0])
        over.set()
        assert [code(*secrets) for _ in range(4)] == 4 * ["UnrecognizedClientException"]
        for caller in callers:
            caller.join()


# --- life and death


def test_a_worker_that_dies_is_replaced_and_the_other_answers_meanwhile(tmp_path: Path) -> None:
    with several(tmp_path) as server:
        before = wait_for_workers(server, 2)
        os.kill(before[1], signal.SIGKILL)
        wait_until(lambda: not lives(before[1]))
        for _ in range(10):
            health(server)
        after = wait_for_workers(server, 2)
        assert after[2] == before[2]
        assert after[1] != before[1]
        assert (
            f"worker-1 (process {before[1]}) was ended by SIGKILL; another one is started." in server.output
        )
        assert server.stop() == 0


def test_all_workers_die_and_callers_wait(tmp_path: Path) -> None:
    """While no process answers, connections wait for one: nobody is refused."""
    with several(tmp_path) as server:
        before = wait_for_workers(server, 2)
        for process in before.values():
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: not any(lives(process) for process in before.values()))
        assert health(server)["pid"] not in before.values()


def test_a_worker_asked_to_stop_finishes_its_requests_and_is_replaced(tmp_path: Path) -> None:
    with several(tmp_path) as server, connect(server) as connection:
        body = b'{"MaxResults": 5}'
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        _, answer = answer_on(connection)
        worker = answer["process"]
        connection.sendall(head(len(body), "ListCollections") + body[:5])
        time.sleep(0.2)
        os.kill(worker["pid"], signal.SIGTERM)
        wait_until(lambda: health(server)["worker"] != worker["worker"])
        connection.sendall(body[5:])
        assert answer_on(connection)[0] == 200
        wait_until(lambda: not lives(worker["pid"]))
        assert wait_for_workers(server, 2)[worker["worker"]] != worker["pid"]
        assert "SIGTERM" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_at_work_is_finished_before_the_end(tmp_path: Path, number: signal.Signals) -> None:
    body = b'{"MaxResults": 5}'
    with several(tmp_path) as server, connect(server) as connection:
        workers = wait_for_workers(server, 2)
        connection.sendall(head(len(body), "ListCollections") + body[:5])
        health(server)
        server.process.send_signal(number)
        wait_until(lambda: refuses(server))
        assert server.process.poll() is None
        connection.sendall(body[5:])
        assert answer_on(connection)[0] == 200
        assert server.process.wait(60) == 0
        assert not any(lives(process) for process in workers.values())
        server.stop()
        assert "Traceback" not in server.output


def refuses(server: Server) -> bool:
    """Whether the service takes no more connections."""
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_what_is_at_work(tmp_path: Path) -> None:
    with several(tmp_path) as server, connect(server) as connection:
        workers = wait_for_workers(server, 2)
        connection.sendall(head(100, "ListCollections"))  # its body never comes
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 1
        assert not any(lives(process) for process in workers.values())
        assert "is killed with the requests at work" in server.output
        server.stop()


def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with several(tmp_path, 3) as server:
        workers = wait_for_workers(server, 3)
        server.kill()
        wait_until(lambda: not any(lives(process) for process in workers.values()))


def test_workers_at_start_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with several(tmp_path) as server:
        os.kill(wait_for_workers(server, 2)[1], signal.SIGKILL)
        known = set(children_of(server))
        wait_until(lambda: set(children_of(server)) - known)
        workers = children_of(server)
        server.kill()
        wait_until(lambda: not any(lives(process) for process in workers))


def test_a_start_that_fails_says_why_once(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as failed:
        Server(tmp_path / "data", model="no-such-pack", settings={"FACEREC_WORKERS": "3"})
    assert str(failed.value).count("Error: there is no model pack or folder no-such-pack") == 1
    assert "Traceback" not in str(failed.value)


def test_workers_killed_at_every_start_are_given_up(tmp_path: Path) -> None:
    """As a system does that has too little memory for them."""
    with several(tmp_path) as server:
        killed = 0
        while server.process.poll() is None:
            for process in children_of(server):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    killed += 1
            time.sleep(0.05)
        assert server.process.returncode == 1
        assert killed >= 7  # two that answered, five at start
        server.stop()
        assert re.search(
            r"Error: The workers died at start \d times in a row, and none is left .* SIGKILL", server.output
        )
        assert "Traceback" not in server.output


def test_a_reload_replaces_the_workers_and_fails_no_request(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FACEREC_MAX_IMAGE_BYTES=1000000\n")
    with several(tmp_path) as server:
        before = wait_for_workers(server, 2)
        client = server.client()
        client.create_collection(CollectionId=ALBUM)
        failures: list[Exception] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                own = server.client()
                try:
                    own.describe_collection(CollectionId=ALBUM)
                except Exception as error:  # noqa: BLE001 - told by the test
                    failures.append(error)
                own.close()

        callers = [threading.Thread(target=ask) for _ in range(2)]
        for caller in callers:
            caller.start()
        (tmp_path / ".env").write_text("FACEREC_MAX_IMAGE_BYTES=1000\n")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "All workers have been replaced." in server.output)
        wait_until(lambda: not any(lives(process) for process in before.values()))
        over.set()
        for caller in callers:
            caller.join()
        assert failures == []
        assert set(wait_for_workers(server, 2).values()).isdisjoint(before.values())
        with pytest.raises(ClientError) as refused:
            server.client().detect_faces(Image={"Bytes": draw("ann")})
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        client.close()


def test_a_reload_of_wrong_settings_leaves_the_workers_as_they_are(tmp_path: Path) -> None:
    with several(tmp_path) as server:
        before = wait_for_workers(server, 2)
        (tmp_path / ".env").write_text("FACEREC_MAX_QUEUE=none\n")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "The settings can not be read" in server.output)
        assert wait_for_workers(server, 2) == before
        (tmp_path / ".env").write_text("DATABASE_URL=postgresql://127.0.0.1:1/nothing\n")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the reload ends here" in server.output)
        assert wait_for_workers(server, 2) == before


def test_one_process_has_no_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        assert health(server) == {"worker": 1, "workers": 1, "pid": server.process.pid}
        assert children_of(server) == []


def test_the_command_line_has_the_number_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(FACEREC), "serve", "--workers", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
