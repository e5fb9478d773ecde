"""Tells the end of video jobs, as Rekognition does: to the job's topic, and to the service's webhook.

Told at least once: what fails is tried again with growing pauses, by whichever process comes to it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Protocol

from facerec.db import Database
from facerec.domain import S3Image, UrlImage, VideoJob
from facerec.errors import NotFound, NoticeFailed
from facerec.metastore import videos

ATTEMPTS = 10
"""Times that an end is told before it is given up: over some two hours."""

FIRST_PAUSE_SECONDS = 15.0

_log = logging.getLogger(__name__)


class Topics(Protocol):
    """Where topics are published to."""

    def publish(self, topic: str, message: str) -> None:
        """Publish. Raises NoticeFailed."""


class VideoTeller:
    """Tells what is to be told. Safe to call from many threads, and in several processes at once."""

    def __init__(
        self,
        database: Database,
        topics: Topics,
        webhook: Callable[[str], None] | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """webhook: sends a body to the service's webhook, where there is one. Raises NoticeFailed."""
        self._database = database
        self._topics = topics
        self._webhook = webhook
        self._clock = clock

    def tell(self) -> int:
        """Tell the ends that are due; how many were told."""
        with self._database.read() as connection:
            due = videos.untold(connection, self._clock())
        return sum(self._tell(job_id) for job_id in due)

    def _tell(self, job_id: str) -> bool:
        now = self._clock()
        with self._database.write() as connection:
            try:
                job = videos.find(connection, job_id)
            except NotFound:
                return False
            # Set before it is tried: a process that is killed in the midst leaves it to the next.
            attempt = videos.take_notice(connection, job_id, now=now, again_at=now + FIRST_PAUSE_SECONDS)
        if attempt is None:
            return False
        body = notice(job)
        try:
            if job.wish.topic is not None:
                self._topics.publish(job.wish.topic, body)
            if self._webhook is not None:
                self._webhook(body)
            again: float | None = None
        except NoticeFailed as error:
            _log.warning("the end of a video was not told (%d. attempt): %s", attempt, error)
            again = now + FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) if attempt < ATTEMPTS else None
        with self._database.write() as connection:
            videos.set_notice(connection, job_id, again)
        return again is None


def notice(job: VideoJob) -> str:
    """The message on a job's end, JSON as Rekognition writes it."""
    match job.wish.video:
        case S3Image(bucket, name, _):
            video: dict[str, str] | None = {"S3ObjectName": name, "S3Bucket": bucket}
        case UrlImage(url):
            video = {"Url": url}
        case _:
            video = None
    told = {
        "JobId": job.job_id,
        "Status": job.state.value,
        "API": job.wish.operation.value,
        "JobTag": job.wish.job_tag,
        "Timestamp": round((job.finished_at or job.updated_at) * 1000),
        "Video": video,
    }
    return json.dumps({name: value for name, value in told.items() if value is not None})
