"""Which of the faces found in an image an operation works on, and why the others are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facerec.domain import DetectedFace, QualityFilter, Reason
from facerec.engine.base import FoundFace, Picture
from facerec.engine.quality import rejections


@dataclass(frozen=True, slots=True)
class RejectedFace:
    """A face that was found and left out, and every reason for it."""

    detected: DetectedFace
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class RankedFace:
    """A face of an image and its rank by box size among all that were found there, 0 for the largest."""

    rank: int
    found: FoundFace


@dataclass(frozen=True, slots=True)
class Selection:
    """The faces to work on, and those left out; both largest box first."""

    kept: tuple[RankedFace, ...]
    rejected: tuple[RejectedFace, ...]


def select(
    picture: Picture,
    found: Sequence[FoundFace],
    quality_filter: QualityFilter,
    max_faces: int | None = None,
) -> Selection:
    """Keep the faces of `picture` that pass the filter, at most `max_faces` of them.

    Where more pass, those of low quality (by the AUTO bar, whatever the filter) go first, then the smallest.
    """
    ranked = [RankedFace(rank, face) for rank, face in enumerate(by_size(found))]
    reasons = {face.rank: rejections(face.found.face, quality_filter, picture) for face in ranked}
    passed = [face for face in ranked if not reasons[face.rank]]
    if max_faces is not None and len(passed) > max_faces:
        worth = sorted(passed, key=lambda f: bool(rejections(f.found.face, QualityFilter.AUTO, picture)))
        for face in worth[max_faces:]:
            reasons[face.rank] = (Reason.EXCEEDS_MAX_FACES,)
    return Selection(
        kept=tuple(face for face in ranked if not reasons[face.rank]),
        rejected=tuple(
            RejectedFace(face.found.face, reasons[face.rank]) for face in ranked if reasons[face.rank]
        ),
    )


def select_largest(picture: Picture, found: Sequence[FoundFace], quality_filter: QualityFilter) -> Selection:
    """Keep the largest face, if it passes the filter; the others are left out as not the largest."""
    ranked = by_size(found)
    kept: list[RankedFace] = []
    rejected: list[RejectedFace] = []
    for rank, face in enumerate(ranked):
        reasons = rejections(face.face, quality_filter, picture)
        if rank > 0:
            reasons = (Reason.FACE_NOT_LARGEST, *reasons)
        if reasons:
            rejected.append(RejectedFace(face.face, reasons))
        else:
            kept.append(RankedFace(rank, face))
    return Selection(kept=tuple(kept), rejected=tuple(rejected))


def by_size(found: Sequence[FoundFace]) -> list[FoundFace]:
    """The faces, largest box first; equal ones stay in the engine's order."""
    return sorted(found, key=lambda face: -face.face.box.area)
