"""`facerec backup` and `facerec restore`: an installation over SQLite, kept and put back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from facerec.cli.moving import opened_database
from facerec.cli.output import AsJson, downloading, note, print_json, say
from facerec.config import Settings, read_settings
from facerec.errors import ConfigurationError, NotFound
from facerec.metastore.copies import DATABASE_FILE
from facerec.services import backup as backups

SECONDS_PER_MILLION = 5
"""How long the embedded index takes to be built anew (docs/performance.md)."""


def backup(
    target: Annotated[Path, typer.Argument(help="File to write, or folder for a file with the time's name.")],
    with_key: Annotated[
        bool,
        typer.Option("--with-key", help="Put the master key in: whoever has the file has every secret then."),
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="In a folder: remove older backups but this many, new one included."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back up the database as it is at one moment; the service may serve meanwhile.

    Exit code 0: the backup is whole, checked and on disk. For a nightly job:
    facerec backup /backups --keep 14
    """
    settings = read_settings()
    if settings.database_url is None and not (settings.data_dir / DATABASE_FILE).exists():
        raise NotFound(
            f"There is no database in {settings.data_dir} to back up (FACEREC_DATA_DIR names the folder)."
        )
    with opened_database(settings) as database, downloading("backing up") as progress:
        made = backups.back_up(
            database,
            target,
            master_key=settings.master_key_path if with_key else None,
            keep=keep,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "File": str(made.path),
                "Bytes": made.size,
                "WithKey": made.with_key,
                "Removed": [str(path) for path in made.removed],
            }
        )
        return
    say(f"Backed up to {made.path}: {made.size / 1e6:.1f} MB.")
    for path in made.removed:
        say(f"Removed {path}.")
    if not made.with_key and settings.master_key_path.exists():
        note(f"The master key is not in it: keep a copy of {settings.master_key_path} in another place.")


def restore(
    file: Annotated[Path, typer.Argument(help="File that `facerec backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the database that is there; it is gone then.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back into the data folder, while no service uses it.

    Whatever was stored after the backup is not in it. The index is built anew by the first searches.
    """
    settings = read_settings()
    if settings.database_url is not None:
        raise ConfigurationError(backups.POSTGRESQL)
    with downloading("restoring") as progress:
        restored = backups.restore(
            file, settings.data_dir, master_key=settings.master_key_path, force=force, progress=progress
        )
    as_of = datetime.fromtimestamp(restored.as_of, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if as_json:
        print_json(
            {
                "DataDir": str(settings.data_dir),
                "AsOf": as_of,
                "FaceCount": restored.faces,
                "AccessKeys": restored.access_keys,
                "WithKey": restored.with_key,
            }
        )
    else:
        seconds = restored.faces / 1e6 * SECONDS_PER_MILLION
        say(f"Restored {restored.faces} faces, as of {as_of}, to {settings.data_dir}.")
        say(f"The first search of each collection builds its index, all of them in about {seconds:.1f} s.")
    _warn_of_key(settings, restored)


def _warn_of_key(settings: Settings, restored: backups.Restored) -> None:
    if restored.access_keys and not settings.master_key_path.exists():
        note(
            f"The {restored.access_keys} access keys need the master key that sealed them, which was not in "
            f"the backup: put it to {settings.master_key_path}, or revoke them and create new ones."
        )
