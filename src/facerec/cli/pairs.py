"""Lists of picture pairs for `facerec eval`, and the embeddings of their pictures."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from facerec.cli.output import counting
from facerec.cli.pictures import at_once
from facerec.engine.base import Engine, FoundFace, Picture
from facerec.errors import InvalidImage, InvalidParameter
from facerec.services.evaluation import NO_FACE

DEFAULT_FOLDS = 10
"""Folds of a list without a column for them: the pairs are dealt out in turn, each kind by itself."""
SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class FaceChoice(StrEnum):
    """Which face of a picture with several is the person in question."""

    CENTRE = "centre"
    LARGEST = "largest"


@dataclass(frozen=True, slots=True, eq=False)
class PairList:
    """N pairs of pictures."""

    images: tuple[str, ...]
    """Each picture once."""
    first: NDArray[np.int64]
    """(N,) position in `images`."""
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64]
    groups: tuple[str, ...] | None
    persons: tuple[str, ...] | None
    """Who is in each picture; None where neither columns nor file names tell."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Embeddings of pictures."""

    vectors: NDArray[np.float32]
    """(pictures, dimension), of unit length; zeros where no face was found."""
    found: NDArray[np.bool_]
    """(pictures,) whether a face was found."""

    def cosines(self, pairs: PairList) -> NDArray[np.float64]:
        """(N,) cosine of each pair; NO_FACE where a picture has none."""
        products = np.einsum("nd,nd->n", self.vectors[pairs.first], self.vectors[pairs.second])
        both = self.found[pairs.first] & self.found[pairs.second]
        return np.where(both, products, NO_FACE).astype(np.float64)


def read_pairs(path: Path) -> PairList:
    """Read a CSV file with a header: image_a, image_b, same_person; optional fold, group, person_a, person_b.

    Raises InvalidParameter that names the line and what is wrong there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [name for name in ("image_a", "image_b", "same_person") if name not in columns]
            if missing:
                raise InvalidParameter(
                    f"{path} has no column {', '.join(missing)}; it has {', '.join(columns)}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidParameter(f"{path} can not be read: {error}") from error
    if not rows:
        raise InvalidParameter(f"{path} holds no pairs")
    numbers: dict[str, int] = {}
    first = [numbers.setdefault(_cell(row, "image_a", path, line), len(numbers)) for line, row in rows]
    second = [numbers.setdefault(_cell(row, "image_b", path, line), len(numbers)) for line, row in rows]
    same = np.array([_is_same(row, path, line) for line, row in rows])
    images = tuple(numbers)
    return PairList(
        images=images,
        first=np.array(first),
        second=np.array(second),
        same=same,
        folds=_folds(rows, same, path) if "fold" in columns else _dealt(same),
        groups=tuple(row["group"] or "" for _, row in rows) if "group" in columns else None,
        persons=_persons(rows, images, columns),
    )


def embed_images(
    engine: Engine, folder: Path, images: Sequence[str], choice: FaceChoice, workers: int
) -> Embedded:
    """Embed one face of each picture, several pictures at once.

    A picture without a face is left at zero. Raises InvalidImage for a file that is missing or no picture.
    """
    vectors = np.zeros((len(images), engine.contract.dimension), np.float32)
    found = np.zeros(len(images), np.bool_)

    def work(index: int) -> None:
        path = folder / images[index]
        try:
            picture = engine.decode(path.read_bytes())
        except OSError as error:
            raise InvalidImage(f"{path} can not be read: {error.strerror}") from error
        except InvalidImage as error:
            raise InvalidImage(f"{path}: {error.message}") from error
        faces = engine.detect(picture)
        if faces:
            vectors[index] = engine.embed(picture, [_chosen(picture, faces, choice)])[0]
            found[index] = True

    with counting("embedding", len(images)) as advance, at_once(work, range(len(images)), workers) as jobs:
        for _, future in jobs:
            future.result()
            advance()
    return Embedded(vectors, found)


def _chosen(picture: Picture, faces: Sequence[FoundFace], choice: FaceChoice) -> FoundFace:
    """The largest face, or the one whose box's centre is nearest the picture's (LFW's people are centred)."""
    if choice is FaceChoice.LARGEST:
        return max(faces, key=lambda face: face.face.box.area)
    centre = np.array([picture.width, picture.height]) / 2
    return min(faces, key=lambda face: float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - centre)))


def _cell(row: dict[str, str], column: str, path: Path, line: int) -> str:
    value = (row.get(column) or "").strip()
    if not value:
        raise InvalidParameter(f"{path}, line {line}: {column} is empty")
    return value


def _is_same(row: dict[str, str], path: Path, line: int) -> bool:
    value = _cell(row, "same_person", path, line).lower()
    if value not in SAME:
        raise InvalidParameter(f"{path}, line {line}: same_person is {value!r}; it is 1 or 0")
    return SAME[value]


def _folds(rows: list[tuple[int, dict[str, str]]], same: NDArray[np.bool_], path: Path) -> NDArray[np.int64]:
    numbers = []
    for line, row in rows:
        value = _cell(row, "fold", path, line)
        if not value.isdigit():
            raise InvalidParameter(f"{path}, line {line}: fold is {value!r}; it is a number")
        numbers.append(int(value))
    folds = np.array(numbers)
    return folds if len(set(numbers)) > 1 else _dealt(same)


def _dealt(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    folds = np.zeros(len(same), np.int64)
    for kind in (same, ~same):
        folds[kind] = np.arange(int(kind.sum())) % DEFAULT_FOLDS
    return folds


def _persons(
    rows: list[tuple[int, dict[str, str]]], images: tuple[str, ...], columns: Sequence[str]
) -> tuple[str, ...] | None:
    """Who is in each picture: from person_a and person_b, or from names such as Some_Name_0001.jpg."""
    if "person_a" in columns and "person_b" in columns:
        told = {row["image_a"].strip(): row["person_a"] for _, row in rows}
        told |= {row["image_b"].strip(): row["person_b"] for _, row in rows}
        return tuple(told[image] for image in images)
    matches = [re.fullmatch(r"(.+?)[_-]\d+", PurePath(image).stem) for image in images]
    if not all(matches):
        return None
    return tuple(match[1] for match in matches if match)
