"""`facerec albums`: photographs that are indexed in the background, and searched together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from facerec.api.rekognition.shapes import bounding_box
from facerec.bootstrap import Service, open_service
from facerec.cli.album_people import people
from facerec.cli.album_progress import end, follow, print_progress
from facerec.cli.auditing import audited
from facerec.cli.collections import Yes, every
from facerec.cli.output import AsJson, counting, note, print_json, print_table, say
from facerec.cli.pictures import at_once, pictures_in
from facerec.config import read_settings
from facerec.domain import LocalImage
from facerec.errors import NotFound
from facerec.metastore.albums import Album, NewImage
from facerec.services.albums.searching import DEFAULT_PHOTOS, MOST_PHOTOS, FoundPhoto
from facerec.services.albums.service import MOST_AT_ONCE
from facerec.services.albums.sources import new_image, parse_source
from facerec.services.albums.uploading import Upload, UploadResult
from facerec.services.audit import Act

BATCH = 8
"""Files that are indexed, and in memory, at a time."""

albums_app = typer.Typer(no_args_is_help=True, help="Fill, follow and search albums.")
albums_app.command()(people)

AlbumId = Annotated[str, typer.Argument(help="The album's id; an import's too.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Do the jobs of the queue in this command until nothing waits.")
]


@dataclass(frozen=True, slots=True)
class Places:
    """Where images lie, told apart by who reads them."""

    images: list[NewImage]
    prefixes: list[tuple[str, str]]
    """(bucket, prefix)."""
    files: list[tuple[str, Path]]
    """(name in the album, file)."""


@albums_app.command()
def create(
    album_id: Annotated[
        str | None, typer.Argument(help="Its id, and its collection's; default: a new one.")
    ] = None,
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an empty album, with a collection of its own."""
    with open_service(read_settings()) as service, audited(service.audit, "albums create", album_id) as entry:
        album = service.albums.service.create(album_id, title=title)
        entry.collection = album.collection
    if as_json:
        print_json({"AlbumId": album.album_id, "Title": album.title})
    else:
        say(f"Created the album {album.album_id}.")


@albums_app.command("list")
def list_albums(as_json: AsJson = False) -> None:
    """List the albums."""
    with open_service(read_settings()) as service:
        found = list(every(lambda token: service.albums.service.list(token=token)))
    if as_json:
        print_json([{"AlbumId": a.album_id, "Title": a.title, "Images": a.images} for a in found])
    elif found:
        print_table(("album", "title", "images"), [(a.album_id, a.title, a.images) for a in found])
    else:
        say("There are no albums.")


@albums_app.command()
def show(
    album_id: AlbumId,
    follow_it: Annotated[
        bool, typer.Option("--follow", help="Show a progress bar until nothing waits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far an album is, and what has failed."""
    with open_service(read_settings()) as service:
        if follow_it:
            follow(service, album_id)
        print_progress(service, album_id, as_json=as_json)


@albums_app.command()
def add(
    album_id: AlbumId,
    places: Annotated[
        list[str],
        typer.Argument(help="s3://bucket/key, s3://bucket/prefix/, https://..., a folder, or files."),
    ],
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Addresses in S3 are prefixes, however they end.")
    ] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Add images: files are indexed in the command, others are queued. Nothing is added twice."""
    told = _told_apart(places, prefix=prefix)
    with open_service(read_settings()) as service:
        album = service.albums.service.get(album_id)
        refused = _upload(service, album, told.files)
        if told.images or told.prefixes:
            with audited(service.audit, "albums add", album.collection):
                for start in range(0, len(told.images), MOST_AT_ONCE):
                    service.albums.service.add(album_id, told.images[start : start + MOST_AT_ONCE])
                for bucket, below in told.prefixes:
                    service.albums.service.add_prefix(album_id, bucket, below)
        for result in refused:
            note(f"{result.name}: {result.refusal}")
        if told.images or told.prefixes:
            end(service, album_id, wait=wait, as_json=as_json)
        else:
            print_progress(service, album_id, as_json=as_json)
    if refused:
        raise typer.Exit(1)


@albums_app.command()
def retry(album_id: AlbumId, wait: Wait = False, as_json: AsJson = False) -> None:
    """Try again the images that have failed or were cancelled."""
    with open_service(read_settings()) as service:
        album = service.albums.service.get(album_id)
        with audited(service.audit, "albums retry", album.collection):
            service.albums.service.retry(album_id)
        end(service, album_id, wait=wait, as_json=as_json)


@albums_app.command()
def cancel(album_id: AlbumId, as_json: AsJson = False) -> None:
    """Look at no more images. What is at work is finished."""
    with open_service(read_settings()) as service:
        album = service.albums.service.get(album_id)
        with audited(service.audit, "albums cancel", album.collection):
            number = service.albums.service.cancel(album_id)
    if as_json:
        print_json({"AlbumId": album_id, "Cancelled": number})
    else:
        say(f"{number} images are not looked at.")


@albums_app.command()
def delete(album_id: AlbumId, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an album with its collection and all faces in it; of an import the faces stay."""
    with open_service(read_settings()) as service:
        album = service.albums.service.get(album_id)
        if not yes:
            typer.confirm(f"Delete {album_id} with its {album.images} images?", abort=True, err=True)
        with audited(service.audit, "albums delete", album.collection):
            service.albums.service.delete(album_id)
    if as_json:
        print_json({"AlbumId": album_id, "Deleted": True})
    else:
        say(f"Deleted {album_id}.")


@albums_app.command()
def search(
    image: Annotated[Path, typer.Argument(help="The picture whose largest face is looked for.")],
    album: Annotated[
        list[str] | None, typer.Option(help="Album to look in, may be repeated. Default: all.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity.")] = 80.0,
    limit: Annotated[int, typer.Option(min=1, max=MOST_PHOTOS, help="Most photos.")] = DEFAULT_PHOTOS,
    as_json: AsJson = False,
) -> None:
    """Find the photos that show the person of a picture, most similar first."""
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "albums search", act=Act.SEARCH) as entry,
    ):
        found = service.albums.search.search(
            LocalImage(image), album or None, threshold=threshold, limit=limit
        )
        entry.faces += [face.face_id for photo in found.photos for face in photo.faces]
    if as_json:
        print_json(
            {
                "SearchedFaceBoundingBox": bounding_box(found.probe.box),
                "Photos": [_described(photo) for photo in found.photos],
            }
        )
    elif found.photos:
        rows = [(p.similarity, p.album_id, p.source or p.external_id, len(p.faces)) for p in found.photos]
        print_table(("similarity", "album", "photo", "faces"), rows)
    else:
        say(f"{image}: in no photo at similarity {threshold:g} or more.")


def _told_apart(places: Sequence[str], *, prefix: bool) -> Places:
    """Raises InvalidParameter, and NotFound for what is neither an address nor here."""
    told = Places([], [], [])
    for place in places:
        bucket, _, key = place.removeprefix("s3://").partition("/")
        if place.startswith("s3://") and (prefix or not key or key.endswith("/")):
            told.prefixes.append((bucket, key))
        elif place.startswith(("s3://", "http://", "https://")):
            told.images.append(new_image(parse_source(place)))
        elif Path(place).is_file():
            told.files.append((Path(place).name, Path(place)))
        elif Path(place).is_dir():
            folder = Path(place)
            told.files.extend((path.relative_to(folder).as_posix(), path) for path in pictures_in(folder))
        else:
            raise NotFound(f"{place} is no file, no folder and no address of an image")
    return told


def _upload(service: Service, album: Album, files: Sequence[tuple[str, Path]]) -> list[UploadResult]:
    """Index files into an album; those that were not taken."""

    def work(batch: Sequence[tuple[str, Path]]) -> tuple[UploadResult, ...]:
        uploads = [Upload(name, path.read_bytes()) for name, path in batch]
        with audited(service.audit, "albums add", album.collection):
            return service.albums.uploads.add(album.album_id, uploads)

    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    refused: list[UploadResult] = []
    with (
        counting("indexing", len(files)) as advance,
        at_once(work, batches, service.settings.threads + 1) as finished,
    ):
        for _, future in finished:
            for result in future.result():
                advance()
                if result.refusal is not None:
                    refused.append(result)
    return sorted(refused, key=lambda result: result.name)


def _described(photo: FoundPhoto) -> dict[str, object]:
    return {
        "AlbumId": photo.album_id,
        "Number": None if photo.image is None else photo.image.number,
        "Source": photo.source,
        "ExternalImageId": photo.external_id,
        "ImageId": photo.image_id,
        "Similarity": photo.similarity,
        "Faces": [
            {
                "FaceId": face.face_id,
                "Similarity": face.similarity,
                "BoundingBox": bounding_box(face.box),
            }
            for face in photo.faces
        ],
    }
