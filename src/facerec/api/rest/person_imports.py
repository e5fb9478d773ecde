"""Many persons over HTTP: a manifest is sent, its persons are enrolled in the background, a report is had."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile, status
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, StringConstraints

from facerec.api.rest.album_models import ReportFormat, State
from facerec.api.rest.forms import told_as
from facerec.api.rest.imports import REPORT, unarmed
from facerec.api.rest.person_models import PersonModel
from facerec.domain import Review, S3Image
from facerec.errors import InvalidParameter
from facerec.metastore.items import ItemState
from facerec.metastore.person_imports import PersonEntry
from facerec.services.albums.service import AlbumState
from facerec.services.albums.sources import parse_source
from facerec.services.registry.bulk import every_person
from facerec.services.registry.importing import PersonImportProgress, PersonImports
from facerec.services.registry.service import RegistryService

COLUMNS = ("line", "person_id", "state", "reason", "pictures", "refused")

PersonImportId = Annotated[str, StringConstraints(pattern=r"^persons-[0-9a-f\-]{36}$")]


class PersonImportModel(BaseModel):
    """An import of persons, and how far it is."""

    import_id: str
    manifest: str = Field(description="Name of the file.")
    created_at: datetime
    state: AlbumState
    waiting: int
    done: int
    failed: int
    cancelled: int
    persons_per_second: float
    seconds_left: float | None

    @classmethod
    def of(cls, progress: PersonImportProgress) -> PersonImportModel:
        """The wire form."""
        found, left = progress.found, progress.seconds_left
        return cls(
            import_id=found.import_id,
            manifest=found.manifest,
            created_at=datetime.fromtimestamp(found.created_at, UTC),
            state=progress.state,
            waiting=progress.counts[ItemState.WAITING],
            done=progress.counts[ItemState.DONE],
            failed=progress.counts[ItemState.FAILED],
            cancelled=progress.counts[ItemState.CANCELLED],
            persons_per_second=round(progress.rate, 2),
            seconds_left=None if left is None else round(left, 1),
        )


class PersonImportPage(BaseModel):
    """A page of imports, oldest first."""

    imports: list[PersonImportModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class ChangedPersonsModel(BaseModel):
    """How many persons a call has changed."""

    persons: int


def person_imports_router(imports: PersonImports, registry: RegistryService) -> APIRouter:
    """The routes of imports of persons, and of their export."""
    router = APIRouter(prefix="/persons", tags=["person-imports"])
    _add_routes(router, imports)

    @router.get("/imports/{import_id}/report", response_class=StreamingResponse, responses=REPORT)
    def report(import_id: PersonImportId, form: ReportFormat = ReportFormat.CSV) -> StreamingResponse:
        """What became of each entry so far: line, person, state, reason, pictures taken, those refused."""
        entries = imports.report(import_id)
        if form is ReportFormat.CSV:
            return StreamingResponse(_as_csv(entries), media_type="text/csv; charset=utf-8")
        lines = (json.dumps(_described(entry)) + "\n" for entry in entries)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @router.get("/export", response_class=StreamingResponse, responses=told_as("application/x-ndjson"))
    def export() -> StreamingResponse:
        """Every person with its metadata, times and version, as JSON lines in the order of their ids."""
        lines = (PersonModel.of(person).model_dump_json() + "\n" for person in every_person(registry))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return router


def _add_routes(router: APIRouter, imports: PersonImports) -> None:
    @router.post("/imports", status_code=status.HTTP_202_ACCEPTED)
    def create(
        file: Annotated[UploadFile | None, File(description="JSON lines, or CSV.")] = None,
        source: Annotated[
            str | None, Form(max_length=2048, description="The same in S3: s3://bucket/key.")
        ] = None,
        review: Annotated[Review | None, Form(description="How strictly to look at the pictures.")] = None,
        client_token: Annotated[str | None, Form(min_length=1, max_length=64)] = None,
    ) -> PersonImportModel:
        """Enrol the persons that a manifest names, in the background.

        JSON lines (.jsonl, .ndjson) of {"person_id", "images": [...], "metadata": {...}}, or CSV (.csv) with
        the columns person_id and image, a row a picture, every other column metadata. Pictures are
        s3://bucket/key, or https:// of an allowed host. Somebody who is enrolled already gets the pictures. A
        call that broke off is repeated with the same client token: entries that were read are not read twice.
        """
        if (file is None) == (source is None):
            raise InvalidParameter("Send a file, or name one in S3 as source.")
        if file is not None:
            name = file.filename or ""
            made = imports.bring(name, file.file, review=review, client_token=client_token)
        else:
            place = parse_source(source or "")
            if not isinstance(place, S3Image):
                raise InvalidParameter("A manifest's source is s3://bucket/key.")
            made = imports.bring_from(place, review=review, client_token=client_token)
        return PersonImportModel.of(imports.progress(made.import_id))

    @router.get("/imports")
    def list_imports(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        next_token: Annotated[str | None, Query(max_length=255)] = None,
    ) -> PersonImportPage:
        """The imports, oldest first, a page at a time."""
        page = imports.list(limit=limit, token=next_token)
        told = [PersonImportModel.of(imports.progress(each.import_id)) for each in page.items]
        return PersonImportPage(imports=told, next_token=page.next_token)

    @router.get("/imports/{import_id}")
    def progress(import_id: PersonImportId) -> PersonImportModel:
        """How far an import is."""
        return PersonImportModel.of(imports.progress(import_id))

    @router.post("/imports/{import_id}/cancel")
    def cancel(import_id: PersonImportId) -> ChangedPersonsModel:
        """Enrol no more. Whoever is at work is finished."""
        return ChangedPersonsModel(persons=imports.cancel(import_id))

    @router.post("/imports/{import_id}/retry")
    def retry(import_id: PersonImportId) -> ChangedPersonsModel:
        """Try again the persons that have failed or were cancelled."""
        return ChangedPersonsModel(persons=imports.retry(import_id))

    @router.delete("/imports/{import_id}", status_code=status.HTTP_204_NO_CONTENT)
    def delete(import_id: PersonImportId) -> None:
        """Forget an import and its report. The persons stay."""
        imports.delete(import_id)


def _as_csv(entries: Iterable[PersonEntry]) -> Iterator[str]:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        refused = "; ".join(f"{one.image}: {one.code}" for one in entry.refused)
        values = [*list(_described(entry).values())[:-1], refused]
        writer.writerow([unarmed(value) for value in values])
        yield written.getvalue()
        written.seek(0)
        written.truncate()
    yield written.getvalue()


def _described(entry: PersonEntry) -> dict[str, Any]:
    return {
        "line": entry.number,
        "person_id": entry.person_id,
        "state": State.of(entry.state).value,
        "reason": entry.reason or "",
        "pictures": entry.pictures,
        "refused": [{"image": one.image, "code": one.code, "message": one.message} for one in entry.refused],
    }
