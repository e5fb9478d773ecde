"""What the command line does to people is in the audit log, under the name of the system's user."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

from command_line import Run, command_line, three_pictures

from facerec.engine.fake import draw

__all__ = ["command_line", "three_pictures"]

ME = f"user:{pwd.getpwuid(os.getuid()).pw_name}"


def entries(facerec: Run, *options: object) -> list[dict[str, Any]]:
    """The oldest first."""
    return sorted(facerec("audit", "list", "--json", *options).json, key=lambda entry: entry["at"])


def test_commands_are_written(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    facerec("index", pictures, "--collection", "door", "--create")
    found = facerec("search", pictures / "a.png", "--collection", "door", "--json").json["FaceMatches"]
    face = found[0]["Face"]["FaceId"]
    facerec("faces", "list", "--collection", "door")
    facerec("users", "create", "ann", "--collection", "door")
    facerec("users", "associate", "ann", face, "--collection", "door")
    assert facerec("users", "delete", "bob", "--collection", "door", "--yes").code == 1
    facerec("forget", "ann", "--yes")
    facerec("export", tmp_path / "all.facerec")
    facerec("import", tmp_path / "all.facerec", "--rename", "door=hall")
    facerec("collections", "delete", "door", "--yes")
    written = entries(facerec)
    assert {(entry["door"], entry["key"], entry["client"]) for entry in written} == {("cli", ME, "-")}
    told = [(entry["operation"], entry["collection"], entry["outcome"]) for entry in written]
    assert sorted(told[:4]) == [
        ("collections create", "door", "ok"),
        ("index", "door", "ok"),
        ("index", "door", "ok"),
        ("index", "door", "ok"),
    ]
    assert told[4:] == [
        ("search", "door", "ok"),
        ("users create", "door", "ok"),
        ("users associate", "door", "ok"),
        ("users delete", "door", "NotFound"),
        ("forget", "door", "ok"),
        ("export", "door", "ok"),
        ("import", "hall", "ok"),
        ("collections delete", "door", "ok"),
    ]
    forgotten = next(entry for entry in written if entry["operation"] == "forget")
    assert forgotten["faces"] == [face]
    assert sum(entry["face_count"] for entry in written if entry["operation"] == "index") == 3
    assert "ann" not in json.dumps([entry["people"] for entry in written])
    assert facerec("audit", "verify").code == 0


def test_keys_are_written_without_their_secrets(facerec: Run) -> None:
    made = facerec("keys", "create", "--json").json
    facerec("keys", "revoke", made["AccessKeyId"])
    written = entries(facerec)
    assert [(entry["operation"], entry["access_key"]) for entry in written] == [
        ("keys create", made["AccessKeyId"]),
        ("keys revoke", made["AccessKeyId"]),
    ]
    assert made["SecretAccessKey"] not in json.dumps(written)


def test_persons_of_a_manifest_are_written_one_by_one(facerec: Run, tmp_path: Path) -> None:
    (tmp_path / "ann.png").write_bytes(draw("ann"))
    (tmp_path / "people.csv").write_text("person_id,image\nann,ann.png\n")
    facerec("people", "import", "people.csv")
    (entry,) = entries(facerec, "--person", "ann")
    assert (entry["operation"], entry["collection"], entry["face_count"]) == ("people import", "persons", 1)


def test_a_persons_entries_are_found_behind_newer_ones(facerec: Run) -> None:
    facerec("collections", "create", "door")
    facerec("users", "create", "ann", "--collection", "door")
    for name in ("bob", "cleo"):
        facerec("users", "create", name, "--collection", "door")
    assert len(entries(facerec, "--limit", 1)) == 1
    assert [entry["operation"] for entry in entries(facerec, "--limit", 1, "--person", "ann")] == [
        "users create"
    ]
