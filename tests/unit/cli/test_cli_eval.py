"""`facerec eval` on drawn pictures: what the list says, what is reported, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, command_line  # noqa: F401 - a fixture

from facerec.engine.fake import draw

Make = Callable[[str], Path]
PEOPLE = ("Ann", "Ben", "Cid", "Dan", "Eve")


@pytest.fixture
def listed(tmp_path: Path) -> Make:
    """Pictures of five people, two of each, and one without a face; gives a file for the text of a list."""
    folder = tmp_path / "images"
    folder.mkdir()
    for person in PEOPLE:
        for number in (1, 2):
            (folder / f"{person}_{number:04}.png").write_bytes(draw(person, variation=number))
    (folder / "Fay_0001.png").write_bytes(draw())

    def write(text: str) -> Path:
        path = tmp_path / "pairs.csv"
        path.write_text(text)
        return path

    return write


def rows(header: str = "image_a,image_b,same_person,fold", groups: bool = False) -> str:
    lines = [header]
    for index, person in enumerate(PEOPLE):
        other = PEOPLE[(index + 1) % len(PEOPLE)]
        tail = f",{index % 2 + 1}" + (f",{'odd' if index % 2 else 'even'}" if groups else "")
        lines.append(f"{person}_0001.png,{person}_0002.png,1{tail}")
        lines.append(f"{person}_0001.png,{other}_0002.png,0{tail}")
    return "\n".join(lines) + "\n"


def test_a_perfect_engine(facerec: Run, listed: Make) -> None:
    result = facerec("eval", listed(rows()), "--json")
    assert result.code == 0, result.err
    report = result.json
    assert (report["Pairs"], report["GenuinePairs"], report["Pictures"]) == (10, 5, 10)
    assert (report["Accuracy"], report["AreaUnderCurve"], report["EqualErrorRate"]) == (1.0, 1.0, 0.0)
    assert [fold["Fold"] for fold in report["Folds"]] == [1, 2]
    assert report["TarAtFar"][0]["Tar"] == 1.0
    assert report["TarAtFar"][0]["Supported"] is False  # five impostors can not tell FAR 0.1
    assert report["AllPairsOfDifferentPersons"]["Count"] == 40
    assert "WithoutFace" in report


def test_a_picture_without_a_face_is_no_match(facerec: Run, listed: Make) -> None:
    text = rows() + "Fay_0001.png,Ann_0001.png,1,1\nFay_0001.png,Ben_0001.png,0,2\n"
    report = facerec("eval", listed(text), "--json").json
    assert report["WithoutFace"] == ["Fay_0001.png"]
    assert report["TarAtFar"][0]["Tar"] == pytest.approx(5 / 6)
    assert report["AllPairsOfDifferentPersons"]["Count"] == 40
    assert "Fay_0001.png" in facerec("eval", listed(text)).out


def test_groups_and_folds_by_default(facerec: Run, listed: Make) -> None:
    report = facerec(
        "eval", listed(rows("image_a,image_b,same_person,fold,group", groups=True)), "--json"
    ).json
    assert [group["Group"] for group in report["Groups"]] == ["even", "odd"]
    assert [group["GenuinePairs"] for group in report["Groups"]] == [3, 2]
    text = "\n".join(line.rsplit(",", 1)[0] for line in rows().splitlines())
    assert len(facerec("eval", listed(text), "--json").json["Folds"]) == 5


def test_identities_from_columns(facerec: Run, listed: Make) -> None:
    text = (
        "image_a,image_b,same_person,fold,person_a,person_b\n"
        "Ann_0001.png,Ann_0002.png,1,1,a,a\nAnn_0001.png,Ben_0001.png,0,1,a,b\n"
        "Cid_0001.png,Cid_0002.png,1,2,c,c\nCid_0001.png,Ben_0001.png,0,2,c,b\n"
    )
    assert facerec("eval", listed(text), "--json").json["AllPairsOfDifferentPersons"]["Count"] == 8


def test_calibration_needs_many_pairs(facerec: Run, listed: Make) -> None:
    refused = facerec("eval", listed(rows()), "--calibrate")
    assert refused.code == 1
    assert "40 pairs of different persons can not tell the working point" in refused.err


def test_roc_picture(facerec: Run, listed: Make, tmp_path: Path) -> None:
    target = tmp_path / "pictures" / "roc.png"
    assert facerec("eval", listed(rows()), "--roc", target).code == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    wrong = facerec("eval", listed(rows()), "--roc", tmp_path / "roc.doc")
    assert wrong.code == 1
    assert ".png, .svg or .pdf" in wrong.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_a,image_b\nx,y\n", "has no column same_person"),
        ("image_a,image_b,same_person\n", "holds no pairs"),
        ("image_a,image_b,same_person\nx,,1\n", "line 2: image_b is empty"),
        ("image_a,image_b,same_person\nx,y,maybe\n", "line 2: same_person is 'maybe'; it is 1 or 0"),
        ("image_a,image_b,same_person,fold\nx,y,1,a\n", "line 2: fold is 'a'"),
        ("image_a,image_b,same_person\nAnn_0001.png,Absent_0001.png,1\n", "Absent_0001.png can not be read"),
        (
            "image_a,image_b,same_person\nAnn_0001.png,Ann_0002.png,1\nAnn_0001.png,Ann_0002.png,1\n",
            "needs both kinds",
        ),
    ],
)
def test_mistaken_lists(facerec: Run, listed: Make, text: str, message: str) -> None:
    result = facerec("eval", listed(text))
    assert result.code == 1
    assert message in result.err
