from __future__ import annotations

import base64
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerec.auth.sealing import Sealer, read_master_key, read_or_create_master_key
from facerec.errors import ConfigurationError


@given(key=st.binary(min_size=32, max_size=32), secret=st.text(), name=st.text())
def test_what_is_sealed_opens_again_and_shows_nothing(key: bytes, secret: str, name: str) -> None:
    sealer = Sealer(key, Path("master.key"))
    sealed = sealer.seal(secret, name)
    assert sealer.open(sealed, name) == secret
    assert len(sealed) == 1 + 12 + len(secret.encode()) + 16
    assert sealer.seal(secret, name) != sealed


@given(position=st.integers(min_value=0, max_value=56 * 8 - 1))
def test_no_bit_of_what_is_sealed_can_be_changed(position: int) -> None:
    sealer = Sealer(bytes(32), Path("master.key"))
    sealed = bytearray(sealer.seal("s" * 27, "AKIA"))
    sealed[position // 8] ^= 1 << position % 8
    with pytest.raises(ConfigurationError):
        sealer.open(bytes(sealed), "AKIA")


def test_a_sealed_secret_can_not_take_another_ones_place() -> None:
    sealer = Sealer(bytes(32), Path("master.key"))
    with pytest.raises(ConfigurationError, match="secret of AKIAB"):
        sealer.open(sealer.seal("secret", "AKIAA"), "AKIAB")


def test_the_wrong_key_says_so() -> None:
    sealed = Sealer(bytes(32), Path("one.key")).seal("secret", "AKIA")
    with pytest.raises(ConfigurationError, match=r"The master key other\.key does not open"):
        Sealer(b"x" * 32, Path("other.key")).open(sealed, "AKIA")


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "master.key"
    sealed = read_or_create_master_key(path).seal("secret", "AKIA")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert read_or_create_master_key(path).open(sealed, "AKIA") == "secret"
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_many_that_make_the_key_at_once_use_the_same(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    start = threading.Barrier(8)
    sealers: list[Sealer] = []

    def make() -> None:
        start.wait()
        sealers.append(read_or_create_master_key(path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = sealers[0].seal("secret", "AKIA")
    assert [sealer.open(sealed, "AKIA") for sealer in sealers] == ["secret"] * 8


@pytest.mark.parametrize("content", [b"", b"short", base64.b64encode(bytes(31)), b"\xff" * 44])
def test_a_file_that_holds_no_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="holds no master key: 32 random bytes in base64"):
        read_or_create_master_key(path)
    assert path.read_bytes() == content


def test_a_missing_key_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"master\.key is missing"):
        read_master_key(tmp_path / "master.key")


def test_a_place_where_no_key_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="can not be made: File exists"):
        read_or_create_master_key(tmp_path / "file" / "master.key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_key_that_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.touch(mode=0o200)
    with pytest.raises(ConfigurationError, match="can not be read: Permission denied"):
        read_master_key(path)


def test_a_folder_in_the_place_of_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can not be read: Is a directory"):
        read_master_key(tmp_path)
