"""Is the service alive? Cheap enough to ask every second: nothing is counted, no table is read."""

from __future__ import annotations

import os
import time
from dataclasses import asdict

import anyio
import anyio.to_thread
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import facerec
from facerec.db import Database
from facerec.engine.base import Engine
from facerec.engine.remembering import RememberingEngine
from facerec.errors import SessionStoreUnavailable, StorageError
from facerec.sessions.base import SessionStore
from facerec.vectors.base import VectorStore
from facerec.vectors.remote.store import RemoteStore


class Health:
    """Answers `GET /health`: 200 while the service can answer requests, 503 while its database does not."""

    def __init__(
        self,
        *,
        engine: Engine,
        database: Database,
        vectors: VectorStore,
        sessions: SessionStore,
        worker: int = 1,
        workers: int = 1,
    ) -> None:
        """This process is one of `workers`.

        Probes have threads of their own: a busy service answers too.
        """
        self._engine = engine
        self._database = database
        self._vectors = vectors
        self._sessions = sessions
        self._process = {"worker": worker, "workers": workers, "pid": os.getpid()}
        self._limiter = anyio.CapacityLimiter(2)
        self._started = time.monotonic()

    async def handle(self, _request: Request) -> Response:
        """Answer one probe."""
        database = await anyio.to_thread.run_sync(self._ask_database, limiter=self._limiter)
        sessions = await anyio.to_thread.run_sync(self._ask_sessions, limiter=self._limiter)
        healthy = bool(database["ok"])
        contract = self._engine.contract
        answer: dict[str, object] = {
            "status": "ok" if healthy else "unavailable",
            "version": facerec.__version__,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "process": self._process,
            "engine": {
                "pack": contract.pack,
                "model_version": contract.model_version,
                "dimension": contract.dimension,
            },
            "database": database,
            "index": {"name": type(self._vectors).__name__},
            "sessions": sessions,  # where it is away, what does not need it goes on
        }
        if isinstance(self._vectors, RemoteStore):
            # A store that is down fails searches alone: the service goes on, so 200.
            answer["index"] = asdict(self._vectors.condition())
        if isinstance(self._engine, RememberingEngine):
            answer["result_cache"] = asdict(self._engine.counts)
        return JSONResponse(answer, status_code=200 if healthy else 503)

    def _ask_database(self) -> dict[str, object]:
        """Have the database answer one statement, timed."""
        started = time.perf_counter()
        try:
            with self._database.read() as connection:
                connection.execute(sa.text("SELECT 1"))
            ok = True
        except StorageError:
            ok = False
        milliseconds = round((time.perf_counter() - started) * 1000, 2)
        return {"name": self._database.url.get_backend_name(), "ok": ok, "milliseconds": milliseconds}

    def _ask_sessions(self) -> dict[str, object]:
        """Whether the session store answers."""
        try:
            self._sessions.ping()
            ok = True
        except SessionStoreUnavailable:
            ok = False
        return {"name": type(self._sessions).__name__, "ok": ok}
