"""The command line: the third door over the same use cases.

Results go to standard output (JSON with --json), messages to standard error. Exit code 0: done; 1: it could
not be done, and one line says why; 2: the command was not understood; 130: interrupted.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from facerec.cli.albums import albums_app
from facerec.cli.audit import audit_app
from facerec.cli.backup import backup, restore
from facerec.cli.bench import bench_app
from facerec.cli.check import check
from facerec.cli.collections import collections_app
from facerec.cli.demo import demo
from facerec.cli.detect import compare, detect
from facerec.cli.encryption import encryption_app
from facerec.cli.evaluate import evaluate
from facerec.cli.faces import faces_app
from facerec.cli.image_imports import import_images
from facerec.cli.index import index
from facerec.cli.indexes import index_status, reindex, verify
from facerec.cli.jobs import jobs_app
from facerec.cli.jobs_worker import worker
from facerec.cli.keys import keys_app
from facerec.cli.migrate import migrate_model
from facerec.cli.moving import export_collections, import_collections
from facerec.cli.output import TRACEBACK, one_line_errors
from facerec.cli.packs import packs_app
from facerec.cli.people import people_app
from facerec.cli.retention import clean, expire, forget
from facerec.cli.search import search
from facerec.cli.serve import serve
from facerec.cli.users import users_app
from facerec.cli.videos import video, videos_app
from facerec.cli.watch import watch

app = typer.Typer(
    name="facerec",
    help="Face recognition that answers Amazon Rekognition's clients, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(serve)
app.command()(worker)
app.command()(demo)
app.command()(check)
app.command()(detect)
app.command()(compare)
app.command()(index)
app.command()(search)
app.command("import-images")(import_images)
app.command()(video)
app.command()(watch)
app.command("index-status")(index_status)
app.command()(reindex)
app.command()(verify)
app.command("eval")(evaluate)
app.command("export")(export_collections)
app.command("import")(import_collections)
app.command()(backup)
app.command()(restore)
app.command("migrate-model")(migrate_model)
app.command()(expire)
app.command()(forget)
app.command()(clean)
app.add_typer(collections_app, name="collections")
app.add_typer(faces_app, name="faces")
app.add_typer(users_app, name="users")
app.add_typer(people_app, name="people")
app.add_typer(albums_app, name="albums")
app.add_typer(videos_app, name="videos")
app.add_typer(jobs_app, name="jobs")
app.add_typer(keys_app, name="keys")
app.add_typer(audit_app, name="audit")
app.add_typer(encryption_app, name="encryption")
app.add_typer(packs_app, name="packs")
app.add_typer(bench_app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facerec {version('facerec')}")
        raise typer.Exit


@app.callback()
def options(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of database, index and packs (FACEREC_DATA_DIR).")
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
    show_traceback: Annotated[bool, typer.Option(TRACEBACK, help="Show where an error came from.")] = False,
) -> None:
    """Options of every command."""
    # The environment is the one place that settings come from, so a command line option becomes a part of it.
    if data_dir is not None:
        os.environ["FACEREC_DATA_DIR"] = str(data_dir)


def main() -> None:
    """Run the command line."""
    with one_line_errors():
        app()
