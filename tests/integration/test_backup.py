"""Backups of a serving installation, damaged ones, and what a restore puts back."""

from __future__ import annotations

import hashlib
import io
import random
import re
import shutil
import sqlite3
import subprocess
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from commands import Done, facerec, newcomer
from serving import Server, serving, wait_until

from facerec.engine.fake import draw
from facerec.errors import StorageError, UnreadableFile
from facerec.services import backup
from postgres_server import PostgresServer

pytestmark = pytest.mark.slow

ALBUM = "album"
GUIDE = Path(__file__).parents[2] / "docs" / "moving.md"


def image_of(number: int, variation: int = 0) -> bytes:
    return draw(f"person{number}", size=(160, 120), variation=variation)


def index(server: Server, numbers: range) -> list[str]:
    """Index a picture of each of these people; the face ids."""
    client = server.client()
    ids = [
        client.index_faces(
            CollectionId=ALBUM, Image={"Bytes": image_of(number)}, ExternalImageId=f"p{number}"
        )["FaceRecords"][0]["Face"]["FaceId"]
        for number in numbers
    ]
    client.close()
    return ids


def listed(server: Server) -> list[str]:
    client = server.client()
    pages = client.get_paginator("list_faces").paginate(CollectionId=ALBUM)
    ids = [face["FaceId"] for page in pages for face in page["Faces"]]
    client.close()
    return ids


def restore(path: Path, data: Path, *options: str) -> Done:
    return facerec(data, "restore", path, *options)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with an installation of ten faces, and its backup with the key; and the faces' ids."""
    folder = tmp_path_factory.mktemp("installation")
    with serving(folder / "saved") as server:
        server.client().create_collection(CollectionId=ALBUM)
        ids = index(server, range(10))
    facerec(folder / "saved", "keys", "create")
    done = facerec(folder / "saved", "backup", folder / "saved.tar", "--with-key")
    assert (done.code, done.err) == (0, "")
    return folder, ids


@pytest.fixture
def saved(tmp_path: Path, installation: tuple[Path, list[str]]) -> tuple[Path, list[str]]:
    """A backup with its key, beside the installation it is of, for one test alone; and its faces' ids."""
    folder, ids = installation
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "saved.tar", ids


def test_a_backup_under_load_has_every_acknowledged_face(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    acknowledged: list[str] = []
    ended = threading.Event()
    with serving(tmp_path / "data") as server:
        server.client().create_collection(CollectionId=ALBUM)

        def write() -> None:
            number = 0
            while not ended.is_set():
                acknowledged.extend(index(server, range(number, number + 1)))
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            wait_until(lambda: len(acknowledged) > 50)
            before = list(acknowledged)
            done = facerec(tmp_path / "data", "backup", folder, "--json")
            after = len(acknowledged)
        finally:
            ended.set()
            writer.join()
    assert done.code == 0, done.err
    assert after > len(before), "nothing was written during the backup"
    (path,) = folder.iterdir()
    assert done.json["File"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert restore(path, tmp_path / "restored").code == 0
    with serving(tmp_path / "restored") as server:
        present = listed(server)
        assert present[: len(before)] == before
        assert present == acknowledged[: len(present)]
        found = server.client().search_faces_by_image(
            CollectionId=ALBUM, Image={"Bytes": image_of(7, variation=1)}, MaxFaces=1
        )
        assert found["FaceMatches"][0]["Face"]["FaceId"] == before[7]


def test_a_restore_is_of_the_moment_of_the_backup(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    """Faces, keys, rights; and nothing of the index or of `facerec index` from another past."""
    path, ids = saved
    data = tmp_path / "saved"
    settings = {"FACEREC_INDEX_SNAPSHOT": "always"}
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "later.png").write_bytes(image_of(99))
    assert facerec(data, "index", pictures, "--collection", ALBUM, settings=settings).code == 0
    secret = (data / "master.key").read_bytes()

    assert restore(path, data, "--force").code == 0
    assert (data / "facerec.db").stat().st_mode & 0o777 == 0o600
    assert (data / "master.key").read_bytes() == secret
    # "videos" has the machine's name, which is the same whatever the data.
    assert sorted(entry.name for entry in data.iterdir()) == ["facerec.db", "master.key", "videos"]
    assert len(facerec(data, "keys", "list").out.splitlines()) == 1
    listing = facerec(data, "faces", "list", "--collection", ALBUM, "--json").json
    assert [face["FaceId"] for face in listing] == ids
    # The picture that was indexed after the backup is not taken for one that is there.
    again = facerec(data, "index", pictures, "--collection", ALBUM, "--json", settings=settings)
    assert (again.json["FacesIndexed"], again.json["AlreadyIndexed"]) == (1, 0)


def test_every_restore_has_an_identity_of_its_own(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    path, _ = saved
    for name in ("one", "two"):
        assert restore(path, tmp_path / name).code == 0
    identities = {store_id(tmp_path / name) for name in ("saved", "one", "two")}
    assert len(identities) == 3


def store_id(data: Path) -> str:
    with closing(sqlite3.connect(data / "facerec.db")) as connection:
        (value,) = connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
    return str(value)


def test_a_running_service_and_a_folder_in_use_are_refused(
    tmp_path: Path, saved: tuple[Path, list[str]]
) -> None:
    path, ids = saved
    done = restore(path, tmp_path / "saved")
    assert done.code == 1
    assert "is not empty (facerec.db, master.key" in done.err
    key = {"FACEREC_MASTER_KEY_FILE": str(tmp_path / "saved" / "master.key")}
    with serving(tmp_path / "other", settings=key) as server:
        server.client().create_collection(CollectionId=ALBUM)
        index(server, range(3))
        for options in ((), ("--force",)):
            done = restore(path, tmp_path / "other", *options)
            assert done.code == 1
            assert "Stop the service first" in done.err
        assert len(listed(server)) == 3
        server.kill()  # leaves its log beside the database
    assert (tmp_path / "other" / "facerec.db-wal").exists()
    assert restore(path, tmp_path / "other", "--force").code == 0
    listing = facerec(tmp_path / "other", "faces", "list", "--collection", ALBUM, "--json").json
    assert [face["FaceId"] for face in listing] == ids


def test_another_master_key_is_not_replaced_unasked(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    path, _ = saved
    key = tmp_path / "keys" / "master.key"
    key.parent.mkdir()
    key.write_text("another one\n")
    settings = {"FACEREC_MASTER_KEY_FILE": str(key)}
    done = facerec(tmp_path / "new", "restore", path, settings=settings)
    assert done.code == 1
    assert "another master key" in done.err
    assert not (tmp_path / "new" / "facerec.db").exists()
    assert facerec(tmp_path / "new", "restore", path, "--force", settings=settings).code == 0
    assert key.read_bytes() == (tmp_path / "saved" / "master.key").read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_backup_without_the_key_says_so(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    data = tmp_path / "saved"
    done = facerec(data, "backup", tmp_path / "plain.tar")
    assert done.code == 0
    assert f"keep a copy of {data / 'master.key'}" in done.err.replace("\n", " ")
    with tarfile.open(tmp_path / "plain.tar") as archive:
        assert archive.getnames() == ["facerec.db", "manifest.json", "SHA256SUMS"]
    restored = restore(tmp_path / "plain.tar", tmp_path / "new")
    assert restored.code == 0
    assert "The 1 access keys need the master key" in restored.err


def test_the_newest_backups_are_kept(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(1, 6):
        (folder / f"facerec-2024010{day}T000000Z.tar").write_bytes(b"older")
    for killed in ("facerec-20240101T000000Z.tar.part", "facerec-20240101T000000Z.tar.copy"):
        (folder / killed).write_text("what a killed one leaves")
    (folder / "notes.txt").write_text("mine")
    (folder / "facerec-holiday.tar").write_text("mine")
    done = facerec(tmp_path / "saved", "backup", folder, "--keep", "3", "--json")
    assert [Path(path).name for path in done.json["Removed"]] == [
        f"facerec-2024010{day}T000000Z.tar" for day in (1, 2, 3)
    ]
    left = {path.name for path in folder.iterdir()} - {Path(done.json["File"]).name}
    assert left == {
        *("notes.txt", "facerec-holiday.tar"),
        *("facerec-20240104T000000Z.tar", "facerec-20240105T000000Z.tar"),
    }
    assert facerec(tmp_path / "saved", "backup", folder / "file", "--keep", "3").code == 1


def test_a_full_disk_leaves_the_old_backup(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    path, _ = saved
    before = path.read_bytes()
    done = facerec(tmp_path / "saved", "backup", path, largest_file=100_000)
    assert done.code == 1
    assert "cannot be written" in done.err
    assert done.err.count("\n") == 1
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("saved.tar")] == ["saved.tar"]
    assert facerec(tmp_path / "saved", "backup", path).code == 0
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("saved.tar")] == ["saved.tar"]
    # And a restore that finds no room leaves the folder as it was.
    done = facerec(tmp_path / "new", "restore", path, largest_file=100_000)
    assert done.code == 1
    assert list((tmp_path / "new").iterdir()) == []


def test_damage_is_found(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    """A byte anywhere in what the archive holds, and a file that was cut short."""
    path, _ = saved
    content = path.read_bytes()
    used = used_bytes(content)
    chance = random.Random(3)
    copy, new = tmp_path / "damaged.tar", tmp_path / "new"
    for place in [*chance.sample(used, 60), *used[:3], *used[-3:]]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        copy.write_bytes(damaged)
        with pytest.raises(UnreadableFile, match="damaged"):
            backup.restore(copy, new, master_key=new / "master.key")
        assert list(new.iterdir()) == []
    for size in (0, 100, 511, 4_000, used[-1] - 10):
        copy.write_bytes(content[:size])
        with pytest.raises(UnreadableFile, match=r"cut short|no backup"):
            backup.restore(copy, new, master_key=new / "master.key")
        assert list(new.iterdir()) == []


def used_bytes(content: bytes) -> list[int]:
    """Places in a tar archive that hold something: the padding between its members holds nothing."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = archive.getmembers()
    places: list[int] = []
    for member in members:
        places += range(member.offset, member.offset + 100)
        places += range(member.offset_data, member.offset_data + member.size)
    return places


def test_files_that_are_no_backup(tmp_path: Path) -> None:
    """Names that lead out of the folder, links, doubles and giants are refused; nothing is written."""
    data = tmp_path / "new"
    cases = {
        "outside": [("../escaped", b"x")],
        "absolute": [(str(tmp_path / "escaped"), b"x")],
        "double": [("facerec.db", b"x"), ("facerec.db", b"y")],
        "giant": [("manifest.json", bytes(100_000))],
        "wrong database": [("facerec.db", b"no database" * 1000)],
    }
    for name, members in cases.items():
        path = tmp_path / name
        write_tar(path, members)
        with pytest.raises(UnreadableFile):
            backup.restore(path, data, master_key=data / "master.key")
    with tarfile.open(tmp_path / "link", "w") as archive:
        link = tarfile.TarInfo("facerec.db")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UnreadableFile, match="no backup of facerec"):
        backup.restore(tmp_path / "link", data, master_key=data / "master.key")
    assert not (tmp_path / "escaped").exists()
    assert list(data.iterdir()) == []
    with pytest.raises(StorageError, match="No such file"):
        backup.restore(tmp_path / "missing", data, master_key=data / "master.key")


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    """An archive with sums that are right."""
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members)
    manifest = b'{"format": 1, "as_of": 1.0}'
    sums += f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in [*members, ("manifest.json", manifest), ("SHA256SUMS", sums.encode())]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_a_backup_of_a_newer_version_is_told(tmp_path: Path, saved: tuple[Path, list[str]]) -> None:
    path, _ = saved
    with tarfile.open(path) as archive:
        archive.extract("facerec.db", tmp_path / "unpacked", filter="data")
    with closing(sqlite3.connect(tmp_path / "unpacked" / "facerec.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE meta SET value = '9999' WHERE name = 'oldest_serving'")
        connection.commit()
    write_tar(tmp_path / "newer", [("facerec.db", (tmp_path / "unpacked" / "facerec.db").read_bytes())])
    done = restore(tmp_path / "newer", tmp_path / "new")
    assert done.code == 1
    assert "Start the version that made it" in done.err
    assert list((tmp_path / "new").iterdir()) == []


def test_postgresql_has_its_own_tools(tmp_path: Path, postgres_url: str) -> None:
    settings = {"DATABASE_URL": postgres_url}
    for command in ("backup", "restore"):
        done = facerec(tmp_path / "data", command, tmp_path / "file", settings=settings)
        assert done.code == 1
        assert "pg_dump" in done.err
    assert not (tmp_path / "file").exists()


def test_nothing_to_back_up(tmp_path: Path) -> None:
    done = facerec(tmp_path / "data", "backup", tmp_path / "file")
    assert done.code == 1
    assert "There is no database" in done.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("store", ["embedded", "pgvector"])
def test_what_the_guide_says_of_postgresql_brings_back_what_was_there(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str, store: str
) -> None:
    """Its three lines: a dump while the service serves, and a restore over what came later."""
    text = GUIDE.read_text("utf-8").partition("### PostgreSQL")[2]
    block = re.search(r"^```\n(pg_dump .*?)^```$", text, re.M | re.S)
    assert block is not None
    dump, restoring, identity = block[1].splitlines()
    own = newcomer() | {"DATABASE_URL": postgres_url}
    own["PATH"] = f"{postgres_server.programs}:{own['PATH']}"

    def run(line: str) -> None:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    settings = {"DATABASE_URL": postgres_url, "VECTOR_STORE": store}
    data = tmp_path / "data"
    with serving(data, settings=settings) as server:
        server.client().create_collection(CollectionId=ALBUM)
        kept = index(server, range(10))
        run(dump)
        later = index(server, range(10, 15))
        server.client().delete_faces(CollectionId=ALBUM, FaceIds=kept[:3])
        assert listed(server) == kept[3:] + later
    run(restoring)
    run(identity)
    with serving(data, settings=settings) as server:
        assert listed(server) == kept
        for number in range(15):
            found = server.client().search_faces_by_image(
                CollectionId=ALBUM, Image={"Bytes": image_of(number, variation=1)}
            )["FaceMatches"]
            assert [match["Face"]["FaceId"] for match in found] == kept[number : number + 1]
        assert index(server, range(10, 12)) == later[:2]
    assert facerec(data, "verify", settings=settings).code == 0
