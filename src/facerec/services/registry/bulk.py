"""Many persons at once: read from a manifest, enrolled one by one, and written down again.

    JSON lines    {"person_id": "ann", "images": ["s3://bucket/ann.jpg"], "metadata": {...}}
    CSV           a header with person_id and image, a row a picture; any other column is metadata

Each entry is read on its own: what is wrong with one is said with the number of its line, and the others are
read. Every entry may be brought twice: an import that was broken off is simply run again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from facerec.domain import ImageReference, Review
from facerec.errors import InvalidParameter, PersonExists
from facerec.services.albums.manifests import ManifestKind, TextLine, lines_of
from facerec.services.registry.service import RegistryService, check_id
from facerec.services.registry.values import Enrolment, Metadata, Person, encode_metadata

PAGE = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A person of a manifest: where the pictures lie, and what is to be kept with the person."""

    person_id: str
    images: tuple[str, ...]
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """What a manifest says from a line on: a person, or (None) the reason why it is none."""

    number: int
    """Of the line, from 1; of several of one person the first."""
    entry: Entry | None
    reason: str = ""


def read_people(file: BinaryIO, kind: ManifestKind) -> Iterator[ReadEntry]:
    """The entries of a manifest, as they are read, by rising numbers.

    Raises InvalidParameter for a kind, or a header, that names no persons.
    """
    if kind is ManifestKind.LIST_FACES:
        raise InvalidParameter("A manifest of persons is CSV or JSON lines: .csv, .jsonl, .ndjson.")
    lines = lines_of(file)
    return _read_csv(lines) if kind is ManifestKind.CSV else _read_json_lines(lines)


def _read_json_lines(lines: Iterator[TextLine]) -> Iterator[ReadEntry]:
    for line in lines:
        if line.text is None:
            yield ReadEntry(line.number, None, line.reason)
            continue
        try:
            values = json.loads(line.text)
        except (ValueError, RecursionError):
            yield ReadEntry(line.number, None, "The line is no JSON.")
            continue
        yield _entry(values, line.number)


def _read_csv(lines: Iterator[TextLine]) -> Iterator[ReadEntry]:
    """Rows of one person that follow each other are one entry, with the metadata of the first."""
    header = next(lines, None)
    names = [] if header is None or header.text is None else next(csv.reader([header.text]))
    names = [name.strip() for name in names]
    if not {"person_id", "image"} <= set(names):
        raise InvalidParameter("The first line has to name the columns person_id and image.")
    return _read_rows(lines, names)


def _read_rows(lines: Iterator[TextLine], names: Sequence[str]) -> Iterator[ReadEntry]:
    first, gathered, images = 0, dict[str, str](), list[str]()
    for line in lines:
        row, reason = _row(line, names)
        if gathered and row.get("person_id") == gathered["person_id"]:
            images.append(row["image"])
            continue
        if gathered:
            yield _gathered(first, gathered, images)
        first, gathered, images = line.number, row, [row.get("image", "")]
        if not row:
            yield ReadEntry(line.number, None, reason)
    if gathered:
        yield _gathered(first, gathered, images)


def _row(line: TextLine, names: Sequence[str]) -> tuple[dict[str, str], str]:
    """The values of a row by their columns; {} with what is wrong with it."""
    if line.text is None:
        return {}, line.reason
    try:
        values = next(csv.reader([line.text], strict=True))
    except csv.Error as error:
        return {}, f"The line is no CSV: {error}."
    if len(values) != len(names):
        return {}, f"The line has {len(values)} values for {len(names)} columns."
    return dict(zip(names, values, strict=True)), ""


def _gathered(number: int, row: dict[str, str], images: list[str]) -> ReadEntry:
    metadata = {name: value for name, value in row.items() if name not in ("person_id", "image") and value}
    return _entry({"person_id": row["person_id"], "images": images, "metadata": metadata}, number)


def _entry(values: object, number: int) -> ReadEntry:
    """An entry as it was read."""
    if not isinstance(values, dict):
        return ReadEntry(number, None, "The line is no JSON object.")
    person_id, images, metadata = values.get("person_id"), values.get("images"), values.get("metadata", {})
    if not isinstance(person_id, str) or not person_id:
        return ReadEntry(number, None, "The line has no person_id.")
    if not isinstance(images, list) or not images or not all(isinstance(one, str) and one for one in images):
        return ReadEntry(number, None, "The line has no images: a list of texts is expected.")
    if not isinstance(metadata, dict):
        return ReadEntry(number, None, "The metadata have to be an object.")
    try:
        check_id(person_id)
        encode_metadata(metadata)
    except InvalidParameter as error:
        return ReadEntry(number, None, error.message)
    return ReadEntry(number, Entry(person_id, tuple(images), metadata))


def bring(
    registry: RegistryService,
    entry: Entry,
    reference_of: Callable[[str], ImageReference],
    review: Review | None = None,
) -> Enrolment:
    """Enrol an entry's person, or give its pictures to the person who is enrolled under its id.

    reference_of: what a picture of the manifest refers to; raises InvalidParameter. Raises as
    `RegistryService.register` does.
    """
    images: Sequence[ImageReference] = [reference_of(text) for text in entry.images]
    try:
        return registry.register(entry.person_id, images, metadata=entry.metadata, review=review)
    except PersonExists:
        return registry.update(entry.person_id, images, metadata=entry.metadata or None, review=review)


def every_person(registry: RegistryService) -> Iterator[Person]:
    """All persons in the order of their ids."""
    token = None
    while True:
        page = registry.persons(limit=PAGE, token=token)
        yield from page.items
        token = page.next_token
        if token is None:
            return
