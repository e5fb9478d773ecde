"""What enrolment refuses, on real pictures of LFW and on spoilt ones made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from facerec.config import read_settings
from facerec.domain import Review
from facerec.engine.base import Engine, Pixels
from facerec.engine.packs.loading import open_engine
from facerec.errors import FacerecError
from facerec.services.enrolment import look
from int8_products import INT8_HERE

COUNT = 40

Change = Callable[[Pixels], Pixels]


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[Pixels]:
    files = sorted((shared / "data" / "lfw" / "images").glob("*.jpg"))
    return [read(file) for file in files[:: len(files) // COUNT][:COUNT]]


@pytest.fixture(scope="module")
def engine(scrfd_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    opened = open_engine(read_settings(model_path=str(scrfd_pack), data_dir=tmp_path_factory.mktemp("data")))
    yield opened
    opened.close()


def read(file: Path) -> Pixels:
    return np.asarray(cv2.imread(str(file)), np.uint8)


def refused(
    engine: Engine, pictures: list[Pixels], change: Change, review: Review = Review.STANDARD
) -> float:
    """Share of the changed pictures that nobody would be enrolled from."""
    count = 0
    for picture in pictures:
        encoded = cv2.imencode(".jpg", np.asarray(change(picture)))[1].tobytes()
        try:
            count += bool(look(engine, encoded, review).judgement.findings)
        except FacerecError:
            count += 1
    return count / len(pictures)


def test_good_pictures_are_taken(engine: Engine, pictures: list[Pixels]) -> None:
    most = 0.1 if INT8_HERE else 0.13  # one of 40 more in float32
    assert refused(engine, pictures, lambda picture: picture) <= most
    assert refused(engine, pictures, lambda picture: picture, Review.OFF) == 0


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda p: cv2.GaussianBlur(p, (0, 0), 4), 0.95),
        (lambda p: (p * 0.12).astype(np.uint8), 0.95),
        (lambda p: np.clip(p.astype(int) + 140, 0, 255).astype(np.uint8), 0.85),
        (lambda p: (p * 0.15 + 150).astype(np.uint8), 0.95),
        (lambda p: cv2.resize(p, (90, 90), interpolation=cv2.INTER_AREA), 0.95),
        (lambda p: np.rot90(p), 0.95),
        (lambda p: np.rot90(p, 2), 0.95),
        (lambda p: np.concatenate([p[:, :125] * 0.15, p[:, 125:]], axis=1).astype(np.uint8), 0.85),
    ],
    ids=["blurred", "dark", "bright", "fog", "tiny", "on its side", "on its head", "light from one side"],
)
def test_spoilt_pictures_are_refused(
    engine: Engine, pictures: list[Pixels], change: Change, least: float
) -> None:
    assert refused(engine, pictures, change) >= least
