"""Pulled packs on disk: installed from upstream, a mirror or offline files; verified; removed.

A pack is there or it is not: files are gathered in a hidden folder, checked, and moved into place in one
step.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import tomllib
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from facerec.engine.packs import additions
from facerec.engine.packs.additions import KnownAddition, addition_text
from facerec.engine.packs.download import BLOCK, Downloader, Progress, sha256_of
from facerec.engine.packs.registry import KnownPack, PinnedFile, Source, manifest_text
from facerec.errors import DownloadFailed, LicenseNotAccepted, NotFound, PackError

MANIFEST = "pack.toml"
LICENCE_NOTE = "licence.txt"
DOWNLOADS = ".downloads"
"""Folder, beside the packs, of what has been fetched in part."""
Known = KnownPack | KnownAddition
"""What can be had by name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class PackStore:
    """The folder of pulled packs."""

    def __init__(
        self, folder: Path, *, mirror: str | None = None, downloader: Downloader | None = None
    ) -> None:
        self._folder = folder
        self._mirror = mirror
        self._downloader = downloader or Downloader()

    def names(self) -> list[str]:
        """Packs that are installed, in alphabetical order."""
        if not self._folder.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self._folder.iterdir()
            if not entry.name.startswith(".") and (entry / MANIFEST).is_file()
        )

    def folder_of(self, name: str) -> Path:
        """Folder of an installed pack. Raises NotFound."""
        if not _NAME.fullmatch(name) or not (self._folder / name / MANIFEST).is_file():
            raise NotFound(f"no pack named {name!r} is installed in {self._folder}")
        return self._folder / name

    def pull(
        self, pack: KnownPack, *, accept_license: bool, offline: Path | None = None, progress: Progress
    ) -> Path:
        """Install a pack and return its folder; one that is there already is checked and replaced only if
        damaged.

        offline: a folder that holds the archive or its files, or the archive itself; nothing is fetched then.
        Raises LicenseNotAccepted; PackError when files cannot be had or are not the pinned ones.
        """
        _check_accepted(pack, accept_license)
        folder = self._folder / pack.name
        if (folder / MANIFEST).is_file() and not self.verify(pack.name):
            return folder
        incoming = self._folder / f".{pack.name}.incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        try:
            for source in pack.sources:
                self._gather(pack, source, incoming, offline, progress)
            (incoming / LICENCE_NOTE).write_text(_licence_note(pack))
            (incoming / MANIFEST).write_text(manifest_text(pack))
            self._put_in_place(incoming, folder)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return folder

    def add(
        self,
        addition: KnownAddition,
        folder: Path,
        *,
        accept_license: bool,
        offline: Path | None = None,
        progress: Progress,
    ) -> None:
        """Put an addition's files into the folder of a pack; those that are there are replaced.

        offline, errors: as with `pull`.
        """
        _check_accepted(addition, accept_license)
        incoming = folder / f".{addition.name}.incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            incoming.mkdir()
            for source in addition.sources:
                self._gather(addition, source, incoming, offline, progress)
            (incoming / additions.FILE_NAME).write_text(addition_text(addition))
            # The file that names the networks comes last: until then the pack is as it was.
            for name in (*(file.name for file in addition.files), additions.FILE_NAME):
                os.replace(incoming / name, folder / name)
        except OSError as error:
            raise PackError(f"{folder} can not be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def verify(self, name: str) -> list[str]:
        """Recompute the digests of an installed pack; a line for each fault, empty where all is well."""
        return verify_folder(self.folder_of(name))

    def remove(self, name: str) -> None:
        """Delete an installed pack, and what is left of an unfinished download of it. Raises NotFound."""
        folder = self.folder_of(name)
        if folder.is_symlink():
            folder.unlink()  # a link that the user made: what it points to is theirs
        else:
            shutil.rmtree(folder)
        for leftover in (self._folder / DOWNLOADS).glob(f"{name}.zip*"):
            leftover.unlink()

    def _gather(
        self, pack: Known, source: Source, incoming: Path, offline: Path | None, progress: Progress
    ) -> None:
        """Put the files that come from one source into `incoming`, each checked."""
        wanted = pack.files if source.archive else (source.file,)
        if offline is not None:
            _take_offline(pack, source, wanted, offline, incoming)
            return
        if self._mirror and not self._mirror.startswith(("http://", "https://")):
            _take_offline(pack, source, wanted, Path(self._mirror), incoming)
            return
        fetched = self._fetch(pack, source, progress)
        _take(source, fetched, wanted, incoming)
        fetched.unlink()

    def _fetch(self, pack: Known, source: Source, progress: Progress) -> Path:
        address = f"{self._mirror.rstrip('/')}/{source.file.name}" if self._mirror else source.address
        downloads = self._folder / DOWNLOADS
        downloads.mkdir(parents=True, exist_ok=True)
        target = downloads / source.file.name
        try:
            self._downloader.fetch(address, source.file, target, progress)
        except DownloadFailed as error:
            raise PackError(
                f"{source.file.name} could not be fetched. Tried {error.message}. Where this machine may not "
                f"reach that address: fetch {source.address} elsewhere and run "
                f"`facerec packs {_command(pack)} {pack.name} --accept-license --from FOLDER`, or set "
                f"FACEREC_PACK_MIRROR to an address or a folder that holds {source.file.name}."
            ) from error
        return target

    def _put_in_place(self, incoming: Path, folder: Path) -> None:
        outgoing = self._folder / f".{folder.name}.outgoing"
        shutil.rmtree(outgoing, ignore_errors=True)
        if folder.exists():
            os.replace(folder, outgoing)
        os.replace(incoming, folder)
        shutil.rmtree(outgoing, ignore_errors=True)


def verify_folder(folder: Path) -> list[str]:
    """Compare the files of a pack's folder with the digests in its manifest, and in that of what was added.

    A line for each fault. A file without a digest must only be there.
    """
    named: list[tuple[str, str | None]] = []
    for name in (MANIFEST, additions.FILE_NAME):
        if name == MANIFEST or (folder / name).exists():
            try:
                named += _files_of(tomllib.loads((folder / name).read_text("utf-8")))
            except (OSError, ValueError) as error:
                return [f"{name} cannot be read: {error}"]
    faults = []
    for name, expected in named:
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif expected and (digest := sha256_of(path)) != expected.lower():
            faults.append(
                f"{name} is damaged or another file: SHA-256 {digest}, it must be {expected.lower()}"
            )
    return faults


def _files_of(manifest: dict[str, object]) -> list[tuple[str, str | None]]:
    """(file, digest) of each table that names a file."""
    tables: list[object] = []
    for value in manifest.values():
        tables += value if isinstance(value, list) else [value]
    return [
        (str(table["file"]), str(table["sha256"]) if "sha256" in table else None)
        for table in tables
        if isinstance(table, dict) and "file" in table
    ]


def _check_accepted(known: Known, accepted: bool) -> None:
    """Raise LicenseNotAccepted."""
    if not accepted:
        raise LicenseNotAccepted(
            f"{known.name} comes under: {known.licence.name} ({known.licence.address}); commercial use "
            f"{'allowed' if known.licence.commercial_use else 'not allowed'}. "
            "Accept it with --accept-license."
        )


def _command(known: Known) -> str:
    """The command of `facerec packs` that gets it."""
    return "pull" if isinstance(known, KnownPack) else "add"


def _take_offline(
    pack: Known, source: Source, wanted: tuple[PinnedFile, ...], offline: Path, incoming: Path
) -> None:
    """Take a source from an archive file, or from a folder that holds the archive or its files."""
    if offline.is_file():
        _take(source, offline, wanted, incoming)
        return
    if (offline / source.file.name).is_file():
        _take(source, offline / source.file.name, wanted, incoming)
        return
    if not all((offline / file.name).is_file() for file in wanted):
        names = ", ".join(file.name for file in wanted)
        raise PackError(
            f"{offline} holds neither {source.file.name} nor all of {names}; {pack.name} is not installed"
        )
    for file in wanted:
        with (offline / file.name).open("rb") as stream:
            _copy_checked(stream, file, incoming, str(offline / file.name))


def _take(source: Source, path: Path, wanted: tuple[PinnedFile, ...], incoming: Path) -> None:
    """Take the wanted files out of a downloaded or given file."""
    if not source.archive:
        with path.open("rb") as stream:
            _copy_checked(stream, source.file, incoming, str(path))
        return
    if (digest := sha256_of(path)) != source.file.sha256:
        raise PackError(
            f"{path} is not the expected {source.file.name}: "
            f"SHA-256 {digest}, it must be {source.file.sha256}"
        )
    extract(path, wanted, incoming)


def extract(archive: Path, wanted: tuple[PinnedFile, ...], folder: Path) -> None:
    """Take the wanted files, and nothing else, out of a zip archive into `folder`, each checked.

    A member is looked for at the archive's top or in one folder (antelopev2 has one), and written under its
    pinned name alone, so a member's path can lead nowhere. No more than the pinned size is ever unpacked.
    Raises PackError for an archive that cannot be read, lacks a file, or holds another one.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {
                PurePosixPath(info.filename).name: info
                for info in opened.infolist()
                if not info.is_dir() and len(PurePosixPath(info.filename).parts) <= 2
            }
            for file in wanted:
                if file.name not in members:
                    raise PackError(f"{archive.name} holds no {file.name}")
                with opened.open(members[file.name]) as stream:
                    _copy_checked(stream, file, folder, f"{file.name} in {archive.name}")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise PackError(f"{archive.name} is no readable zip archive: {error}") from error


def _copy_checked(stream: IO[bytes], file: PinnedFile, folder: Path, where: str) -> None:
    """Copy a stream to `folder`/`file.name`, no further than the pinned size, and check size and SHA-256."""
    digest = hashlib.sha256()
    done = 0
    with (folder / file.name).open("wb") as out:
        while block := stream.read(BLOCK):
            done += len(block)
            if done > file.size:
                raise PackError(f"{where} is longer than the {file.size} bytes it must have")
            digest.update(block)
            out.write(block)
    if digest.hexdigest() != file.sha256:
        raise PackError(
            f"{where} is not the expected file: SHA-256 {digest.hexdigest()}, it must be {file.sha256}"
        )


def _licence_note(pack: KnownPack) -> str:
    return (
        f"{pack.licence.name}\n{pack.licence.address}\n"
        f"Commercial use: {'allowed' if pack.licence.commercial_use else 'not allowed'}\n"
        f"Accepted {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} when the pack was pulled.\n"
    )
