"""Traces of real requests, as a collector receives them: real HTTP, real protobuf, real networks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from wire_server import Running, inline, running

from facerec.bootstrap import open_worker
from facerec.config import read_settings
from facerec.engine.base import Engine
from facerec.engine.fake import draw
from facerec.engine.packs.loading import open_engine

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@dataclass
class Collector:
    """What an OTLP receiver was told."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def of_trace(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace]

    def tree(self, trace: str) -> set[tuple[str, str]]:
        """The names of a trace's spans, each with its parent's name, or its id where another one has it."""
        names = {span.span_id: span.name for span in self.of_trace(trace)}
        return {
            (span.name, names.get(span.parent_span_id, span.parent_span_id.hex()))
            for span in self.of_trace(trace)
        }


@contextmanager
def collecting() -> Iterator[Collector]:
    """A receiver of traces by OTLP over HTTP, on a free port."""
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in told.resource_spans:
                about = {each.key: each.value.string_value for each in resource.resource.attributes}
                collector.services.add(about["service.name"])
                for scope in resource.scope_spans:
                    collector.spans += scope.spans
            body = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        collector.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def engine(scrfd_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    opened = open_engine(
        read_settings(data_dir=tmp_path_factory.mktemp("engine"), model_path=str(scrfd_pack), threads=1)
    )
    yield opened
    opened.close()


def traced_client(server: Running) -> Any:
    """A client that names its own span in every request, as one that traces itself does."""
    client = server.client()

    def name(request: Any, **_: object) -> None:
        request.headers["traceparent"] = f"00-{TRACE}-{CALLER}-01"
        request.headers["X-Request-ID"] = "traced"

    client.meta.events.register("before-send.rekognition", name)
    return client


def photo(shared: Path) -> bytes:
    return next(iter(sorted((shared / "data").rglob("*.jpg")))).read_bytes()


def test_an_index_faces_from_the_door_to_the_commit(tmp_path: Path, engine: Engine, shared: Path) -> None:
    with collecting() as collector:
        with running(tmp_path, engine=engine, otel_endpoint=collector.url) as server:
            server.client().create_collection(CollectionId="people")
            client = traced_client(server)
            found = client.index_faces(CollectionId="people", Image=inline(photo(shared)))["FaceRecords"]
            client.close()
        assert found
        tree = collector.tree(TRACE)
    assert ("rekognition IndexFaces", CALLER) in tree
    assert ("faces.index", "rekognition IndexFaces") in tree
    for step in ("images.load", "engine.decode", "engine.detect", "engine.embed", "database.write"):
        assert (step, "faces.index") in tree, tree
    assert ("engine.wait_processor", "faces.index") in tree
    assert collector.services == {"facerec"}
    (door,) = [span for span in collector.of_trace(TRACE) if span.name == "rekognition IndexFaces"]
    assert door.kind == Span.SPAN_KIND_SERVER
    told = {each.key: each.value.string_value or each.value.int_value for each in door.attributes}
    assert told["facerec.request_id"] == "traced"
    assert told["http.response.status_code"] == 200
    (use_case,) = [span for span in collector.of_trace(TRACE) if span.name == "faces.index"]
    begun = {
        span.name: span.start_time_unix_nano
        for span in collector.of_trace(TRACE)
        if span.parent_span_id == use_case.span_id
    }
    order = ["images.load", "engine.decode", "engine.detect", "engine.embed", "database.write"]
    assert sorted(order, key=lambda name: begun[name]) == order


def test_a_job_is_part_of_the_request_that_asked_for_it(tmp_path: Path) -> None:
    picture = tmp_path / "ann.png"
    picture.write_bytes(draw("ann"))
    with collecting() as collector:
        with running(tmp_path / "data", otel_endpoint=collector.url) as server:
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            album = {"album_id": "party"}
            assert httpx.post(f"{server.url}/api/v1/albums", json=album).status_code == 201
            images = {"images": ["s3://nobodys-bucket/ann.png"]}
            answer = httpx.post(
                f"{server.url}/api/v1/albums/party/images", json=images, headers=headers, timeout=60
            )
            assert answer.status_code == 202, answer.text
            worker = open_worker(server.service, 1)
            stopping = threading.Event()
            thread = threading.Thread(target=worker.run, args=(stopping,))
            thread.start()
            while not worker.tally.fates:
                stopping.wait(0.05)
            stopping.set()
            thread.join()
        tree = collector.tree(TRACE)
    assert ("rest albums_add", CALLER) in tree
    (parent,) = [parent for name, parent in tree if name == "job album-image"]
    assert parent in {name for name, _ in tree}


def test_an_error_is_told_by_its_kind_alone(tmp_path: Path) -> None:
    with collecting() as collector:
        with running(tmp_path, otel_endpoint=collector.url) as server:
            client = traced_client(server)
            with pytest.raises(client.exceptions.ResourceNotFoundException):
                client.index_faces(CollectionId="MARKED-name", Image=inline(draw("ann")))
            client.close()
        spans = collector.of_trace(TRACE)
    (use_case,) = [span for span in spans if span.name == "faces.index"]
    assert (use_case.status.code, use_case.status.message) == (2, "NotFound")
    assert not use_case.events
    assert "MARKED" not in str(spans)


def test_a_collector_that_is_away_fails_no_request(tmp_path: Path) -> None:
    with running(tmp_path, otel_endpoint="http://127.0.0.1:9") as server:
        assert httpx.get(server.url + "/api/v1/collections").status_code == 200


def test_without_a_collector_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from facerec.bootstrap import open_service; from facerec.config import read_settings\n"
        f"with open_service(read_settings(data_dir={str(tmp_path)!r}, model_path='fake')) as service:\n"
        "    service.collections.create('people')\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
