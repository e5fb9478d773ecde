"""Who a face is: the nearest person, if near enough and clearly nearer than the next."""

from __future__ import annotations

from dataclasses import dataclass

from facerec.domain import Collection, DetectedFace, RowKey, UserMatch
from facerec.engine.base import Calibration, Floats
from facerec.services.matching import UserMatcher
from facerec.services.open_set import confidence, least_cosine
from facerec.services.registry.values import Identification, Unknown


@dataclass(frozen=True, slots=True)
class Rule:
    """When a face is somebody: as SIMILARITY_THRESHOLD and FACEREC_REGISTRY_MARGIN say it."""

    threshold: float | None
    """Similarity 0..100; None: as the number of persons asks for."""
    margin: float
    """Lead over the next person, as a difference of cosines."""

    def least(self, calibration: Calibration, persons: int) -> float:
        """The cosine from which a face is one of so many persons."""
        if self.threshold is None:
            return least_cosine(calibration, persons)
        return calibration.cosine(self.threshold)


def identify(
    matcher: UserMatcher,
    target: Collection,
    calibration: Calibration,
    rule: Rule,
    face: DetectedFace,
    embedding: Floats,
) -> Identification:
    """Who of all persons a face with a unit embedding (dimension,) is."""
    least = rule.least(calibration, target.user_count)
    # A runner-up further away than the margin says nothing.
    reach = calibration.similarity(least - rule.margin)
    near = matcher.users(target, calibration, embedding[None], 2, reach)
    threshold = calibration.similarity(least)
    if not near or near[0].cosine < least:
        return Identification(face=face, threshold=threshold, unknown=Unknown.NOBODY_NEAR)
    margin = near[0].cosine - near[1].cosine if len(near) > 1 else None
    if margin is not None and margin < rule.margin:
        return Identification(face=face, threshold=threshold, unknown=Unknown.AMBIGUOUS)
    return _known(near[0], margin, face, threshold, calibration, target.user_count)


def compare(
    matcher: UserMatcher,
    target: Collection,
    calibration: Calibration,
    rule: Rule,
    face: DetectedFace,
    embedding: Floats,
    person: tuple[RowKey, str],
) -> Identification:
    """Whether a face is that of one person, given by key and id."""
    key, person_id = person
    least = rule.least(calibration, 1)
    own = matcher.probes_of(target, key)
    cosine = float((own @ embedding).max(initial=-1.0))
    if cosine < least:
        threshold = calibration.similarity(least)
        return Identification(face=face, threshold=threshold, unknown=Unknown.NOBODY_NEAR)
    return Identification(
        face=face,
        threshold=calibration.similarity(least),
        person_id=person_id,
        similarity=calibration.similarity(cosine),
        cosine=cosine,
        confidence=confidence(calibration, cosine, 1),
    )


def _known(
    match: UserMatch,
    margin: float | None,
    face: DetectedFace,
    threshold: float,
    calibration: Calibration,
    persons: int,
) -> Identification:
    return Identification(
        face=face,
        threshold=threshold,
        person_id=match.user.user_id,
        similarity=match.similarity,
        cosine=match.cosine,
        confidence=confidence(calibration, match.cosine, persons),
        margin=margin,
    )
