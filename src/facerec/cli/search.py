"""`facerec search`: who is in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerec.api.rekognition.shapes import bounding_box, face_match
from facerec.bootstrap import open_service
from facerec.cli.auditing import audited
from facerec.cli.output import AsJson, print_json, print_table, say
from facerec.config import read_settings
from facerec.domain import FaceMatch, LocalImage
from facerec.services.audit import Act


def search(
    image: Annotated[Path, typer.Argument(help="The picture whose largest face is looked for.")],
    collection: Annotated[str, typer.Option(help="Collection to search.")],
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity.")] = 80.0,
    limit: Annotated[int, typer.Option(min=1, max=4096, help="Most faces.")] = 80,
    as_json: AsJson = False,
) -> None:
    """Find the faces of a collection that look like the largest face of a picture."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "search", collection, act=Act.SEARCH) as entry,
    ):
        found = service.faces.search_by_image(collection, LocalImage(image), limit=limit, threshold=threshold)
        entry.faces += [match.face.face_id for match in found.matches]
    if as_json:
        print_json(
            {
                "SearchedFaceBoundingBox": bounding_box(found.probe.box) if found.probe else None,
                "SearchedFaceConfidence": found.probe.confidence if found.probe else None,
                "FaceMatches": [described(match) for match in found.matches],
                "FaceModelVersion": found.model_version,
            }
        )
        return
    print_matches(found.matches, f"{image} in {collection}", threshold)


def described(match: FaceMatch) -> dict[str, object]:
    """A match as Rekognition writes it, with the cosine beside the similarity."""
    return {**face_match(match), "Cosine": match.cosine}


def print_matches(matches: tuple[FaceMatch, ...], title: str, threshold: float) -> None:
    """Print matches for people."""
    if not matches:
        say(f"{title}: nobody at similarity {threshold:g} or more.")
        return
    rows = [
        (m.similarity, f"{m.cosine:.3f}", m.face.external_image_id, m.face.user_id, m.face.face_id)
        for m in matches
    ]
    print_table(("similarity", "cosine", "external image id", "user", "face id"), rows, title=title)
