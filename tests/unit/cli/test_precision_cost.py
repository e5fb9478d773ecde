"""What int8 may cost: the arithmetic of the gates, and comparing engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.cli.pairs import read_pairs
from facerec.cli.precision_cost import Agreement, Verification, compare_faces, compare_verification
from facerec.engine.fake import FakeEngine, draw


def outcomes(right: int, pairs: int = 10_000) -> NDArray[np.bool_]:
    return np.arange(pairs) < right


def verification(*right: int) -> Verification:
    one, other, mixed = (outcomes(count) for count in right)
    fine = outcomes(9_800)
    return Verification(right=(one, other, mixed), accepted=(fine, fine, fine))


def test_what_is_equal_or_better_is_accepted() -> None:
    assert verification(9_900, 9_900, 9_950).faults() == []


def test_a_fall_counts_beyond_chance() -> None:
    # 13 pairs in 10 000 are 0.13 points, of which 0.036 may be chance; of 14 to 10 000 0.037.
    assert verification(9_900, 9_887, 9_900).faults() == []
    (fault,) = verification(9_900, 9_880, 9_900).faults()
    assert fault == (
        "the accuracy falls from 99.00% to 98.80% in int8; at most 0.1 points are allowed, beside 0.04 that "
        "may be chance"
    )
    (fault,) = verification(9_900, 9_900, 9_880).faults()
    assert "with f32 against int8" in fault


def test_the_true_accept_rate_has_a_bound_of_its_own() -> None:
    fine, worse = outcomes(9_800), outcomes(9_700)
    (fault,) = Verification(right=(fine, fine, fine), accepted=(fine, fine, worse)).faults()
    assert fault.startswith("the TAR at FAR 0.1% falls from 98.00% to 97.00% with f32 against int8;")
    nearly = outcomes(9_750)
    assert Verification(right=(fine, fine, fine), accepted=(fine, nearly, nearly)).faults() == []


def test_figures_have_names() -> None:
    figures = verification(9_900, 9_880, 9_890).figures()
    assert figures["accuracy int8"] == 0.988
    assert figures["TAR at FAR 0.1% f32 against int8"] == 0.98


@pytest.mark.parametrize(
    ("found", "mean", "least", "problem"),
    [
        (100, 0.99, 0.95, None),
        (95, 0.98, 0.9, None),
        (94, 0.99, 0.95, "int8 finds 94 of the 100 faces"),
        (100, 0.97, 0.95, "the mean cosine between a face's embeddings in f32 and in int8 is 0.9700"),
        (100, 0.99, 0.89, "the least cosine"),
    ],
)
def test_single_faces_have_bounds(found: int, mean: float, least: float, problem: str | None) -> None:
    faults = Agreement(faces=100, found=found, mean_cosine=mean, least_cosine=least).faults()
    assert len(faults) == (0 if problem is None else 1)
    assert problem is None or problem in faults[0]


def test_an_engine_agrees_with_itself(tmp_path: Path) -> None:
    engine = FakeEngine(max_pixels=1_000_000, max_faces=10)
    pictures = []
    for number, person in enumerate(("Ann", "Bob", "Cleo")):
        pictures.append(tmp_path / f"{person}_{number}.png")
        pictures[-1].write_bytes(draw(person))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    agreement = compare_faces(engine, engine, [*pictures, tmp_path / "broken.png"], 2)
    assert agreement.faces == agreement.found == 3
    assert agreement.mean_cosine == pytest.approx(1)
    assert agreement.least_cosine == pytest.approx(1)
    rows = "Ann_0.png,Ann_0.png,1\nBob_1.png,Bob_1.png,1\nAnn_0.png,Bob_1.png,0\nBob_1.png,Cleo_2.png,0\n"
    (tmp_path / "pairs.csv").write_text(f"image_a,image_b,same_person\n{rows}")
    measured = compare_verification(engine, engine, read_pairs(tmp_path / "pairs.csv"), tmp_path, 2)
    assert measured.accuracies == [1, 1, 1]
    assert measured.faults() == []
