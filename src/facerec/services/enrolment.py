"""Looking at a picture that somebody is to be known by: which face is meant, and is it good enough.

A bad picture in the gallery does harm for as long as it stays there: a blurred face of twenty pixels
resembles everybody. So each is judged before it comes in, and a refusal says what would be right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facerec.domain import BoundingBox, DetectedFace, Fault, Portrait, QuantizedEmbedding, Review
from facerec.engine.base import Engine, FoundFace, Picture
from facerec.engine.image_ids import image_id_of
from facerec.errors import MultipleFaces, NoFaceInImage, PoorQuality
from facerec.services.liveness.passive import LivenessRule
from facerec.services.selection import by_size
from facerec.vectors.quantization import quantize_batch

DOMINATES = 1.5
"""Times that the largest face's box has the area of another one's, where it is clearly the one meant."""

BEST_SIDE = 160.0
"""Pixels of a face's shorter side from which more do not make it better."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a picture: what was measured, the bar it had to reach, and what would be right."""

    fault: Fault
    value: float
    bar: float
    advice: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found wrong with a face's picture, and how good it is altogether, 0..100."""

    findings: tuple[Finding, ...]
    quality: float

    @property
    def refusal(self) -> PoorQuality | None:
        """Why the picture is not taken, with what would be right; None where nothing was found wrong."""
        if not self.findings:
            return None
        advice = "; ".join(dict.fromkeys(finding.advice for finding in self.findings))
        return PoorQuality(f"The picture is not good enough to know somebody by: {advice}.")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A face that somebody may be enrolled with, its picture judged."""

    image_id: str
    face: DetectedFace
    judgement: Judgement
    embedding: QuantizedEmbedding
    liveness: float | None = None
    """How surely the face is live, 0..100; None where it was not asked for, or is not known."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One thing looked at: its value, the bars of STANDARD and STRICT, whether more is better, the advice."""

    fault: Fault
    value: Callable[[DetectedFace, Portrait, float], float | None]
    standard: float
    strict: float
    more: bool
    advice: str


_RULES = (
    _Rule(Fault.TOO_SMALL, lambda face, portrait, side: side, 50, 75, True, "come closer to the camera"),
    _Rule(
        Fault.CUT_OFF,
        lambda face, portrait, side: 100 * portrait.inside,
        75,
        95,
        True,
        "have the whole face in the picture",
    ),
    _Rule(
        Fault.BLURRED,
        lambda face, portrait, side: face.quality.sharpness,
        30,
        45,
        True,
        "hold still, and let the camera focus",
    ),
    _Rule(
        Fault.TOO_DARK, lambda face, portrait, side: face.quality.brightness, 30, 40, True, "get more light"
    ),
    _Rule(
        Fault.TOO_BRIGHT,
        lambda face, portrait, side: face.quality.brightness,
        92,
        88,
        False,
        "get less light, or expose for the face",
    ),
    _Rule(
        Fault.LOW_CONTRAST,
        lambda face, portrait, side: portrait.contrast,
        9,
        13,
        True,
        "clean the lens, and avoid light from behind",
    ),
    _Rule(
        Fault.UNEVEN_LIGHT,
        lambda face, portrait, side: portrait.evenness,
        40,
        60,
        True,
        "turn to the light: one half of the face is dark",
    ),
    _Rule(
        Fault.TURNED_ASIDE,
        lambda face, portrait, side: abs(face.pose.yaw),
        50,
        30,
        False,
        "look into the camera: the face is turned aside",
    ),
    _Rule(
        Fault.TURNED_UP_OR_DOWN,
        lambda face, portrait, side: abs(face.pose.pitch),
        40,
        30,
        False,
        "look into the camera: the face is turned up or down",
    ),
    _Rule(
        Fault.TILTED,
        lambda face, portrait, side: abs(face.pose.roll),
        35,
        20,
        False,
        "hold the head, or the camera, upright",
    ),
    _Rule(
        Fault.ON_ITS_SIDE,
        lambda face, portrait, side: portrait.upright,
        -0.6,
        -0.6,
        True,
        "turn the picture upright: it lies on its side or head",
    ),
    _Rule(
        Fault.EYES_COVERED,
        lambda face, portrait, side: portrait.eyes_covered,
        70,
        62,
        False,
        "take off dark glasses",
    ),
    _Rule(
        Fault.MOUTH_COVERED,
        lambda face, portrait, side: portrait.mouth_covered,
        95,
        80,
        False,
        "take off the mask or scarf",
    ),
    _Rule(
        Fault.LOW_CONFIDENCE,
        lambda face, portrait, side: face.confidence,
        50,
        60,
        True,
        "show a whole, uncovered face from the front",
    ),
    _Rule(
        Fault.LOW_SCORE,
        lambda face, portrait, side: portrait.score,
        30,
        50,
        True,
        "take a sharp picture from the front, in even light",
    ),
)
"""What is looked at. Values are pixels, degrees, or 0..100. Of the press photographs of LFW, which were taken
of people who mostly knew of it, STANDARD refuses 3 in 100 for them (docs/people.md)."""


def choose_face(found: Sequence[FoundFace], review: Review) -> FoundFace:
    """The face that is meant: the largest one.

    STRICT wants it alone, STANDARD clearly larger than any other one that is not cut by the image's edge.
    Raises NoFaceInImage, MultipleFaces.
    """
    ranked = by_size(found)
    if not ranked:
        raise NoFaceInImage
    first, *others = ranked
    rivals = {
        Review.OFF: [],
        Review.STANDARD: [one for one in others if _rivals(one.face.box, first.face.box)],
        Review.STRICT: others,
    }[review]
    if rivals:
        raise MultipleFaces(
            f"There are {len(ranked)} faces in the image, and none of them is clearly the one that is "
            "meant: show one person alone."
        )
    return first


def judge(face: DetectedFace, portrait: Portrait, picture: Picture, review: Review) -> Judgement:
    """Judge a face of a picture by the bars of `review`; OFF finds nothing wrong."""
    side = min(face.box.width * picture.width, face.box.height * picture.height)
    findings = []
    for rule in _RULES if review is not Review.OFF else ():
        value = rule.value(face, portrait, side)
        bar = rule.strict if review is Review.STRICT else rule.standard
        if value is not None and (value < bar if rule.more else value > bar):
            findings.append(Finding(rule.fault, round(value, 1), bar, rule.advice))
    return Judgement(tuple(findings), _quality(face, portrait, side))


def see(engine: Engine, data: bytes, review: Review) -> tuple[Picture, FoundFace]:
    """A picture and the face that is meant in it: what enrolment and verification both begin with.

    Raises NoFaceInImage, MultipleFaces, and the errors of the engine.
    """
    picture = engine.decode(data)
    return picture, choose_face(engine.detect(picture), review)


def look(engine: Engine, data: bytes, review: Review, liveness: LivenessRule | None = None) -> Candidate:
    """The face that is meant in an image, judged and embedded; whether it is good enough is not decided, nor
    whether it is live enough.

    Raises as `see` does.
    """
    picture, found = see(engine, data, review)
    (portrait,) = engine.examine(picture, [found])
    (embedding,) = quantize_batch(engine.embed(picture, [found]))
    return Candidate(
        image_id_of(data),
        found.face,
        judge(found.face, portrait, picture, review),
        embedding,
        liveness.score(engine, picture, found) if liveness else None,
    )


def _rivals(other: BoundingBox, largest: BoundingBox) -> bool:
    """Whether a face could be the one meant as well as the largest one: whole in the image, and large."""
    whole = min(other.left, other.top, 1 - other.left - other.width, 1 - other.top - other.height) >= 0
    return whole and largest.area < DOMINATES * other.area


def _quality(face: DetectedFace, portrait: Portrait, side: float) -> float:
    """How good a picture is, 0..100: what the pack's quality network says, else as good as its worst side."""
    if portrait.score is not None:
        return portrait.score
    turned = max(abs(face.pose.yaw), abs(face.pose.pitch))
    worst = min(
        100.0 * side / BEST_SIDE,
        100.0 * portrait.inside,
        face.quality.sharpness,
        portrait.evenness,
        100.0 - turned,
    )
    return min(max(worst, 0.0), 100.0)
