"""`facerec expire`, `facerec forget` and `facerec clean`: removing faces that should not be kept."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from facerec.bootstrap import Retention, open_cleaner, open_retention
from facerec.cli.auditing import audited
from facerec.cli.output import AsJson, note, print_json, print_table, say
from facerec.config import read_settings
from facerec.errors import InvalidParameter
from facerec.observability import RequestContext
from facerec.services.retention.cleaning import Item
from facerec.services.retention.cleaning import clean as clean_up
from facerec.services.retention.forgetting import ForgetRequest, Forgotten
from facerec.services.retention.proof import Proof

NOT_CONFIRMED = 3
"""Exit code of a `forget` that deleted, and could not make sure of everything afterwards."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")]


def expire(
    collection: Annotated[str | None, typer.Option(help="Only the faces of this collection.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove the faces that are past their time now, without waiting for the service's sweep."""
    with open_retention(read_settings()) as retention, audited(retention.audit, "expire", collection):
        removed = retention.sweeper.expire(collection)
    if as_json:
        print_json({"Removed": removed})
    elif not removed:
        say("No face is past its time.")
    else:
        print_table(("collection", "faces removed"), list(removed.items()))


def clean(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Remove what is stale or belongs to nothing: rows, files of the index, journals, broken downloads."""
    settings = read_settings()
    with open_cleaner(settings) as cleaner:
        left_over = cleaner.look()
    items = list(left_over.items)
    if not dry_run:
        with open_retention(settings) as retention:
            items = clean_up(left_over, retention.sweeper)
    if as_json:
        print_json({"DryRun": dry_run, "Items": [{"What": item.what, "Count": item.count} for item in items]})
        return
    found = [item for item in items if item.count]
    if not found:
        say("There is nothing to clean up.")
        return
    _print_items(found, "would be removed" if dry_run else "removed")


def forget(
    user: Annotated[str | None, typer.Argument(help="The user to forget.")] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Collection to look in; may be repeated. Default: all.")
    ] = None,
    face_id: Annotated[list[str] | None, typer.Option(help="Forget this face; may be repeated.")] = None,
    external_image_id: Annotated[
        str | None, typer.Option(help="Forget the faces with this external image id.")
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces/--keep-faces", help="The user's faces too, or leave them, nobody's.")
    ] = True,
    report: Annotated[
        Path | None, typer.Option(help="Write the proof here: as JSON, and as text beside it (.txt).")
    ] = None,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write the database's files anew as well; holds up others.")
    ] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a person everywhere, look for what was deleted, and write down what was found.

    Exit code 3: it is deleted, but not every check could be made, or was passed; the proof tells which.
    """
    request = ForgetRequest(
        user_id=user,
        face_ids=tuple(face_id or ()),
        external_image_id=external_image_id,
        collections=tuple(collection or ()),
        with_faces=faces,
    )
    with open_retention(read_settings()) as retention:
        found = retention.forgetting.find(request)
        if dry_run:
            _print_plan(found, as_json=as_json)
            return
        if not yes:
            typer.confirm(f"Forget {_counted(found)}?", abort=True, err=True)
        # Before anything is deleted: a proof that cannot be written has to be known of first.
        places = _report_files(report)
        with contextlib.ExitStack() as entries:
            for each in found:
                entries.enter_context(_audited(retention, request, each))
            proof = retention.forgetting.forget(request, rewrite=rewrite)
    _write(places, proof)
    if as_json:
        typer.echo(json.dumps(proof.as_json(), ensure_ascii=False, indent=2))
    else:
        typer.echo(proof.as_text(), nl=False)
    if not proof.confirmed:
        raise typer.Exit(NOT_CONFIRMED)


def _audited(
    retention: Retention, request: ForgetRequest, found: Forgotten
) -> contextlib.AbstractContextManager[RequestContext]:
    """The entry of one collection."""
    named = [request.external_image_id, None if found.user is None else found.user.user_id]
    return audited(
        retention.audit,
        "forget",
        found.collection.name,
        faces=[face.face_id for face in found.faces],
        people=[name for name in named if name is not None],
    )


def _print_plan(found: list[Forgotten], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "CollectionId": each.collection.name,
                    "UserId": each.user.user_id if each.user else None,
                    "FaceIds": [face.face_id for face in each.faces],
                }
                for each in found
            ]
        )
        return
    say(f"Would forget {_counted(found)}.")
    for each in found:
        for face in each.faces:
            note(f"{each.collection.name}: face {face.face_id}")


def _counted(found: list[Forgotten]) -> str:
    faces = sum(len(each.faces) for each in found)
    users = [each.user.user_id for each in found if each.user is not None]
    named = f"the user {users[0]} and " if users else ""
    return f"{named}{faces} faces in {', '.join(each.collection.name for each in found)}"


def _print_items(items: list[Item], title: str) -> None:
    print_table(("what", title), [(item.what, item.count) for item in items])


def _report_files(report: Path | None) -> tuple[Path, Path] | None:
    """The files of JSON and text, made for their owner alone. Raises InvalidParameter, OSError."""
    if report is None:
        return None
    if report.exists() and report.stat().st_size:
        raise InvalidParameter(f"{report} exists already; give the proof a name of its own")
    places = (report.with_suffix(".json") if report.suffix == ".txt" else report, report.with_suffix(".txt"))
    for place in places:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT, 0o600))
    return places


def _write(places: tuple[Path, Path] | None, proof: Proof) -> None:
    if places is not None:
        content = json.dumps(proof.as_json(), ensure_ascii=False, indent=2) + "\n"
        for place, text in zip(places, (content, proof.as_text()), strict=True):
            place.write_text(text, "utf-8")
        note(f"The proof is in {places[0]} and {places[1]}.")
