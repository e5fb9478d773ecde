"""`facerec audit`: who enrolled, searched and deleted whom, and when."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from facerec.cli.output import AsJson, duration, print_json, print_table, say
from facerec.config import read_settings
from facerec.metastore import open_metastore
from facerec.services.audit import AuditLog

audit_app = typer.Typer(no_args_is_help=True, help="List, check and prune the audit log.")


@audit_app.command("list")
def list_entries(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most entries.")] = 100,
    within: Annotated[str | None, typer.Option(help="Only those of the last 1h, 7d, ...")] = None,
    person: Annotated[
        str | None, typer.Option(help="Only those about this user, person or external image id.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest entries, the newest first."""
    since = 0.0 if within is None else time.time() - duration(within)
    with _log() as log:
        entries = log.latest(since=since, limit=limit, person=person)
    if as_json:
        print_json(entries)
    elif not entries:
        say("There are no entries.")
    else:
        head = ("time", "key", "from", "operation", "collection", "faces", "people", "outcome")
        print_table(
            head,
            [
                (
                    datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    one["key"],
                    one["client"],
                    one["operation"],
                    one["collection"] or "",
                    one["face_count"],
                    one["people_count"],
                    one["outcome"],
                )
                for one in entries
            ],
        )


@audit_app.command("verify")
def verify_chains(as_json: AsJson = False) -> None:
    """Check that no entry was changed or removed. Exit code 1 where one was."""
    with _log() as log:
        chains = log.verify()
    faults = [chain for chain in chains if chain.fault is not None]
    if as_json:
        print_json({"ok": not faults, "chains": [asdict(chain) for chain in chains]})
    elif not chains:
        say("There are no entries.")
    else:
        head = ("chain", "entries written", "last digest", "found")
        rows = [(one.chain, one.last_number, one.last_digest, one.fault or "whole") for one in chains]
        print_table(head, rows)
    if faults:
        raise typer.Exit(1)


@audit_app.command("prune")
def prune_entries(
    older_than: Annotated[str, typer.Option("--older-than", help="Age: 90d, 52w.")], as_json: AsJson = False
) -> None:
    """Remove old entries."""
    with _log() as log:
        removed = log.prune(duration(older_than))
    if as_json:
        print_json({"Removed": removed})
    else:
        say(f"{removed} entries removed.")


@contextlib.contextmanager
def _log() -> Iterator[AuditLog]:
    """The log of the settings' database; no model is loaded, and nothing is written."""
    with (
        contextlib.closing(open_metastore(read_settings())) as database,
        contextlib.closing(AuditLog(database, "off")) as log,
    ):
        yield log
