"""Manifests: files that name images, one an entry, of any size.

    CSV           a header and rows: source (or url), or bucket and key; external_id, version where known
    JSON lines    objects of the same members; {"source-ref": "s3://bucket/key"} as SageMaker writes them
    ListFaces     answers of Rekognition's ListFaces, whose ExternalImageId a template turns into a place

Each entry is read on its own: what is wrong with one is said with its number, and the others are read.
"""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import BinaryIO, NamedTuple

import ijson

from facerec.errors import FacerecError, InvalidParameter
from facerec.metastore.albums import NewEntry
from facerec.services.albums.sources import new_image, parse_source, s3_image

LONGEST_LINE = 16_384
"""Bytes of a line; what is longer is passed over, and never in memory as a whole."""

SOURCES = ("source", "source-ref", "url", "image")
EXTERNAL_IDS = ("external_id", "external_image_id", "ExternalImageId")
VERSIONS = ("version", "version_id")
TEMPLATE_FIELDS = frozenset({"external_id", "image_id"})


class ManifestKind(StrEnum):
    """How a manifest is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"
    LIST_FACES = "list-faces"


def read_manifest(file: BinaryIO, kind: ManifestKind, *, template: str | None = None) -> Iterator[NewEntry]:
    """The entries of a manifest, as they are read: blank lines and the CSV header are none.

    template: where the images of a ListFaces export lie, such as s3://bucket/{external_id}.
    Raises InvalidParameter for a header or a template that names no place of images, and for an export that
    is no JSON.
    """
    if kind is ManifestKind.LIST_FACES:
        return _read_export(file, check_template(kind, template))
    lines = lines_of(file)
    return _read_csv(lines) if kind is ManifestKind.CSV else _read_json_lines(lines)


def kind_of(name: str) -> ManifestKind:
    """How the manifest of a name is written: .csv, .jsonl, .ndjson or .manifest, .json. Raises
    InvalidParameter.
    """
    suffix = name.rpartition(".")[2].lower()
    kinds = {"csv": ManifestKind.CSV, "json": ManifestKind.LIST_FACES}
    kinds |= dict.fromkeys(("jsonl", "ndjson", "manifest"), ManifestKind.JSON_LINES)
    if suffix not in kinds:
        raise InvalidParameter(
            f"{name[:80]!a}: a manifest ends with .csv, .jsonl, .ndjson, .manifest or .json"
        )
    return kinds[suffix]


class TextLine(NamedTuple):
    """A line of a manifest: its text, or (None) what is wrong with it. number: from 1."""

    number: int
    text: str | None
    reason: str = ""


def lines_of(file: BinaryIO) -> Iterator[TextLine]:
    """The lines of a manifest but for blank ones."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield TextLine(number, None, f"The line has more than {LONGEST_LINE} bytes.")
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield TextLine(number, None, "The line is no UTF-8.")
            continue
        if "\0" in text:
            yield TextLine(number, None, "The line holds a NUL.")
        elif text.strip():
            yield TextLine(number, text)


def _read_csv(lines: Iterator[TextLine]) -> Iterator[NewEntry]:
    """The rows of a CSV. The header is read at once."""
    _, header, reason = next(lines, TextLine(1, None, "It is empty."))
    if header is None:
        raise InvalidParameter(f"The manifest has no header: {reason}")
    names = [name.strip() for name in next(csv.reader([header]))]
    if not set(names) & set(SOURCES) and not {"bucket", "key"} <= set(names):
        raise InvalidParameter(
            "The manifest's first line has to name its columns: source or url, or bucket and key; and "
            "external_id, version where they are known."
        )

    def rows() -> Iterator[NewEntry]:
        for number, text, why in lines:
            if text is None:
                yield NewEntry(number, None, why)
                continue
            try:
                values = next(csv.reader([text], strict=True))
            except csv.Error as error:
                yield NewEntry(number, None, f"The line is no CSV: {error}.")
                continue
            if len(values) != len(names):
                yield NewEntry(number, None, f"The line has {len(values)} values for {len(names)} columns.")
                continue
            yield _entry(number, dict(zip(names, values, strict=True)))

    return rows()


def _read_json_lines(lines: Iterator[TextLine]) -> Iterator[NewEntry]:
    for number, text, why in lines:
        if text is None:
            yield NewEntry(number, None, why)
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            yield NewEntry(number, None, "The line is no JSON.")
            continue
        if isinstance(row, dict):
            yield _entry(number, row)
        else:
            yield NewEntry(number, None, "The line is no JSON object.")


def _read_export(file: BinaryIO, template: str) -> Iterator[NewEntry]:
    """An image for each face, in one document or several after each other; several faces name one image."""
    found = ijson.items(file, "Faces.item", multiple_values=True)
    number, last = 0, None
    while True:
        try:
            face = next(found, None)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise InvalidParameter(f"The export is no JSON behind its face {number}.") from error
        if face is None:
            return
        number += 1
        external_id = face.get("ExternalImageId") if isinstance(face, dict) else None
        if not isinstance(external_id, str) or not external_id:
            yield NewEntry(number, None, "The face has no ExternalImageId.")
        elif external_id != last:
            place = template.replace("{external_id}", external_id)
            place = place.replace("{image_id}", str(face.get("ImageId", "")))
            yield _entry(number, {"source": place, "external_id": external_id})
        last = external_id


def _entry(number: int, row: Mapping[str, object]) -> NewEntry:
    """The image that the members of a row name."""
    try:
        source, bucket, key = _text(row, *SOURCES), _text(row, "bucket"), _text(row, "key")
        if source is not None:
            reference = parse_source(source)
        elif bucket is not None and key is not None:
            reference = s3_image(bucket, key, _text(row, *VERSIONS))
        else:
            return NewEntry(number, None, "The line names no image: it needs source, or bucket and key.")
        return NewEntry(number, new_image(reference, _text(row, *EXTERNAL_IDS)))
    except FacerecError as error:
        return NewEntry(number, None, error.message)


def _text(row: Mapping[str, object], *names: str) -> str | None:
    """The first of these members that is there and not empty. Raises InvalidParameter for what is no text."""
    for name in names:
        value = row.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise InvalidParameter(f"{name} has to be a text.")
        return value
    return None


def check_template(kind: ManifestKind, template: str | None) -> str:
    """The template; empty where the kind needs none.

    Raises InvalidParameter for one that does not tell images apart, or is none.
    """
    if kind is not ManifestKind.LIST_FACES:
        return ""
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template or "") if name is not None}
    except ValueError as error:
        raise InvalidParameter(f"The template cannot be read: {error}.") from error
    if template is None or not fields or not fields <= TEMPLATE_FIELDS:
        raise InvalidParameter(
            "A ListFaces export needs a template of where its images lie: s3://bucket/{external_id}"
        )
    parse_source(template)
    return template
