"""Every command by its name, and what all of them take."""

from __future__ import annotations

import gc
import os
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from facerec.cli.output import TRACEBACK

COMMANDS = {
    "serve": ("serve:serve", "Answer AWS clients over HTTP until told to stop."),
    "worker": ("jobs_worker:worker", "Do jobs (albums, imports, videos, S3 events) until told to stop."),
    "demo": ("demo:demo", "See it work: who is in which photo of a folder."),
    "check": ("check:check", "Check the installation."),
    "detect": ("detect:detect", "Find the faces of a picture."),
    "compare": ("detect:compare", "Compare the largest face of one picture with every face of another."),
    "index": ("index:index", "Index every picture of a folder."),
    "search": (
        "search:search",
        "Find the faces of a collection that look like the largest face of a picture.",
    ),
    "import-images": ("image_imports:import_images", "Import the images that a manifest names."),
    "video": ("videos:video", "Find out who is in a video, and when."),
    "watch": ("watch:watch", "Watch a live stream, and tell whose faces are to be seen."),
    "index-status": ("indexes:index_status", "Show what the vector store holds of each collection."),
    "reindex": ("indexes:reindex", "Build the index anew from the database."),
    "verify": ("indexes:verify", "Compare the index with the database, vector by vector."),
    "eval": ("evaluate:evaluate", "Measure recognition."),
    "export": ("moving:export_collections", "Write collections to a portable file."),
    "import": ("moving:import_collections", "Take in collections from a file."),
    "backup": ("backup:backup", "Back up the database as it is at one moment."),
    "restore": ("backup:restore", "Put a backup back into the data folder."),
    "migrate-model": ("migrate:migrate_model", "Embed a collection's faces anew with another model."),
    "expire": ("retention:expire", "Remove the faces that are past their time now."),
    "forget": ("retention:forget", "Delete a person everywhere, look for what was deleted."),
    "clean": ("retention:clean", "Remove what is stale or belongs to nothing."),
    "collections": ("collections:collections_app", "Create, list and delete collections of faces."),
    "faces": ("faces:faces_app", "List, search and delete the faces of a collection."),
    "users": ("users:users_app", "Users of a collection: people, each known by several faces."),
    "people": ("people:people_app", "Persons of the registry, many at once."),
    "albums": ("albums:albums_app", "Fill, follow and search albums."),
    "videos": ("videos:videos_app", "Videos that are, or were, looked at."),
    "jobs": ("jobs:jobs_app", "The queue of jobs, and the jobs that were set aside."),
    "keys": ("keys:keys_app", "Create, list, rotate and revoke keys."),
    "audit": ("audit:audit_app", "List, check and prune the audit log."),
    "encryption": (
        "encryption:encryption_app",
        "Seal the stored embeddings, change their key, or open them.",
    ),
    "db": ("database:db_app", "Show the tables' revision, bring them up to date, or back."),
    "packs": ("packs:packs_app", "Pull, verify, quantise and remove model packs."),
    "bench": ("bench:bench_app", "Measure the speed on this machine."),
}
"""Commands and groups of commands, in the order of the help: each with its module, its name there, and what
the list of all says of it: the beginning of its help."""


class Commands(TyperGroup):
    """All commands, each imported when it is asked for: `keys list` need not wait for what serves."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, without importing each for its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(f"facerec.cli.{module}"), name)
        if not gc.isenabled():  # see `facerec.cli.main`
            gc.freeze()
            gc.enable()
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.callback()(options)
        if isinstance(command, typer.Typer):
            single.add_typer(command, name=cmd_name)
        else:
            single.command(cmd_name)(command)
        group: Any = typer.main.get_command(single)
        return group.commands[cmd_name]


app = typer.Typer(
    name="facerec",
    cls=Commands,
    help="Face recognition that answers Amazon Rekognition's clients, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
