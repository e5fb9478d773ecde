from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_house import House, open_house, picture

from facerec.domain import QualityFilter
from facerec.engine.fake import FakeFace
from facerec.errors import NoFaceInImage


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


def test_faces_are_detected_largest_first_with_what_was_asked(house: House) -> None:
    faces = house.analysis.detect(picture("ann", "bob"), frozenset({"gender"}))
    assert len(faces) == 2
    assert faces[0].box.area > faces[1].box.area
    assert all(face.attributes.gender and not face.attributes.age_range for face in faces)
    assert house.analysis.detect(picture()) == []


def test_the_largest_source_face_is_compared_with_each_target_face(house: House) -> None:
    result = house.analysis.compare(picture("ann", "bob"), picture("bob", "eve", "ann", variation=1))
    assert result.source == house.analysis.detect(picture("ann", "bob"))[0]
    (match,) = result.matches
    assert match.similarity > 80
    assert 0.9 < match.cosine <= 1
    assert match.face.box.area < min(face.box.area for face in result.unmatched)
    areas = [face.box.area for face in result.unmatched]
    assert len(areas) == 2
    assert areas == sorted(areas, reverse=True)


def test_matches_come_most_similar_first(house: House) -> None:
    result = house.analysis.compare(picture("ann"), picture("bob", "ann", "eve"), threshold=0)
    similarities = [match.similarity for match in result.matches]
    assert len(similarities) == 3
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] > 99
    assert result.unmatched == ()


def test_a_comparison_needs_a_face_on_both_sides(house: House) -> None:
    for source, target, lacking in (
        (picture(), picture("ann"), "source"),
        (picture("ann"), picture(), "target"),
        (picture(), picture(), "source and the target"),
    ):
        with pytest.raises(NoFaceInImage, match=f"^There are no faces in the {lacking} image\\.$"):
            house.analysis.compare(source, target)


def test_faces_that_do_not_pass_the_filter_are_not_compared(house: House) -> None:
    dim = FakeFace("ann", dim=True)
    result = house.analysis.compare(picture("ann"), picture(dim, "bob"), quality_filter=QualityFilter.AUTO)
    assert (result.matches, len(result.unmatched)) == ((), 1)
    assert len(house.analysis.compare(picture("ann"), picture(dim, "bob")).matches) == 1
    with pytest.raises(NoFaceInImage, match="source"):
        house.analysis.compare(picture(dim), picture("ann"), quality_filter=QualityFilter.AUTO)
