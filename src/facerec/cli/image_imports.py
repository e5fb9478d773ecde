"""`facerec import-images`: the images that a manifest names into a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerec.bootstrap import open_service
from facerec.cli.album_progress import end
from facerec.cli.auditing import audited
from facerec.cli.output import AsJson
from facerec.config import read_settings
from facerec.domain import S3Image
from facerec.errors import InvalidParameter
from facerec.services.albums.manifests import kind_of, read_manifest
from facerec.services.albums.sources import parse_source


def import_images(
    manifest: Annotated[
        str, typer.Argument(help="CSV, JSON lines or a ListFaces export: a file, or s3://bucket/key.")
    ],
    collection: Annotated[str, typer.Option(help="Collection to index into.")],
    template: Annotated[
        str | None,
        typer.Option(help="Where the images of a ListFaces export lie: s3://bucket/{external_id}."),
    ] = None,
    client_token: Annotated[
        str | None, typer.Option(help="The same command with the same token goes on with the same import.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Look at the images in this command.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import the images that a manifest names. Its id is printed: `facerec albums show` follows it."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "import-images", collection),
    ):
        imports = service.albums.imports
        if manifest.startswith("s3://"):
            place = parse_source(manifest)
            if not isinstance(place, S3Image):
                raise InvalidParameter("A manifest's source is s3://bucket/key.")
            made = imports.create_from(collection, place, template=template, client_token=client_token)
        else:
            name = Path(manifest).name
            with Path(manifest).open("rb") as file:
                entries = read_manifest(file, kind_of(name), template=template)
                made = imports.create(collection, name, template=template, client_token=client_token)
                imports.read(made.album_id, entries)
        end(service, made.album_id, wait=wait, as_json=as_json)
