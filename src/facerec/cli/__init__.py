"""The command line: the third door over the same use cases.

Results go to standard output (JSON with --json), messages to standard error. Exit code 0: done; 1: it could
not be done, and one line says why; 2: the command was not understood; 130: interrupted.
"""

from __future__ import annotations

import gc
import os
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from facerec.cli.output import TRACEBACK, one_line_errors

COMMANDS = {
    "serve": "serve:serve",
    "worker": "jobs_worker:worker",
    "demo": "demo:demo",
    "check": "check:check",
    "detect": "detect:detect",
    "compare": "detect:compare",
    "index": "index:index",
    "search": "search:search",
    "import-images": "image_imports:import_images",
    "video": "videos:video",
    "watch": "watch:watch",
    "index-status": "indexes:index_status",
    "reindex": "indexes:reindex",
    "verify": "indexes:verify",
    "eval": "evaluate:evaluate",
    "export": "moving:export_collections",
    "import": "moving:import_collections",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "migrate-model": "migrate:migrate_model",
    "expire": "retention:expire",
    "forget": "retention:forget",
    "clean": "retention:clean",
    "collections": "collections:collections_app",
    "faces": "faces:faces_app",
    "users": "users:users_app",
    "people": "people:people_app",
    "albums": "albums:albums_app",
    "videos": "videos:videos_app",
    "jobs": "jobs:jobs_app",
    "keys": "keys:keys_app",
    "audit": "audit:audit_app",
    "encryption": "encryption:encryption_app",
    "db": "database:db_app",
    "packs": "packs:packs_app",
    "bench": "bench:bench_app",
}
"""Commands and groups of commands, in the order of the help: each with its module and its name there."""


class Commands(TyperGroup):
    """All commands, each imported when it is asked for: `keys list` need not wait for what serves."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(f"facerec.cli.{module}"), name)
        if not gc.isenabled():  # see `main`
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


def main() -> None:
    """Run the command line."""
    # What a command imports stays until the process ends. Looking for garbage among it, on the way and at the
    # end, would take a quarter of a short command's time.
    gc.disable()
    with one_line_errors():
        app()
