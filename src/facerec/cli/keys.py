"""`facerec keys`: the access keys that clients sign their requests with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from facerec.bootstrap import open_keys
from facerec.cli.output import AsJson, print_json
from facerec.config import read_settings
from facerec.domain import AccessKey
from facerec.metastore import open_metastore
from facerec.services.keys import KeyService

keys_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke access keys.")


@keys_app.command()
def create(
    label: Annotated[str, typer.Option(help="What the key is for, to know it by in the list.")] = "",
    as_json: AsJson = False,
) -> None:
    """Create an access key; its secret is shown once. From the first one on, requests have to be signed."""
    with _keys() as keys:
        created = keys.create(label)
    if as_json:
        print_json({**_described(created.key), "SecretAccessKey": created.secret})
        return
    typer.echo(f"AWS_ACCESS_KEY_ID={created.key.access_key_id}")
    typer.echo(f"AWS_SECRET_ACCESS_KEY={created.secret}")
    typer.echo("The secret is not shown again: keep it now.", err=True)


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the access keys, revoked ones too, without their secrets."""
    with _keys() as keys:
        listed = keys.list()
    if as_json:
        print_json([_described(key) for key in listed])
        return
    if not listed:
        typer.echo("There are no access keys.")
    for key in listed:
        state = "active" if key.revoked_at is None else f"revoked {_written(key.revoked_at)}"
        typer.echo(f"{key.access_key_id}  created {_written(key.created_at)}  {state}  {key.label}".rstrip())


@keys_app.command()
def revoke(
    access_key_id: Annotated[str, typer.Argument(help="The key's id, as `facerec keys list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke an access key, for good. Every running service refuses it when this has ended."""
    with _keys() as keys:
        keys.revoke(access_key_id)
        revoked = next(key for key in keys.list() if key.access_key_id == access_key_id)
    if as_json:
        print_json(_described(revoked))
        return
    typer.echo(f"{access_key_id} is revoked.")


@contextlib.contextmanager
def _keys() -> Iterator[KeyService]:
    """The keys of the settings' database; no model is loaded."""
    settings = read_settings()
    database = open_metastore(settings)
    try:
        yield open_keys(settings, database)
    finally:
        database.close()


def _described(key: AccessKey) -> dict[str, object]:
    """A key under AWS's own names (as IAM's CreateAccessKey writes them)."""
    return {
        "AccessKeyId": key.access_key_id,
        "Label": key.label,
        "CreateDate": _written(key.created_at),
        "Status": "Active" if key.revoked_at is None else "Revoked",
        "RevokeDate": None if key.revoked_at is None else _written(key.revoked_at),
    }


def _written(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
