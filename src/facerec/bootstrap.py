"""Puts the service together from its settings, and takes it apart again in reverse."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from facerec.config import MEBIBYTE, Settings
from facerec.db import Database
from facerec.domain import Collection, LivenessPolicy
from facerec.engine.base import Engine
from facerec.engine.remembering import RememberingEngine
from facerec.engine.video.container import VideoLimits
from facerec.errors import ConfigurationError
from facerec.images.base import ImageLoader
from facerec.images.loader import open_sources
from facerec.images.s3_objects import S3Objects
from facerec.images.videos import VideoSource, open_video_source
from facerec.jobs.base import JobQueue
from facerec.jobs.opening import open_jobs
from facerec.metastore import collections as collection_rows
from facerec.metastore import open_metastore
from facerec.metastore.changes import DatabaseFeed
from facerec.metastore.scopes import ScopeLedger
from facerec.notices.sns import SnsTopics
from facerec.notices.webhook import Webhook
from facerec.observability.exposition import process_name
from facerec.observability.tracing import tracing
from facerec.services.albums.telling import AlbumTeller
from facerec.services.albums.use_cases import AlbumUseCases, album_use_cases
from facerec.services.analysis import AnalysisService
from facerec.services.audit import AuditLog
from facerec.services.authentication import KeyRules, ServiceKey
from facerec.services.background import Background
from facerec.services.collections import CollectionService
from facerec.services.engines import Engines
from facerec.services.faces import FaceService
from facerec.services.gate import Gate
from facerec.services.image_jobs import ImageJobs, S3EventRules
from facerec.services.keys import KeyService
from facerec.services.liveness.passive import LivenessRule
from facerec.services.liveness.pictures import SessionPictures
from facerec.services.liveness.proof import Proofs
from facerec.services.liveness.sessions import NO_MOUTH, LivenessSessions
from facerec.services.matching import FaceMatcher, UserMatcher
from facerec.services.people import PeopleService
from facerec.services.registry.identifying import Rule
from facerec.services.registry.importing import PersonImports
from facerec.services.registry.service import RegistryPolicy, RegistryService
from facerec.services.registry.sessions import RegistrationSessions
from facerec.services.retention.cleaning import Cleaner
from facerec.services.retention.ends import EndService
from facerec.services.retention.forgetting import ForgettingService
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.proof import ForgettingWithProof, out_of_reach
from facerec.services.retention.sweeping import Sweeper
from facerec.services.searching import SearchService
from facerec.services.videos.analysis import Look
from facerec.services.videos.service import VideoService
from facerec.services.videos.telling import VideoTeller
from facerec.services.videos.watching import WatchService
from facerec.services.videos.working import VideoWork
from facerec.sessions.base import SessionStore
from facerec.sessions.opening import open_sessions
from facerec.vectors.base import VectorStore
from facerec.vectors.opening import open_vectors
from facerec.workers.handling import Handlers
from facerec.workers.loop import Worker, WorkerPolicy, WorkerThread
from facerec.workers.tasks import handlers, long_kinds

NOTICE_PAUSE_SECONDS = 1.0
"""Pause between two looks for ends of videos that are to be told."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The opened service: its use cases, and the parts they work with."""

    settings: Settings
    engine: Engine
    database: Database
    vectors: VectorStore
    sessions: SessionStore
    jobs: JobQueue
    collections: CollectionService
    faces: FaceService
    searches: SearchService
    image_jobs: ImageJobs
    people: PeopleService
    registry: RegistryService
    registrations: RegistrationSessions
    liveness: LivenessSessions
    proofs: Proofs
    person_imports: PersonImports
    analysis: AnalysisService
    albums: AlbumUseCases
    videos: VideoService
    video_work: VideoWork
    watching: WatchService
    keys: KeyService
    gate: Gate
    audit: AuditLog
    sweeper: Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What removes faces, opened without a model."""

    database: Database
    audit: AuditLog
    sweeper: Sweeper
    forgetting: ForgettingWithProof
    ends: EndService


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """The vector store of the settings, and the database it is derived from."""

    database: Database
    vectors: VectorStore

    def collections(self) -> list[Collection]:
        """All collections as they are now, the hidden ones of a change of models among them."""
        with self.database.read() as connection:
            return collection_rows.every(connection)


def import_ahead(settings: Settings) -> None:
    """Import what opening a service and its first jobs would, for processes forked from this one.

    Nothing is opened.
    """
    import botocore.client
    import botocore.session  # noqa: F401
    import numpy.random  # noqa: F401

    from facerec.engine.packs.loading import import_ahead as import_for_networks

    import_for_networks(settings)
    if settings.vector_store == "embedded":
        from facerec.vectors import embedded  # noqa: F401


@contextlib.contextmanager
def open_service(
    settings: Settings,
    *,
    engine: Engine | None = None,
    background: bool = False,
    job_holder: str | None = None,
) -> Iterator[Service]:
    """Open everything; on leaving, close it in reverse.

    background: do jobs and sweep beside the requests, as FACEREC_SERVE_JOBS and FACEREC_SWEEP_SECONDS say.
    job_holder: what this process's leases of jobs are known by (`facerec.jobs.base.new_holder`).
    `engine` is used (and not closed) in place of the one that the settings name. Raises ConfigurationError,
    PackError or StorageError when a part can not be opened; the parts opened before it are closed then.
    """
    with contextlib.ExitStack() as stack:
        parts = _open_parts(settings, engine, job_holder, stack)
        service = _use_cases(parts)
        service.collections.finish_deletions()
        service.albums.service.finish_deletions()
        if background:
            _work_beside_requests(service, parts.remembering, stack)
        yield service


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the use cases work with, opened."""

    settings: Settings
    database: Database
    audit: AuditLog
    vectors: VectorStore
    sessions: SessionStore
    jobs: JobQueue
    engine: Engine
    remembering: RememberingEngine | None
    engines: Engines
    images: ImageLoader
    objects: S3Objects
    lifetimes: Lifetimes

    def forget_images(self, image_ids: Iterable[str]) -> None:
        """Forget what is remembered of images whose faces are deleted."""
        if self.remembering is not None:
            self.remembering.forget(image_ids)


def _open_parts(
    settings: Settings, engine: Engine | None, job_holder: str | None, stack: contextlib.ExitStack
) -> _Parts:
    """Open the parts; the stack closes them in reverse."""
    stack.enter_context(tracing(settings.otel_endpoint, process=process_name()))
    database = open_metastore(settings)
    stack.callback(database.close)
    audit = AuditLog(database, settings.audit)
    stack.callback(audit.close)
    vectors = open_vector_store(settings, database)
    stack.callback(vectors.close)
    sessions = open_sessions(settings, database)
    stack.callback(sessions.close)
    jobs = open_jobs(settings, database, S3EventRules(settings.s3_events_collection).job, job_holder)
    stack.callback(jobs.close)
    if engine is None:
        engine = _open_engine(settings)
        stack.callback(engine.close)
    if settings.liveness is LivenessPolicy.REQUIRE and not engine.judges_liveness:
        raise ConfigurationError(
            "FACEREC_LIVENESS=require takes a model pack with liveness networks, and "
            f"{engine.contract.pack} has none: add [[liveness]] to its pack.toml (docs/liveness.md), or "
            "set report or off"
        )
    remembering = _remembering(settings, engine, database, sessions) if settings.result_cache_mib else None
    images, objects = open_sources(settings)
    engines = Engines(
        remembering or engine,
        database,
        extra_packs=settings.extra_packs,
        open_pack=lambda pack: _open_engine(settings.model_copy(update={"model_path": pack})),
    )
    stack.callback(engines.close)
    return _Parts(
        settings=settings,
        database=database,
        audit=audit,
        vectors=vectors,
        sessions=sessions,
        jobs=jobs,
        engine=remembering or engine,
        remembering=remembering,
        engines=engines,
        images=images,
        objects=objects,
        lifetimes=Lifetimes(settings.face_ttl_seconds),
    )


def _remembering(
    settings: Settings, engine: Engine, database: Database, sessions: SessionStore
) -> RememberingEngine:
    """The engine with the results of images that are sent again, shared by all processes where Redis is."""
    if settings.redis_url is not None and database.cipher is None:
        _log.warning(
            "Faces and embeddings of images lie in Redis for %g seconds, and are not sealed: "
            "FACEREC_EMBEDDING_KEY_FILE seals them.",
            settings.result_cache_seconds,
        )
    return RememberingEngine(
        engine,
        max_bytes=settings.result_cache_mib * MEBIBYTE,
        max_seconds=settings.result_cache_seconds,
        shared=None if settings.redis_url is None else sessions,
    )


def _use_cases(parts: _Parts) -> Service:
    """The use cases over the parts."""
    settings, database, vectors = parts.settings, parts.database, parts.vectors
    engines, images, lifetimes = parts.engines, parts.images, parts.lifetimes
    people = PeopleService(
        database, vectors, engines, images, lifetimes=lifetimes, matching=settings.user_matching
    )
    registry = RegistryService(
        database,
        engines,
        images,
        people,
        UserMatcher(database, vectors, lifetimes, settings.user_matching),
        registry_policy(settings),
        lifetimes=lifetimes,
        forget_images=parts.forget_images,
    )
    liveness = _liveness_sessions(parts)
    faces = FaceService(
        database, vectors, engines, images, lifetimes=lifetimes, forget_images=parts.forget_images
    )
    source = open_video_source(settings)
    keys = open_keys(settings, database)
    return Service(
        settings=settings,
        engine=parts.engine,
        database=database,
        vectors=vectors,
        sessions=parts.sessions,
        jobs=parts.jobs,
        collections=CollectionService(database, vectors, engines, lifetimes=lifetimes),
        faces=faces,
        searches=SearchService(database, vectors, engines, images, lifetimes=lifetimes),
        image_jobs=ImageJobs(faces, parts.audit),
        people=people,
        registry=registry,
        registrations=RegistrationSessions(registry, parts.sessions, seconds=settings.registration_seconds),
        liveness=liveness,
        proofs=Proofs(
            liveness,
            required=settings.liveness is LivenessPolicy.ACTIVE,
            least=settings.liveness_threshold,
        ),
        analysis=AnalysisService(parts.engine, images),
        person_imports=PersonImports(
            database, registry, parts.jobs, parts.audit, parts.objects, lifetimes=lifetimes
        ),
        albums=album_use_cases(
            database,
            vectors,
            engines,
            faces,
            images,
            parts.objects,
            parts.jobs,
            lifetimes,
            parts.audit,
            tells=settings.webhook_url is not None,
        ),
        videos=VideoService(
            database,
            source,
            lifetimes,
            parts.jobs,
            max_jobs=settings.max_video_jobs,
            kept_seconds=settings.video_results_seconds,
            uploads=settings.videos_folder,
        ),
        video_work=_video_work(settings, database, engines, vectors, lifetimes, source),
        watching=WatchService(database, engines, FaceMatcher(database, vectors, lifetimes)),
        keys=keys,
        gate=Gate(keys, parts.sessions, settings.rate),
        audit=parts.audit,
        sweeper=Sweeper(database, vectors, lifetimes, forget_images=parts.forget_images),
    )


def _liveness_sessions(parts: _Parts) -> LivenessSessions:
    """Sessions of active liveness. Raises ConfigurationError where the pack can not do what is required."""
    liveness = LivenessSessions(
        parts.engine,
        parts.database,
        parts.sessions,
        SessionPictures(parts.sessions, parts.objects),
        steps=parts.settings.liveness_steps,
    )
    if parts.settings.liveness is LivenessPolicy.ACTIVE and not liveness.possible:
        raise ConfigurationError(f"FACEREC_LIVENESS=active can not be met. {NO_MOUTH}")
    return liveness


def _work_beside_requests(
    service: Service, remembering: RememberingEngine | None, stack: contextlib.ExitStack
) -> None:
    """Start what a serving process does besides answering; the stack ends it first."""
    settings = service.settings
    stack.callback(open_telling(settings, service.database).close)
    if settings.sweep_seconds:
        stack.callback(_upkeep(service, remembering).close)
    if settings.serve_jobs:
        # Few at a time, as the engine takes them in turn with the requests.
        stack.callback(WorkerThread(open_worker(service, settings.threads)).close)


def open_worker(service: Service, threads: int, some: Handlers | None = None) -> Worker:
    """A worker that does the jobs of an opened service, or `some` kinds of them.

    threads: jobs at work at once.
    """
    work, settings = handlers(service) if some is None else some, service.settings
    policy = WorkerPolicy(
        threads=threads,
        batch=settings.job_batch,
        lease_seconds=settings.job_lease_seconds,
        attempts=settings.job_attempts,
        long_kinds=long_kinds(work),
        # One video is looked at for every two processors.
        long_jobs=max(settings.threads // 2, 1),
    )
    return Worker(service.jobs, work, policy)


@contextlib.contextmanager
def open_retention(settings: Settings) -> Iterator[Retention]:
    """Open what removes faces, in whatever model's embeddings they are: no model is loaded.

    Raises ConfigurationError or StorageError.
    """
    with contextlib.ExitStack() as stack:
        database = open_metastore(settings)
        stack.callback(database.close)
        audit = AuditLog(database, settings.audit)
        stack.callback(audit.close)
        lifetimes = Lifetimes(settings.face_ttl_seconds)
        vectors = open_vector_store(settings, database)
        stack.callback(vectors.close)
        yield Retention(
            database=database,
            audit=audit,
            sweeper=Sweeper(database, vectors, lifetimes),
            forgetting=ForgettingWithProof(
                database,
                ForgettingService(database, vectors, lifetimes.clock, registry=settings.registry_collection),
                lifetimes.clock,
                index_folder=settings.data_dir / "vectors",
                out_of_reach=out_of_reach(settings),
            ),
            ends=EndService(database, lifetimes),
        )


@contextlib.contextmanager
def open_queue(settings: Settings) -> Iterator[JobQueue]:
    """Open the job queue alone: no model is loaded. Raises ConfigurationError or StorageError."""
    with (
        contextlib.closing(open_metastore(settings)) as database,
        contextlib.closing(
            open_jobs(settings, database, S3EventRules(settings.s3_events_collection).job)
        ) as jobs,
    ):
        yield jobs


@contextlib.contextmanager
def open_indexes(settings: Settings) -> Iterator[Indexes]:
    """Open what keeps, rebuilds and compares indexes: no model is loaded.

    Raises ConfigurationError or StorageError.
    """
    with (
        contextlib.closing(open_metastore(settings)) as database,
        contextlib.closing(open_vector_store(settings, database)) as vectors,
    ):
        yield Indexes(database=database, vectors=vectors)


@contextlib.contextmanager
def open_cleaner(settings: Settings) -> Iterator[Cleaner]:
    """Open what looks for things left over and changes nothing. Raises ConfigurationError, StorageError."""
    from facerec.vectors.archive import stale_files  # imported here: the index takes a moment to load

    with contextlib.closing(open_metastore(settings)) as database:
        feed = DatabaseFeed(database)
        yield Cleaner(
            database,
            feed,
            Lifetimes(settings.face_ttl_seconds),
            journals=settings.data_dir / "indexed",
            packs=settings.packs_folder,
            stale_snapshots=partial(
                stale_files, settings.data_dir / "vectors", feed, settings.index_snapshot
            ),
        )


def video_look(settings: Settings) -> Look:
    """How videos are looked at."""
    return Look(
        VideoLimits(max_pixels=settings.max_video_pixels, max_seconds=settings.max_video_seconds),
        frames_per_second=settings.video_fps,
        max_seconds=settings.video_timeout_seconds,
    )


def _video_work(
    settings: Settings,
    database: Database,
    engines: Engines,
    vectors: VectorStore,
    lifetimes: Lifetimes,
    source: VideoSource,
) -> VideoWork:
    """What does the video jobs."""
    return VideoWork(
        database,
        engines,
        FaceMatcher(database, vectors, lifetimes),
        source,
        video_look(settings),
        uploads=settings.videos_folder,
        tells=settings.webhook_url is not None,
    )


def open_telling(settings: Settings, database: Database) -> Background:
    """What tells the ends of videos and albums, until it is closed: several processes may."""
    topics = SnsTopics(
        region=settings.aws_region,
        endpoint_url=settings.sns_endpoint_url,
        credentials=settings.aws_credentials,
    )
    webhook = None
    if settings.webhook_url is not None:
        secret = settings.webhook_secret
        webhook = Webhook(settings.webhook_url, secret.get_secret_value() if secret else None).post
    videos = VideoTeller(database, topics, webhook)
    albums = None if webhook is None else AlbumTeller(database, webhook)

    def work() -> None:
        videos.tell()
        if albums is not None:
            albums.tell()

    return Background("notices", work, pause=NOTICE_PAUSE_SECONDS)


def registry_policy(settings: Settings) -> RegistryPolicy:
    """How the registry of the settings decides."""
    return RegistryPolicy(
        collection=settings.registry_collection,
        review=settings.enrolment_review,
        rule=Rule(settings.similarity_threshold, settings.registry_margin),
        max_images=settings.max_images_per_registration,
        liveness=LivenessRule(settings.liveness, settings.liveness_threshold),
    )


def _upkeep(service: Service, remembering: RememberingEngine | None) -> Background:
    """What a running service does about what is past its time, or was broken off: one process for all, and
    each for itself."""
    settings = service.settings

    def work() -> None:
        if remembering is not None:
            remembering.forget_old()
        swept = service.sweeper.sweep()
        if swept is not None and any(dataclasses.astuple(swept)):
            _log.info("swept: %s", swept)
        service.sweeper.let_go()
        service.videos.remove_past()
        service.videos.dispatch_all()
        service.albums.service.dispatch_all()
        service.albums.placing.ask_for_all()
        service.person_imports.dispatch_all()
        if settings.audit_days:
            service.audit.prune(settings.audit_days * 86_400.0)

    return Background("retention", work, pause=settings.sweep_seconds)


def open_keys(settings: Settings, database: Database) -> KeyService:
    """The access keys of a database, without the rest of the service: for the command line."""
    given = settings.api_key
    rules = KeyRules(
        master_key_path=settings.master_key_path,
        clock_skew_seconds=settings.clock_skew_seconds,
        always=settings.needs_keys,
        service_key=None if given is None else ServiceKey(given.get_secret_value(), settings.api_key_scope),
    )
    return KeyService(database, rules)


def _open_engine(settings: Settings) -> Engine:
    """The engine of the settings' model pack. Imported here: the networks' runtimes take a second to load."""
    from facerec.engine.packs.loading import open_engine

    return open_engine(settings)


def open_vector_store(settings: Settings, database: Database) -> VectorStore:
    """The vector store of the settings. Raises ConfigurationError, StorageError."""
    return open_vectors(settings, database, DatabaseFeed(database), partial(ScopeLedger, database))
