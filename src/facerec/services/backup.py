"""Backups of an installation over SQLite: one file with the database as it is at one moment.

A backup is a tar archive, without compression, of `facerec.db`, `master.key` if it was asked for,
`manifest.json`, and `SHA256SUMS` of the three, which `sha256sum -c` reads. The index is not in it: it is
derived from the database and built anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from facerec.db import Database
from facerec.errors import ConfigurationError, Conflict, StorageError, UnreadableFile
from facerec.metastore import copies
from facerec.metastore.copies import DATABASE_FILE, LOG_FILES
from facerec.services.whole_file import PART, growing, in_use, sync_folder

FORMAT = 1
MASTER_KEY, MANIFEST, SUMS = "master.key", "manifest.json", "SHA256SUMS"

DERIVED = ("vectors", "indexed")
"""Folders of a data folder that follow from its database: the index, and what `facerec index` remembers to
have indexed. After a restore they would be of another past."""

KEPT = frozenset({"packs", "compiled"})
"""What may lie in a data folder that counts as empty, and stays there: models, also as they are compiled."""

_MEMBERS = (DATABASE_FILE, MASTER_KEY, MANIFEST, SUMS)
_LARGEST_SMALL_FILE = 1 << 16
_CHUNK = 1 << 20
_NAME = re.compile(r"facerec-\d{8}T\d{6}Z\.tar")
_UNFINISHED = re.compile(_NAME.pattern + r"\.(part|copy)")
_COPY = ".copy"
_RESTORING = ".restoring-"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made."""

    path: Path
    size: int
    """Bytes."""
    with_key: bool
    removed: tuple[Path, ...]
    """Older ones that made room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a data folder holds now."""

    as_of: float
    """Moment of the backup, in seconds since the epoch."""
    faces: int
    access_keys: int
    """Those that are not revoked."""
    with_key: bool
    """Whether the master key was in the backup."""


def back_up(
    database: Database,
    target: Path,
    *,
    master_key: Path | None = None,
    keep: int | None = None,
    progress: Progress = lambda _done, _all: None,
    clock: Callable[[], float] = time.time,
) -> Backup:
    """Write a backup to the file `target`, or under a name of its own in the folder `target`.

    Others may read and write meanwhile. master_key: the file of the key that seals secrets, to be put in;
    without it the backup opens no access key. keep: in a folder, how many backups stay, the newest; older
    ones are removed when the new one is whole. progress: told (done, in all). The disk needs room for the
    database twice. Raises ConfigurationError for PostgreSQL, Conflict while another backup is written there,
    StorageError.
    """
    if database.url.get_backend_name() != "sqlite":
        raise ConfigurationError(POSTGRESQL)
    moment = clock()
    if keep is not None and not target.is_dir():
        raise ConfigurationError(f"--keep is for backups in a folder; {target} is none.")
    path = target / _file_name(moment) if target.is_dir() else target
    key = None if master_key is None else _read_key(master_key)
    if target.is_dir():
        _clear_unfinished(target)
    with growing(path) as stream:
        try:
            with _copied(database, path, progress) as copy:
                _write(stream, copy, key, moment)
        except BaseException:
            path.with_name(path.name + PART).unlink(missing_ok=True)
            raise
    removed = [] if keep is None else _rotate(target, keep, path)
    return Backup(path=path, size=path.stat().st_size, with_key=key is not None, removed=tuple(removed))


def restore(
    path: Path,
    data_dir: Path,
    *,
    master_key: Path,
    force: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Restored:
    """Put the database of a backup, and the master key if it has one, into a data folder that is empty.

    master_key: where the key belongs. force: into a folder that is not, too: database, index and, where the
    backup has one, key are replaced; models stay. The folder is changed only when all of the backup is there
    and sound. progress: told (bytes read, bytes in all). Raises Conflict while a service has the database
    open, or without `force`; UnreadableFile, StorageError.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        present = data_dir / DATABASE_FILE
        lock = copies.keep_closed(present) if present.exists() else None
        try:
            _require_empty(data_dir, force)
            for left in data_dir.glob(f"{_RESTORING}*"):
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(dir=data_dir, prefix=_RESTORING) as name:
                folder = Path(name)
                with_key, as_of = _extract(path, folder, progress)
                faces, keys = copies.adopt(folder)
                if with_key:
                    _check_key(folder / MASTER_KEY, master_key, force)
                _put_in_place(folder, data_dir, master_key if with_key else None)
        finally:
            if lock is not None:
                os.close(lock)
    except OSError as error:
        raise StorageError(f"{path} cannot be restored to {data_dir}: {error.strerror or error}.") from error
    return Restored(as_of=as_of, faces=faces, access_keys=keys, with_key=with_key)


POSTGRESQL = (
    "The database is PostgreSQL, which has better tools for it: `pg_dump --format=custom --file=facerec.dump "
    "DATABASE_URL` for a copy and `pg_restore` for its way back, or base backups with archived logs for "
    "every moment (docs/moving.md). Keep the master key with it. `facerec export` works with every database."
)


# --- making


@contextmanager
def _copied(database: Database, path: Path, progress: Progress) -> Iterator[Path]:
    """A copy of the database beside the backup to be, removed in the end."""
    copy = path.with_name(path.name + _COPY)
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        copies.copy(database, copy, progress)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _write(stream: BinaryIO, copy: Path, key: bytes | None, moment: float) -> None:
    """Write the archive, over whatever a broken off run has left."""
    stream.seek(0)
    stream.truncate()
    manifest = {
        "format": FORMAT,
        "facerec": version("facerec"),
        "as_of": moment,
        "with_key": key is not None,
    }
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        with copy.open("rb") as database:
            sums = {DATABASE_FILE: hashlib.file_digest(database, "sha256").hexdigest()}
            database.seek(0)
            archive.addfile(_member(DATABASE_FILE, copy.stat().st_size, moment), database)
        small = {MANIFEST: json.dumps(manifest, indent=2).encode() + b"\n"}
        if key is not None:
            small[MASTER_KEY] = key
        sums |= {name: hashlib.sha256(content).hexdigest() for name, content in small.items()}
        small[SUMS] = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
        for name, content in small.items():
            archive.addfile(_member(name, len(content), moment), io.BytesIO(content))


def _member(name: str, size: int, moment: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(moment)
    return member


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The master key {path} can not be read: {error.strerror}.") from error


def _file_name(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("facerec-%Y%m%dT%H%M%SZ.tar")


def _clear_unfinished(folder: Path) -> None:
    """Remove what backups left in a folder that were killed: they have names of their own, so no later one
    takes them up.
    """
    for left in [path for path in folder.iterdir() if _UNFINISHED.fullmatch(path.name)]:
        if not in_use(left.with_suffix(PART)):
            left.unlink(missing_ok=True)


def _rotate(folder: Path, keep: int, newest: Path) -> list[Path]:
    """Remove all backups of a folder but the `keep` newest; nothing else is touched."""
    found = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path != newest)
    doomed = found[: max(0, len(found) - (keep - 1))]
    for path in doomed:
        path.unlink(missing_ok=True)
    return doomed


# --- restoring


def _require_empty(data_dir: Path, force: bool) -> None:
    there = sorted(
        entry.name
        for entry in data_dir.iterdir()
        if entry.name not in KEPT and not entry.name.startswith(_RESTORING)
    )
    if there and not force:
        raise Conflict(
            f"{data_dir} is not empty ({', '.join(there[:5])}). Name another folder (facerec --data-dir), or "
            "replace what is there with --force."
        )


def _extract(path: Path, folder: Path, progress: Progress) -> tuple[bool, float]:
    """Write the members of a backup into `folder`, and check them; (whether there is a key, moment)."""
    sums: dict[str, str] = {}
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while (member := _next_member(stream, path)) is not None:
            # By name alone, each once: nothing that the file says becomes a path.
            if member.name not in _MEMBERS or member.name in sums or not member.isreg():
                raise UnreadableFile(f"{path} holds {member.name[:80]!r}, which no backup of facerec does.")
            if member.name != DATABASE_FILE and member.size > _LARGEST_SMALL_FILE:
                raise UnreadableFile(f"{path} is no backup of facerec: its {member.name} is too large.")
            sums[member.name] = _write_member(
                stream, folder / member.name, member.size, path, lambda: progress(stream.tell(), size)
            )
            stream.seek(-member.size % tarfile.BLOCKSIZE, os.SEEK_CUR)
    return _checked(path, folder, sums)


def _next_member(stream: BinaryIO, path: Path) -> tarfile.TarInfo | None:
    """The next header of an archive; None at its end.

    Header by header, for `tarfile.open` would follow what a hostile file says of lengths.
    """
    header = stream.read(tarfile.BLOCKSIZE)
    if not any(header):
        return None
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        place = stream.tell() - len(header)
        raise UnreadableFile(f"{path} is no backup of facerec, or damaged at byte {place}.") from error


def _write_member(stream: BinaryIO, target: Path, size: int, path: Path, progress: Callable[[], None]) -> str:
    """Write `size` bytes to a file for its owner alone, durably; their SHA-256."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        while size:
            chunk = stream.read(min(size, _CHUNK))
            if not chunk:
                raise UnreadableFile(f"{path} was cut short: it ends within {target.name}.")
            digest.update(chunk)
            written.write(chunk)
            size -= len(chunk)
            progress()
        written.flush()
        os.fsync(descriptor)
    return digest.hexdigest()


def _checked(path: Path, folder: Path, sums: dict[str, str]) -> tuple[bool, float]:
    """Compare the files with the sums of the backup, and read its manifest."""
    if SUMS not in sums:
        raise UnreadableFile(f"{path} was cut short, or is no backup of facerec: it has no {SUMS}.")
    lines = (folder / SUMS).read_text("utf-8", "replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({*sums, *expected, DATABASE_FILE, MANIFEST} - {SUMS}):
        if name not in sums or sums[name] != expected.get(name):
            raise UnreadableFile(f"{path} is damaged: its {name} is not what was backed up.")
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        as_of, form = float(manifest["as_of"]), int(manifest["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(f"{path} is no backup of facerec: its {MANIFEST} makes no sense.") from error
    if form > FORMAT:
        raise UnreadableFile(
            f"{path} has format {form} of a newer facerec; this one reads {FORMAT}. Update it."
        )
    return MASTER_KEY in sums, as_of


def _check_key(restored: Path, present: Path, force: bool) -> None:
    if present.exists() and not force and present.read_bytes() != restored.read_bytes():
        raise Conflict(
            f"{present} is another master key than the one in the backup. Move it away if nothing that it "
            "sealed is needed, or replace it with --force."
        )


def _put_in_place(folder: Path, data_dir: Path, master_key: Path | None) -> None:
    """Exchange what a data folder holds for what was restored."""
    if master_key is not None:
        master_key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with growing(master_key) as stream:
            stream.truncate()
            stream.write((folder / MASTER_KEY).read_bytes())
    for name in DERIVED:
        if (data_dir / name).exists():
            shutil.rmtree(data_dir / name)
    # Before the database: the log of the old one would be taken for the new one's.
    for name in LOG_FILES:
        (data_dir / name).unlink(missing_ok=True)
    os.replace(folder / DATABASE_FILE, data_dir / DATABASE_FILE)
    sync_folder(data_dir)
