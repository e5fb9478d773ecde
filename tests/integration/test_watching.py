"""Metrics and health of several processes, of workers and of the real engine; the time before an end."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, EndpointConnectionError
from job_workers import enqueue, fill_bucket, workers
from prometheus_client.parser import text_string_to_metric_families
from serving import Server, serving, wait_until
from worker_processes import wait_for_workers

from facerec.config import read_settings
from facerec.engine.fake import draw

pytest_plugins = ["server_fixtures"]

REPEATED = ("ProvisionedThroughputExceededException", "ThrottlingException")
"""Codes that AWS clients try again by themselves."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("pair") / "data", settings={"FACEREC_WORKERS": "2"}) as server:
        wait_for_workers(server, 2)
        yield server


def read(url: str) -> list[tuple[str, dict[str, str], float]]:
    """Every sample of an address's /metrics."""
    with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def total(url: str, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(value for each, has, value in read(url) if each == name and labels.items() <= has.items())


def processes(server: Server) -> set[str]:
    return {
        labels["process"] for name, labels, _ in read(server.url) if name == "process_resident_memory_bytes"
    }


def test_whichever_process_is_asked_it_tells_of_all(pair: Server) -> None:
    listed = {"door": "rekognition", "operation": "ListCollections", "status": "200"}
    before = total(pair.url, "facerec_requests_total", **listed)
    clients = [pair.client() for _ in range(4)]  # a connection each, and two of them to each worker
    for client in clients:
        client.list_collections()
    for _ in clients:
        assert total(pair.url, "facerec_requests_total", **listed) == before + 4
    for client in clients:
        client.close()
    assert processes(pair) == {"supervisor", "worker-1", "worker-2"}
    assert total(pair.url, "facerec_requests_in_progress") == 1


def test_what_a_dead_worker_has_counted_stays(pair: Server) -> None:
    client = pair.client()
    client.list_collections()
    client.close()
    before = total(pair.url, "facerec_requests_total", operation="ListCollections")
    found = wait_for_workers(pair, 2)
    os.kill(found[2], signal.SIGKILL)
    wait_until(lambda: "another one is started" in pair.output)
    wait_for_workers(pair, 2)
    assert total(pair.url, "facerec_requests_total", operation="ListCollections") == before
    assert processes(pair) == {"supervisor", "worker-1", "worker-2"}


@pytest.mark.parametrize("number", ["1", "2"])
def test_before_its_end_it_answers_and_is_not_ready_until_told_again(tmp_path: Path, number: str) -> None:
    settings = {"FACEREC_WORKERS": number, "FACEREC_DRAIN_SECONDS": "600"}
    with serving(tmp_path / "data", settings=settings) as server:
        wait_for_workers(server, int(number))
        assert status(server, "/health/ready") == 200
        assert not closes_after_an_answer(server)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: status(server, "/health/ready") == 503)
        assert status(server, "/health/live") == 200
        assert closes_after_an_answer(server)
        client = server.client()
        client.list_collections()
        client.close()
        assert total(server.url, "facerec_draining") == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        server.stop()


def test_the_time_before_the_end_is_bounded(tmp_path: Path) -> None:
    with serving(tmp_path / "data", settings={"FACEREC_DRAIN_SECONDS": "1"}) as server:
        assert status(server, "/health/ready") == 200  # from now on it takes signals itself
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert time.monotonic() - told >= 1
        server.stop()


@pytest.mark.parametrize("number", ["1", "2"])
def test_an_end_under_load_answers_or_tells_to_try_again(tmp_path: Path, number: str) -> None:
    """Twenty clients that ask without a pause, and try once: what they get is an answer, or a connection that
    is refused or was closed before an answer, which every client of AWS tries again."""
    outcomes: Counter[str] = Counter()
    picture = draw("ann", "ben")

    with serving(tmp_path / "data", settings={"FACEREC_WORKERS": number}) as server:
        wait_for_workers(server, int(number))
        asking, ended = threading.Event(), threading.Event()

        def ask() -> None:
            client = server.client()
            while not ended.is_set():
                try:
                    client.detect_faces(Image={"Bytes": picture})
                    outcome = "late" if asking.is_set() else "early"
                except ClientError as error:
                    outcome = error.response["Error"]["Code"]
                except (EndpointConnectionError, ConnectionClosedError):
                    ended.wait(0.02)
                    outcome = "again"
                except BotoCoreError as error:
                    outcome = repr(error)
                outcomes[outcome] += 1
            client.close()

        clients = [threading.Thread(target=ask) for _ in range(20)]
        for client in clients:
            client.start()
        wait_until(lambda: outcomes["early"] >= 40)
        asking.set()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(60)
        ended.set()
        for client in clients:
            client.join()
        assert code == 0
        assert "Traceback" not in server.output
        server.stop()
    assert outcomes["late"] >= 1
    assert set(outcomes) <= {"early", "late", "again", *REPEATED}, outcomes


def closes_after_an_answer(server: Server) -> bool:
    """Whether a client is told to ask on another connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/health/live")
        return connection.getresponse().getheader("Connection") == "close"


def status(server: Server, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.parametrize("number", ["1", "2"])
def test_workers_tell_what_became_of_their_jobs(tmp_path: Path, s3_url: str, number: str) -> None:
    folder = tmp_path / "data"
    settings = {
        "MODEL_PATH": "fake",
        "AWS_ENDPOINT_URL_S3": s3_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FACEREC_METRICS_PORT": "0",
    }
    with contextlib.suppress(Exception):  # made by the other one of these tests
        fill_bucket(s3_url, 3)
    enqueue(read_settings(data_dir=folder, model_path="fake"), 3)
    with workers(folder, settings, "--processes", number):
        log = tmp_path / "worker.log"
        wait_until(lambda: "Metrics are at" in log.read_text())
        address = re.search(r"Metrics are at (http://\S+)/metrics", log.read_text())
        assert address is not None
        url = address[1]
        wait_until(lambda: total(url, "facerec_jobs_finished_total", outcome="done") == 3)
        assert total(url, "facerec_job_duration_seconds_count") == 3
        assert total(url, "facerec_job_wait_duration_seconds_count") == 3
        assert total(url, "facerec_images_total", source="s3") == 3
        assert total(url, "facerec_build_info") == 1
        assert total(url, "process_resident_memory_bytes") > 2**20


def test_the_engines_steps_are_timed_apart_from_waiting(real_server: Server, shared: Path) -> None:
    photo = next(iter(sorted((shared / "data").rglob("*.jpg")))).read_bytes()
    client = real_server.client()
    client.create_collection(CollectionId="watched")
    before = {step: steps(real_server, step) for step in ("decode", "detect", "embed")}
    waits = "facerec_wait_duration_seconds_count"
    waited = total(real_server.url, waits, reason="processor")
    found = client.index_faces(CollectionId="watched", Image={"Bytes": photo})["FaceRecords"]
    client.close()
    after = {step: steps(real_server, step) for step in ("decode", "detect", "embed")}
    assert after["decode"] > before["decode"]
    assert after["detect"] == before["detect"] + 1
    assert after["embed"] == before["embed"] + bool(found)
    assert total(real_server.url, "facerec_faces_embedded_total") >= len(found)
    # Once for all steps.
    assert total(real_server.url, waits, reason="processor") == waited + 1
    assert total(real_server.url, waits, reason="picture") >= 1


def steps(server: Server, step: str) -> float:
    return total(server.url, "facerec_inference_duration_seconds_count", step=step)
