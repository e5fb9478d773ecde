"""Which handler does which kind of job. A new kind is one more line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from facerec.jobs.base import Job
from facerec.observability import request_context
from facerec.observability.tracing import PARENT, span_of_job
from facerec.services.albums.placing import PEOPLE_JOB
from facerec.services.albums.service import IMAGE_JOB, LISTING_JOB
from facerec.services.albums.use_cases import AlbumUseCases
from facerec.services.askers import context_of
from facerec.services.image_jobs import INDEX_IMAGE_JOB, ImageJobs
from facerec.services.registry.importing import PERSON_JOB, PersonImports
from facerec.services.videos.service import VIDEO_JOB, VideoService
from facerec.services.videos.working import Overtaken, VideoWork
from facerec.workers.handling import Handler, Handlers, JobControl, Lost


class Service(Protocol):
    """What the handlers need of the service."""

    @property
    def image_jobs(self) -> ImageJobs:
        """Jobs of single images."""

    @property
    def albums(self) -> AlbumUseCases:
        """Jobs of albums and imports."""

    @property
    def person_imports(self) -> PersonImports:
        """Jobs of persons."""

    @property
    def videos(self) -> VideoService:
        """Which videos this machine has."""

    @property
    def video_work(self) -> VideoWork:
        """Jobs of videos."""


def handlers(service: Service) -> Handlers:
    """The handlers of an opened service, by kinds of jobs."""
    return {
        INDEX_IMAGE_JOB: _whole(service.image_jobs.index),
        IMAGE_JOB: _whole(service.albums.indexing.index_image),
        LISTING_JOB: _whole(service.albums.indexing.list_prefix),
        PEOPLE_JOB: _whole(service.albums.placing.work),
        PERSON_JOB: _whole(service.person_imports.work),
        **video_handlers(service),
    }


def video_handlers(service: Service) -> Handlers:
    """The handlers of videos alone: of those that lie anywhere, and of those that lie on this machine."""

    def handle(job: Job, control: JobControl) -> None:
        try:
            with request_context(context_of(job)):
                service.video_work.do(job, control.check)
        except Overtaken:
            raise Lost from None

    return dict.fromkeys(service.videos.job_kinds, handle)


def long_kinds(kinds: Iterable[str]) -> frozenset[str]:
    """Those of some kinds whose jobs take minutes: videos."""
    return frozenset(kind for kind in kinds if kind.startswith(VIDEO_JOB))


def _whole(work: Callable[[Job], None]) -> Handler:
    """A handler of what takes a moment: once begun it is finished, whoever wants to stop."""

    def handle(job: Job, _control: JobControl) -> None:
        with request_context(context_of(job)), span_of_job(job.kind, job.payload.get(PARENT)):
            work(job)

    return handle
