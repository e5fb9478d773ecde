"""`facerec bench service`: real HTTP requests from several clients at a time, each on one connection."""

from __future__ import annotations

import contextlib
import http
import json
import statistics
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from facerec.cli.bench.bare import BareEngine, Pace
from facerec.cli.bench.gallery import fill_gallery
from facerec.cli.bench.load import MOST_REQUESTS, Client, Load, LoadRun, Operation, Requests, request_bytes
from facerec.cli.bench.options import Sample, numbers, read_samples
from facerec.cli.bench.process import Process
from facerec.cli.bench.server import Address, loopback_address, own_server
from facerec.cli.output import AsJson, note, print_json, print_table
from facerec.config import Settings, read_settings
from facerec.errors import FacerecError, InvalidParameter

MOST_CLIENTS = 256
MOST_SECONDS = 600
MOST_FACES = 10_000_000
GALLERY = "facerec-bench-gallery"


@dataclass(frozen=True, slots=True)
class _Target:
    """The service that is measured; its process and the engine beside it where it is our own."""

    address: Address
    process: Process | None = None
    bare: BareEngine | None = None
    collection: str | None = None
    """A collection that is there already."""


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
    gallery: Annotated[
        int, typer.Option(min=0, max=MOST_FACES, help="Invented faces that the collection holds beforehand.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most pictures.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure the service: requests a second, the times of answers, processor time and memory, over HTTP.

    Each picture is sent once before the first run; those that the service refuses (no face to search for, too
    large) are left out. Of a service that is started for the while, the engine alone is measured too, before
    and after: what of its speed comes through the door, and its share in the service's processor time, which
    what the clients take does not touch.
    """
    runs = numbers(clients, "--clients", 1, MOST_CLIENTS)
    if url is not None and (pack is not None or gallery):
        raise InvalidParameter(
            "--pack and --gallery are for the service that is started; --url names one that runs already"
        )
    if gallery and not operation.collection:
        raise InvalidParameter(f"--gallery fills a collection, and {operation} uses none")
    address = loopback_address(url) if url is not None else None
    samples = read_samples(images, limit)
    settings = read_settings(**({"model_path": pack} if pack else {}))
    with contextlib.ExitStack() as stack:
        if address is not None:
            target = _Target(address)
        else:
            target = stack.enter_context(_own_target(settings, operation, samples, gallery))
        measured = _measure(target, operation, samples, runs, seconds)
    figures = {"operation": operation.value, "gallery": gallery, "seconds": seconds, **measured}
    if as_json:
        print_json(figures)
    else:
        _print(figures)


@contextlib.contextmanager
def _own_target(
    settings: Settings, operation: Operation, samples: Sequence[Sample], gallery: int
) -> Iterator[_Target]:
    """A service of our own, and its engine in this process."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facerec-bench-")))
        bare = stack.enter_context(contextlib.closing(BareEngine(settings, operation)))
        if gallery:
            note(f"a collection of {gallery} invented faces is written")
            fill_gallery(folder / "data", GALLERY, bare.contract, gallery)
        server = stack.enter_context(own_server(settings, folder))
        yield _Target(server.address, Process(server.pid), bare, GALLERY if gallery else None)


def _measure(
    target: _Target, operation: Operation, samples: Sequence[Sample], runs: Sequence[int], seconds: float
) -> dict[str, object]:
    """The figures of all runs, as JSON values."""
    start = target.process.resident_mib() if target.process else None
    with _collection(target, operation) as collection:
        used = _prepare(target.address, operation, collection, samples)
        images = [sample.data for sample in used]
        requests = Requests(operation, collection, images)
        note(f"{len(used)} pictures, {operation}, {seconds:g} s for each number of clients")
        paces = [target.bare.measure(images, seconds)] if target.bare else []
        load = Load(target.address, requests)
        rows = [_run(load, clients, seconds, target.process) for clients in runs]
        if target.bare:
            paces.append(target.bare.measure(images, seconds))
    engine = _mean(paces)
    for row in rows:
        rate = row["requests_per_second"]
        row["of_engine"] = rate / engine.per_second if engine and rate is not None else None
        taken = row["server_cpu_ms"]
        row["engine_share"] = engine.processor_ms / taken if engine and taken else None
    return {
        "images": len(used),
        "images_left_out": len(samples) - len(used),
        "start_mib": _rounded(start),
        "engine_per_second": _rounded(engine.per_second if engine else None),
        "engine_cpu_ms": _rounded(engine.processor_ms if engine else None),
        "runs": [{name: _rounded(value) for name, value in row.items()} for row in rows],
    }


def _mean(paces: Sequence[Pace]) -> Pace | None:
    if not paces:
        return None
    return Pace(
        statistics.mean(pace.per_second for pace in paces),
        statistics.mean(pace.processor_ms for pace in paces),
    )


def _run(load: Load, clients: int, seconds: float, process: Process | None) -> dict[str, float | None]:
    """One run: how the service answered, and what it and the clients took."""
    if process is not None:
        process.forget_peak()
    before = process.processor_seconds() if process else None
    run = load.run(clients, seconds)
    after = process.processor_seconds() if process else None
    return {
        **asdict(run.figures),
        "server_cpu_ms": None if before is None or after is None else _each(run, after - before),
        "client_cpu_ms": _each(run, run.client_seconds),
        "server_peak_mib": process.peak_mib() if process else None,
    }


def _each(run: LoadRun, seconds: float) -> float:
    """Milliseconds of each request."""
    return 1000 * seconds / max(run.figures.requests + run.figures.errors, 1)


def _rounded(value: float | None) -> float | None:
    return round(value, 2) if isinstance(value, float) else value


def _print(figures: dict[str, object]) -> None:
    runs = figures.pop("runs")
    assert isinstance(runs, list)  # noqa: S101 - narrows the type
    headings = (
        *("clients", "answered", "errors", "requests/s", "p50, ms", "p95, ms", "p99, ms"),
        *("server, ms", "clients, ms", "peak, MiB", "of engine", "engine's share"),
    )
    title = ", ".join(f"{name} {value}" for name, value in figures.items() if value is not None)
    print_table(headings, [tuple(row.values()) for row in runs], title=title)


@contextlib.contextmanager
def _collection(target: _Target, operation: Operation) -> Iterator[str]:
    """The collection to work on: one that is there, or one of the measurement's own, deleted at the end."""
    if target.collection is not None or not operation.collection:
        yield target.collection or ""
        return
    name = f"facerec-bench-{uuid.uuid4()}"
    body = json.dumps({"CollectionId": name}).encode()
    with contextlib.closing(Client(target.address)) as client:
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
        for place, sample in enumerate(samples):
            # The runs count from 1: an id that none of them has.
            number = MOST_REQUESTS * MOST_CLIENTS + place
            if operation is Operation.SEARCH_FACES_BY_IMAGE:
                client.ask(Requests(Operation.INDEX_FACES, collection, [sample.data]).about(number))
            status, answer = client.ask(Requests(operation, collection, [sample.data]).about(number))
            if status == http.HTTPStatus.OK:
                used.append(sample)
            else:
                refusal = f"{sample.name}: {answer.decode(errors='replace')}"
                note(f"left out: {refusal}")
    if not used:
        raise FacerecError(f"the service refuses {operation} for every picture; the last: {refusal}")
    return used


def _ask(client: Client, operation: str, body: bytes) -> None:
    """Ask for something that has to succeed."""
    status, answer = client.ask(request_bytes(operation, body))
    if status != http.HTTPStatus.OK:
        raise FacerecError(f"the service refuses {operation}: {answer.decode(errors='replace')}")
