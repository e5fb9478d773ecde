"""How far an album or an import is, as commands show it; and its jobs done in the command itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import typer

from facerec.bootstrap import Service, open_worker
from facerec.cli.output import following, note, print_json, print_table, say
from facerec.metastore.albums import AlbumImage
from facerec.metastore.items import ItemState
from facerec.services.albums.service import AlbumState, Progress
from facerec.workers.loop import WorkerThread

LOOK_SECONDS = 0.25
"""Between two looks at an album that is followed."""

FAILURES_SHOWN = 20
"""Most images that are named with what is wrong with them."""

QUEUED = "What waits is queued: a running `facerec serve` or `facerec worker` does it (here: --wait)."


def _do_jobs(service: Service, album_id: str) -> None:
    """Do the jobs of the queue here, those of others among them, until nothing of the album waits."""
    worker = WorkerThread(open_worker(service, service.settings.threads))
    try:
        follow(service, album_id)
    finally:
        worker.close()


def follow(service: Service, album_id: str) -> None:
    """A progress bar until nothing of the album waits. Raises AlbumNotFound."""
    with following(album_id) as show:
        while True:
            progress = service.albums.service.progress(album_id)
            total = sum(progress.counts.values())
            show(total - progress.counts[ItemState.WAITING], total)
            if progress.state is not AlbumState.WORKING:
                return
            time.sleep(LOOK_SECONDS)


def print_progress(service: Service, album_id: str, *, as_json: bool) -> None:
    """Print how far an album is, with the first of its images that have failed. Raises AlbumNotFound."""
    progress = service.albums.service.progress(album_id)
    failed = service.albums.service.images(album_id, state=ItemState.FAILED, limit=FAILURES_SHOWN).items
    described = _described(progress)
    if as_json:
        print_json({**described, "Failures": [_failure(image) for image in failed]})
        return
    rows = [(name, value) for name, value in described.items() if name not in ("AlbumId", "Listings")]
    print_table(("", album_id), [(name, value) for name, value in rows if value is not None])
    for listing in progress.listings:
        why = f": {listing.reason}" if listing.reason else ""
        say(f"s3://{listing.bucket}/{listing.prefix} {listing.state.name}, {listing.found} images{why}")
    for image in failed:
        note(f"{image.source}: {image.reason}")
    unnamed = progress.counts[ItemState.FAILED] - len(failed)
    if unnamed > 0:
        note(f"{unnamed} more have failed.")


def end(service: Service, album_id: str, *, wait: bool, as_json: bool) -> None:
    """What a command does after it has queued jobs: do them, or say who does; then print how far it is.

    Exits with 1 where it waited, and an image or a listing has failed.
    """
    if wait:
        _do_jobs(service, album_id)
    else:
        note(QUEUED)
    print_progress(service, album_id, as_json=as_json)
    if wait:
        progress = service.albums.service.progress(album_id)
        states = {listing.state for listing in progress.listings}
        if progress.counts[ItemState.FAILED] or ItemState.FAILED in states:
            raise typer.Exit(1)


def _described(progress: Progress) -> dict[str, object]:
    album = progress.album
    return {
        "AlbumId": album.album_id,
        "CollectionId": album.collection,
        "Title": album.title or None,
        "Created": datetime.fromtimestamp(album.created_at, UTC).isoformat(timespec="seconds"),
        "State": progress.state.value,
        **{state.name.capitalize(): number for state, number in progress.counts.items()},
        "Faces": progress.faces,
        "ImagesPerSecond": round(progress.rate, 2),
        "SecondsLeft": None if progress.seconds_left is None else round(progress.seconds_left, 1),
        "Listings": [
            {
                "Bucket": listing.bucket,
                "Prefix": listing.prefix,
                "State": listing.state.name,
                "Images": listing.found,
                "Reason": listing.reason,
            }
            for listing in progress.listings
        ],
    }


def _failure(image: AlbumImage) -> dict[str, object]:
    return {"Number": image.number, "Source": image.source, "Reason": image.reason}
