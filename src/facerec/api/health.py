"""Is the service alive, and can it answer? Cheap enough to be asked every second by several who watch.

Each part is asked in a thread of its own, for `LIMIT_SECONDS` at most, and all at once: one that hangs shows
as such, and holds up no answer. What was found is told again for `FRESH_SECONDS`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import facerec
from facerec.api.watching import Draining, Watchers
from facerec.config import Settings
from facerec.db import Database
from facerec.db.disk import ask_to_write
from facerec.engine.base import Engine
from facerec.engine.remembering import RememberingEngine
from facerec.errors import DiskFull, DiskReadOnly, FacerecError, StorageError
from facerec.jobs.base import JobQueue
from facerec.services.figures import condition_of
from facerec.sessions.base import SessionStore
from facerec.vectors.base import VectorStore

LIMIT_SECONDS = 2.0
"""How long a part may take to answer."""

FRESH_SECONDS = 1.0
"""How long what a part has answered is told again."""

OK, UNAVAILABLE, SLOW, FULL, READ_ONLY = "ok", "unavailable", "timeout", "full", "read_only"

Facts = Mapping[str, Any]
"""What else there is to tell of a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the service, and how it is asked."""

    name: str
    kind: str
    """Which of its kind it is: sqlite, redis, qdrant."""
    ask: Callable[[], object] = field(repr=False)
    """Raises FacerecError when it is not well."""
    facts: Callable[[], Facts] = field(default=dict, repr=False)
    required: bool = False
    """Whether nothing can be answered without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How a part was found."""

    part: Part
    status: str
    seconds: float

    def told(self) -> dict[str, Any]:
        """As /health tells it to those who may know."""
        milliseconds = round(self.seconds * 1000, 2)
        return {
            "status": self.status,
            "name": self.part.kind,
            "milliseconds": milliseconds,
            **self.part.facts(),
        }


class Checks:
    """Looks after the parts."""

    def __init__(self, parts: list[Part]) -> None:
        # A part that hangs keeps its own thread busy, and no other part's.
        self._parts = [(part, anyio.CapacityLimiter(1)) for part in parts]
        self._lock = anyio.Lock()
        self._found: list[Finding] = []
        self._until = 0.0

    async def run(self) -> list[Finding]:
        """How every part is, in their order."""
        async with self._lock:
            if time.monotonic() >= self._until:
                found: dict[str, Finding] = {}
                async with anyio.create_task_group() as group:
                    for part, limiter in self._parts:
                        group.start_soon(self._ask, part, limiter, found)
                self._found = [found[part.name] for part, _ in self._parts]
                self._until = time.monotonic() + FRESH_SECONDS
            return self._found

    async def _ask(self, part: Part, limiter: anyio.CapacityLimiter, found: dict[str, Finding]) -> None:
        found[part.name] = Finding(part=part, status=SLOW, seconds=LIMIT_SECONDS)
        with anyio.move_on_after(LIMIT_SECONDS):
            found[part.name] = await anyio.to_thread.run_sync(
                _look, part, limiter=limiter, abandon_on_cancel=True
            )


def _look(part: Part) -> Finding:
    """How a part is, and how long it took to say so."""
    started = time.perf_counter()
    status = OK
    try:
        part.ask()
    except DiskFull:
        status = FULL
    except DiskReadOnly:
        status = READ_ONLY
    except FacerecError:  # its text may name machines; the log has it where it mattered
        status = UNAVAILABLE
    return Finding(part=part, status=status, seconds=time.perf_counter() - started)


def parts_of(
    settings: Settings,
    *,
    engine: Engine,
    database: Database,
    vectors: VectorStore,
    sessions: SessionStore,
    jobs: JobQueue,
) -> list[Part]:
    """The parts of a service, by name."""

    contract = engine.contract
    model = {
        "pack": contract.pack,
        "model_version": contract.model_version,
        "dimension": contract.dimension,
    }

    def ask_engine() -> None:
        if not engine.ready:
            raise FacerecError("the engine takes no work")

    def ask_database() -> None:
        with database.read() as connection:
            connection.execute(sa.text("SELECT 1"))

    def ask_vectors() -> None:
        condition = condition_of(vectors)
        if condition is not None and not condition.reachable:
            raise FacerecError("the vector store does not answer")

    def lag() -> Facts:
        condition = condition_of(vectors)
        if condition is None:  # it is in this process, or in the database: never behind
            return {}
        told = asdict(condition)
        return {name: told[name] for name in ("changes_behind", "seconds_behind", "trouble")}

    disk = _Disk(settings.data_dir, settings.disk_reserve_mib)
    here = database.name
    return [
        Part(name="model", kind=contract.pack, ask=ask_engine, facts=lambda: model, required=True),
        Part(name="database", kind=here, ask=ask_database, required=True),
        # A store that is down fails searches alone, sessions and jobs what needs them: the service goes on.
        Part(name="vector_store", kind=settings.vector_store, ask=ask_vectors, facts=lag),
        Part(name="sessions", kind="redis" if settings.redis_url else here, ask=sessions.ping),
        Part(name="queue", kind="sqs" if settings.sqs_queue_name else here, ask=jobs.ping),
        # One that is full or read-only fails what is stored; searches go on.
        Part(name="disk", kind="local", ask=disk.ask, facts=disk.facts),
    ]


class _Disk:
    """Room on the disk of a folder, or of where it would be made."""

    def __init__(self, folder: Path, reserve_mib: int) -> None:
        """reserve_mib: room, in MiB, below which the disk counts as full."""
        self._folder = folder.absolute()
        self._reserve_mib = reserve_mib
        self._free_mib = 0

    def ask(self) -> None:
        """Raises DiskFull, DiskReadOnly, and StorageError where the disk can not be asked, or the folder
        takes no file for another reason.
        """
        try:
            there = next(each for each in (self._folder, *self._folder.parents) if each.exists())
            self._free_mib = shutil.disk_usage(there).free // 2**20
        except OSError as error:
            raise StorageError(f"The disk can not be asked for its room: {error.strerror}") from error
        if self._free_mib < self._reserve_mib:
            raise DiskFull
        if there == self._folder:
            ask_to_write(there)

    def facts(self) -> Facts:
        """As it was when it was asked: a disk that hangs holds up nobody."""
        return {"free_mib": self._free_mib}


class Health:
    """Answers `/health`, `/health/live` and `/health/ready`."""

    def __init__(
        self,
        checks: Checks,
        watchers: Watchers,
        draining: Draining,
        engine: Engine,
        *,
        worker: int = 1,
        workers: int = 1,
    ) -> None:
        """This process is one of `workers`."""
        self._checks = checks
        self._watchers = watchers
        self._draining = draining
        self._engine = engine
        self._process = {"worker": worker, "workers": workers, "pid": os.getpid()}
        self._started = time.monotonic()

    async def live(self, _request: Request) -> Response:
        """200 while this process answers at all: what else may be away, a restart would not mend it."""
        return JSONResponse({"status": OK})

    async def ready(self, _request: Request) -> Response:
        """200 while requests should be sent here; 503 before its end, and while what all need is away."""
        status, code = self._judge(await self._checks.run())
        return JSONResponse({"status": status}, status_code=code)

    async def whole(self, request: Request) -> Response:
        """Every part by name; how each is to everybody, the rest to those who may know."""
        found = await self._checks.run()
        status, code = self._judge(found)
        answer: dict[str, object] = {"status": status}
        if not await self._watchers.may_see(request):
            answer["parts"] = {each.part.name: {"status": each.status} for each in found}
            return JSONResponse(answer, status_code=code)
        answer |= {
            "version": facerec.__version__,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "process": self._process,
            "parts": {each.part.name: each.told() for each in found},
        }
        if isinstance(self._engine, RememberingEngine):
            answer["result_cache"] = asdict(self._engine.counts)
        return JSONResponse(answer, status_code=code)

    def _judge(self, found: list[Finding]) -> tuple[str, int]:
        """The status of the whole, and of the answer."""
        failing = [each for each in found if each.status != OK]
        if any(each.part.required for each in failing):
            return UNAVAILABLE, 503
        if self._draining.begun:
            return "draining", 503
        return ("degraded" if failing else OK), 200
