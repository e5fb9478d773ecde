"""What the audit log costs a request, as JSON.

    python benchmarks/audit/audit_cost.py

Two services run side by side, one with the audit log and one without, and are asked in turns (A B A B ...) by
one client. The networks are the fake engine's, so that what is compared is not lost in their time. A pair is
a turn of each; its difference is that of the processor time of the two services a request.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from facerec.cli.bench.load import Client, Load, Operation, Requests, request_bytes
from facerec.cli.bench.process import Process
from facerec.cli.bench.server import own_server
from facerec.config import read_settings
from facerec.engine.fake import draw
from facerec.errors import FacerecError

OPERATIONS = (Operation.INDEX_FACES, Operation.SEARCH_FACES_BY_IMAGE)
PEOPLE = 40
"""Different pictures that are sent."""


class Side:
    """One of the two services: a collection of its own, and the load on it."""

    def __init__(self, folder: Path, policy: str, stack: ExitStack) -> None:
        folder.mkdir()
        with _environment({"FACEREC_AUDIT": policy}):
            server = stack.enter_context(own_server(read_settings(model_path="fake"), folder))
        self._address = server.address
        self._process = Process(server.pid)
        client = Client(server.address)
        stack.callback(client.close)
        status, answer = client.ask(request_bytes("CreateCollection", b'{"CollectionId":"bench"}'))
        if status != 200:
            raise FacerecError(f"the service refuses a collection: {answer.decode(errors='replace')}")
        images = [draw(f"person-{number}") for number in range(PEOPLE)]
        self._loads = {each: Load(self._address, Requests(each, "bench", images)) for each in OPERATIONS}

    def turn(self, operation: Operation, requests: int) -> float:
        """Milliseconds of processor time a request, of so many."""
        before = self._process.processor_seconds()
        run = self._loads[operation].run(1, 600.0, requests)
        after = self._process.processor_seconds()
        if run.figures.errors or before is None or after is None:
            raise FacerecError(f"{run.figures.errors} requests failed, or the system tells no processor time")
        return 1000 * (after - before) / requests


def measure(on: Side, off: Side, operation: Operation, pairs: int, requests: int) -> dict[str, Any]:
    """The figures of an operation."""
    on.turn(operation, requests // 4)
    off.turn(operation, requests // 4)
    told = []
    for number in range(pairs):
        first, second = (on, off) if number % 2 == 0 else (off, on)
        one, other = first.turn(operation, requests), second.turn(operation, requests)
        told.append((one, other) if first is on else (other, one))
    differences = [with_log - without for with_log, without in told]
    return {
        "operation": operation.value,
        "pairs": pairs,
        "requests": requests,
        "without_ms": round(statistics.mean(without for _, without in told), 3),
        "with_ms": round(statistics.mean(with_log for with_log, _ in told), 3),
        "difference_ms": round(statistics.mean(differences), 3),
        "standard_error_ms": round(statistics.stdev(differences) / len(differences) ** 0.5, 3),
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables, for servers that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--requests", type=int, default=50, help="of a turn")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facerec-bench-")))
        on, off = Side(folder / "on", "on", stack), Side(folder / "off", "off", stack)
        figures = [measure(on, off, each, chosen.pairs, chosen.requests) for each in OPERATIONS]
    print(json.dumps({"operations": figures}))


if __name__ == "__main__":
    main()
