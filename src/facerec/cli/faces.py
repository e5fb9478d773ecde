"""`facerec faces`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from facerec.api.rekognition.shapes import stored_face
from facerec.bootstrap import open_retention, open_service
from facerec.cli.auditing import audited
from facerec.cli.collections import every
from facerec.cli.output import AsJson, duration, note, print_json, print_table, say
from facerec.cli.search import described, print_matches
from facerec.config import read_settings
from facerec.domain import FOREVER, Face
from facerec.services.audit import Act

faces_app = typer.Typer(no_args_is_help=True, help="List, search and delete the faces of a collection.")

InCollection = Annotated[str, typer.Option(help="The collection's name.")]


@faces_app.command("list")
def list_faces(
    collection: InCollection,
    user: Annotated[str | None, typer.Option(help="Only the faces of this user.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the faces of a collection."""
    with open_service(read_settings()) as service:
        faces = list(every(lambda token: service.faces.list(collection, token=token, user_id=user).page))
    if as_json:
        print_json([stored_face(face) for face in faces])
        return
    if not faces:
        say(f"{collection} holds no faces{f' of {user}' if user else ''}.")
        return
    rows = [(face.face_id, face.external_image_id, face.user_id, face.confidence) for face in faces]
    print_table(("face id", "external image id", "user", "confidence"), rows, title=f"{len(faces)} faces")


@faces_app.command()
def search(
    face_id: Annotated[str, typer.Argument(help="Id of a stored face.")],
    collection: InCollection,
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity.")] = 80.0,
    limit: Annotated[int, typer.Option(min=1, max=4096, help="Most faces.")] = 80,
    as_json: AsJson = False,
) -> None:
    """Find the faces that look like a stored one."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "faces search", collection, act=Act.SEARCH, faces=[face_id]) as entry,
    ):
        found = service.faces.search(collection, face_id, limit=limit, threshold=threshold)
        entry.faces += [match.face.face_id for match in found.matches]
    if as_json:
        print_json({"SearchedFaceId": face_id, "FaceMatches": [described(match) for match in found.matches]})
    else:
        print_matches(found.matches, f"{face_id} in {collection}", threshold)


@faces_app.command()
def expire(
    face_ids: Annotated[list[str], typer.Argument(help="Ids of the faces.")],
    collection: InCollection,
    after: Annotated[
        str,
        typer.Option(
            "--in",
            help="How long they are kept from now: 90s, 15m, 12h, 30d, 8w or forever; "
            "default: as long as the collection keeps faces.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Give faces an end of their own, whatever their collection says."""
    seconds = None if after == "default" else duration(after)
    settings = read_settings()
    with (
        open_retention(settings) as retention,
        audited(retention.audit, "faces expire", collection, faces=face_ids),
    ):
        result = retention.ends.set(collection, face_ids, seconds)
    if as_json:
        print_json(
            {
                "Faces": [{"FaceId": f.face_id, "Expires": _own_end(f)} for f in result.faces],
                "NotFound": list(result.not_found),
            }
        )
    else:
        for face in result.faces:
            say(f"{face.face_id} ends {_own_end(face)}.")
        for face_id in result.not_found:
            note(f"{face_id} is no face of {collection}.")
    if result.not_found:
        raise typer.Exit(1)


def _own_end(face: Face) -> str:
    """A face's own end as ISO 8601 in UTC."""
    if face.expires_at is None:
        return "when its collection says"
    if face.expires_at >= FOREVER:
        return "never"
    return datetime.fromtimestamp(face.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@faces_app.command()
def delete(
    face_ids: Annotated[list[str], typer.Argument(help="Ids of the faces to delete.")],
    collection: InCollection,
    as_json: AsJson = False,
) -> None:
    """Delete faces; one that belongs to a user stays until it is disassociated."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "faces delete", collection, faces=face_ids),
    ):
        result = service.faces.delete(collection, face_ids)
    if as_json:
        print_json(
            {
                "DeletedFaces": result.deleted,
                "UnsuccessfulFaceDeletions": [
                    {"FaceId": failure.face_id, "UserId": failure.user_id, "Reasons": failure.reasons}
                    for failure in result.failures
                ],
            }
        )
    else:
        say(f"Deleted {len(result.deleted)} of {len(face_ids)} faces.")
        for failure in result.failures:
            owner = f" ({failure.user_id})" if failure.user_id else ""
            note(f"{failure.face_id}: {', '.join(failure.reasons)}{owner}")
    if result.failures:
        raise typer.Exit(1)
