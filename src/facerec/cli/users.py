"""`facerec users`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerec.api.rekognition.shapes import user_match
from facerec.bootstrap import open_service
from facerec.cli.auditing import audited
from facerec.cli.collections import Yes, every
from facerec.cli.output import AsJson, note, print_json, print_table, say
from facerec.config import read_settings
from facerec.domain import LocalImage
from facerec.errors import InvalidParameter
from facerec.services.audit import Act
from facerec.services.people import Association

users_app = typer.Typer(
    no_args_is_help=True, help="Users of a collection: people, each known by several faces."
)

InCollection = Annotated[str, typer.Option(help="The collection's name.")]
UserId = Annotated[str, typer.Argument(help="The user's id.")]
FaceIds = Annotated[list[str], typer.Argument(help="Ids of stored faces.")]


@users_app.command()
def create(user: UserId, collection: InCollection, as_json: AsJson = False) -> None:
    """Create a user without faces."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "users create", collection, people=[user]),
    ):
        service.people.create(collection, user)
    if as_json:
        print_json({"UserId": user, "Created": True})
    else:
        say(f"Created the user {user} in {collection}.")


@users_app.command("list")
def list_users(collection: InCollection, as_json: AsJson = False) -> None:
    """List the users of a collection."""
    with open_service(read_settings()) as service:
        users = list(every(lambda token: service.people.list(collection, token=token)))
    if as_json:
        print_json([{"UserId": u.user_id, "UserStatus": u.status, "FaceCount": u.face_count} for u in users])
        return
    if not users:
        say(f"{collection} holds no users.")
        return
    print_table(("user", "status", "faces"), [(u.user_id, str(u.status), u.face_count) for u in users])


@users_app.command()
def delete(user: UserId, collection: InCollection, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a user; the faces stay in the collection."""
    if not yes:
        typer.confirm(f"Delete the user {user} of {collection}?", abort=True, err=True)
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "users delete", collection, people=[user]),
    ):
        service.people.delete(collection, user)
    if as_json:
        print_json({"UserId": user, "Deleted": True})
    else:
        say(f"Deleted the user {user} of {collection}.")


@users_app.command()
def associate(
    user: UserId,
    face_ids: FaceIds,
    collection: InCollection,
    threshold: Annotated[
        float, typer.Option(min=0, max=100, help="Least similarity to the faces that the user has.")
    ] = 75.0,
    as_json: AsJson = False,
) -> None:
    """Make stored faces those of a user."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "users associate", collection, people=[user], faces=face_ids),
    ):
        result = service.people.associate(collection, user, face_ids, threshold=threshold)
    _report(result, user, "Associated", as_json=as_json)


@users_app.command()
def disassociate(user: UserId, face_ids: FaceIds, collection: InCollection, as_json: AsJson = False) -> None:
    """Take faces away from a user; they stay in the collection."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "users disassociate", collection, people=[user], faces=face_ids),
    ):
        result = service.people.disassociate(collection, user, face_ids)
    _report(result, user, "Disassociated", as_json=as_json)


@users_app.command()
def search(
    collection: InCollection,
    image: Annotated[Path | None, typer.Option(help="By the largest face of this picture.")] = None,
    user: Annotated[str | None, typer.Option(help="By a user.")] = None,
    face: Annotated[str | None, typer.Option(help="By a stored face.")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity.")] = 80.0,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most users.")] = 80,
    as_json: AsJson = False,
) -> None:
    """Find users by a picture, a user or a stored face."""
    given = [option for option in (image, user, face) if option is not None]
    if len(given) != 1:
        raise InvalidParameter("search users by one of --image, --user and --face")
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "users search", collection, act=Act.SEARCH) as entry,
    ):
        if image is not None:
            found = service.people.search_by_image(
                collection, LocalImage(image), limit=limit, threshold=threshold
            )
        else:
            found = service.people.search(
                collection, user_id=user, face_id=face, limit=limit, threshold=threshold
            )
        entry.people += [*([user] if user else []), *(match.user.user_id for match in found.matches)]
        entry.faces += [face] if face else []
    if as_json:
        matches = [{**user_match(match), "Cosine": match.cosine} for match in found.matches]
        print_json({"UserMatches": matches, "FaceModelVersion": found.model_version})
        return
    if not found.matches:
        say(f"{given[0]} in {collection}: nobody at similarity {threshold:g} or more.")
        return
    rows = [(m.similarity, f"{m.cosine:.3f}", m.user.user_id, m.user.face_count) for m in found.matches]
    print_table(("similarity", "cosine", "user", "faces"), rows, title=f"{given[0]} in {collection}")


def _report(result: Association, user: str, verb: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                f"{verb}Faces": result.changed,
                "Failures": [
                    {
                        "FaceId": f.face_id,
                        "UserId": f.user_id,
                        "Confidence": f.confidence,
                        "Reasons": f.reasons,
                    }
                    for f in result.failures
                ],
                "UserStatus": result.status,
            }
        )
    else:
        say(f"{verb} {len(result.changed)} faces; {user} is {result.status}.")
        for failure in result.failures:
            score = f" (similarity {failure.confidence:.1f})" if failure.confidence is not None else ""
            note(f"{failure.face_id}: {', '.join(failure.reasons)}{score}")
    if result.failures:
        raise typer.Exit(1)
