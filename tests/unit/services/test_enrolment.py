from __future__ import annotations

import pytest

from facerec.domain import Fault, Review
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.errors import MultipleFaces, NoFaceInImage
from facerec.services.enrolment import look

ENGINE = FakeEngine()


def faults(face: FakeFace, review: Review) -> set[Fault]:
    return {finding.fault for finding in look(ENGINE, draw(face), review).judgement.findings}


@pytest.mark.parametrize(
    ("face", "fault"),
    [
        (FakeFace("ann", dim=True), Fault.TOO_DARK),
        (FakeFace("ann", blurred=True), Fault.BLURRED),
        (FakeFace("ann", turned=True), Fault.TURNED_ASIDE),
        (FakeFace("ann", uncertain=True), Fault.LOW_CONFIDENCE),
        (FakeFace("ann", small=True), Fault.TOO_SMALL),
    ],
)
def test_each_fault_is_named_with_its_bar_and_a_remedy(face: FakeFace, fault: Fault) -> None:
    (finding,) = look(ENGINE, draw(face), Review.STANDARD).judgement.findings
    assert finding.fault is fault
    assert finding.advice
    assert finding.value != finding.bar
    assert fault in faults(face, Review.STRICT)
    assert not faults(face, Review.OFF)


def test_a_good_picture_has_no_fault_and_a_better_quality() -> None:
    good = look(ENGINE, draw("ann"), Review.STRICT).judgement
    assert good.findings == ()
    assert good.quality > look(ENGINE, draw(FakeFace("ann", blurred=True)), Review.STRICT).judgement.quality


def test_which_face_is_meant() -> None:
    alike, beside = draw("ann", "bob"), draw("ann", FakeFace("bob", small=True))
    for review in (Review.STANDARD, Review.STRICT):
        with pytest.raises(MultipleFaces):
            look(ENGINE, alike, review)
    with pytest.raises(MultipleFaces):
        look(ENGINE, beside, Review.STRICT)
    assert look(ENGINE, beside, Review.STANDARD).face.box.width > 0.2
    assert look(ENGINE, alike, Review.OFF).judgement.findings == ()


def test_an_image_without_a_face() -> None:
    with pytest.raises(NoFaceInImage):
        look(ENGINE, draw(), Review.OFF)
