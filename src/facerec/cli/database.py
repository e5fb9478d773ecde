"""`facerec db`: the tables of the database, brought up to date or back by hand.

A service does the first by itself at its start. By hand it is done before those of a new version come,
or after those of an old one are wanted back (docs/upgrade.md).
"""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from facerec.cli.output import AsJson, print_json, say
from facerec.config import read_settings
from facerec.errors import InvalidParameter
from facerec.metastore import open_unprepared
from facerec.metastore.migrations import Schema, downgrade, schema_of, upgrade

db_app = typer.Typer(help="Show the tables' revision, bring them up to date, or back.", no_args_is_help=True)


@db_app.command()
def status(as_json: AsJson = False) -> None:
    """Show the revision of the tables and the one of this version.

    Exit code 0: they are the same, or this version can serve them as they are; 3: `facerec db upgrade` has
    something to do; 1: only a newer version can serve them.
    """
    with closing(open_unprepared(read_settings())) as database:
        schema = schema_of(database)
    if as_json:
        print_json(
            {
                "Revision": schema.revision,
                "Newest": schema.newest,
                "Pending": list(schema.pending),
                "OldestServing": schema.oldest_serving,
                "State": schema.state,
            }
        )
    else:
        say(_sentence(schema))
    codes = {"pending": 3, "too new": 1}
    if schema.state in codes:
        raise typer.Exit(codes[schema.state])


@db_app.command("upgrade")
def upgrade_tables(as_json: AsJson = False) -> None:
    """Bring the tables up to date, in one transaction; services of the version before go on serving."""
    with closing(open_unprepared(read_settings())) as database:
        before = schema_of(database)
        upgrade(database)
        after = schema_of(database)
    if as_json:
        print_json({"From": before.revision, "To": after.revision, "Applied": list(before.pending)})
    elif before.pending:
        say(f"Migrated from {before.revision or 'nothing'} to {after.revision}.")
    else:
        say(f"There is nothing to do: the tables are at {after.revision}.")


@db_app.command("downgrade")
def downgrade_tables(
    revision: Annotated[str, typer.Argument(help="Revision to go back to, as `facerec db status` named it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take the tables back to a revision, in one transaction. What only the newer tables hold is lost."""
    with closing(open_unprepared(read_settings())) as database:
        schema = schema_of(database)
        if revision not in schema.applied:
            raise InvalidParameter(
                f"There is no revision {revision[:20]!r} behind this one ({schema.revision}); those are: "
                f"{', '.join(schema.applied) or 'none'}."
            )
        if not yes:
            typer.confirm(
                f"Back from {schema.revision} to {revision}: what only the newer tables hold is lost. Go on?",
                abort=True,
            )
        downgrade(database, revision)
    say(f"The tables are at {revision}.")


def _sentence(schema: Schema) -> str:
    """The state of the tables, for people."""
    at = schema.revision or "nothing: they are not made yet"
    match schema.state:
        case "pending":
            return f"The tables are at {at}; {len(schema.pending)} to apply up to {schema.newest}."
        case "newer":
            return (
                f"The tables are at {at}, newer than {schema.newest} of this version, which can serve them."
            )
        case "too new":
            return (
                f"The tables are at {at}, which this version ({schema.newest}) cannot serve: versions from "
                f"{schema.oldest_serving} on can."
            )
        case _:
            return f"The tables are at {at}, which is the newest."
