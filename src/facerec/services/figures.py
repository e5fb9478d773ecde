"""How much there is of everything at the moment, for those who watch the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from facerec.db import Database
from facerec.domain import StoreCondition
from facerec.errors import JobQueueUnavailable
from facerec.jobs.base import JobCounts, JobQueue
from facerec.metastore import collections, videos
from facerec.vectors.base import VectorStore
from facerec.vectors.remote.store import RemoteStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What there is, of the whole service."""

    collections: int
    faces: int
    users: int
    videos: int
    """Videos that wait or are at work."""
    jobs: Mapping[str, JobCounts] | None
    """By kind; None while the queue does not answer."""
    store: StoreCondition | None
    """Of a vector store outside the database; None for one that is never behind."""


def read_figures(database: Database, vectors: VectorStore, jobs: JobQueue) -> Figures:
    """Count. Raises StorageError."""
    with database.read() as connection:
        counted = collections.totals(connection)
        open_videos = videos.count_open(connection)
    try:
        by_kind: Mapping[str, JobCounts] | None = jobs.counts()
    except JobQueueUnavailable:
        by_kind = None
    return Figures(
        collections=counted[0],
        faces=counted[1],
        users=counted[2],
        videos=open_videos,
        jobs=by_kind,
        store=condition_of(vectors),
    )


def condition_of(vectors: VectorStore) -> StoreCondition | None:
    """How a store outside the database fares; None for one that is never behind."""
    return vectors.condition() if isinstance(vectors, RemoteStore) else None
