"""`facerec export`, `import`, `backup` and `restore` as a person meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Outcome, Run, command_line  # noqa: F401 - a fixture

from facerec.engine.fake import draw


@pytest.fixture
def exported(facerec: Run, tmp_path: Path) -> Path:
    """An export, with its access key, of a collection with three faces."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(draw("ann"))
    (pictures / "b.png").write_bytes(draw("ben", "cid"))
    facerec("index", pictures, "--collection", "family", "--create")
    facerec("keys", "create", "--label", "laptop")
    done = facerec("export", tmp_path / "file", "--keys")
    assert done.code == 0, done.err
    assert "3 faces" in done.out
    assert "1 access keys are in it" in done.out
    return tmp_path / "file"


def elsewhere(facerec: Run, tmp_path: Path, *arguments: object) -> Outcome:
    """A command over another data folder."""
    return facerec("--data-dir", tmp_path / "other", *arguments)


def test_a_file_is_shown(facerec: Run, exported: Path) -> None:
    shown = facerec("import", exported, "--check", "--json").json
    assert [(one["CollectionId"], one["FaceCount"]) for one in shown["Collections"]] == [("family", 3)]
    assert shown["AccessKeys"] == 1
    assert "family" in facerec("import", exported, "--check").out


def test_conflicts_and_names(facerec: Run, exported: Path, tmp_path: Path) -> None:
    again = facerec("import", exported)
    assert again.code == 1
    assert "A collection family exists" in again.err
    assert "--on-conflict skip or replace" in again.err.replace("\n", " ")
    assert "family: skipped" in facerec("import", exported, "--on-conflict", "skip").out
    assert facerec("import", exported, "--rename", "family=friends").code == 0
    assert facerec("import", exported, "--on-conflict", "replace").code == 0
    names = [one["CollectionId"] for one in facerec("collections", "list", "--json").json]
    assert sorted(names) == ["family", "friends"]
    wrong = facerec("import", exported, "--rename", "friends")
    assert "OLD=NEW" in wrong.err
    assert "no collection other" in facerec("import", exported, "other").err
    assert facerec("import").code == 1
    assert "Gave up 0" in facerec("import", "--abandon").out


def test_access_keys_go_where_they_open(facerec: Run, exported: Path, tmp_path: Path) -> None:
    plain = elsewhere(facerec, tmp_path, "import", exported)
    assert plain.code == 0
    assert "--keys takes them too" in plain.err
    assert "no access keys" in elsewhere(facerec, tmp_path, "keys", "list").out
    wrong = elsewhere(facerec, tmp_path, "import", exported, "--keys", "--on-conflict", "skip")
    assert wrong.code == 1
    assert "does not open the secret" in wrong.err
    source = tmp_path / "data" / "master.key"
    right = elsewhere(
        facerec, tmp_path, "import", exported, "--keys", "--source-master-key", source, "--json"
    )
    assert right.json["AccessKeys"] == 1
    assert "laptop" in elsewhere(facerec, tmp_path, "keys", "list").out
    assert (tmp_path / "other" / "master.key").read_bytes() != source.read_bytes()
    # Sealed anew: the service can use it with its own master key.
    serving = elsewhere(facerec, tmp_path, "keys", "create")
    assert serving.code == 0


def test_another_model_is_told(
    facerec: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "was made with" not in elsewhere(facerec, tmp_path, "import", exported).err
    monkeypatch.setenv("MODEL_PATH", "buffalo_l")
    done = facerec("import", exported, "--rename", "family=third")
    assert done.code == 0
    assert "facerec packs pull buffalo_l" in done.err


def test_without_faces_or_collections(facerec: Run, tmp_path: Path) -> None:
    assert facerec("export", tmp_path / "empty").code == 0
    assert elsewhere(facerec, tmp_path, "import", tmp_path / "empty").code == 0
    missing = facerec("export", tmp_path / "empty", "people")
    assert missing.code == 1
    assert "people does not exist" in missing.err
