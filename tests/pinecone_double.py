"""A double of Pinecone's API over real HTTP: control and data plane, as the official SDK speaks to them.

Searches are exact. Reads are behind writes, as Pinecone's are: what is written is seen by queries, fetches
and counts after `delay` seconds. It can be stopped and started with its data, refuse, or lose everything.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import orjson

Record = dict[str, Any]


@dataclass
class Namespace:
    """The records that reads see, and the writes that they do not see yet."""

    records: dict[str, Record] = field(default_factory=dict)
    committed: int = 0
    indexed: int = 0
    waiting: list[tuple[float, int, Callable[[dict[str, Record]], None]]] = field(default_factory=list)
    _matrix: tuple[list[str], Any] | None = None

    def write(self, change: Callable[[dict[str, Record]], None], delay: float) -> int:
        self.committed += 1
        self.waiting.append((time.monotonic() + delay, self.committed, change))
        return self.committed

    def settle(self) -> None:
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, self.indexed, change = self.waiting.pop(0)
            change(self.records)
            self._matrix = None

    def matrix(self) -> tuple[list[str], Any]:
        if self._matrix is None:
            values = np.array([record["values"] for record in self.records.values()])
            lengths = np.linalg.norm(values, axis=1, keepdims=True) if len(values) else 1
            self._matrix = list(self.records), values / lengths
        return self._matrix


class PineconeDouble:
    """The server; `url` is the address of its API."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.refusing = False
        self.writes = 0
        self.lock = threading.RLock()
        self.indexes: dict[str, dict[str, Any]] = {}
        self.spaces: dict[tuple[str, str], Namespace] = {}
        self._server: _Server | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and cut those that are open, in the midst of whatever they do."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()

    def lose_everything(self) -> None:
        with self.lock:
            self.indexes.clear()
            self.spaces.clear()

    def vectors(self) -> int:
        """Records of all namespaces that reads see, markers left out."""
        with self.lock:
            for space in self.spaces.values():
                space.settle()
            return sum(name != "marker" for space in self.spaces.values() for name in space.records)

    def space(self, index: str, name: str) -> Namespace:
        space = self.spaces.setdefault((index, name), Namespace())
        space.settle()
        return space


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self._sockets: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is what the tests are about."""

    def cut(self) -> None:
        for each in list(self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _handler(double: PineconeDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            address = urlparse(self.path)
            headers: dict[str, str] = {}
            try:
                if double.refusing:
                    raise _Refused(503)
                if self.headers.get("Api-Key") != "the key":
                    raise _Refused(401)
                with double.lock:
                    status, answer = (
                        200,
                        respond(
                            double,
                            method,
                            address.path,
                            parse_qs(address.query),
                            body and orjson.loads(body),
                            headers,
                        ),
                    )
            except _Refused as refusal:
                status, answer = refusal.status, {"error": {"message": "refused"}, "status": refusal.status}
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def respond(
    double: PineconeDouble,
    method: str,
    path: str,
    query: Mapping[str, list[str]],
    body: Any,
    headers: dict[str, str],
) -> object:
    """The answer to one request; headers are filled in."""
    if path == "/indexes" and method == "POST":
        return _create(double, body)
    if path.startswith("/indexes/"):
        return _describe(double, path.removeprefix("/indexes/"))
    # The data plane's host of an index is this server's, with the index's name before the path.
    index, _, action = path.removeprefix("/data/").partition("/")
    if index not in double.indexes:
        raise _Refused(404)
    space = double.space(
        index, (body or {}).get("namespace", "") if method == "POST" else query.get("namespace", [""])[0]
    )
    if method == "POST" and action.startswith("vectors/"):
        double.writes += 1
        headers["x-pinecone-request-lsn"] = str(space.write(_change(action, body), double.delay))
        space.settle()
        return {"upsertedCount": len(body["vectors"])} if action == "vectors/upsert" else {}
    if action == "query":
        headers["x-pinecone-max-indexed-lsn"] = str(space.indexed)
        return _query(space, body)
    if action == "vectors/fetch":
        known = [space.records[name] for name in query["ids"] if name in space.records]
        found = {record["id"]: {**record, "values": record["values"].tolist()} for record in known}
        return {"vectors": found, "namespace": ""}
    if action == "vectors/list":
        return _list(space, query)
    if action == "describe_index_stats":
        counts = {
            name: {"vectorCount": len(double.space(index, name).records)}
            for of, name in list(double.spaces)
            if of == index
        }
        return {"namespaces": counts, "dimension": 0, "indexFullness": 0, "totalVectorCount": 0}
    raise _Refused(404)


def _create(double: PineconeDouble, body: Any) -> object:
    if body["name"] in double.indexes:
        raise _Refused(409)
    double.indexes[body["name"]] = body
    return _describe(double, body["name"])


def _describe(double: PineconeDouble, name: str) -> object:
    if name not in double.indexes:
        raise _Refused(404)
    return {
        **double.indexes[name],
        "name": name,
        "host": f"{double.url}/data/{name}",
        "status": {"ready": True, "state": "Ready"},
        "deletion_protection": "disabled",
    }


def _change(action: str, body: Any) -> Callable[[dict[str, Record]], None]:
    def upsert(records: dict[str, Record]) -> None:
        for record in body["vectors"]:
            records[record["id"]] = {**record, "values": np.array(record["values"], dtype=np.float32)}

    def update(records: dict[str, Record]) -> None:
        if body["id"] in records:
            record = records[body["id"]]
            records[body["id"]] = {
                **record,
                "metadata": {**record.get("metadata", {}), **body["setMetadata"]},
            }

    def delete(records: dict[str, Record]) -> None:
        if body.get("deleteAll"):
            records.clear()
        elif "filter" in body:
            users, version = body["filter"]["$and"]
            for name, record in list(records.items()):
                own = record.get("metadata", {})
                if own.get("user") in users["user"]["$in"] and own["version"] < version["version"]["$lt"]:
                    del records[name]
        else:
            for name in body["ids"]:
                records.pop(name, None)

    return {"vectors/upsert": upsert, "vectors/update": update, "vectors/delete": delete}[action]


def _query(space: Namespace, body: Any) -> object:
    names, matrix = space.matrix()
    if not names:
        return {"matches": [], "namespace": ""}
    probe = np.array(body["vector"], dtype=np.float32)
    scores = matrix @ (probe / np.linalg.norm(probe))
    count = min(body["topK"], len(names))
    best = np.argpartition(-scores, count - 1)[:count]
    best = best[np.argsort(-scores[best], kind="stable")]
    return {
        "matches": [{"id": names[place], "score": float(scores[place])} for place in best],
        "namespace": "",
    }


def _list(space: Namespace, query: Mapping[str, list[str]]) -> object:
    after = query.get("paginationToken", [""])[0]
    limit = int(query.get("limit", ["100"])[0])
    names = sorted(name for name in space.records if name > after)[:limit]
    more = {"pagination": {"next": names[-1]}} if len(names) == limit else {}
    return {"vectors": [{"id": name} for name in names], "namespace": "", **more}
