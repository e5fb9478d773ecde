from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from command_line import Run, command_line

from facerec.engine.fake import FakeFace, draw
from facerec.errors import InvalidParameter
from facerec.services.albums.manifests import ManifestKind
from facerec.services.registry.bulk import Entry, ReadEntry, read_people

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


def read(text: str, kind: ManifestKind) -> list[ReadEntry]:
    return list(read_people(io.BytesIO(text.encode()), kind))


def test_entries_are_read() -> None:
    table = "person_id,image,team\nann,s3://b/1,red\nann,s3://b/2,blue\nbob,x.png,\n"
    assert read(table, ManifestKind.CSV) == [
        ReadEntry(2, Entry("ann", ("s3://b/1", "s3://b/2"), {"team": "red"})),
        ReadEntry(4, Entry("bob", ("x.png",), {})),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"person_id": "ann"}',
        '{"person_id": "ann", "images": []}',
        '{"person_id": 1}',
        '{"person_id": "a b", "images": ["a"]}',
        '{"person_id": "ann", "images": ["a"], "metadata": {"a": "%s"}}' % ("long" * 1000),
    ],
)
def test_a_line_of_another_form_is_told_and_the_others_are_read(line: str) -> None:
    good = '{"person_id": "ann", "images": ["a"]}'
    first, wrong, last = read(f"{good}\n{line}\n{good}\n", ManifestKind.JSON_LINES)
    assert (first.entry, last.entry) == (Entry("ann", ("a",), {}), Entry("ann", ("a",), {}))
    assert (wrong.number, wrong.entry) == (2, None)
    assert wrong.reason


def test_a_row_of_another_form_is_told_and_the_others_are_read() -> None:
    found = read("person_id,image\nann,a\nann,b,c\nann,d\n", ManifestKind.CSV)
    assert [(one.number, one.entry is None) for one in found] == [(2, False), (3, True), (4, False)]
    assert found[1].reason == "The line has 3 values for 2 columns."


def test_a_table_without_the_columns_is_refused() -> None:
    with pytest.raises(InvalidParameter):
        read("a,b\n", ManifestKind.CSV)


def test_lines_that_name_nobody_are_told(facerec: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    (tmp_path / "people.jsonl").write_text('{"person_id": "ann", "images": ["ann0.png"]}\nnobody\n')
    done = facerec("people", "import", "people.jsonl", "--json")
    assert (done.code, done.json["Persons"]) == (1, 1)
    assert done.json["Faults"] == [{"Line": 2, "Message": "The line is no JSON."}]
