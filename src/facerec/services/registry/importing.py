"""Imports of persons in the background: a manifest is read into rows, and a job enrols each entry.

The rows are the truth, as those of albums are: a job that is lost is put again, one that comes twice does
nothing, and a manifest that is sent again is gone on with where reading it broke off.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from facerec.db import Database
from facerec.domain import Page, Review, S3Image
from facerec.errors import Cancelled, FacerecError
from facerec.images.base import ObjectStore
from facerec.jobs.base import Job, JobQueue, NewJob, Priority
from facerec.metastore import person_imports
from facerec.metastore.items import ItemState
from facerec.metastore.person_imports import (
    NewPersonEntry,
    PersonEntry,
    PersonImport,
    PersonImportKey,
    RefusedPicture,
)
from facerec.observability import current_request
from facerec.services.albums.indexing import ATTEMPTS, MAY_PASS, passes
from facerec.services.albums.manifests import kind_of
from facerec.services.albums.service import (
    DEFAULT_PAGE,
    LARGEST_PAGE,
    RATE_SECONDS,
    AlbumState,
)
from facerec.services.albums.sources import parse_source
from facerec.services.askers import WORKER, asker
from facerec.services.audit import Act, AuditLog
from facerec.services.dispatching import queue_jobs
from facerec.services.idempotency import RepeatableRequest
from facerec.services.pagination import PageTokens, page_size
from facerec.services.registry.bulk import Entry, ReadEntry, bring, read_people
from facerec.services.registry.service import RegistryService
from facerec.services.registry.values import Enrolment, encode_metadata
from facerec.services.retention.lifetimes import Lifetimes

PERSON_JOB = "person-import"

AT_ONCE = 500
"""Entries that are written, and reported, at a time."""

NONE_TAKEN = "None of the pictures can be taken; see what is said of each."


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonImportProgress:
    """How far an import is, at one moment."""

    found: PersonImport
    state: AlbumState
    counts: dict[ItemState, int]
    rate: float
    """Persons finished a second, over the last minute; 0.0 where none was."""
    seconds_left: float | None
    """Until nothing waits at that rate; None where it is not known."""


class PersonImports:
    """Imports of persons. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        registry: RegistryService,
        queue: JobQueue,
        audit: AuditLog,
        objects: ObjectStore,
        *,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        """objects: where manifests are in S3."""
        self._database = database
        self._registry = registry
        self._queue = queue
        self._audit = audit
        self._objects = objects
        self._clock = (lifetimes or Lifetimes()).clock
        self._tokens = PageTokens(database)

    def bring(
        self,
        manifest: str,
        file: BinaryIO,
        *,
        review: Review | None = None,
        client_token: str | None = None,
    ) -> PersonImport:
        """Begin an import and take in a manifest, whose name tells how it is written.

        Raises as `create` and `read` do, InvalidParameter for a name or a header that is none.
        """
        entries = read_people(file, kind_of(manifest))
        made = self.create(manifest, review=review, client_token=client_token)
        self.read(made.import_id, entries)
        return made

    def bring_from(
        self, place: S3Image, *, review: Review | None = None, client_token: str | None = None
    ) -> PersonImport:
        """The same of a manifest in S3. Raises InvalidS3Object too: nothing was begun then."""
        with self._objects.open(place) as file:
            manifest = f"s3://{place.bucket}/{place.name}"
            return self.bring(manifest, file, review=review, client_token=client_token)

    def create(
        self, manifest: str, *, review: Review | None = None, client_token: str | None = None
    ) -> PersonImport:
        """Begin an import; manifest: name of what is then read into it.

        The same call with the same client token gives the same import again, to be gone on with. Raises
        IdempotencyMismatch.
        """
        now = self._clock()
        request = RepeatableRequest("CreatePersonImport", client_token, (manifest, review), now)
        with self._database.write() as connection:
            before = request.recall(connection)
            if before is not None:
                return person_imports.find(connection, json.loads(before))
            made = person_imports.insert(
                connection,
                import_id=f"persons-{uuid.uuid4()}",
                manifest=manifest[:255],
                review=None if review is None else review.value,
                created_at=now,
            )
            request.remember(connection, made.import_id)
        return made

    def read(self, import_id: str, entries: Iterable[ReadEntry]) -> None:
        """Take in the entries of a manifest, and queue them as they come; a few hundred are in memory.

        Raises NotFound, Cancelled where the import was cancelled meanwhile, JobQueueUnavailable,
        and what reading the entries raises: most of those before are taken then.
        """
        left = iter(entries)
        while some := tuple(itertools.islice(left, AT_ONCE)):
            with self._database.write() as connection:
                target = person_imports.find(connection, import_id, lock=True)
                if person_imports.ENTRIES.counts(connection, target.key)[ItemState.CANCELLED]:
                    raise Cancelled
                person_imports.add(connection, target, [_new(one) for one in some])
            self.dispatch(target.key)

    def list(self, *, limit: int | None = None, token: str | None = None) -> Page[PersonImport]:
        """A page of the imports, oldest first. Raises InvalidPaginationToken."""
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        after = self._tokens.read_number(token, "person-imports")
        with self._database.read() as connection:
            found = person_imports.list_after(connection, after, size + 1)
        more = self._tokens.make(found[size - 1].key, "person-imports") if len(found) > size else None
        return Page(tuple(found[:size]), more)

    def progress(self, import_id: str) -> PersonImportProgress:
        """How far an import is. Raises NotFound."""
        now = self._clock()
        with self._database.read() as connection:
            found = person_imports.find(connection, import_id)
            counts = person_imports.ENTRIES.counts(connection, found.key)
            lately = person_imports.ENTRIES.finished_since(connection, found.key, now - RATE_SECONDS)
        waiting = counts[ItemState.WAITING]
        rate = lately.rate(now)
        if waiting:
            state = AlbumState.WORKING
        elif counts[ItemState.CANCELLED]:
            state = AlbumState.CANCELLED
        else:
            state = AlbumState.DONE if sum(counts.values()) else AlbumState.EMPTY
        left = waiting / rate if waiting and rate else None
        return PersonImportProgress(found=found, state=state, counts=counts, rate=rate, seconds_left=left)

    def report(self, import_id: str) -> Iterator[PersonEntry]:
        """Every entry as it is now, in the order of the manifest, read as it is asked for.

        Raises NotFound at once.
        """
        with self._database.read() as connection:
            target = person_imports.find(connection, import_id)
        return self._entries(target.key)

    def cancel(self, import_id: str) -> int:
        """Enrol no more; how many entries those were. What is at work is finished.

        Raises NotFound.
        """
        with self._database.write() as connection:
            target = person_imports.find(connection, import_id, lock=True)
            return person_imports.cancel(connection, target.key)

    def retry(self, import_id: str) -> int:
        """Try again what has failed or was cancelled; how many entries those are.

        Raises NotFound, JobQueueUnavailable.
        """
        with self._database.write() as connection:
            target = person_imports.find(connection, import_id, lock=True)
            states = (ItemState.FAILED, ItemState.CANCELLED)
            number = person_imports.wait_again(connection, target.key, states)
        self.dispatch(target.key)
        return number

    def delete(self, import_id: str) -> None:
        """Forget an import and its report. The persons stay. Raises NotFound."""
        with self._database.write() as connection:
            person_imports.delete(connection, person_imports.find(connection, import_id, lock=True).key)

    def dispatch(self, key: PersonImportKey) -> None:
        """Queue jobs for what waits in an import and has none. Raises JobQueueUnavailable."""
        by = asker()

        def job(number: int) -> NewJob:
            return NewJob(
                kind=PERSON_JOB, payload={"import": key, "entry": number, **by}, priority=Priority.BACKLOG
            )

        queue_jobs(self._database, self._queue, person_imports.ENTRIES, key, job)

    def dispatch_all(self) -> None:
        """Queue jobs for whatever waits without one: of calls that were broken off before they did it."""
        with self._database.read() as connection:
            keys = person_imports.ENTRIES.owners_with_unqueued(connection)
        for key in sorted(keys):
            self.dispatch(PersonImportKey(key))

    def work(self, job: Job) -> None:
        """Enrol the person of an entry. Done twice it changes nothing.

        Raises what may pass by itself, as `AlbumIndexing.index_image` does.
        """
        key, number = job.payload.get("import"), job.payload.get("entry")
        if not isinstance(key, int) or not isinstance(number, int):
            return
        with self._database.read() as connection:
            found = person_imports.entry(connection, PersonImportKey(key), number)
        if found is None or found[1].state is not ItemState.WAITING:
            return
        owner, entry = found
        if job.attempt > ATTEMPTS:
            self._fail(entry, f"It was given up after {ATTEMPTS} attempts: none of them ended.")
            return
        try:
            enrolment = self._bring(owner, entry, job)
        except FacerecError as error:
            if passes(error) and job.attempt < ATTEMPTS:
                raise
            self._fail(entry, error.message)
        else:
            self._finish(entry, enrolment)

    def _bring(self, owner: PersonImport, entry: PersonEntry, job: Job) -> Enrolment:
        """Enrol; an entry of the audit log is written before this one counts as done."""
        request = current_request()
        request.collection = self._registry.policy.collection
        request.people.append(entry.person_id)
        wanted = Entry(entry.person_id, entry.images, json.loads(entry.metadata or "{}"))
        review = None if owner.review is None else Review(owner.review)
        with self._audit.writing(request, act=Act.CHANGE, door=WORKER, operation=job.kind):
            enrolment = bring(self._registry, wanted, parse_source, review)
            request.faces += [one.face_id for one in enrolment.images if one.face_id is not None]
        for image in enrolment.images:
            if isinstance(image.refusal, MAY_PASS) and job.attempt < ATTEMPTS:
                raise image.refusal
        return enrolment

    def _finish(self, entry: PersonEntry, enrolment: Enrolment) -> None:
        refused = [
            RefusedPicture(entry.images[one.index], type(one.refusal).__name__, str(one.refusal))
            for one in enrolment.images
            if one.refusal is not None
        ]
        enrolled = enrolment.person is not None
        with self._database.write() as connection:
            person_imports.finish(
                connection,
                entry,
                ItemState.DONE if enrolled else ItemState.FAILED,
                finished_at=self._clock(),
                reason=None if enrolled else NONE_TAKEN,
                pictures=len(enrolment.images) - len(refused),
                refused=refused,
            )

    def _fail(self, entry: PersonEntry, reason: str) -> None:
        with self._database.write() as connection:
            person_imports.finish(
                connection, entry, ItemState.FAILED, finished_at=self._clock(), reason=reason
            )

    def _entries(self, key: PersonImportKey) -> Iterator[PersonEntry]:
        after = 0
        while True:
            with self._database.read() as connection:
                found = person_imports.entries_after(connection, key, after, AT_ONCE)
            if not found:
                return
            yield from found
            after = found[-1].number


def _new(read: ReadEntry) -> NewPersonEntry:
    """An entry as it is written."""
    if read.entry is None:
        return NewPersonEntry(number=read.number, reason=read.reason)
    return NewPersonEntry(
        number=read.number,
        person_id=read.entry.person_id,
        images=read.entry.images,
        metadata=encode_metadata(read.entry.metadata),
    )
