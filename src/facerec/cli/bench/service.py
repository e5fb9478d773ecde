"""`facerec bench service`: real HTTP requests from several clients at a time, each on one connection."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facerec.cli.bench.options import Sample, numbers, read_samples
from facerec.cli.bench.server import Address, loopback_address, own_server
from facerec.cli.output import AsJson, note, print_json, print_table
from facerec.config import read_settings
from facerec.errors import FacerecError, InvalidParameter
from facerec.services.benchmark import LoadFigures, load_figures

MOST_CLIENTS = 256
MOST_SECONDS = 600
MOST_REQUESTS = 100_000
"""Most requests of one number of clients: IndexFaces stores what it is sent."""
ANSWER_SECONDS = 120
"""How long an answer is waited for."""
INDEX_BODY = b'{"CollectionId":"%s","ExternalImageId":"%d","Image":{"Bytes":"%s"}}'


class Operation(StrEnum):
    """What is asked of the service."""

    DETECT_FACES = "DetectFaces"
    INDEX_FACES = "IndexFaces"
    SEARCH_FACES_BY_IMAGE = "SearchFacesByImage"


def bench_service(
    images: Annotated[Path, typer.Option(help="Folder of pictures.")],
    operation: Annotated[Operation, typer.Option(help="What to ask.")] = Operation.DETECT_FACES,
    url: Annotated[
        str | None,
        typer.Option(help="A running service on this machine; without one, one is started for the while."),
    ] = None,
    clients: Annotated[str, typer.Option(help="Numbers of clients, one run for each.")] = "1,4,16",
    seconds: Annotated[float, typer.Option(min=0.1, max=MOST_SECONDS, help="Length of a run.")] = 5,
    pack: Annotated[
        str | None, typer.Option(help="Pack of the service that is started; default: MODEL_PATH.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most pictures.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure the service: requests a second and the times of answers, over HTTP.

    Each picture is sent once before the first run; those that the service refuses (no face to search for, too
    large) are left out.
    """
    runs = numbers(clients, "--clients", 1, MOST_CLIENTS)
    if url is not None and pack is not None:
        raise InvalidParameter("--pack is for the service that is started; --url names one that runs already")
    address = loopback_address(url) if url is not None else None
    samples = read_samples(images, limit)
    settings = read_settings(**({"model_path": pack} if pack else {}))
    with contextlib.ExitStack() as stack:
        if address is None:
            address = stack.enter_context(own_server(settings))
        collection = stack.enter_context(_collection(address, operation))
        used = _prepare(address, operation, collection, samples)
        load = Load(address, operation, collection, [sample.data for sample in used])
        note(f"{len(used)} pictures, {operation}, {seconds:g} s for each number of clients")
        figures = [load.run(count, seconds) for count in runs]
    if as_json:
        print_json(
            {
                "operation": operation.value,
                "images": len(used),
                "images_left_out": len(samples) - len(used),
                "seconds": seconds,
                "runs": [_rounded(one) for one in figures],
            }
        )
    else:
        rows = [tuple(_rounded(one).values()) for one in figures]
        print_table(
            ("clients", "answered", "errors", "requests/s", "p50, ms", "p95, ms", "p99, ms"),
            rows,
            title=f"{operation}, {len(used)} pictures",
        )


def _rounded(figures: LoadFigures) -> dict[str, float | None]:
    return {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in asdict(figures).items()
    }


class Client:
    """One connection to the service, kept open from request to request."""

    def __init__(self, address: Address) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)

    def ask(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError or HTTPException; the next request connects anew."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"RekognitionService.{operation}",
        }
        try:
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(slots=True)
class _Tally:
    """What one client saw."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0


class Load:
    """Requests about pictures, in turn, by any number of clients."""

    def __init__(
        self, address: Address, operation: Operation, collection: str, images: Sequence[bytes]
    ) -> None:
        self._address = address
        self._operation = operation
        self._bodies = [_body_maker(operation, collection, image) for image in images]
        # IndexFaces stores nothing for an image and external id that it knows: every request has its own id.
        self._numbers = itertools.count()

    def run(self, clients: int, seconds: float, most: int = MOST_REQUESTS) -> LoadFigures:
        """Have the clients ask for so many seconds, or until `most` requests are sent."""
        tickets = iter(range(most))
        tallies = [_Tally() for _ in range(clients)]
        start = threading.Barrier(clients + 1)
        with ThreadPoolExecutor(clients) as pool:
            work = [pool.submit(self._ask_on, tickets, tally, start, seconds) for tally in tallies]
            start.wait()
            began = time.perf_counter()
            for future in work:
                future.result()
            elapsed = time.perf_counter() - began
        latencies = [latency for tally in tallies for latency in tally.latencies]
        return load_figures(clients, latencies, sum(tally.errors for tally in tallies), elapsed)

    def _ask_on(
        self, tickets: Iterator[int], tally: _Tally, start: threading.Barrier, seconds: float
    ) -> None:
        """One client: ask as long as there is time and there are tickets."""
        with contextlib.closing(Client(self._address)) as client:
            start.wait()
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline and next(tickets, None) is not None:
                number = next(self._numbers)
                body = self._bodies[number % len(self._bodies)](number)
                began = time.perf_counter()
                try:
                    status, _ = client.ask(self._operation, body)
                except (OSError, http.client.HTTPException):
                    status = 0
                if status == http.client.OK:
                    tally.latencies.append(time.perf_counter() - began)
                else:
                    tally.errors += 1


def _body_maker(operation: Operation, collection: str, image: bytes) -> Callable[[int], bytes]:
    """What makes the body of the request number n about an image."""
    encoded = base64.b64encode(image)
    if operation is Operation.INDEX_FACES:
        return lambda number: INDEX_BODY % (collection.encode(), number, encoded)
    place = {} if operation is Operation.DETECT_FACES else {"CollectionId": collection}
    body = json.dumps({**place, "Image": {"Bytes": encoded.decode()}}).encode()
    return lambda _number: body


@contextlib.contextmanager
def _collection(address: Address, operation: Operation) -> Iterator[str]:
    """A collection of the measurement's own, deleted at the end; none where the operation needs none."""
    name = f"facerec-bench-{uuid.uuid4()}"
    if operation is Operation.DETECT_FACES:
        yield name
        return
    body = json.dumps({"CollectionId": name}).encode()
    with contextlib.closing(Client(address)) as client:
        _ask(client, "CreateCollection", body)
        try:
            yield name
        finally:
            _ask(client, "DeleteCollection", body)


def _prepare(
    address: Address, operation: Operation, collection: str, samples: Sequence[Sample]
) -> list[Sample]:
    """Ask once about each picture, which fills the collection to search and warms up; gives those that the
    service answers without an error.
    """
    used = []
    refusal = ""
    with contextlib.closing(Client(address)) as client:
        for number, sample in enumerate(samples):
            if operation is Operation.SEARCH_FACES_BY_IMAGE:
                filling = _body_maker(Operation.INDEX_FACES, collection, sample.data)(number)
                client.ask(Operation.INDEX_FACES, filling)
            # The runs count from 0: an id that none of them has.
            body = _body_maker(operation, collection, sample.data)(MOST_REQUESTS * MOST_CLIENTS + number)
            status, answer = client.ask(operation, body)
            if status == http.client.OK:
                used.append(sample)
            else:
                refusal = f"{sample.name}: {answer.decode(errors='replace')}"
                note(f"left out: {refusal}")
    if not used:
        raise FacerecError(f"the service refuses {operation} for every picture; the last: {refusal}")
    return used


def _ask(client: Client, operation: str, body: bytes) -> None:
    """Ask for something that has to succeed."""
    status, answer = client.ask(operation, body)
    if status != http.client.OK:
        raise FacerecError(f"the service refuses {operation}: {answer.decode(errors='replace')}")
