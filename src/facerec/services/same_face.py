"""Which faces found in an image are those that were found there before, perhaps by another detector."""

from __future__ import annotations

from collections.abc import Sequence

from facerec.domain import BoundingBox, MigrationObstacle

SAME_BOX = 0.5
"""Overlap (intersection over union) from which two boxes of one detector in one image are one face."""

OTHER_DETECTOR = 0.3
"""Overlap from which a box of one detector and a box of another are one face. Of 473 faces that dlib's
detector found (400 images of LFW, 18 photographs), SCRFD's overlapped all but two by 0.45 or more, 0.66 in
the middle; the face next best overlapped by 0.15 at most."""

CLEARLY_LESS = 0.6
"""Most overlap of the second box, by that of the first, at which the first is clearly the one."""


def overlap(a: BoundingBox, b: BoundingBox) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.area + b.area - shared)


def match_boxes(known: Sequence[BoundingBox], found: Sequence[BoundingBox]) -> list[int | MigrationObstacle]:
    """Where each known box is among those that another detector found in the same image, or why it is not.

    A face goes to the box that it overlaps most, each to one. Detectors frame a face differently (one from
    brow to chin, another with forehead and ears), so far less than SAME_BOX is asked for; but what is second
    has to overlap clearly less.
    """
    places: list[int | MigrationObstacle] = [MigrationObstacle.FACE_NOT_FOUND] * len(known)
    overlaps = sorted(
        (
            (overlap(box, other), row, column)
            for row, box in enumerate(known)
            for column, other in enumerate(found)
        ),
        key=lambda entry: (-entry[0], entry[1], entry[2]),
    )
    taken: set[int] = set()
    for share, row, column in overlaps:
        if share < OTHER_DETECTOR:
            break
        if places[row] is not MigrationObstacle.FACE_NOT_FOUND or column in taken:
            continue
        rivals = [s for s, r, c in overlaps if r == row and c != column and c not in taken]
        if rivals and max(rivals) > CLEARLY_LESS * share:
            places[row] = MigrationObstacle.FACE_AMBIGUOUS
        else:
            places[row] = column
            taken.add(column)
    return places
