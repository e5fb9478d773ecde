"""The use cases through the command line, on drawn pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from command_line import Run, command_line  # noqa: F401 - a fixture
from PIL import Image

from facerec.cli.commands import COMMANDS
from facerec.cli.pictures import ExternalIds, external_id
from facerec.engine.fake import FakeFace, draw


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Ann twice, Ben and Cid once together, a picture without a face, and one in a folder below."""
    folder = tmp_path / "album"
    (folder / "2024").mkdir(parents=True)
    (folder / "ann.png").write_bytes(draw("ann"))
    (folder / "2024" / "ann.png").write_bytes(draw("ann", variation=1))
    (folder / "ben and cid.png").write_bytes(draw("ben", "cid"))
    (folder / "empty.png").write_bytes(draw())
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_index_and_search(facerec: Run, album: Path, tmp_path: Path) -> None:
    indexed = facerec("index", album, "--collection", "family", "--create", "--json")
    assert indexed.code == 0, indexed.err
    assert indexed.json["FacesIndexed"] == 4
    assert indexed.json["Pictures"] == 4
    assert indexed.json["Failures"] == []

    probe = tmp_path / "probe.png"
    probe.write_bytes(draw("ann", variation=2))
    found = facerec("search", probe, "--collection", "family", "--json").json["FaceMatches"]
    assert {match["Face"]["ExternalImageId"] for match in found} == {"ann.png", "2024:ann.png"}
    assert all(match["Similarity"] >= 80 and match["Cosine"] > 0.9 for match in found)

    probe.write_bytes(draw("nobody"))
    assert facerec("search", probe, "--collection", "family", "--json").json["FaceMatches"] == []
    assert "nobody at similarity 80" in facerec("search", probe, "--collection", "family").out


def test_index_again_stores_and_looks_at_nothing_twice(facerec: Run, album: Path) -> None:
    facerec("index", album, "--collection", "family", "--create")
    again = facerec("index", album, "--collection", "family", "--json").json
    assert (again["AlreadyIndexed"], again["FacesIndexed"], again["FaceCount"]) == (4, 0, 4)
    forced = facerec("index", album, "--collection", "family", "--again", "--json").json
    assert (forced["AlreadyIndexed"], forced["FacesIndexed"], forced["FaceCount"]) == (0, 4, 4)

    (album / "dan.png").write_bytes(draw("dan"))
    (album / "ann.png").write_bytes(draw("ann", variation=7))
    more = facerec("index", album, "--collection", "family", "--json").json
    assert (more["AlreadyIndexed"], more["FacesIndexed"], more["FaceCount"]) == (3, 2, 6)


def test_a_collection_made_anew_is_filled_anew(facerec: Run, album: Path) -> None:
    facerec("index", album, "--collection", "family", "--create")
    assert facerec("collections", "delete", "family", "--yes").code == 0
    anew = facerec("index", album, "--collection", "family", "--create", "--json").json
    assert (anew["AlreadyIndexed"], anew["FaceCount"]) == (0, 4)


def test_a_killed_run_goes_on(facerec: Run, album: Path, tmp_path: Path) -> None:
    facerec("index", album, "--collection", "family", "--create")
    (journal,) = (tmp_path / "data" / "indexed").iterdir()
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:2]) + "\n" + lines[2][:10])  # cut off in the middle of a line
    result = facerec("index", album, "--collection", "family", "--json").json
    assert (result["AlreadyIndexed"], result["FaceCount"]) == (2, 4)


def test_index_goes_on_past_broken_pictures(facerec: Run, album: Path) -> None:
    (album / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    result = facerec("index", album, "--collection", "family", "--create", "--json")
    assert result.code == 1
    assert [Path(failure["Path"]).name for failure in result.json["Failures"]] == ["broken.jpg"]
    assert result.json["FaceCount"] == 4
    listed = facerec("index", album, "--collection", "family")
    assert listed.code == 1
    assert f"{album / 'broken.jpg'}: " in listed.err


def test_poor_faces_are_counted(facerec: Run, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "a.png").write_bytes(draw("ann", FakeFace("ben", dim=True)))
    result = facerec("index", folder, "--collection", "c", "--create", "--json").json
    assert (result["FacesIndexed"], result["FacesLeftOut"]) == (1, 1)
    everything = ("index", folder, "--collection", "d", "--create", "--quality-filter", "NONE", "--json")
    assert facerec(*everything).json["FacesIndexed"] == 2


def test_external_ids() -> None:
    def made(path: str, kind: ExternalIds = ExternalIds.PATH) -> str:
        return external_id(PurePosixPath(path), kind) or ""

    assert external_id(PurePosixPath("a.jpg"), ExternalIds.NONE) is None
    assert made("a/b.jpg") == "a:b.jpg"
    assert made("a/b.jpg", ExternalIds.NAME) == "b.jpg"
    paths = [
        "ä/b.jpg",
        "ö/b.jpg",
        "a b.jpg",
        "a_b.jpg",
        "a:b.jpg",
        "a/b.jpg",
        "x" * 300,
        "x" * 301,
        "a\tb.jpg",
    ]
    ids = [made(path) for path in paths]
    assert len(set(ids)) == len(paths)
    for identifier in ids:
        assert 1 <= len(identifier) <= 255
        assert set(identifier) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")


def test_detect_draws_beside_the_picture(facerec: Run, tmp_path: Path) -> None:
    picture = tmp_path / "two.png"
    picture.write_bytes(draw("ann", "ben"))
    target = tmp_path / "drawn" / "two.png"
    result = facerec("detect", picture, "--draw", target, "--json")
    assert result.code == 0, result.err
    assert len(result.json["FaceDetails"]) == 2
    with Image.open(target) as drawn, Image.open(picture) as original:
        assert drawn.size == original.size
        assert drawn.convert("RGB").tobytes() != original.convert("RGB").tobytes()
    before = picture.read_bytes()
    over = facerec("detect", picture, "--draw", picture)
    assert over.code == 1
    assert "choose another file" in over.err
    assert picture.read_bytes() == before
    assert "two.png: 2 faces" in facerec("detect", picture).out


def test_compare(facerec: Run, tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    one.write_bytes(draw("ann"))
    other.write_bytes(draw("ben", "ann", variation=3))
    result = facerec("compare", one, other, "--json").json
    assert len(result["FaceMatches"]) == 1
    assert len(result["UnmatchedFaces"]) == 1
    assert result["FaceMatches"][0]["Similarity"] > 80
    assert "same person" in facerec("compare", one, other).out


def test_collections_faces_users(facerec: Run, album: Path, tmp_path: Path) -> None:
    assert "no collections" in facerec("collections", "list").out
    assert facerec("collections", "create", "family", "--json").json["FaceCount"] == 0
    assert facerec("collections", "create", "family").code == 1
    facerec("index", album, "--collection", "family")
    assert facerec("collections", "describe", "family", "--json").json["FaceCount"] == 4
    assert [c["CollectionId"] for c in facerec("collections", "list", "--json").json] == ["family"]

    faces = facerec("faces", "list", "--collection", "family", "--json").json
    by_name = {face["ExternalImageId"]: face["FaceId"] for face in faces}
    near = facerec("faces", "search", by_name["ann.png"], "--collection", "family", "--json").json
    assert [match["Face"]["FaceId"] for match in near["FaceMatches"]] == [by_name["2024:ann.png"]]

    assert facerec("users", "create", "ann", "--collection", "family").code == 0
    both = (by_name["ann.png"], by_name["2024:ann.png"])
    associated = facerec("users", "associate", "ann", *both, "--collection", "family", "--json").json
    assert sorted(associated["AssociatedFaces"]) == sorted(both)
    users = facerec("users", "list", "--collection", "family", "--json").json
    assert users == [{"UserId": "ann", "UserStatus": "ACTIVE", "FaceCount": 2}]
    own = facerec("faces", "list", "--collection", "family", "--user", "ann", "--json").json
    assert sorted(face["FaceId"] for face in own) == sorted(both)

    probe = tmp_path / "probe.png"
    probe.write_bytes(draw("ann", variation=9))
    matches = facerec("users", "search", "--image", probe, "--collection", "family", "--json").json
    assert [match["User"]["UserId"] for match in matches["UserMatches"]] == ["ann"]
    assert facerec("users", "search", "--collection", "family").code == 1

    kept = facerec("faces", "delete", both[0], "--collection", "family", "--json")
    assert kept.code == 1
    assert kept.json["UnsuccessfulFaceDeletions"][0]["Reasons"] == ["ASSOCIATED_TO_AN_EXISTING_USER"]
    assert facerec("users", "disassociate", "ann", both[0], "--collection", "family").code == 0
    assert facerec("faces", "delete", both[0], "--collection", "family").code == 0
    assert facerec("users", "delete", "ann", "--collection", "family", "--yes").code == 0
    assert facerec("collections", "describe", "family", "--json").json["UserCount"] == 0


def test_errors_are_one_line(facerec: Run, tmp_path: Path) -> None:
    for arguments in (
        ("search", tmp_path / "absent.png", "--collection", "none"),
        ("index", tmp_path / "absent", "--collection", "none"),
        ("collections", "describe", "none"),
        ("packs", "pull", "nothing"),
        ("packs", "verify", "../nothing"),
        ("compare", tmp_path / "absent.png", tmp_path / "absent.png"),
    ):
        result = facerec(*arguments)
        assert result.code == 1, arguments
        assert result.out == ""
        assert result.err.startswith("Error: ")
        assert len(result.err.strip().splitlines()) == 1
    assert facerec("search", "x.png").code == 2
    assert facerec("no-such-command").code == 2


def test_deleting_asks_first(facerec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    facerec("collections", "create", "family")
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert facerec("collections", "delete", "family").code == 1
    assert len(facerec("collections", "list", "--json").json) == 1


def test_version_and_data_dir(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "facerec"
    environment = {**os.environ, "MODEL_PATH": "fake"}
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.startswith("facerec 0.")
    subprocess.run(
        [script, "--data-dir", tmp_path / "elsewhere", "collections", "create", "family"],
        check=True,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
    )
    assert (tmp_path / "elsewhere").is_dir()
    assert not (tmp_path / "data").exists()


def test_packs_list_and_show(facerec: Run) -> None:
    packs = {pack["Name"]: pack for pack in facerec("packs", "list", "--json").json}
    assert packs["dlib"]["State"] == "built in"
    assert packs["buffalo_l"]["CommercialUse"] is False
    shown = facerec("packs", "show", "buffalo_s", "--json").json
    assert shown["calibration"]["source"].startswith("estimated")
    refused = facerec("packs", "pull", "buffalo_s")
    assert refused.code == 1
    assert "--accept-license" in refused.err
    assert "NOT allowed" in refused.err


def test_pulled_files_are_checked(facerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    pull = ("packs", "pull", "buffalo_sc", "--accept-license")
    assert "does not exist" in facerec(*pull, "--from", tmp_path / "absent").err
    monkeypatch.setenv("FACEREC_PACK_MIRROR", str(folder))
    assert "holds neither buffalo_sc.zip nor all of det_500m.onnx" in facerec(*pull).err
    (folder / "buffalo_sc.zip").write_bytes(b"another archive")
    for wrong in (facerec(*pull), facerec(*pull, "--from", folder / "buffalo_sc.zip")):
        assert wrong.code == 1
        assert "is not the expected buffalo_sc.zip" in wrong.err
        assert "non-commercial research" in wrong.err
    assert facerec("packs", "remove", "buffalo_sc", "--yes").code == 1


def test_own_folder_is_shown_verified_and_removed(facerec: Run, tmp_path: Path) -> None:
    own = tmp_path / "data" / "packs" / "own"
    own.mkdir(parents=True)
    (own / "net.onnx").write_bytes(b"weights")
    (own / "pack.toml").write_text(f'[detector]\nfile = "net.onnx"\nsha256 = "{"0" * 64}"\n')
    assert "own" in {pack["Name"] for pack in facerec("packs", "list", "--json").json}
    damaged = facerec("packs", "verify", own)
    assert damaged.code == 1
    assert "net.onnx is damaged" in damaged.out
    assert facerec("packs", "remove", "own", "--yes", "--json").json == {"Name": "own", "Removed": True}
    assert not own.exists()


def test_a_manifest_that_is_not_understood_is_a_fault(facerec: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    assert "a pack is a folder with a pack.toml" in facerec("packs", "verify", own).out
    (own / "pack.toml").write_text('[pack]\nname = "own"\nmodel_version = "1.0"\nlicense = "ours"\n')
    misspelt = facerec("packs", "verify", own)
    assert misspelt.code == 1
    assert "[pack] license is not known" in misspelt.out


def test_check_reports_what_is_wrong(facerec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = tmp_path / "ann.png"
    picture.write_bytes(draw("ann"))
    well = facerec("check", picture, "--json")
    assert well.code == 0, well.out
    assert well.json["sample"].endswith("faces: 1")
    monkeypatch.setenv("MODEL_PATH", "buffalo_l")
    wrong = facerec("check", "--json")
    assert wrong.code == 1
    assert "facerec packs pull buffalo_l" in wrong.json["faults"][0]


def test_demo_groups_people_across_photos(facerec: Run, album: Path, tmp_path: Path) -> None:
    target = tmp_path / "who.png"
    result = facerec("demo", album, "-o", target, "--json")
    assert result.code == 0, result.err
    (ann,) = result.json["People"]
    assert sorted(ann["Photos"]) == [str(Path("2024", "ann.png")), "ann.png"]
    assert result.json["SeenOnce"] == 2
    with Image.open(target) as drawn:
        assert drawn.width > 400
    assert not (tmp_path / "data" / "facerec.db").exists()  # its data went away with it
    over = facerec("demo", album, "-o", album / "ann.png")
    assert over.code == 1
    assert "choose another file" in over.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(facerec: Run, command: str) -> None:
    shown = facerec(command, "--help")
    assert shown.code == 0
    assert shown.out.startswith(f"Usage: facerec {command} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_how_its_help_begins(facerec: Run, name: str) -> None:
    shown = " ".join(facerec(name, "--help").out.split())
    assert COMMANDS[name][1].rstrip(".") in shown


def test_the_list_of_commands_has_a_line_for_each(facerec: Run) -> None:
    shown = facerec("--help")
    assert shown.code == 0
    listed = " ".join(shown.out.partition("Commands:\n")[2].split())
    assert listed == " ".join(f"{name} {says}" for name, (_, says) in COMMANDS.items())


def test_a_command_loads_no_more_than_it_needs() -> None:
    program = (
        "import sys, facerec.cli.commands; facerec.cli.commands.app(['--help'], standalone_mode=False); "
        "print(*(name for name in sys.modules if name.startswith('facerec.')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = ended.stdout.splitlines()[-1].split()
    assert {name.split(".")[1] for name in loaded} <= {"cli", "config", "domain", "errors", "access"}
    assert {name for name in loaded if name.startswith("facerec.cli.")} == {
        "facerec.cli.commands",
        "facerec.cli.output",
    }
