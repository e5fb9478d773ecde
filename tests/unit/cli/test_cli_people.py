from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, command_line

from facerec.engine.fake import FakeFace, draw
from facerec.errors import InvalidParameter
from facerec.services.registry.bulk import Entry, read_csv, read_json_lines

__all__ = ["command_line"]


def write_pictures(folder: Path) -> None:
    for name in ("ann", "bob"):
        for number in range(2):
            (folder / f"{name}{number}.png").write_bytes(draw(name, variation=number))
    (folder / "dark.png").write_bytes(draw(FakeFace("cleo", dim=True)))


def test_persons_of_a_manifest_are_enrolled_and_listed(facerec: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    manifest = tmp_path / "people.jsonl"
    lines = [
        {"person_id": "ann", "images": ["ann0.png", "ann1.png"], "metadata": {"team": "ä"}},
        {"person_id": "bob", "images": ["bob0.png", "missing.png"]},
        {"person_id": "cleo", "images": ["dark.png"]},
    ]
    manifest.write_text("\n\n".join(json.dumps(line) for line in lines))
    done = facerec("people", "import", manifest, "--json")
    assert done.code == 1  # cleo was not enrolled
    assert (done.json["Persons"], done.json["Pictures"], done.json["NotEnrolled"]) == (2, 3, ["cleo"])
    assert {(one["PersonId"], one["Reason"]) for one in done.json["Refused"]} == {
        ("bob", "InvalidImage"),
        ("cleo", "PoorQuality"),
    }
    # Once more it changes nothing.
    before = facerec("people", "export").out
    again = facerec("people", "import", manifest)
    assert (again.code, again.out) == (1, "Enrolled 2 persons from 3 pictures.\n")
    assert facerec("people", "export").out == before
    ann, bob = (json.loads(line) for line in before.splitlines())
    assert (ann["person_id"], ann["embeddings"], ann["metadata"]) == ("ann", 2, {"team": "ä"})
    assert (bob["person_id"], bob["embeddings"]) == ("bob", 1)


def test_a_table_is_a_manifest_too(facerec: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    manifest = tmp_path / "people.csv"
    manifest.write_text("person_id,image,team\nann,ann0.png,red\nann,ann1.png,red\nbob,bob0.png,\n")
    assert facerec("people", "import", manifest).out == "Enrolled 2 persons from 3 pictures.\n"


def test_entries_are_read() -> None:
    table = ["person_id,image,team\n", "ann,s3://b/1,red\n", "ann,s3://b/2,blue\n", "bob,x.png,\n"]
    assert list(read_csv(table)) == [
        Entry("ann", ("s3://b/1", "s3://b/2"), {"team": "red"}),
        Entry("bob", ("x.png",), {}),
    ]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"person_id": "ann"}', '{"person_id": "ann", "images": []}', '{"person_id": 1}'],
)
def test_a_line_of_another_form_is_named(line: str) -> None:
    good = '{"person_id": "ann", "images": ["a"]}'
    with pytest.raises(InvalidParameter, match="Line 2"):
        list(read_json_lines([good, line]))


@pytest.mark.parametrize(
    "table", [["a,b\n"], ["person_id,image\n", "ann\n"], ["person_id,image\n", "a,b,c\n"]]
)
def test_a_table_of_another_form_is_refused(table: list[str]) -> None:
    with pytest.raises(InvalidParameter):
        list(read_csv(table))
