"""Video jobs: what was asked, how far it is, and what was found, packed by the caller."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable
from pathlib import Path

import sqlalchemy as sa

from facerec.domain import (
    LocalImage,
    S3Image,
    UrlImage,
    VideoJob,
    VideoMetadata,
    VideoOperation,
    VideoReference,
    VideoState,
    VideoWish,
)
from facerec.errors import NotFound
from facerec.metastore.tables import video_jobs, video_parts

_WAITING = video_jobs.c.state == VideoState.IN_PROGRESS.value
_ENDED_AT = sa.func.coalesce(video_jobs.c.finished_at, video_jobs.c.created_at)


def insert(connection: sa.Connection, job_id: str, wish: VideoWish, *, node: str | None, now: float) -> None:
    """Store a new job. node: the machine that alone can do it; None: any."""
    connection.execute(
        video_jobs.insert().values(
            job_id=job_id,
            operation=wish.operation.value,
            state=VideoState.IN_PROGRESS.value,
            source=_source_text(wish.video),
            node=node,
            collection_name=wish.collection,
            threshold=wish.threshold,
            all_attributes=wish.all_attributes,
            job_tag=wish.job_tag,
            topic=wish.topic,
            created_at=now,
            updated_at=now,
            attempts=0,
            progress_ms=0,
            entries=0,
            notice_attempts=0,
        )
    )


def find(connection: sa.Connection, job_id: str) -> VideoJob:
    """A job. Raises NotFound."""
    row = connection.execute(sa.select(video_jobs).where(video_jobs.c.job_id == job_id)).one_or_none()
    if row is None:
        raise NotFound("Could not find JobId")
    return _job(row)


def list_newest(connection: sa.Connection, limit: int) -> list[VideoJob]:
    """The newest jobs, newest first."""
    ordered = sa.select(video_jobs).order_by(video_jobs.c.created_at.desc(), video_jobs.c.job_id)
    return [_job(row) for row in connection.execute(ordered.limit(limit))]


def list_open(connection: sa.Connection) -> list[VideoJob]:
    """The jobs that wait or are at work."""
    return [_job(row) for row in connection.execute(sa.select(video_jobs).where(_WAITING))]


def count_open(connection: sa.Connection) -> int:
    """How many jobs wait or are at work."""
    return connection.scalar(sa.select(sa.func.count()).select_from(video_jobs).where(_WAITING)) or 0


def open_by_node(connection: sa.Connection) -> list[tuple[str, str | None]]:
    """Ids of the jobs that wait or are at work, oldest first, each with the machine that alone can do it."""
    query = sa.select(video_jobs.c.job_id, video_jobs.c.node).where(_WAITING)
    return [(row.job_id, row.node) for row in connection.execute(query.order_by(video_jobs.c.created_at))]


def is_open(connection: sa.Connection, job_id: str) -> bool:
    """Whether there is a job that waits or is at work."""
    query = sa.select(video_jobs.c.job_id).where(video_jobs.c.job_id == job_id, _WAITING)
    return connection.scalar(query) is not None


def begin(connection: sa.Connection, job_id: str, now: float) -> VideoJob | None:
    """Begin the next attempt, with what the last one found thrown away; None where nothing is to be done."""
    changed = connection.execute(
        video_jobs.update()
        .where(video_jobs.c.job_id == job_id, _WAITING)
        .values(attempts=video_jobs.c.attempts + 1, progress_ms=0, entries=0, updated_at=now)
    )
    if not changed.rowcount:
        return None
    connection.execute(video_parts.delete().where(video_parts.c.job_id == job_id))
    return find(connection, job_id)


def advance(
    connection: sa.Connection, job: VideoJob, *, progress_ms: int, now: float, metadata: VideoMetadata
) -> bool:
    """Note how far an attempt is; False where it is to stop: another one has begun, or the job is gone."""
    return _change(
        connection,
        job,
        progress_ms=progress_ms,
        updated_at=now,
        metadata=json.dumps(dataclasses.asdict(metadata)),
    )


def add_part(connection: sa.Connection, job: VideoJob, number: int, entries: bytes, count: int) -> bool:
    """Store a part of the result, of `count` faces; False as `advance` does."""
    if not _change(connection, job, entries=video_jobs.c.entries + count):
        return False
    connection.execute(video_parts.insert().values(job_id=job.job_id, number=number, entries=entries))
    return True


def finish(
    connection: sa.Connection,
    job: VideoJob,
    state: VideoState,
    *,
    now: float,
    message: str | None = None,
    progress_ms: int | None = None,
    result: bytes | None = None,
    notice: bool,
) -> bool:
    """End a job; `notice`: its end is to be told. False as `advance` does."""
    return _change(
        connection,
        job,
        state=state.value,
        message=message,
        result=result,
        finished_at=now,
        updated_at=now,
        notice_at=now if notice else None,
        **({} if progress_ms is None else {"progress_ms": progress_ms}),
    )


def result_of(connection: sa.Connection, job_id: str) -> bytes | None:
    """What `finish` was given."""
    packed = connection.scalar(sa.select(video_jobs.c.result).where(video_jobs.c.job_id == job_id))
    return None if packed is None else bytes(packed)


def parts_of(connection: sa.Connection, job_id: str, numbers: Collection[int]) -> dict[int, bytes]:
    """Parts of a result by their numbers."""
    query = sa.select(video_parts.c.number, video_parts.c.entries).where(
        video_parts.c.job_id == job_id, video_parts.c.number.in_(sorted(numbers))
    )
    return {row.number: bytes(row.entries) for row in connection.execute(query)}


def delete(connection: sa.Connection, job_ids: Iterable[str]) -> int:
    """Remove jobs with all that was found; one at work stops. How many there were."""
    ids = list(job_ids)
    connection.execute(video_parts.delete().where(video_parts.c.job_id.in_(ids)))
    return connection.execute(video_jobs.delete().where(video_jobs.c.job_id.in_(ids))).rowcount


def past(connection: sa.Connection, before: float, limit: int = 100) -> list[str]:
    """Ids of jobs that ended, or were never done, before a time."""
    return list(connection.scalars(sa.select(video_jobs.c.job_id).where(before > _ENDED_AT).limit(limit)))


def untold(connection: sa.Connection, now: float, limit: int = 20) -> list[str]:
    """Ids of the ended jobs whose end is to be told by now."""
    query = sa.select(video_jobs.c.job_id).where(video_jobs.c.notice_at <= now)
    return list(connection.scalars(query.order_by(video_jobs.c.notice_at).limit(limit)))


def take_notice(connection: sa.Connection, job_id: str, *, now: float, again_at: float) -> int | None:
    """Begin to tell a job's end, and have it told again later should this fail; the number of the attempt.

    None where another process was first.
    """
    changed = connection.execute(
        video_jobs.update()
        .where(video_jobs.c.job_id == job_id, video_jobs.c.notice_at <= now)
        .values(notice_at=again_at, notice_attempts=video_jobs.c.notice_attempts + 1)
    )
    if not changed.rowcount:
        return None
    return connection.scalar(sa.select(video_jobs.c.notice_attempts).where(video_jobs.c.job_id == job_id))


def set_notice(connection: sa.Connection, job_id: str, at: float | None) -> None:
    """When the end is to be told next; None: it has been told, or is given up."""
    connection.execute(video_jobs.update().where(video_jobs.c.job_id == job_id).values(notice_at=at))


def _change(connection: sa.Connection, job: VideoJob, **values: object) -> bool:
    """Change the row of an attempt, unless it was overtaken."""
    changed = connection.execute(
        video_jobs.update()
        .where(video_jobs.c.job_id == job.job_id, video_jobs.c.attempts == job.attempts, _WAITING)
        .values(**values)
    )
    return bool(changed.rowcount)


def _job(row: sa.Row[tuple[object, ...]]) -> VideoJob:
    data = row._mapping
    return VideoJob(
        job_id=data["job_id"],
        wish=VideoWish(
            operation=VideoOperation(data["operation"]),
            video=_source(data["source"]),
            collection=data["collection_name"],
            threshold=data["threshold"],
            all_attributes=data["all_attributes"],
            job_tag=data["job_tag"],
            topic=data["topic"],
        ),
        state=VideoState(data["state"]),
        message=data["message"],
        created_at=data["created_at"],
        updated_at=data["updated_at"],
        finished_at=data["finished_at"],
        attempts=data["attempts"],
        progress_ms=data["progress_ms"],
        metadata=None if data["metadata"] is None else VideoMetadata(**json.loads(data["metadata"])),
        entries=data["entries"],
    )


def _source_text(video: VideoReference) -> str:
    match video:
        case S3Image(bucket, name, version):
            return json.dumps({"s3": [bucket, name, version]})
        case UrlImage(url):
            return json.dumps({"url": url})
        case LocalImage(path):
            return json.dumps({"file": str(path)})


def _source(text: str) -> VideoReference:
    stored = json.loads(text)
    if "s3" in stored:
        return S3Image(*stored["s3"])
    if "url" in stored:
        return UrlImage(stored["url"])
    return LocalImage(Path(stored["file"]))
