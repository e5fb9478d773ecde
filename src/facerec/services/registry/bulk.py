"""Many persons at once: read from a manifest, enrolled one by one, and written down again.

Every entry may be brought twice: an import that was broken off is simply run again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from facerec.domain import ImageReference, Review
from facerec.errors import InvalidParameter, PersonExists
from facerec.services.registry.service import RegistryService
from facerec.services.registry.values import Enrolment, Metadata, Person

PAGE = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A person of a manifest: where the pictures lie, and what is to be kept with the person."""

    person_id: str
    images: tuple[str, ...]
    metadata: Metadata


def read_json_lines(lines: Iterable[str]) -> Iterator[Entry]:
    """Entries of JSON lines: {"person_id", "images": [...], "metadata": {...}}; empty lines are passed over.

    Raises InvalidParameter that names the line.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InvalidParameter(f"Line {number} is no JSON: {error}.") from error
        yield _entry(values, number)


def read_csv(lines: Iterable[str]) -> Iterator[Entry]:
    """Entries of CSV with the columns person_id and image, a line a picture; any other column is metadata.

    Lines of one person have to follow each other; the metadata are those of the first. Raises
    InvalidParameter that names the line.
    """
    reader = csv.DictReader(lines)
    if not {"person_id", "image"} <= set(reader.fieldnames or ()):
        raise InvalidParameter("The first line has to name the columns person_id and image.")
    gathered: dict[str, Any] | None = None
    for row in reader:
        if None in row or row["image"] is None:
            raise InvalidParameter(f"Line {reader.line_num} has another number of columns than the first.")
        if gathered is not None and gathered["person_id"] == row["person_id"]:
            gathered["images"].append(row["image"])
            continue
        if gathered is not None:
            yield _entry(gathered, reader.line_num - 1)
        others = {name: value for name, value in row.items() if name not in ("person_id", "image") and value}
        gathered = {"person_id": row["person_id"], "images": [row["image"]], "metadata": others}
    if gathered is not None:
        yield _entry(gathered, reader.line_num)


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


def _entry(values: object, number: int) -> Entry:
    """An entry as it was read. Raises InvalidParameter."""
    if not isinstance(values, dict):
        raise InvalidParameter(f"Line {number} is no JSON object.")
    person_id, images, metadata = values.get("person_id"), values.get("images"), values.get("metadata", {})
    if not isinstance(person_id, str) or not person_id:
        raise InvalidParameter(f"Line {number} has no person_id.")
    if not isinstance(images, list) or not images or not all(isinstance(one, str) and one for one in images):
        raise InvalidParameter(f"Line {number} has no images: a list of texts is expected.")
    if not isinstance(metadata, dict):
        raise InvalidParameter(f"Line {number}: metadata have to be an object.")
    return Entry(person_id, tuple(images), metadata)
