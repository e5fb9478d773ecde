"""Clients that send requests about pictures over plain sockets, as cheaply as they can: they share
the machine with the service, and what they take it does not get.
"""

from __future__ import annotations

import base64
import contextlib
import http
import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum

from facerec.cli.bench.server import Address
from facerec.services.benchmark import LoadFigures, load_figures

MOST_REQUESTS = 100_000
"""Most requests of one number of clients: IndexFaces stores what it is sent."""
ANSWER_SECONDS = 120
"""How long an answer is waited for."""

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PIECE = 64 * 1024


class Operation(StrEnum):
    """What is asked of the service."""

    DETECT_FACES = "DetectFaces"
    INDEX_FACES = "IndexFaces"
    SEARCH_FACES_BY_IMAGE = "SearchFacesByImage"
    COMPARE_FACES = "CompareFaces"

    @property
    def collection(self) -> bool:
        """Whether it works on a collection."""
        return self in (Operation.INDEX_FACES, Operation.SEARCH_FACES_BY_IMAGE)


class Client:
    """One connection to the service, kept open from request to request."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to the bytes of a request.

        Raises OSError, also for an answer that breaks off; the next request connects anew.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, ANSWER_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            return _read_answer(self._socket)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    received = bytearray()
    while (end := received.find(_END_OF_HEAD)) < 0:
        _receive(connection, received)
    head, body = bytes(received[:end]), received[end + len(_END_OF_HEAD) :]
    length = _LENGTH.search(head)
    if length is None:
        raise OSError("the answer does not tell its length")
    while len(body) < int(length[1]):
        _receive(connection, body)
    return int(head[9:12]), bytes(body)


def _receive(connection: socket.socket, into: bytearray) -> None:
    """Add what has come."""
    piece = connection.recv(_PIECE)
    if not piece:
        raise OSError("the service closed the connection")
    into += piece


def request_bytes(operation: str, body: bytes) -> bytes:
    """A whole HTTP request for an operation of Rekognition."""
    head = (
        "POST / HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Content-Type: application/x-amz-json-1.1\r\n"
        f"X-Amz-Target: RekognitionService.{operation}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Requests:
    """The requests of one operation about pictures, made beforehand as far as they can be."""

    def __init__(self, operation: Operation, collection: str, images: Sequence[bytes]) -> None:
        encoded = [base64.b64encode(image) for image in images]
        self._numbered = operation is Operation.INDEX_FACES
        place = b'"CollectionId":"%s",' % collection.encode() if operation.collection else b""
        if operation is Operation.COMPARE_FACES:
            pairs = zip(encoded, [*encoded[1:], encoded[0]], strict=True)
            bodies = [b'{"SourceImage":{"Bytes":"%s"},"TargetImage":{"Bytes":"%s"}}' % pair for pair in pairs]
        elif self._numbered:
            # IndexFaces stores nothing for an image and external id that it knows: every request has its own.
            bodies = [b'{%s"ExternalImageId":"%%012d","Image":{"Bytes":"%s"}}' % (place, e) for e in encoded]
        else:
            bodies = [b'{%s"Image":{"Bytes":"%s"}}' % (place, e) for e in encoded]
        self._ready = [request_bytes(operation, b % 0 if self._numbered else b) for b in bodies]

    def __len__(self) -> int:
        return len(self._ready)

    def about(self, number: int) -> bytes:
        """The request with this number, which is about the pictures in turn."""
        ready = self._ready[number % len(self._ready)]
        return ready.replace(b'"%012d"' % 0, b'"%012d"' % number, 1) if self._numbered else ready


@dataclass(slots=True)
class _Tally:
    """What one client saw."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0


@dataclass(frozen=True, slots=True)
class LoadRun:
    """How the service answered, and what asking took."""

    figures: LoadFigures
    seconds: float
    client_seconds: float
    """Processor time of the clients."""


class Load:
    """Requests in turn, by any number of clients."""

    def __init__(self, address: Address, requests: Requests) -> None:
        self._address = address
        self._requests = requests
        self._numbers = itertools.count(1)

    def run(self, clients: int, seconds: float, most: int = MOST_REQUESTS) -> LoadRun:
        """Have the clients ask for so many seconds, or until `most` requests are sent."""
        tickets = iter(range(most))
        tallies = [_Tally() for _ in range(clients)]
        start = threading.Barrier(clients + 1)
        with ThreadPoolExecutor(clients) as pool:
            work = [pool.submit(self._ask_on, tickets, tally, start, seconds) for tally in tallies]
            start.wait()
            began, processor = time.perf_counter(), time.process_time()
            for future in work:
                future.result()
            elapsed, taken = time.perf_counter() - began, time.process_time() - processor
        latencies = [latency for tally in tallies for latency in tally.latencies]
        errors = sum(tally.errors for tally in tallies)
        return LoadRun(load_figures(clients, latencies, errors, elapsed), elapsed, taken)

    def _ask_on(
        self, tickets: Iterator[int], tally: _Tally, start: threading.Barrier, seconds: float
    ) -> None:
        """One client: ask as long as there is time and there are tickets."""
        with contextlib.closing(Client(self._address)) as client:
            start.wait()
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline and next(tickets, None) is not None:
                request = self._requests.about(next(self._numbers))
                began = time.perf_counter()
                try:
                    status, _ = client.ask(request)
                except OSError:
                    status = 0
                if status == http.HTTPStatus.OK:
                    tally.latencies.append(time.perf_counter() - began)
                else:
                    tally.errors += 1
