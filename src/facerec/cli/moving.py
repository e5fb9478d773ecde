"""`facerec export` and `facerec import`: collections from one installation to another."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from facerec.auth.sealing import read_master_key, read_or_create_master_key
from facerec.cli.auditing import audited, opened_log
from facerec.cli.output import AsJson, downloading, note, print_json, print_table, say
from facerec.config import Settings, read_settings
from facerec.db import Database
from facerec.errors import InvalidParameter, PackError
from facerec.metastore import keys as key_rows
from facerec.metastore import open_metastore
from facerec.services.audit import Act
from facerec.services.transfer import importing
from facerec.services.transfer.content import CollectionHead
from facerec.services.transfer.exporting import export
from facerec.services.transfer.importing import ImportedCollection, Importer, OnConflict, Outcome
from facerec.services.transfer.reading import Content, inspect

MEGABYTE = 1_000_000


def export_collections(
    file: Annotated[Path, typer.Argument(help="File to write; one that exists is replaced in the end.")],
    collections: Annotated[
        list[str] | None, typer.Argument(help="Collections to export; all where none is named.")
    ] = None,
    keys: Annotated[
        bool,
        typer.Option("--keys", help="The access keys too, their secrets sealed with this master key."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write collections to a portable file, as they are at one moment; the service may serve meanwhile.

    Broken off, the same command goes on where it stopped. docs/moving.md describes the file.
    """
    began = time.monotonic()
    settings = read_settings()
    with opened_database(settings) as database, opened_log(settings, database) as log:
        with _moving("exporting") as progress:
            exported = export(database, file, collections or (), with_keys=keys, progress=progress)
        for name, _, _ in exported.collections:
            with audited(log, "export", name, act=Act.SEARCH):
                pass
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "File": str(file),
                "Bytes": exported.size,
                "AsOf": _written(exported.as_of),
                "Collections": [
                    {"CollectionId": name, "UserCount": users, "FaceCount": faces}
                    for name, users, faces in exported.collections
                ],
                "AccessKeys": exported.keys,
                "FacesKept": exported.kept,
                "Seconds": round(seconds, 3),
            }
        )
        return
    kept = f", {exported.kept} of them kept from an earlier run" if exported.kept else ""
    say(
        f"Exported {len(exported.collections)} collections, {exported.users} users and {exported.faces} faces"
        f"{kept}, to {file}: {exported.size / MEGABYTE:.1f} MB in {seconds:.1f} s."
    )
    if exported.keys:
        say(f"{exported.keys} access keys are in it. They open with this service's master key alone.")


def import_collections(
    file: Annotated[Path | None, typer.Argument(help="File that `facerec export` wrote.")] = None,
    collections: Annotated[
        list[str] | None, typer.Argument(help="Collections to import; all where none is named.")
    ] = None,
    on_conflict: Annotated[
        OnConflict, typer.Option(help="What to do where a collection of the name exists.")
    ] = OnConflict.FAIL,
    rename: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: import the collection OLD under the name NEW.")
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="The access keys of the file too.")] = False,
    source_master_key: Annotated[
        Path | None,
        typer.Option(help="Master key of the service that the keys come from, where it is another one."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the file and show what is in it.")] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Delete what imports have stored that were broken off.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take in collections from a file. Each appears when it is whole; the service may serve meanwhile.

    The file is checked before anything is stored. Broken off, the same command goes on where it stopped; done
    twice, it stores nothing twice.
    """
    settings = read_settings()
    if abandon:
        _abandon(settings, as_json=as_json)
        return
    if file is None:
        raise InvalidParameter("name the file to import")
    with downloading("checking") as progress:
        content = inspect(file, progress)
    if check:
        _show(file, content, as_json=as_json)
        return
    if keys and not content.head.keys:
        raise InvalidParameter(f"{file} holds no access keys: it was exported without --keys")
    began = time.monotonic()
    with opened_database(settings) as database, opened_log(settings, database) as log:
        importer = Importer(
            database,
            file,
            content,
            on_conflict=on_conflict,
            names=collections or (),
            renamed=_renamed(rename or ()),
        )
        importer.check()
        # Before the faces: what may fail comes first.
        stored_keys = 0
        if keys:
            with audited(log, "import --keys"):
                stored_keys = _import_keys(settings, database, content, source_master_key)
        with _moving("importing") as progress:
            done = importer.run(progress)
        for one in done:
            if one.outcome in (Outcome.IMPORTED, Outcome.REPLACED):
                with audited(log, "import", one.name):
                    pass
    seconds = time.monotonic() - began
    _report(file, settings, done, stored_keys, seconds, as_json=as_json)
    if content.head.keys and not keys:
        note("The file holds access keys, which were left out; --keys takes them too.")


@contextlib.contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The database alone: no model is loaded."""
    database = open_metastore(settings)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def _moving(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over faces, with the rate and the time left; what it gives takes (done, in all)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _RateColumn(ProgressColumn):
    """Faces a second."""

    def render(self, task: Task) -> Text:
        """See `ProgressColumn.render`."""
        return Text(f"{task.speed or 0:,.0f} faces/s")


def _renamed(pairs: Sequence[str]) -> dict[str, str]:
    """New names by old ones, from OLD=NEW."""
    renamed = {}
    for pair in pairs:
        old, sign, new = pair.partition("=")
        if not sign or not old or not new:
            raise InvalidParameter(f"--rename takes OLD=NEW; got {pair}")
        renamed[old] = new
    return renamed


def _import_keys(settings: Settings, database: Database, content: Content, source: Path | None) -> int:
    """Store the file's access keys; how many were new."""
    with database.read() as connection:
        in_use = key_rows.any_active(connection)
    # While secrets sealed with it are in use, a missing master key is a loss to repair, not to replace.
    own = (read_master_key if in_use else read_or_create_master_key)(settings.master_key_path)
    theirs = own if source is None else read_master_key(source)
    stored, present = importing.import_keys(database, content.keys, own=own, source=theirs)
    if present:
        note(f"{present} access keys were here already, and stay as they are.")
    return stored


def _abandon(settings: Settings, *, as_json: bool) -> None:
    with opened_database(settings) as database:
        count = importing.abandon(database)
    if as_json:
        print_json({"Abandoned": count})
    else:
        say(f"Gave up {count} collections that were not wholly imported.")


def _show(file: Path, content: Content, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "File": str(file),
                "Bytes": content.size,
                "AsOf": _written(content.as_of),
                "WrittenBy": content.head.facerec,
                "Collections": [_described(head) for head in content.collections],
                "AccessKeys": len(content.keys),
            }
        )
        return
    rows = [(c.name, c.face_count, c.user_count, c.model_version, c.pack) for c in content.collections]
    title = f"{file} is whole, as of {_written(content.as_of)}, with {len(content.keys)} access keys"
    print_table(("collection", "faces", "users", "model version", "pack"), rows, title=title)


def _report(
    file: Path,
    settings: Settings,
    done: Sequence[ImportedCollection],
    stored_keys: int,
    seconds: float,
    *,
    as_json: bool,
) -> None:
    made = [one for one in done if one.outcome in (Outcome.IMPORTED, Outcome.REPLACED)]
    faces = sum(one.head.face_count - one.resumed for one in made)
    if as_json:
        print_json(
            {
                "File": str(file),
                "Collections": [
                    {**_described(one.head), "CollectionId": one.name, "Outcome": one.outcome} for one in done
                ],
                "FacesImported": faces,
                "AccessKeys": stored_keys,
                "Seconds": round(seconds, 3),
            }
        )
    else:
        for one in done:
            held = f"{one.head.user_count} users, {one.head.face_count} faces"
            goes_on = f", {one.resumed} of them by an earlier run" if one.resumed else ""
            say(f"{one.name}: {one.outcome}, {held}{goes_on}")
        say(f"Imported {faces} faces in {seconds:.1f} s.")
        if stored_keys:
            say(f"Stored {stored_keys} access keys.")
    _warn_of_other_models(settings, [one.head for one in made])


def _warn_of_other_models(settings: Settings, heads: Sequence[CollectionHead]) -> None:
    """Say which collections the pack of this service cannot search."""
    # Not at the top: it loads the networks' libraries, which takes a second.
    from facerec.engine.packs.loading import contract_id

    for head in heads:
        try:
            if contract_id(settings, head.dimension) == head.contract_id:
                continue
        except PackError as error:
            note(f"Whether the model pack of this service fits the collections is not known: {error.message}")
            return
        note(
            f"{head.name} was made with face model {head.model_version} of the pack {head.pack}, and this "
            f"service runs {settings.model_path}: it can be listed, but to index and search, start the "
            f"service with that pack (MODEL_PATH={head.pack})."
        )


def _described(head: CollectionHead) -> dict[str, object]:
    return {
        "CollectionId": head.name,
        "FaceCount": head.face_count,
        "UserCount": head.user_count,
        "FaceModelVersion": head.model_version,
        "Pack": head.pack,
        "Dimension": head.dimension,
        "EmbeddingContract": head.contract_id,
    }


def _written(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
