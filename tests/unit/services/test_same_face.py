from __future__ import annotations

import pytest

from facerec.domain import BoundingBox, MigrationObstacle
from facerec.services.same_face import match_boxes, overlap


def box(left: float, top: float, width: float = 0.2, height: float = 0.2) -> BoundingBox:
    return BoundingBox(left=left, top=top, width=width, height=height)


def test_overlap_is_the_shared_area_by_the_area_of_both() -> None:
    assert overlap(box(0.1, 0.1), box(0.1, 0.1)) == pytest.approx(1)
    assert overlap(box(0, 0), box(0.1, 0)) == pytest.approx(1 / 3)
    assert overlap(box(0, 0), box(0.2, 0)) == 0
    assert overlap(box(0, 0), box(0.5, 0.5)) == 0
    # One box in another, as a detector that frames the face alone lies in one that frames the head.
    assert overlap(box(0.05, 0.05, 0.1, 0.1), box(0, 0)) == pytest.approx(0.25)


def test_each_face_goes_to_the_box_that_it_overlaps_most() -> None:
    known = [box(0.6, 0.6), box(0.1, 0.1)]
    found = [box(0.12, 0.1), box(0.62, 0.58, 0.22, 0.25), box(0.4, 0.1)]
    assert match_boxes(known, found) == [1, 0]
    assert match_boxes(known, []) == [MigrationObstacle.FACE_NOT_FOUND] * 2
    assert match_boxes([], found) == []


@pytest.mark.parametrize(("shift", "found"), [(0.0, True), (0.1, True), (0.11, False), (0.5, False)])
def test_less_than_three_tenths_of_overlap_is_another_face(shift: float, found: bool) -> None:
    # At a shift of 0.1 a third is shared.
    expected = 0 if found else MigrationObstacle.FACE_NOT_FOUND
    assert match_boxes([box(0.1, 0.1)], [box(0.1 + shift, 0.1)]) == [expected]


def test_two_boxes_that_fit_nearly_alike_are_ambiguous() -> None:
    face = box(0.3, 0.3)
    assert match_boxes([face], [box(0.35, 0.3), box(0.25, 0.3)]) == [MigrationObstacle.FACE_AMBIGUOUS]
    # 0.82 and 0.33: the first is clearly the one.
    assert match_boxes([face], [box(0.32, 0.3), box(0.2, 0.3)]) == [0]


def test_a_box_is_taken_by_one_face_alone() -> None:
    near, far = box(0.3, 0.3), box(0.36, 0.3)
    assert match_boxes([far, near], [box(0.31, 0.3)]) == [MigrationObstacle.FACE_NOT_FOUND, 0]


def test_faces_side_by_side_are_told_apart_once_the_nearer_ones_are_placed() -> None:
    # A detector that frames wider: each face overlaps its neighbour's box too, but its own more.
    known = [box(0.1, 0.1), box(0.3, 0.1), box(0.5, 0.1)]
    found = [box(0.05, 0.05, 0.3, 0.3), box(0.25, 0.05, 0.3, 0.3), box(0.45, 0.05, 0.3, 0.3)]
    assert match_boxes(known, found) == [0, 1, 2]
