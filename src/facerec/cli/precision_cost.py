"""What a coarser precision costs: an engine in int8 beside the same one in f32, on the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerec.cli.output import counting
from facerec.cli.pairs import FaceChoice, PairList, embed_images
from facerec.cli.pictures import at_once
from facerec.engine.base import Engine, Floats, FoundFace
from facerec.errors import InvalidImage
from facerec.services.evaluation import (
    WORKING_POINT,
    Booleans,
    Floats64,
    cross_validate,
    impostor_statistics,
    operating_point,
)

LEAST_MEAN_COSINE = 0.98
LEAST_COSINE = 0.9
LEAST_FOUND = 0.95
"""Share of the faces found in f32 that int8 has to find too; those at the threshold come and go."""
MOST_ACCURACY_LOST = 0.001
MOST_TAR_LOST = 0.005
ACCURACY = "accuracy"
TAR = f"TAR at FAR {WORKING_POINT:.1%}"
_SAME_FACE = 0.5
"""Intersection over union from which two boxes are one face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far int8 agrees with f32 on single faces."""

    faces: int
    """Faces that f32 found."""
    found: int
    """Those of them that int8 found too."""
    mean_cosine: float
    """Of the two embeddings of a face."""
    least_cosine: float

    def figures(self) -> dict[str, float]:
        """The figures by name."""
        return {
            "faces found in f32": float(self.faces),
            "found in int8 too": float(self.found),
            "mean cosine of f32 and int8": round(self.mean_cosine, 5),
            "least cosine of f32 and int8": round(self.least_cosine, 5),
        }

    def faults(self) -> list[str]:
        """What is worse than allowed, in words."""
        faults = []
        if self.found < LEAST_FOUND * self.faces:
            faults.append(
                f"int8 finds {self.found} of the {self.faces} faces that f32 finds; "
                f"at least {LEAST_FOUND:.0%} are asked for"
            )
        for what, cosine, least in (
            ("mean", self.mean_cosine, LEAST_MEAN_COSINE),
            ("least", self.least_cosine, LEAST_COSINE),
        ):
            if cosine < least:
                faults.append(
                    f"the {what} cosine between a face's embeddings in f32 and in int8 is {cosine:.4f}; "
                    f"at least {least} is asked for"
                )
        return faults


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verification:
    """How well f32, int8, and f32 galleries with int8 probes tell people apart, on one list of pairs.

    Each figure in this order: f32, int8, mixed.
    """

    right: tuple[Booleans, Booleans, Booleans]
    """(pairs,) which are judged rightly, at the threshold that is best on the other folds."""
    accepted: tuple[Booleans, Booleans, Booleans]
    """(genuine pairs,) which are accepted at the working point of f32."""

    @property
    def accuracies(self) -> list[float]:
        """Shares of the pairs that are judged rightly."""
        return [float(each.mean()) for each in self.right]

    @property
    def tars(self) -> list[float]:
        """True accept rates at the working point."""
        return [float(each.mean()) for each in self.accepted]

    def figures(self) -> dict[str, float]:
        """The figures by name."""
        rates = ((ACCURACY, self.accuracies), (TAR, self.tars))
        return {
            f"{what} {name}": round(value, 5)
            for what, values in rates
            for name, value in zip(("f32", "int8", "f32 against int8"), values, strict=True)
        }

    def faults(self) -> list[str]:
        """What is worse than allowed, in words.

        One pair more or less is chance: a fall counts as far as it is more than one standard error of the
        difference, which is the root of the number of pairs that are judged differently.
        """
        faults = []
        for what, outcomes, most in (
            (ACCURACY, self.right, MOST_ACCURACY_LOST),
            (TAR, self.accepted, MOST_TAR_LOST),
        ):
            before = outcomes[0]
            for where, after in zip(("in int8", "with f32 against int8"), outcomes[1:], strict=True):
                lost = float(before.mean() - after.mean())
                chance = float(np.sqrt((before != after).sum()) / len(before))
                if lost - chance > most:
                    faults.append(
                        f"the {what} falls from {before.mean():.2%} to {after.mean():.2%} {where}; at most "
                        f"{100 * most:.1f} points are allowed, beside {100 * chance:.2f} that may be chance"
                    )
        return faults


def compare_faces(before: Engine, after: Engine, pictures: Sequence[Path], workers: int) -> Agreement:
    """Look at pictures with an engine in f32 and one in int8; pictures that cannot be read are left out."""
    found = 0
    cosines: list[float] = []

    def work(path: Path) -> tuple[int, list[float]]:
        try:
            picture = before.decode(path.read_bytes())
        except (OSError, InvalidImage):
            return 0, []
        faces = before.detect(picture)
        if not faces:
            return 0, []
        again = after.detect(picture)
        products = before.embed(picture, faces) * after.embed(picture, faces)
        return sum(_is_among(face, again) for face in faces), products.sum(axis=1).tolist()

    with counting("comparing", len(pictures)) as advance, at_once(work, pictures, workers) as jobs:
        for _, future in jobs:
            again, products = future.result()
            found += again
            cosines += products
            advance()
    return Agreement(
        faces=len(cosines),
        found=found,
        mean_cosine=float(np.mean(cosines)) if cosines else 0.0,
        least_cosine=min(cosines, default=0.0),
    )


def compare_verification(
    before: Engine, after: Engine, pairs: PairList, folder: Path, workers: int
) -> Verification:
    """Verify a list's pairs with both engines. Raises InvalidParameter and InvalidImage as `facerec eval`."""
    one = embed_images(before, folder, pairs.images, FaceChoice.CENTRE, workers)
    other = embed_images(after, folder, pairs.images, FaceChoice.CENTRE, workers)
    mixed = np.einsum("nd,nd->n", one.vectors[pairs.first], other.vectors[pairs.second])
    mixed = np.where(one.found[pairs.first] & other.found[pairs.second], mixed, -1.0)
    threshold = _working_threshold(one.vectors, one.found, pairs, one.cosines(pairs))
    cosines = (one.cosines(pairs), other.cosines(pairs), mixed.astype(np.float64))
    right = [_judged_rightly(values, pairs) for values in cosines]
    accepted = [values[pairs.same] >= threshold for values in cosines]
    return Verification(
        right=(right[0], right[1], right[2]), accepted=(accepted[0], accepted[1], accepted[2])
    )


def _judged_rightly(cosines: Floats64, pairs: PairList) -> Booleans:
    """(pairs,) whether each is judged rightly at the threshold that is best on the other folds."""
    measured = cross_validate(cosines, pairs.same, pairs.folds)
    thresholds = np.zeros(len(cosines))
    for fold, threshold in zip(measured.folds, measured.thresholds, strict=True):
        thresholds[pairs.folds == fold] = threshold
    right: Booleans = (cosines >= thresholds) == pairs.same
    return right


def _working_threshold(vectors: Floats, found: Booleans, pairs: PairList, cosines: Floats64) -> float:
    """The cosine that one stranger in a thousand reaches in f32: the one threshold for all precisions, as a
    collection keeps it.
    """
    if pairs.persons is not None:
        persons = [person for person, seen in zip(pairs.persons, found, strict=True) if seen]
        statistics = impostor_statistics(vectors[found], persons)
        if statistics.strictest <= WORKING_POINT:
            return statistics.threshold(WORKING_POINT)
    return operating_point(cosines, pairs.same, WORKING_POINT).threshold


def _is_among(face: FoundFace, others: Sequence[FoundFace]) -> bool:
    """Whether one of the others lies where the face lies."""
    return any(_overlap(face.box, other.box) >= _SAME_FACE for other in others)


def _overlap(one: Floats, other: Floats) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return common / max(sum(areas) - common, 1e-9)
