"""Imports over HTTP: a manifest is sent, its images are looked at in the background, a report is had."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile, status
from fastapi.responses import StreamingResponse

from facerec.access import Scope
from facerec.api.rest.album_models import (
    AlbumId,
    ChangedModel,
    ImportModel,
    ImportPage,
    ReportFormat,
    State,
)
from facerec.api.rest.forms import told_as
from facerec.api.rest.permissions import check_collection, reaches
from facerec.domain import S3Image
from facerec.errors import AlbumNotFound, InvalidParameter
from facerec.services.albums.importing import ReportLine
from facerec.services.albums.manifests import kind_of, read_manifest
from facerec.services.albums.sources import parse_source
from facerec.services.albums.use_cases import AlbumUseCases

REPORT = told_as("text/csv", "application/x-ndjson")
COLUMNS = ("line", "source", "external_id", "state", "reason", "face_ids")


def imports_router(albums: AlbumUseCases) -> APIRouter:
    """The routes of imports."""
    router = APIRouter(prefix="/imports", tags=["imports"])
    _add_routes(router, albums)

    @router.get("/{import_id}/report", response_class=StreamingResponse, responses=REPORT)
    def report(import_id: AlbumId, form: ReportFormat = ReportFormat.CSV) -> StreamingResponse:
        """What became of each entry so far: line, source, external id, state, reason, ids of its faces."""
        lines = albums.imports.report(_seen(albums, import_id))
        if form is ReportFormat.CSV:
            return StreamingResponse(_as_csv(lines), media_type="text/csv; charset=utf-8")
        return StreamingResponse(_as_json_lines(lines), media_type="application/x-ndjson")

    return router


def _add_routes(router: APIRouter, albums: AlbumUseCases) -> None:
    @router.post("", status_code=status.HTTP_202_ACCEPTED)
    def create(
        collection_id: Annotated[AlbumId, Form()],
        file: Annotated[
            UploadFile | None, File(description="CSV, JSON lines, or a ListFaces export.")
        ] = None,
        source: Annotated[
            str | None, Form(max_length=2048, description="The same in S3: s3://bucket/key.")
        ] = None,
        template: Annotated[str | None, Form(max_length=2048)] = None,
        client_token: Annotated[str | None, Form(min_length=1, max_length=64)] = None,
    ) -> ImportModel:
        """Import the images that a manifest names into a collection.

        The manifest's name tells how it is written: .csv, .jsonl (.ndjson, .manifest), or .json for an export
        of ListFaces, which needs `template`, such as s3://bucket/{external_id}. A call that broke off is
        repeated with the same client token: entries that were read are not read twice.
        """
        check_collection(collection_id, Scope.WRITE)
        if (file is None) == (source is None):
            raise InvalidParameter("Send a file, or name one in S3 as source.")
        if file is not None:
            name = file.filename or ""
            entries = read_manifest(file.file, kind_of(name), template=template)
            made = albums.imports.create(collection_id, name, template=template, client_token=client_token)
            albums.imports.read(made.album_id, entries)
        else:
            place = parse_source(source or "")
            if not isinstance(place, S3Image):
                raise InvalidParameter("A manifest's source is s3://bucket/key.")
            made = albums.imports.create_from(
                collection_id, place, template=template, client_token=client_token
            )
        return ImportModel.of(albums.service.progress(made.album_id))

    @router.get("")
    def list_imports(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        next_token: Annotated[str | None, Query(max_length=255)] = None,
    ) -> ImportPage:
        """The imports into collections that the key is for, oldest first; a page may be short."""
        page = albums.imports.list(limit=limit, token=next_token)
        seen = [each for each in page.items if reaches(each.collection)]
        told = [ImportModel.of(albums.service.progress(each.album_id)) for each in seen]
        return ImportPage(imports=told, next_token=page.next_token)

    @router.get("/{import_id}")
    def progress(import_id: AlbumId) -> ImportModel:
        """How far an import is."""
        return ImportModel.of(albums.service.progress(_seen(albums, import_id)))

    @router.post("/{import_id}/cancel")
    def cancel(import_id: AlbumId) -> ChangedModel:
        """Look at no more entries. What is at work is finished."""
        return ChangedModel(images=albums.service.cancel(_seen(albums, import_id)))

    @router.post("/{import_id}/retry")
    def retry(import_id: AlbumId) -> ChangedModel:
        """Try again the images that have failed or were cancelled."""
        return ChangedModel(images=albums.service.retry(_seen(albums, import_id)))

    @router.delete("/{import_id}", status_code=status.HTTP_204_NO_CONTENT)
    def delete(import_id: AlbumId) -> None:
        """Forget an import and its report. The faces stay in the collection."""
        albums.service.delete(_seen(albums, import_id))


def _seen(albums: AlbumUseCases, import_id: str) -> str:
    """The id. Raises AlbumNotFound, too where the import is into a collection that the key is not for."""
    if not reaches(albums.service.get(import_id).collection):
        raise AlbumNotFound
    return import_id


def _as_csv(lines: Iterator[ReportLine]) -> Iterator[str]:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow([unarmed(value) for value in _values(line).values()])
        yield written.getvalue()
        written.seek(0)
        written.truncate()
    yield written.getvalue()


def _as_json_lines(lines: Iterator[ReportLine]) -> Iterator[str]:
    for line in lines:
        yield json.dumps({**_values(line), "face_ids": line.face_ids}) + "\n"


def _values(line: ReportLine) -> dict[str, str | int]:
    image = line.image
    return {
        "line": line.number,
        "source": image.source,
        "external_id": image.external_id,
        "state": State.of(image.state).value,
        "reason": image.reason or "",
        "face_ids": " ".join(line.face_ids),
    }


def unarmed(value: str | int) -> str | int:
    """The value, so that no spreadsheet takes what a manifest said for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
