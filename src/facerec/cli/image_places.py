"""`--images`: where the images lie that stored faces were indexed from.

    recorded                                  where IndexFaces was told that they lie in S3
    s3://bucket/prefix/{external_image_id}    a pattern, also of http(s):// and of files
    list.csv, list.jsonl                      a list: external_image_id, image_id or face_id, and image
    folder                                    pictures, as `facerec index` goes through them

A pattern takes {external_image_id}, {image_id}, {face_id} and {path}: the external image id with ":" read as
"/", as `facerec index` has made it of the path of a picture.
"""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from facerec.cli.pictures import ExternalIds, external_id, pictures_in
from facerec.domain import Face, ImageReference, LocalImage, S3Image, UrlImage, VideoReference
from facerec.engine.image_ids import image_id_of
from facerec.errors import InvalidParameter, NotFound
from facerec.services.model_migration.looking import ImagePlaces

RECORDED = "recorded"
FIELDS = ("external_image_id", "image_id", "face_id")
LISTS = (".csv", ".jsonl", ".ndjson")


def open_places(where: str) -> ImagePlaces:
    """What `where` says. Raises InvalidParameter, NotFound that say what it has to be."""
    if where == RECORDED:
        return RecordedPlaces()
    if where.startswith(("s3://", "http://", "https://")) or "{" in where:
        return PatternPlaces(where)
    path = Path(where).expanduser()
    if path.suffix.lower() in LISTS:
        return ListedPlaces(path)
    if path.is_dir():
        return FolderPlaces(path)
    raise NotFound(
        f"--images {where}: there is no such folder. It takes a folder, a list (.csv, .jsonl), a pattern "
        f"(s3://bucket/{{external_image_id}}, https://host/{{image_id}}.jpg), or the word recorded."
    )


def reference(place: str, base: Path) -> VideoReference:
    """The image (or video) that a place names: s3://bucket/key, http(s)://..., or a file, relative to `base`.

    Raises InvalidParameter for an S3 place without bucket or key.
    """
    if place.startswith("s3://"):
        bucket, _, key = place.removeprefix("s3://").partition("/")
        if not bucket or not key:
            raise InvalidParameter(f"{place} names no object in S3: it has to be s3://bucket/key")
        return S3Image(bucket, key)
    if place.startswith(("http://", "https://")):
        return UrlImage(place)
    return LocalImage(base / place)


class RecordedPlaces:
    """Where the requests that stored the faces said that the images lie."""

    def find(self, face: Face) -> ImageReference | None:
        """See `ImagePlaces.find`."""
        return None if face.source is None else reference(face.source, Path())


class PatternPlaces:
    """A place for each image by a pattern."""

    def __init__(self, pattern: str) -> None:
        """Raises InvalidParameter for a pattern with unknown fields or none."""
        if pattern.startswith("s3://") and "{" not in pattern:
            pattern = pattern.rstrip("/") + "/{external_image_id}"
        self._pattern = pattern
        self._web = pattern.startswith(("http://", "https://"))
        self._local = not self._web and not pattern.startswith("s3://")
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
        except ValueError as error:
            raise InvalidParameter(f"--images {pattern}: {error}") from error
        if not names or not names <= {*FIELDS, "path"}:
            raise InvalidParameter(
                f"--images {pattern}: a pattern takes {{external_image_id}}, {{image_id}}, {{face_id}} or "
                f"{{path}}"
            )
        if self._web and (urlsplit(pattern).username or "{" in urlsplit(pattern).netloc):
            raise InvalidParameter(f"--images {pattern}: the host has to be named, without a user")
        self._names = names
        # What a pattern of files stays under, whatever the ids are: they may have come from anybody.
        self._base = Path(pattern.partition("{")[0] + "x").expanduser().parent.resolve()

    def find(self, face: Face) -> ImageReference | None:
        """See `ImagePlaces.find`."""
        values = {
            "external_image_id": face.external_image_id,
            "image_id": face.image_id,
            "face_id": face.face_id,
            "path": None if face.external_image_id is None else face.external_image_id.replace(":", "/"),
        }
        known = {name: value for name, value in values.items() if value is not None}
        if not self._names <= known.keys():
            return None
        if self._web:
            known = {name: quote(value, safe="/" if name == "path" else "") for name, value in known.items()}
        place = self._pattern.format_map(known)
        if not self._local:
            return reference(place, Path())
        path = Path(place).expanduser()
        return LocalImage(path) if path.resolve().is_relative_to(self._base) else None


class ListedPlaces:
    """A list that names the images of ids: CSV with a header, or a JSON object a line."""

    def __init__(self, path: Path) -> None:
        """Reads the whole list (about 250 bytes of memory a line). Raises InvalidParameter, NotFound."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else _objects(path, file)
                self._places = _by_id(path, rows)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise NotFound(f"--images {path}: the list can not be read: {error}") from error
        self._base = path.parent

    def find(self, face: Face) -> ImageReference | None:
        """See `ImagePlaces.find`."""
        for field, value in (
            ("face_id", face.face_id),
            ("image_id", face.image_id),
            ("external_image_id", face.external_image_id),
        ):
            place = self._places[field].get(value or "")
            if place is not None:
                return reference(place, self._base)
        return None


class FolderPlaces:
    """A folder of pictures: by the external image ids that `facerec index` gives, else by their bytes."""

    def __init__(self, folder: Path) -> None:
        self._pictures = pictures_in(folder)
        self._names: dict[str, Path] = {}
        for name_of in (_by_path(folder), _by_name, _by_stem):
            named = _unambiguous((name_of(path), path) for path in self._pictures)
            self._names = named | self._names

    def find(self, face: Face) -> ImageReference | None:
        """See `ImagePlaces.find`. The first face that no name leads to has all pictures read once."""
        path = self._names.get(face.external_image_id or "") or self._by_bytes.get(face.image_id)
        return None if path is None else LocalImage(path)

    @cached_property
    def _by_bytes(self) -> dict[str, Path]:
        """The pictures by image id, which follows from their bytes."""
        return {image_id_of(path.read_bytes()): path for path in self._pictures}


def _by_path(folder: Path) -> Callable[[Path], str | None]:
    def name_of(path: Path) -> str | None:
        return external_id(PurePosixPath(path.relative_to(folder).as_posix()), ExternalIds.PATH)

    return name_of


def _by_name(path: Path) -> str | None:
    return external_id(PurePosixPath(path.name), ExternalIds.NAME)


def _by_stem(path: Path) -> str | None:
    return path.stem


def _unambiguous(named: Iterable[tuple[str | None, Path]]) -> dict[str, Path]:
    """The paths by their names, without names of several."""
    found: dict[str, Path | None] = {}
    for name, path in named:
        if name is not None:
            found[name] = None if name in found else path
    return {name: path for name, path in found.items() if path is not None}


def _objects(path: Path, lines: Iterable[str]) -> Iterator[Mapping[str, object]]:
    """The JSON objects of a list, one a line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidParameter(f"--images {path}: line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InvalidParameter(f"--images {path}: line {number} is no JSON object")
        yield row


def _by_id(path: Path, rows: Iterable[Mapping[str, object]]) -> dict[str, dict[str, str]]:
    """The places of a list by the kinds of ids, and by id."""
    places: dict[str, dict[str, str]] = {field: {} for field in FIELDS}
    for number, row in enumerate(rows, 1):
        place = row.get("image")
        ids = {field: row[field] for field in FIELDS if row.get(field)}
        if not isinstance(place, str) or not place or not ids:
            raise InvalidParameter(
                f"--images {path}: entry {number} needs image and one of {', '.join(FIELDS)}"
            )
        for field, value in ids.items():
            places[field][str(value)] = place
    return places
