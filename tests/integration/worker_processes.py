"""The processes of a service with several workers, as /health and the system tell of them."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path

from serving import Server, wait_until

MOST_CONNECTIONS = 64


def health(server: Server) -> dict[str, int]:
    """What the worker of a new connection says of itself."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        return _health(connection)


def wait_for_workers(server: Server, number: int) -> dict[int, int]:
    """The process of each worker, once all of them answer."""
    found: dict[int, int] = {}

    def all_answer() -> bool:
        found.clear()
        # Connections that stay open, for a new one goes to the worker that has the fewest.
        with contextlib.ExitStack() as stack:
            for _ in range(MOST_CONNECTIONS):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                process = _health(stack.enter_context(contextlib.closing(connection)))
                found[process["worker"]] = process["pid"]
                if len(found) == number:
                    return True
        return False

    wait_until(all_answer)
    return found


def _health(connection: http.client.HTTPConnection) -> dict[str, int]:
    connection.request("GET", "/health")
    process: dict[str, int] = json.loads(connection.getresponse().read())["process"]
    return process


def lives(process: int) -> bool:
    """Whether any thread of a process runs; of one that has ended and is not collected yet none does."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
        threads = len(list(Path(f"/proc/{process}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z" or threads > 1


def children_of(server: Server) -> list[int]:
    """Processes of the workers, of those that are starting too."""
    pid = server.process.pid
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
