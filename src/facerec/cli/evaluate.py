"""`facerec eval`: how well a model pack tells people apart, on a list of pairs of pictures."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from facerec.cli.output import AsJson, note, print_json, print_table, say
from facerec.cli.pairs import Embedded, FaceChoice, PairList, embed_images, read_pairs
from facerec.cli.roc import check_drawable, draw_roc
from facerec.config import read_settings
from facerec.engine.base import Calibration
from facerec.errors import InvalidParameter, NotFound
from facerec.services.evaluation import (
    CrossValidation,
    Floats64,
    GroupFigures,
    ImpostorStatistics,
    Interval,
    OperatingPoint,
    area_under_curve,
    calibration_knots,
    cross_validate,
    equal_error,
    group_figures,
    impostor_statistics,
    operating_point,
    roc,
    wilson,
)

PAIR_RATES = (1e-1, 1e-2, 1e-3, 1e-4)
CROSS_RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LISTED = 10
"""Most pictures without a face that are named one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured."""

    pack: str
    pairs: PairList
    embedded: Embedded
    cosines: Floats64
    accuracy: CrossValidation
    area: float
    error_rate: float
    error_threshold: float
    points: tuple[OperatingPoint, ...]
    cross: ImpostorStatistics | None
    groups: tuple[GroupFigures, ...]
    calibration: Calibration

    @property
    def without_face(self) -> list[str]:
        """Pictures in which no face was found."""
        return [
            image for image, found in zip(self.pairs.images, self.embedded.found, strict=True) if not found
        ]

    def cross_points(self) -> list[tuple[float, float, float, Interval]]:
        """(FAR over all pairs of different persons, threshold, TAR of the genuine pairs, its interval)."""
        genuine = self.cosines[self.pairs.same]
        rows = []
        for far in CROSS_RATES:
            if self.cross is None or far < self.cross.strictest:
                continue
            threshold = self.cross.threshold(far)
            accepted = int((genuine >= threshold).sum())
            rows.append((far, threshold, accepted / len(genuine), wilson(accepted, len(genuine))))
        return rows


def evaluate(
    pairs: Annotated[
        Path, typer.Argument(help="CSV: image_a,image_b,same_person; also fold, group, person_a, person_b.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: images beside the list.")
    ] = None,
    pack: Annotated[
        str | None, typer.Option(help="Pack to measure: a name or a folder; default: MODEL_PATH.")
    ] = None,
    face: Annotated[
        FaceChoice, typer.Option(help="Which face of a picture with several.")
    ] = FaceChoice.CENTRE,
    roc_picture: Annotated[
        Path | None, typer.Option("--roc", help="Draw the ROC into this .png, .svg or .pdf.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Print [calibration] for the pack's pack.toml.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the figures with the pack; the console shows them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure recognition: accuracy, TAR at FAR with confidence intervals, EER, AUC, thresholds, groups.

    A picture without a face makes its pairs "no match", as in the service. Accuracy takes each fold's
    threshold from the other folds.
    """
    listed = read_pairs(pairs)
    folder = images or pairs.parent / "images"
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder; say with --images where the pictures are")
    if calibrate and listed.persons is None:
        raise InvalidParameter(
            f"{pairs} does not say who is in the pictures: --calibrate needs columns person_a and person_b, "
            "or pictures named like Some_Name_0001.jpg"
        )
    if roc_picture is not None:
        check_drawable(roc_picture)
    report = _measure(listed, folder, pack, face)
    knots = calibration_knots(report.cross) if calibrate and report.cross else None
    if as_json:
        print_json(
            {**_as_json(report), "Calibration": knots and {"Knots": knots, "Source": _source(report, pairs)}}
        )
    else:
        _print(report)
        if knots:
            say(_calibration_table(knots, _source(report, pairs)))
    if keep:
        note(f"The figures are in {_keep(report, pack)}.")
    if roc_picture is not None:
        _draw(report, pairs, roc_picture)
        note(f"The ROC is in {roc_picture}.")


def _measure(pairs: PairList, folder: Path, pack: str | None, choice: FaceChoice) -> Report:
    # The runtimes take a second to load; `facerec eval` with a mistaken list should not.
    from facerec.engine.packs.loading import open_engine

    settings = read_settings(**({"model_path": pack} if pack else {}))
    engine = open_engine(settings)
    try:
        embedded = embed_images(engine, folder, pairs.images, choice, settings.threads + 1)
    finally:
        engine.close()
    cosines = embedded.cosines(pairs)
    accuracy = cross_validate(cosines, pairs.same, pairs.folds)
    error_rate, error_threshold = equal_error(cosines, pairs.same)
    cross = None
    if pairs.persons is not None:
        seen = embedded.found
        persons = [person for person, found in zip(pairs.persons, seen, strict=True) if found]
        cross = impostor_statistics(embedded.vectors[seen], persons)
    groups: list[GroupFigures] = []
    if pairs.groups is not None:
        groups = group_figures(cosines, pairs.same, pairs.groups, float(np.mean(accuracy.thresholds)))
    return Report(
        pack=engine.contract.pack,
        pairs=pairs,
        embedded=embedded,
        cosines=cosines,
        accuracy=accuracy,
        area=area_under_curve(cosines, pairs.same),
        error_rate=error_rate,
        error_threshold=error_threshold,
        points=tuple(operating_point(cosines, pairs.same, far) for far in PAIR_RATES),
        cross=cross,
        groups=tuple(groups),
        calibration=engine.calibration,
    )


def _keep(report: Report, pack: str | None) -> Path:
    """Write the figures beside the pack's networks; where they are."""
    from facerec.engine.packs import accuracy
    from facerec.engine.packs.loading import find_pack

    settings = read_settings(**({"model_path": pack} if pack else {}))
    target = find_pack(settings) / accuracy.FILE_NAME
    target.write_text(json.dumps(_as_json(report), indent=1) + "\n", encoding="utf-8")
    return target


def _print(report: Report) -> None:
    pairs, same = report.pairs, report.pairs.same
    say(
        f"{report.pack}: {len(same)} pairs ({int(same.sum())} of one person, {int((~same).sum())} of two), "
        f"{len(pairs.images)} pictures, {len(report.without_face)} without a face found"
    )
    if report.without_face:
        more = len(report.without_face) - LISTED
        rest = f" and {more} more" if more > 0 else ""
        say(f"  No face: {', '.join(report.without_face[:LISTED])}{rest}. Their pairs count as no match.")
    accuracy = report.accuracy
    print_table(
        ("figure", "value"),
        [
            (
                f"accuracy over {len(accuracy.folds)} folds",
                f"{accuracy.accuracy:.2%} ± {accuracy.spread:.2%}",
            ),
            ("best threshold (mean of the folds)", f"cosine {np.mean(accuracy.thresholds):.4f}"),
            ("equal error rate", f"{report.error_rate:.2%} at cosine {report.error_threshold:.4f}"),
            ("area under the ROC", f"{report.area:.5f}"),
        ],
    )
    rows = []
    for point in report.points:
        remark = "" if point.supported else "too few pairs of two persons to tell"
        rows.append((*_rate_row(report, point.far, point.threshold, point.tar, point.interval), remark))
    print_table(
        ("FAR", "TAR", "95 % interval", "threshold", "similarity now", ""),
        rows,
        title="TAR at FAR, pairs of the list",
    )
    if report.cross is not None:
        _print_cross(report, report.cross)
    if report.groups:
        print_table(
            ("group", "pairs", "accuracy", "TAR", "95 % interval", "FAR", "95 % interval"),
            [
                (
                    group.group,
                    group.genuine + group.impostor,
                    f"{group.accuracy:.2%}",
                    _rate(group.tar),
                    _interval(group.tar_interval),
                    _rate(group.far),
                    _interval(group.far_interval),
                )
                for group in report.groups
            ],
            title=f"Groups, all at cosine {np.mean(accuracy.thresholds):.4f}",
        )


def _print_cross(report: Report, cross: ImpostorStatistics) -> None:
    say(
        f"All {cross.count} pairs of different persons: cosine {cross.mean:.4f} ± {cross.deviation:.4f}. "
        "With the TAR of the list's genuine pairs:"
    )
    rows = [
        _rate_row(report, far, threshold, tar, interval)
        for far, threshold, tar, interval in report.cross_points()
    ]
    columns = ("FAR", "TAR", "95 % interval", "suggested threshold", "similarity now")
    print_table(columns, rows, title="TAR at FAR, all pairs of different persons")


def _rate_row(
    report: Report, far: float, threshold: float, tar: float, interval: Interval
) -> tuple[object, ...]:
    similarity = report.calibration.similarity(min(threshold, 1.0))
    return (
        f"{far:.0e}".replace("e-0", "e-"),
        f"{tar:.2%}",
        _interval(interval),
        f"cosine {threshold:.4f}",
        f"{similarity:.1f}",
    )


def _rate(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2%}"


def _interval(interval: Interval) -> str:
    return f"{interval.low:.2%} to {interval.high:.2%}"


def _calibration_table(knots: tuple[tuple[float, float], ...], source: str) -> str:
    points = ", ".join(f"[{cosine}, {similarity}]" for cosine, similarity in knots)
    return f'[calibration]\nknots = [{points}]\nsource = "{source}"'


def _source(report: Report, pairs: Path) -> str:
    count = report.cross.count if report.cross else 0
    return f"facerec eval on {pairs.name}: {count} pairs of different persons"


def _draw(report: Report, pairs: Path, target: Path) -> None:
    draw_roc(
        target,
        title=f"{report.pack}: same person or not",
        subtitle=(
            f"{pairs.resolve().parent.name}/{pairs.name}: {len(report.pairs.same)} pairs, "
            f"accuracy {report.accuracy.accuracy:.2%}, "
            f"area {report.area:.4f}; bands: 95 % intervals"
        ),
        curve=roc(report.cosines, report.pairs.same),
        genuine=report.cosines[report.pairs.same],
        cross=report.cross,
    )


def _as_json(report: Report) -> dict[str, object]:
    cross = report.cross
    return {
        "Pack": report.pack,
        "Pairs": len(report.pairs.same),
        "GenuinePairs": int(report.pairs.same.sum()),
        "Pictures": len(report.pairs.images),
        "WithoutFace": report.without_face,
        "Accuracy": report.accuracy.accuracy,
        "AccuracyStandardError": report.accuracy.spread,
        "Folds": [
            {"Fold": fold, "Accuracy": accuracy, "Threshold": threshold}
            for fold, accuracy, threshold in zip(
                report.accuracy.folds, report.accuracy.accuracies, report.accuracy.thresholds, strict=True
            )
        ],
        "AreaUnderCurve": report.area,
        "EqualErrorRate": report.error_rate,
        "EqualErrorThreshold": report.error_threshold,
        "TarAtFar": [
            {
                "Far": point.far,
                "Reached": point.reached,
                "Threshold": point.threshold,
                "Tar": point.tar,
                "Interval": [point.interval.low, point.interval.high],
                "Supported": point.supported,
            }
            for point in report.points
        ],
        "AllPairsOfDifferentPersons": cross
        and {
            "Count": cross.count,
            "Mean": cross.mean,
            "Deviation": cross.deviation,
            "TarAtFar": [
                {"Far": far, "Threshold": threshold, "Tar": tar, "Interval": [interval.low, interval.high]}
                for far, threshold, tar, interval in report.cross_points()
            ],
        },
        "Groups": [_group_as_json(group) for group in report.groups] or None,
    }


def _group_as_json(group: GroupFigures) -> dict[str, object]:
    return {
        "Group": group.group,
        "GenuinePairs": group.genuine,
        "ImpostorPairs": group.impostor,
        "Accuracy": group.accuracy,
        "Tar": None if math.isnan(group.tar) else group.tar,
        "Far": None if math.isnan(group.far) else group.far,
    }
