"""Forms of networks that are kept on disk."""

from __future__ import annotations

import logging
import os
import stat
import time
from pathlib import Path

import pytest

from facerec.engine.runtime import compiled_forms, processor
from facerec.engine.runtime.compiled_forms import KEPT_SECONDS, CompiledForms, Form
from facerec.errors import PackError

FORM = Form({"streams": 2, "input_shape": [1, None]}, b"compiled\n\x00 for this machine")


@pytest.fixture
def forms(tmp_path: Path) -> CompiledForms:
    return CompiledForms(tmp_path / "compiled", "ab" * 32)


def only_file(forms: CompiledForms) -> Path:
    (file,) = forms.folder.iterdir()
    return file


def test_what_was_kept_is_read_again_for_the_same_circumstances_alone(forms: CompiledForms) -> None:
    forms.write(FORM, threads=1, precision="int8")
    assert forms.read(precision="int8", threads=1) == FORM
    assert forms.read(threads=2, precision="int8") is None
    assert forms.read(threads=1) is None
    assert CompiledForms(forms.folder, "cd" * 32).read(threads=1, precision="int8") is None


def test_another_processor_has_forms_of_its_own(
    forms: CompiledForms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forms.write(FORM)
    told = tmp_path / "cpuinfo"
    told.write_text("flags : some other\n")
    monkeypatch.setattr(processor, "_CPUINFO", told)
    assert forms.read() is None


def test_other_code_makes_forms_of_its_own(forms: CompiledForms, monkeypatch: pytest.MonkeyPatch) -> None:
    forms.write(FORM)
    monkeypatch.setattr(compiled_forms, "_package_digest", lambda: "of the next version")
    assert forms.read() is None


def test_anew_reads_nothing_and_replaces_what_is_there(forms: CompiledForms) -> None:
    forms.write(FORM)
    assert forms.anew().read() is None
    forms.anew().write(Form({}, b"better"))
    assert forms.read() == Form({}, b"better")


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 100, -1])
def test_half_a_file_is_not_read(forms: CompiledForms, kept: int, caplog: pytest.LogCaptureFixture) -> None:
    forms.write(FORM)
    file = only_file(forms)
    file.write_bytes(file.read_bytes()[:kept])
    assert forms.read() is None
    assert caplog.messages == [f"{file} is damaged, and is made anew"]


def test_no_changed_byte_is_read(forms: CompiledForms) -> None:
    forms.write(FORM)
    file = only_file(forms)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert forms.read() is None
    file.write_bytes(whole)
    assert forms.read() == FORM


def test_forms_are_their_owners_alone(forms: CompiledForms) -> None:
    forms.write(FORM)
    assert stat.S_IMODE(forms.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(forms).stat().st_mode) == 0o600


def test_where_nothing_can_be_written_nothing_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    forms = CompiledForms(tmp_path / "file" / "compiled", "ab" * 32)
    forms.write(FORM)
    assert f"compiled networks are not kept in {forms.folder}: Not a directory" in caplog.messages
    assert forms.read() is None


def test_what_nobody_reads_goes_after_a_month(forms: CompiledForms) -> None:
    forms.write(FORM, of="old networks")
    forms.write(FORM, of="networks in use")
    half_written = forms.folder / ".half"
    half_written.touch()
    for file in forms.folder.iterdir():
        os.utime(file, (time.time() - KEPT_SECONDS - 60,) * 2)
    assert forms.read(of="networks in use") == FORM
    forms.write(FORM, of="new networks")
    assert forms.read(of="old networks") is None
    assert forms.read(of="networks in use") == FORM
    assert len(list(forms.folder.iterdir())) == 2
    assert not half_written.exists()


def test_a_network_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    file.write_bytes(b"weights")
    before = CompiledForms.of(file, tmp_path)
    file.write_bytes(b"other weights")
    assert before is not None
    assert CompiledForms.of(file, tmp_path) != before
    assert CompiledForms.of(file, None) is None
    with pytest.raises(PackError, match=r"gone\.onnx can not be read: No such file"):
        CompiledForms.of(tmp_path / "gone.onnx", tmp_path)
