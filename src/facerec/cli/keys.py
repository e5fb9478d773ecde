"""`facerec keys`: the keys that clients sign their requests with, or send along."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from facerec.access import AccessKey, KeyKind, RateLimit, Scope, parse_collections, parse_rate
from facerec.bootstrap import open_keys
from facerec.cli.auditing import audited, opened_log
from facerec.cli.output import AsJson, print_json
from facerec.config import parse_duration, read_settings
from facerec.domain import FOREVER
from facerec.metastore import open_metastore
from facerec.observability import RequestContext
from facerec.services.keys import CreatedKey, KeyLimits, KeyService

keys_app = typer.Typer(no_args_is_help=True, help="Create, list, rotate and revoke keys.")

KeyId = Annotated[str, typer.Argument(help="The key's id, as `facerec keys list` shows it.")]
T = TypeVar("T")


@keys_app.command()
def create(
    label: Annotated[str, typer.Option(help="What the key is for, to know it by in the list.")] = "",
    api: Annotated[
        bool, typer.Option("--api", help="For the header X-API-Key, in place of signatures of AWS clients.")
    ] = False,
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.ADMIN,
    collection: Annotated[
        list[str] | None,
        typer.Option(help="A collection that it is good for, or a beginning: door-*. May be repeated."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Most requests: 10/s, 600/m. Default: FACEREC_RATE_LIMIT.")
    ] = None,
    expires_in: Annotated[str | None, typer.Option(help="How long it is good for: 12h, 30d, 8w.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key; its secret is shown once. From the first one on, requests need a key."""
    seconds = None if expires_in is None else _read(parse_duration, expires_in, "--expires-in")
    limits = KeyLimits(
        scope=scope,
        collections=_read(parse_collections, tuple(collection or ()), "--collection"),
        rate=_rate(rate),
        seconds=None if seconds == FOREVER else seconds,
    )
    with _keys("keys create") as (keys, entry):
        created = keys.create(label, kind=KeyKind.API if api else KeyKind.AWS, limits=limits)
        entry.access_key = created.key.access_key_id
    _show(created, as_json=as_json)


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, revoked ones too, without their secrets."""
    settings = read_settings()
    with contextlib.closing(open_metastore(settings)) as database:
        listed = open_keys(settings, database).list()
    if as_json:
        print_json([_described(key) for key in listed])
        return
    if not listed:
        typer.echo("There are no access keys.")
    for key in listed:
        words = [
            key.access_key_id,
            f" created {_written(key.created_at)}",
            f" {_state(key)}",
            f" {key.scope}",
        ]
        if key.collections:
            words.append(f" for {', '.join(key.collections)}")
        if key.rate is not None:
            words.append(f" {key.rate}")
        typer.echo(" ".join([*words, f" {key.label}"]).rstrip())


@keys_app.command()
def rotate(
    access_key_id: KeyId,
    grace: Annotated[str, typer.Option(help="How long the present secret is taken too: 24h, 7d.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, shown once. The present one is taken for the time of grace, so that every
    client can change over without a pause.
    """
    seconds = _read(parse_duration, grace, "--grace")
    if seconds == FOREVER:
        raise typer.BadParameter("a secret has to end", param_hint="--grace")
    with _keys("keys rotate", access_key_id) as (keys, _):
        rotated = keys.rotate(access_key_id, grace_seconds=seconds)
    _show(rotated, as_json=as_json)
    if not as_json:
        until = _written(rotated.key.previous_until or 0)
        typer.echo(f"The secret from before is taken until {until}.", err=True)


@keys_app.command()
def revoke(access_key_id: KeyId, as_json: AsJson = False) -> None:
    """Revoke a key, for good. Every running service refuses it when this has ended."""
    with _keys("keys revoke", access_key_id) as (keys, _):
        keys.revoke(access_key_id)
        revoked = next(key for key in keys.list() if key.access_key_id == access_key_id)
    if as_json:
        print_json(_described(revoked))
        return
    typer.echo(f"{access_key_id} is revoked.")


@contextlib.contextmanager
def _keys(command: str, key_id: str | None = None) -> Iterator[tuple[KeyService, RequestContext]]:
    """The keys of the settings' database, to change one; no model is loaded."""
    settings = read_settings()
    with (
        contextlib.closing(open_metastore(settings)) as database,
        opened_log(settings, database) as log,
        audited(log, command) as entry,
    ):
        entry.access_key = key_id
        yield open_keys(settings, database), entry


def _show(created: CreatedKey, *, as_json: bool) -> None:
    """A key with its secret."""
    aws = created.key.kind is KeyKind.AWS
    if as_json:
        name = "SecretAccessKey" if aws else "ApiKey"
        print_json({**_described(created.key), name: created.secret})
        return
    if aws:
        typer.echo(f"AWS_ACCESS_KEY_ID={created.key.access_key_id}")
        typer.echo(f"AWS_SECRET_ACCESS_KEY={created.secret}")
    else:
        typer.echo(f"X-API-Key: {created.secret}")
    typer.echo("The secret is not shown again: keep it now.", err=True)


def _described(key: AccessKey) -> dict[str, object]:
    """A key under AWS's own names (as IAM's CreateAccessKey writes them), and ours for what AWS has not."""
    return {
        "AccessKeyId": key.access_key_id,
        "Kind": key.kind,
        "Label": key.label,
        "Scope": key.scope,
        "Collections": list(key.collections),
        "Rate": None if key.rate is None else str(key.rate),
        "CreateDate": _written(key.created_at),
        "Status": _state(key).split()[0].capitalize(),
        "ExpiryDate": None if key.expires_at is None else _written(key.expires_at),
        "RevokeDate": None if key.revoked_at is None else _written(key.revoked_at),
    }


def _state(key: AccessKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {_written(key.revoked_at)}"
    if key.expires_at is None:
        return "active"
    return f"{'active until' if key.active(time.time()) else 'expired'} {_written(key.expires_at)}"


def _rate(text: str | None) -> RateLimit | None:
    return None if text is None else _read(parse_rate, text, "--rate")


def _read(parse: Callable[..., T], value: object, option: str) -> T:
    """Parse an option's value; what is wrong with it is told as of that option."""
    try:
        return parse(value)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _written(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
