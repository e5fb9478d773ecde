"""Packs pulled from made-up archives: from upstream, a mirror, offline; damaged; hostile."""

from __future__ import annotations

import hashlib
import io
import random
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from archive_server import ArchiveServer, serving

from facerec.engine.packs.additions import KNOWN_ADDITIONS, KnownAddition, known_addition
from facerec.engine.packs.download import Downloader
from facerec.engine.packs.install import PackStore, extract, verify_folder
from facerec.engine.packs.loading import pack_manifest
from facerec.engine.packs.manifest import read_manifest
from facerec.engine.packs.registry import (
    KNOWN_PACKS,
    KnownPack,
    Licence,
    Network,
    PinnedFile,
    Source,
    known_pack,
    manifest_text,
)
from facerec.errors import LicenseNotAccepted, NotFound, PackError

DETECTOR = random.Random(1).randbytes(40_000)
RECOGNIZER = random.Random(2).randbytes(300_000)


def pinned(name: str, content: bytes) -> PinnedFile:
    return PinnedFile(name, hashlib.sha256(content).hexdigest(), len(content))


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = zipped(
    {"tiny/": b"", "tiny/det.onnx": DETECTOR, "tiny/rec.onnx": RECOGNIZER, "tiny/other.onnx": b"unasked"}
)


def tiny_pack(address: str) -> KnownPack:
    return KnownPack(
        name="tiny",
        summary="made up",
        model_version="9.9",
        licence=Licence(name="for tests", address="http://localhost/licence", commercial_use=False),
        sources=(Source(pinned("tiny.zip", ARCHIVE), f"{address}/tiny.zip", archive=True),),
        detector=Network(kind="scrfd", file=pinned("det.onnx", DETECTOR)),
        detector_threshold=0.5,
        detector_nms=0.4,
        recognizer=Network(kind="onnx", file=pinned("rec.onnx", RECOGNIZER)),
        colour="rgb",
        mean=127.5,
        std=127.5,
        calibration=((-1.0, 0.0), (0.3, 80.0), (1.0, 100.0)),
        calibration_source="estimated: made up",
    )


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serving() as state:
        state.files["/tiny.zip"] = ARCHIVE
        yield state


def store(folder: Path, mirror: str | None = None) -> PackStore:
    return PackStore(
        folder, mirror=mirror, downloader=Downloader(first_pause=0.001, timeout=urllib3.Timeout(2))
    )


def silent(done: int, total: int) -> None:
    pass


def test_pull_verify_remove(server: ArchiveServer, tmp_path: Path) -> None:
    packs = store(tmp_path / "packs")
    assert packs.names() == []
    folder = packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)
    assert packs.names() == ["tiny"]
    assert packs.folder_of("tiny") == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "det.onnx",
        "licence.txt",
        "pack.toml",
        "rec.onnx",
    ]
    assert (folder / "rec.onnx").read_bytes() == RECOGNIZER
    assert "not allowed" in (folder / "licence.txt").read_text()
    assert packs.verify("tiny") == []
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.recognizer.digest) == ("tiny", tiny_pack("").recognizer.file.sha256)
    assert manifest.commercial_use is False
    assert [path.name for path in (tmp_path / "packs" / ".downloads").iterdir()] == []

    (folder / "rec.onnx").write_bytes(RECOGNIZER[:-1] + b"?")
    (folder / "det.onnx").unlink()
    faults = packs.verify("tiny")
    assert len(faults) == 2
    assert "det.onnx is missing" in faults
    assert any(fault.startswith("rec.onnx is damaged") for fault in faults)

    packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)
    assert packs.verify("tiny") == []
    packs.remove("tiny")
    assert packs.names() == []
    with pytest.raises(NotFound):
        packs.remove("tiny")


def test_an_installed_pack_is_not_fetched_again(server: ArchiveServer, tmp_path: Path) -> None:
    packs = store(tmp_path)
    packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)
    packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)
    assert len(server.requests) == 1


def test_licence_comes_first(server: ArchiveServer, tmp_path: Path) -> None:
    with pytest.raises(LicenseNotAccepted, match=r"for tests .*commercial use not allowed.*--accept-license"):
        store(tmp_path).pull(tiny_pack(server.address), accept_license=False, progress=silent)
    assert server.requests == []


def test_mirror_address(server: ArchiveServer, tmp_path: Path) -> None:
    server.files["/mirror/tiny.zip"] = ARCHIVE
    packs = store(tmp_path, mirror=f"{server.address}/mirror/")
    packs.pull(tiny_pack("http://127.0.0.1:9"), accept_license=True, progress=silent)
    assert packs.verify("tiny") == []
    assert server.requests == [("/mirror/tiny.zip", None)]


def test_mirror_folder_and_offline_files(tmp_path: Path) -> None:
    unreachable = tiny_pack("http://127.0.0.1:9")
    archives = tmp_path / "archives"
    archives.mkdir()
    (archives / "tiny.zip").write_bytes(ARCHIVE)
    files = tmp_path / "files"
    files.mkdir()
    (files / "det.onnx").write_bytes(DETECTOR)
    with pytest.raises(PackError, match=r"holds neither tiny.zip nor all of det.onnx, rec.onnx"):
        store(tmp_path / "0").pull(unreachable, accept_license=True, offline=files, progress=silent)
    (files / "rec.onnx").write_bytes(RECOGNIZER)

    store(tmp_path / "1", mirror=str(archives)).pull(unreachable, accept_license=True, progress=silent)
    for number, offline in enumerate([archives, archives / "tiny.zip", files], 2):
        packs = store(tmp_path / str(number))
        packs.pull(unreachable, accept_license=True, offline=offline, progress=silent)
        assert packs.verify("tiny") == []


def test_unreachable_network_names_the_ways_out(tmp_path: Path) -> None:
    with serving() as gone:
        address = gone.address
    with pytest.raises(PackError) as raised:
        store(tmp_path).pull(tiny_pack(address), accept_license=True, progress=silent)
    for part in (f"{address}/tiny.zip", "connection was refused", "--from", "FACEREC_PACK_MIRROR"):
        assert part in raised.value.message
    assert store(tmp_path).names() == []


def test_a_wrong_archive_installs_nothing(server: ArchiveServer, tmp_path: Path) -> None:
    server.files["/tiny.zip"] = ARCHIVE[:-1] + b"?"
    with pytest.raises(PackError, match="it must be"):
        store(tmp_path).pull(tiny_pack(server.address), accept_license=True, progress=silent)
    assert store(tmp_path).names() == []
    assert not list(tmp_path.glob(".tiny*"))


def test_members_can_lead_nowhere(tmp_path: Path) -> None:
    archive = tmp_path / "evil.zip"
    inside = tmp_path / "inside"
    inside.mkdir()
    wanted = (pinned("det.onnx", DETECTOR),)

    archive.write_bytes(zipped({"../det.onnx": DETECTOR, "/etc/passwd": b"x", "../../evil": b"x"}))
    extract(archive, wanted, inside)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["det.onnx", "evil.zip"]
    assert (inside / "det.onnx").read_bytes() == DETECTOR


def test_a_bomb_is_stopped_at_the_pinned_size(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"det.onnx": bytes(50_000_000)}))
    with pytest.raises(PackError, match="longer than the 40000 bytes"):
        extract(archive, (pinned("det.onnx", DETECTOR),), tmp_path)
    assert (tmp_path / "det.onnx").stat().st_size <= len(DETECTOR)


def test_unreadable_and_incomplete_archives(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"no zip at all")
    with pytest.raises(PackError, match="no readable zip"):
        extract(archive, (pinned("det.onnx", DETECTOR),), tmp_path)
    archive.write_bytes(zipped({"rec.onnx": RECOGNIZER}))
    with pytest.raises(PackError, match=r"a.zip holds no det.onnx"):
        extract(archive, (pinned("det.onnx", DETECTOR),), tmp_path)
    archive.write_bytes(zipped({"det.onnx": DETECTOR[::-1]}))
    with pytest.raises(PackError, match="is not the expected file"):
        extract(archive, (pinned("det.onnx", DETECTOR),), tmp_path)


@pytest.mark.parametrize("name", ["../packs", "", ".", "a/b", ".downloads"])
def test_names_can_lead_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "pack.toml").write_text("")
    with pytest.raises(NotFound):
        store(tmp_path / "packs").remove(name)


def test_a_linked_pack_is_unlinked_not_emptied(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "pack.toml").write_text("")
    folder = tmp_path / "packs"
    folder.mkdir()
    (folder / "own").symlink_to(own)
    store(folder).remove("own")
    assert (own / "pack.toml").exists()
    assert store(folder).names() == []


def test_known_packs_are_pinned_and_their_manifests_read() -> None:
    assert len({pack.name for pack in KNOWN_PACKS}) == len(KNOWN_PACKS)
    assert len({pack.model_version for pack in KNOWN_PACKS}) == len(KNOWN_PACKS)
    for pack in KNOWN_PACKS:
        manifest = tomllib.loads(manifest_text(pack))
        assert manifest["pack"]["name"] == pack.name
        assert manifest["recognizer"]["file"] == pack.recognizer.file.name
        for file in (*pack.files, *(source.file for source in pack.sources)):
            assert len(bytes.fromhex(file.sha256)) == 32
        similarities = [similarity for _, similarity in pack.calibration]
        assert similarities == sorted(similarities)
        assert "estimated" in pack.calibration_source
    with pytest.raises(NotFound, match="buffalo_l"):
        known_pack("nothing")


NARROW, WIDE = random.Random(3).randbytes(10_000), random.Random(4).randbytes(12_000)


def liveness(address: str) -> KnownAddition:
    return KnownAddition(
        name="tiny_liveness",
        summary="made up",
        licence=Licence(name="for tests", address="http://localhost/licence", commercial_use=True),
        networks=tuple(
            (Source(pinned(name, content), f"{address}/{name}", archive=False), scale)
            for name, content, scale in (("narrow.onnx", NARROW, 2.7), ("wide.onnx", WIDE, 4.0))
        ),
    )


def test_what_is_added_to_a_pack_is_a_part_of_it(server: ArchiveServer, tmp_path: Path) -> None:
    server.files |= {"/narrow.onnx": NARROW, "/wide.onnx": WIDE}
    packs = store(tmp_path / "packs")
    folder = packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)
    before = pack_manifest(folder)
    with pytest.raises(LicenseNotAccepted, match="for tests"):
        packs.add(liveness(server.address), folder, accept_license=False, progress=silent)
    assert pack_manifest(folder) == before
    packs.add(liveness(server.address), folder, accept_license=True, progress=silent)
    after = pack_manifest(folder)
    assert [(one.kind, one.file.name, one.scale) for one in after.liveness] == [
        ("minifasnet", "narrow.onnx", 2.7),
        ("minifasnet", "wide.onnx", 4.0),
    ]
    assert after.contract(128) == before.contract(128)
    assert packs.verify("tiny") == []
    packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)  # nothing to mend: it stays
    assert pack_manifest(folder).liveness
    (folder / "wide.onnx").write_bytes(WIDE[:-1] + b"?")
    (fault,) = verify_folder(folder)
    assert "wide.onnx is damaged" in fault
    with pytest.raises(PackError, match="another one"):
        pack_manifest(folder)
    packs.add(
        liveness("http://localhost:1"), folder, accept_license=True, offline=_kept(tmp_path), progress=silent
    )
    assert verify_folder(folder) == []


def _kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "narrow.onnx").write_bytes(NARROW)
    (folder / "wide.onnx").write_bytes(WIDE)
    return folder


def test_a_wrong_file_leaves_the_pack_as_it_was(server: ArchiveServer, tmp_path: Path) -> None:
    server.files |= {"/narrow.onnx": NARROW, "/wide.onnx": NARROW}
    packs = store(tmp_path / "packs")
    folder = packs.pull(tiny_pack(server.address), accept_license=True, progress=silent)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(PackError, match=r"wide\.onnx"):
        packs.add(liveness(server.address), folder, accept_license=True, progress=silent)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_additions_that_are_known() -> None:
    for addition in KNOWN_ADDITIONS:
        assert known_addition(addition.name) is addition
        assert addition.licence.commercial_use
        assert all(len(file.sha256) == 64 and file.size > 10_000 for file in addition.files)
    with pytest.raises(NotFound, match="minifasnet"):
        known_addition("none")
