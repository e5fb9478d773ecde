"""`facerec albums people`: who is in an album."""

from __future__ import annotations

from typing import Annotated

import typer

from facerec.bootstrap import Service, open_service
from facerec.cli.output import AsJson, note, print_json, print_table
from facerec.config import read_settings
from facerec.services.albums.people import LARGEST_PAGE, PersonSummary


def people(
    album: Annotated[str, typer.Argument(help="The album's id.")],
    min_photos: Annotated[int, typer.Option(min=1, help="Photos that they are in at least.")] = 1,
    hidden: Annotated[bool, typer.Option("--hidden", help="Hidden people too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List who is in an album, those in most photos first."""
    with open_service(read_settings()) as service:
        print_people(service, album, least=min_photos, hidden=hidden, as_json=as_json)


def print_people(
    service: Service, album: str, *, least: int = 1, hidden: bool = False, as_json: bool = False
) -> None:
    """Print everybody in an album. Raises AlbumNotFound."""
    found: list[PersonSummary] = []
    token, pending = None, False
    while True:
        page = service.albums.people.list(album, least=least, hidden=hidden, limit=LARGEST_PAGE, token=token)
        found += page.page.items
        token, pending = page.page.next_token, page.pending
        if token is None:
            break
    if as_json:
        print_json({"People": [_described(each) for each in found], "Pending": pending})
        return
    rows = [
        (each.person.person_id, each.person.name or "", each.photos, _place(each) or "") for each in found
    ]
    print_table(("person", "name", "photos", "best seen in"), rows)
    if pending:
        note("Photos were added or removed that are not looked through yet.")


def _described(summary: PersonSummary) -> dict[str, object]:
    person = summary.person
    return {
        "PersonId": person.person_id,
        "Name": person.name,
        "Hidden": person.hidden,
        "Photos": summary.photos,
        "Source": _place(summary),
    }


def _place(summary: PersonSummary) -> str | None:
    return None if summary.cover is None else summary.cover.source
