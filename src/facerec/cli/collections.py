"""`facerec collections`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from facerec.bootstrap import open_service
from facerec.cli.auditing import audited
from facerec.cli.output import AsJson, duration, print_json, print_table, say
from facerec.config import duration_text, read_settings
from facerec.domain import FOREVER, Collection, Page

T = TypeVar("T")

collections_app = typer.Typer(no_args_is_help=True, help="Create, list and delete collections of faces.")

Name = Annotated[str, typer.Argument(help="The collection's name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@collections_app.command("list")
def list_collections(as_json: AsJson = False) -> None:
    """List the collections."""
    with open_service(read_settings()) as service:
        found = list(every(lambda token: service.collections.list(token=token)))
    if as_json:
        print_json([_described(collection) for collection in found])
        return
    if not found:
        say("There are no collections.")
        return
    rows = [(c.name, c.face_count, c.user_count, c.model_version, _written(c.created_at)) for c in found]
    print_table(("collection", "faces", "users", "model version", "created"), rows)


@collections_app.command()
def create(name: Name, as_json: AsJson = False) -> None:
    """Create a collection, for faces of the model pack in use."""
    with open_service(read_settings()) as service, audited(service.audit, "collections create", name):
        created = service.collections.create(name)
    if as_json:
        print_json(_described(created))
    else:
        say(f"Created the collection {name} (face model {created.model_version}).")


@collections_app.command()
def describe(name: Name, as_json: AsJson = False) -> None:
    """Show what a collection holds."""
    with open_service(read_settings()) as service:
        found = service.collections.describe(name)
    if as_json:
        print_json(_described(found))
    else:
        print_table(("", name), list(_described(found).items())[1:])


@collections_app.command()
def retain(
    name: Name,
    time: Annotated[
        str, typer.Argument(help="How long faces are kept: 90s, 15m, 12h, 30d, 8w, forever, or default.")
    ],
    as_json: AsJson = False,
) -> None:
    """Set how long a collection keeps faces, from when they were stored; those that are there too.

    default: as long as FACEREC_FACE_TTL says. Faces with an end of their own keep it.
    """
    with open_service(read_settings()) as service, audited(service.audit, "collections retain", name):
        found = service.collections.retain(name, None if time == "default" else duration(time))
    if as_json:
        print_json(_described(found))
    else:
        kept = "as long as the service's default says" if found.face_ttl is None else _kept(found.face_ttl)
        say(f"{name} keeps its faces {kept}; {found.face_count} of them are there.")


@collections_app.command()
def delete(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a collection with all its faces and users."""
    with open_service(read_settings()) as service:
        found = service.collections.describe(name)
        if not yes:
            typer.confirm(f"Delete {name} with its {found.face_count} faces?", abort=True, err=True)
        with audited(service.audit, "collections delete", name):
            service.collections.delete(name)
    if as_json:
        print_json({"CollectionId": name, "Deleted": True})
    else:
        say(f"Deleted the collection {name}.")


def every(page_at: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """The items of all pages of a listing."""
    token = None
    while True:
        page = page_at(token)
        yield from page.items
        token = page.next_token
        if token is None:
            return


def _described(collection: Collection) -> dict[str, object]:
    return {
        "CollectionId": collection.name,
        "FaceCount": collection.face_count,
        "UserCount": collection.user_count,
        "FaceModelVersion": collection.model_version,
        "Dimension": collection.dimension,
        "EmbeddingContract": collection.contract_id,
        "FaceTimeToLive": None if collection.face_ttl is None else duration_text(collection.face_ttl),
        "CreationTimestamp": _written(collection.created_at),
    }


def _kept(seconds: int) -> str:
    return "until they are deleted" if seconds >= FOREVER else f"for {duration_text(seconds)}"


def _written(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
