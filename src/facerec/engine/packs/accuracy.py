"""What was measured of a pack: the figures of `facerec eval --keep`, which lie beside its networks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerec.config import Settings
from facerec.engine.packs.loading import FAKE, find_pack
from facerec.engine.packs.registry import BUILT_IN
from facerec.errors import PackError

FILE_NAME = "accuracy.json"
SHIPPED = Path(__file__).parent / "dlib_accuracy.json"
"""The built-in pack's, which come with this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Of the ROC: which share of people is known where so many strangers are taken for somebody."""

    far: float
    """False accept rate, 0..1."""
    tar: float
    """True accept rate, 0..1."""
    low: float
    high: float
    """Its 95 % interval."""
    cosine: float
    """The threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackAccuracy:
    """How well a pack tells people apart, and on what that was measured."""

    pack: str
    pairs: int
    pictures: int
    accuracy: float
    """Mean over the folds, 0..1."""
    error: float
    """Its standard error."""
    equal_error_rate: float
    points: tuple[Point, ...]
    """From the highest rate to the strictest that the pictures can tell."""


def read_accuracy(settings: Settings) -> PackAccuracy | None:
    """What was measured of the settings' pack; None where nothing was. Raises PackError for a broken file."""
    name = settings.model_path
    if name.partition("@")[0] == FAKE:
        return None
    path = find_pack(settings) / FILE_NAME
    if not path.exists():
        if name != BUILT_IN:
            return None
        path = SHIPPED
    try:
        return _read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} is not as `facerec eval --keep` writes it: {error!r}") from error


def _read(report: dict[str, Any]) -> PackAccuracy:
    """The figures of a report of `facerec eval --json`."""
    cross = report["AllPairsOfDifferentPersons"]
    # All pairs of different persons reach stricter rates than those of the list.
    told = cross["TarAtFar"] if cross else [one for one in report["TarAtFar"] if one["Supported"]]
    return PackAccuracy(
        pack=report["Pack"],
        pairs=report["Pairs"],
        pictures=report["Pictures"],
        accuracy=report["Accuracy"],
        error=report["AccuracyStandardError"],
        equal_error_rate=report["EqualErrorRate"],
        points=tuple(
            Point(
                far=one["Far"],
                tar=one["Tar"],
                low=one["Interval"][0],
                high=one["Interval"][1],
                cosine=one["Threshold"],
            )
            for one in told
        ),
    )
