"""`GET /metrics`: what the service counts, and how much there is of everything, in Prometheus' format."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import anyio
import anyio.to_thread
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from facerec.api.health import OK, Checks, Finding
from facerec.api.rest.errors import answer_error
from facerec.api.watching import Draining, Watchers
from facerec.db import Database
from facerec.errors import FacerecError, StorageError
from facerec.jobs.base import JobCounts, JobQueue
from facerec.observability.exposition import CONTENT_TYPE, BuildInfo, exposition
from facerec.services.figures import Figures, read_figures
from facerec.vectors.base import VectorStore

FRESH_SECONDS = 5.0
"""How long counted figures are told again, whoever asks."""


class Metrics:
    """Answers `GET /metrics`."""

    def __init__(
        self,
        checks: Checks,
        watchers: Watchers,
        draining: Draining,
        *,
        database: Database,
        vectors: VectorStore,
        jobs: JobQueue,
        about: Mapping[str, str],
    ) -> None:
        """about: what the service is, as labels."""
        self._checks = checks
        self._watchers = watchers
        self._draining = draining
        self._database = database
        self._vectors = vectors
        self._jobs = jobs
        self._about = dict(about)
        self._limiter = anyio.CapacityLimiter(1)
        self._figures: Figures | None = None
        self._until = 0.0

    async def handle(self, request: Request) -> Response:
        """Answer one scrape."""
        try:
            await self._watchers.check(request)
        except FacerecError as error:
            answer = await answer_error(request, error)
            if answer.status_code == 401:
                answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        found = await self._checks.run()
        text = await anyio.to_thread.run_sync(self._tell, found, limiter=self._limiter)
        return Response(text, media_type=CONTENT_TYPE)

    def _tell(self, found: list[Finding]) -> bytes:
        figures = self._count() if _well(found, "database") else None
        state = State(found, figures, self._about, draining=self._draining.begun)
        return exposition(state)

    def _count(self) -> Figures | None:
        """How much there is; None while the database does not answer."""
        if time.monotonic() >= self._until:
            try:
                self._figures = read_figures(self._database, self._vectors, self._jobs)
            except StorageError:
                self._figures = None
            self._until = time.monotonic() + FRESH_SECONDS
        return self._figures


class State(Collector):
    """How things are at the moment. What is not known has no sample; the families are always there."""

    def __init__(
        self, found: list[Finding], figures: Figures | None, about: Mapping[str, str], *, draining: bool
    ) -> None:
        self._found = found
        self._figures = figures
        self._about = about
        self._draining = draining

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        yield from BuildInfo(self._about).collect()
        yield _gauge(
            "draining", "1 while the service is about to end and wants no more requests.", self._draining
        )
        up = _labelled("part_up", "1 while a part of the service answers.", "part", "name")
        took = _labelled("part_check_duration_seconds", "Time that a part took to answer.", "part", "name")
        for each in self._found:
            labels = (each.part.name, each.part.kind)
            up.add_metric(labels, each.status == OK)
            took.add_metric(labels, each.seconds)
        yield up
        yield took
        yield from _amounts(self._figures)
        queue = next(each.part.kind for each in self._found if each.part.name == "queue")
        yield from _jobs(queue, (self._figures and self._figures.jobs) or {})


def _amounts(figures: Figures | None) -> Iterable[Metric]:
    store = figures and figures.store
    known = figures is not None
    yield _gauge("collections", "Collections.", figures.collections if figures else None)
    yield _gauge("faces", "Faces of all collections together.", figures.faces if figures else None)
    yield _gauge("users", "Users (persons) of all collections together.", figures.users if figures else None)
    yield _gauge("videos_open", "Videos that wait or are at work.", figures.videos if figures else None)
    yield _gauge(
        "index_changes_behind",
        "Changes that the database has and the vector store has not; 0 for one that is never behind.",
        store.changes_behind if store else (0 if known else None),
    )
    yield _gauge(
        "index_behind_seconds",
        "How long the vector store has been behind.",
        store.seconds_behind if store else (0 if known else None),
    )


def _jobs(queue: str, counted: Mapping[str, JobCounts]) -> Iterable[Metric]:
    jobs = _labelled("jobs", "Jobs by kind and state: waiting, leased, set_aside.", "queue", "kind", "state")
    oldest = _labelled("jobs_oldest_seconds", "Age of the oldest job that waits.", "queue", "kind")
    for kind, counts in counted.items():
        for state in ("waiting", "leased", "set_aside"):
            jobs.add_metric((queue, kind, state), getattr(counts, state))
        oldest.add_metric((queue, kind), counts.oldest_seconds)
    yield jobs
    yield oldest


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"facerec_{name}", text)
    if value is not None:
        family.add_metric((), value)
    return family


def _labelled(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"facerec_{name}", text, labels=labels)


def _well(found: list[Finding], name: str) -> bool:
    return any(each.part.name == name and each.status == OK for each in found)
