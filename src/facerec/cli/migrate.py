"""`facerec migrate-model`: a collection from one model to another, while both stand side by side."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import rich.progress
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from facerec.bootstrap import open_vector_store
from facerec.cli.image_places import RECORDED, open_places
from facerec.cli.moving import opened_database
from facerec.cli.output import AsJson, counting, note, print_json, print_table, say
from facerec.config import Settings, read_settings
from facerec.db import Database
from facerec.domain import Collection, Face, MigrationObstacle
from facerec.engine.base import Engine
from facerec.errors import InvalidParameter, PackError
from facerec.images.loader import open_loader
from facerec.metastore import collections
from facerec.services.collections import remove_deleted
from facerec.services.model_migration.control import MigrationStatus, ModelMigrations
from facerec.services.model_migration.looking import FaceFinder
from facerec.services.model_migration.planning import MigrationPlan, MigrationPlanner
from facerec.services.model_migration.run import MigrationRun, Progress

SAMPLE = 200
SILENCE_SECONDS = 30.0
"""Between two lines on progress where there is no terminal."""

LISTED_FAILURES = 20
"""Failed faces that are told to people; --json tells all."""

Failure = tuple[Face, MigrationObstacle]


def migrate_model(
    collection: Annotated[str, typer.Argument(help="Collection to migrate.")],
    to: Annotated[
        str | None, typer.Option(help="Pack of the new model: a name of `facerec packs list`, or a folder.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Where the images lie: a folder; a list (.csv, .jsonl) of external_image_id, image_id or "
            "face_id, and image; a pattern such as s3://bucket/{external_image_id}; or the word recorded "
            "(where IndexFaces was told). Needed once."
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would take, and do nothing.")] = False,
    sample: Annotated[
        int, typer.Option(min=0, help="Faces that --plan looks for in their images; 0: all of them.")
    ] = SAMPLE,
    accept_changed: Annotated[
        bool,
        typer.Option("--accept-changed", help="Look at images too whose bytes are not those indexed."),
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try the faces again that failed.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far it has come.")] = False,
    share: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Per cent of the searches that the new model answers from now on."),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Switch the collection to the new model.")] = False,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="With --finish: keep the old embeddings, to go back.")
    ] = False,
    leave_failed: Annotated[
        bool, typer.Option("--leave-failed", help="With --finish: go on without the faces that failed.")
    ] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Go back to the old model alone.")] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Part with the old embeddings that --keep-old kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Embed a collection's faces anew with another model, from their images; the service serves meanwhile.

    First --plan, then the run: broken off, the same command goes on, and several may run at once. Then
    --share to compare, and --finish or --abort. docs/model-migration.md walks through it.
    """
    chosen = [plan, status, share is not None, finish, abort, drop_old]
    if sum(chosen) > 1:
        raise InvalidParameter("--plan, --status, --share, --finish, --abort and --drop-old go one at a time")
    if (keep_old or leave_failed) and not finish:
        raise InvalidParameter("--keep-old and --leave-failed go with --finish")
    settings = read_settings()
    with opened_database(settings) as database:
        control = ModelMigrations(database)
        if plan:
            if to is None or images is None:
                raise InvalidParameter("--plan needs --to and --images")
            _show_plan(_plan(settings, database, collection, to, images, sample), as_json=as_json)
        elif status:
            _show_status(control, collection, as_json=as_json)
        elif share is not None:
            control.share(collection, share / 100)
            _show_status(control, collection, as_json=as_json)
        elif finish:
            switched = control.finish(collection, keep_old=keep_old, leave_failed=leave_failed)
            _remove_deleted(settings, database)
            _show_end(switched, "has its new model", as_json=as_json)
        elif abort:
            _show_end(control.abort(collection), "has its old model", as_json=as_json)
            _remove_deleted(settings, database)
        elif drop_old:
            _show_end(control.drop_old(collection), "has parted with its old model", as_json=as_json)
            _remove_deleted(settings, database)
        else:
            if retry:
                control.retry(collection)
            failed = _run(settings, database, control, collection, to, images, accept_changed)
            _show_status(control, collection, as_json=as_json)
            if failed:
                raise typer.Exit(1)


@contextlib.contextmanager
def _opened_pack(settings: Settings, pack: str) -> Iterator[Engine]:
    # Not at the top: it loads the networks' libraries, which takes a second.
    from facerec.engine.packs.loading import open_engine

    engine = open_engine(settings.model_copy(update={"model_path": pack}))
    try:
        yield engine
    finally:
        engine.close()


def _plan(
    settings: Settings, database: Database, collection: str, pack: str, images: str, sample: int
) -> MigrationPlan:
    places = open_places(images)
    with _opened_pack(settings, pack) as engine, counting("looking", sample) as advance:
        finder = FaceFinder(engine, open_loader(settings))
        planner = MigrationPlanner(database, finder, engine.contract, workers=settings.threads + 1)
        return planner.plan(collection, places, sample=sample or None, report=advance)


def _run(
    settings: Settings,
    database: Database,
    control: ModelMigrations,
    collection: str,
    to: str | None,
    images: str | None,
    accept_changed: bool,
) -> int:
    """Run until no face waits; how many failed."""
    if to is None or images is None:
        begun = control.status(collection).migration
        to, images = to or begun.new_pack, images or begun.images
    pack, where = _named(settings, to), _absolute(images)
    with database.read() as connection:
        old = collections.find(connection, collection)
    places = open_places(where)
    with _opened_pack(settings, pack) as engine:
        status = control.begin(
            collection,
            engine.contract,
            old_pack=_pack_of(settings, old),
            new_pack=pack,
            images=where,
        )
        finder = FaceFinder(engine, open_loader(settings), accept_changed=accept_changed)
        run = MigrationRun(database, finder, places, workers=settings.threads + 1)
        with _progress(status) as report:
            done = run.run(collection, report)
    return sum(done.failed.values())


def _pack_of(settings: Settings, collection: Collection) -> str:
    """Which of the settings' packs, as in MODEL_PATH, the collection was made with; the first if none."""
    from facerec.engine.packs.loading import contract_id

    for pack in (settings.model_path, *settings.extra_packs):
        with contextlib.suppress(PackError):
            candidate = settings.model_copy(update={"model_path": pack})
            if contract_id(candidate, collection.dimension) == collection.contract_id:
                return _named(settings, pack)
    return settings.model_path


def _named(settings: Settings, pack: str) -> str:
    """A pack as every process finds it: a name, or the whole path of a folder."""
    if (settings.packs_folder / pack).is_dir() or not Path(pack).expanduser().is_dir():
        return pack
    return str(Path(pack).expanduser().resolve())


def _absolute(images: str) -> str:
    """Where the images lie, to be found from any folder."""
    if images == RECORDED or "://" in images:
        return images
    return str(Path(images).expanduser().absolute())


def _remove_deleted(settings: Settings, database: Database) -> None:
    """Remove the embeddings that were parted with, and their index."""
    vectors = open_vector_store(settings, database)
    try:
        remove_deleted(database, vectors)
    finally:
        vectors.close()


@contextlib.contextmanager
def _progress(status: MigrationStatus) -> Iterator[Callable[[Progress], None]]:
    """A progress bar; where there is no terminal a line now and then."""
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    told = time.monotonic()
    with rich.progress.Progress(
        *columns, console=Console(stderr=True), disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("embedding", total=status.total, completed=status.done, text="")

        def report(progress: Progress) -> None:
            nonlocal told
            text = _told(progress)
            total = progress.done + progress.failed + progress.pending
            bar.update(task, completed=progress.done, total=total, text=text)
            if bar.disable and time.monotonic() - told >= SILENCE_SECONDS:
                told = time.monotonic()
                note(f"{progress.done} of {total} faces embedded, {text}")

        yield report


def _told(progress: Progress) -> str:
    left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
    return f"{progress.failed} failed, {progress.faces_per_second:.0f} faces/s{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show_plan(plan: MigrationPlan, *, as_json: bool) -> None:
    reachable = plan.collection.face_count - plan.without_reference
    if as_json:
        print_json(
            {
                "CollectionId": plan.collection.name,
                "FaceCount": plan.collection.face_count,
                "UserCount": plan.collection.user_count,
                "OldFaceModelVersion": plan.collection.model_version,
                "NewFaceModelVersion": plan.contract.model_version,
                "NewPack": plan.contract.pack,
                "WithoutReference": plan.without_reference,
                "Sampled": plan.sampled,
                "Found": plan.found,
                "NotFound": plan.obstacles,
                "Examples": [_described((face, reason)) for face, reason in plan.examples],
                "FacesPerSecond": round(plan.faces_per_second, 2),
                "Seconds": plan.seconds,
                "DiskBytes": plan.disk_bytes,
            }
        )
        return
    say(
        f"{plan.collection.name}: {plan.collection.face_count} faces and {plan.collection.user_count} users, "
        f"from face model {plan.collection.model_version} to {plan.contract.model_version} of pack "
        f"{plan.contract.pack}."
    )
    say(f"{reachable} of them have an image to look at, {plan.without_reference} have none.")
    say(f"Looked for {plan.sampled} of those: {plan.found} were found in their images.")
    for reason, count in plan.obstacles.items():
        say(f"  {count} {reason}")
    if plan.seconds is not None:
        say(
            f"At the {plan.faces_per_second:.1f} faces/s of that it takes {_duration(plan.seconds)} for one "
            f"process, and {plan.disk_bytes / 1e6:.1f} MB of disk until the old embeddings are dropped."
        )
    _show_failures(plan.examples)


def _show_status(control: ModelMigrations, collection: str, *, as_json: bool) -> None:
    status = control.status(collection)
    agreement, searches = status.migration.agreement, status.migration.agreement.searches
    failures = control.failures(collection, None if as_json else LISTED_FAILURES)
    if as_json:
        same = agreement.same_best
        print_json(
            {
                "CollectionId": collection,
                "State": "FINISHED" if status.finished else "UNDER_WAY",
                "OldPack": status.migration.old_pack,
                "NewPack": status.migration.new_pack,
                "Images": status.migration.images,
                "FaceModelVersion": status.collection.model_version,
                "FaceCount": status.total,
                "Done": status.done,
                "Failed": status.failed,
                "Pending": status.pending,
                "Failures": [_described(failure) for failure in failures],
                "Share": round(status.migration.share * 100, 4),
                "Compared": searches,
                "SameBest": same,
                "OtherBest": agreement.other_best,
                "OldAlone": agreement.old_alone,
                "NewAlone": agreement.new_alone,
                "Neither": agreement.neither,
                "MeanDifference": agreement.difference / same if same else None,
                "MeanDistance": agreement.distance / same if same else None,
            }
        )
        return
    state = "switched to" if status.finished else "on its way to"
    say(f"{collection} is {state} {status.migration.new_pack}, from {status.migration.old_pack}.")
    failed = sum(status.failed.values())
    say(f"{status.done} faces have their new embedding, {status.pending} wait, {failed} failed.")
    for reason, count in status.failed.items():
        say(f"  {count} {reason}")
    _show_failures(failures)
    if searches:
        mean = agreement.distance / max(agreement.same_best, 1)
        say(
            f"Of {searches} searches that both models answered, {agreement.same_best} have the same best "
            f"match ({mean:.2f} points apart in similarity on average), {agreement.other_best} another one, "
            f"{agreement.neither} none; {agreement.old_alone} have one by the old model alone, "
            f"{agreement.new_alone} by the new one alone."
        )
    if not status.finished:
        say(f"The new model answers {status.migration.share * 100:g} % of the searches.")


def _show_failures(failures: Sequence[Failure]) -> None:
    if failures:
        rows = [(face.face_id, face.external_image_id, reason) for face, reason in failures]
        print_table(("face", "external image id", "reason"), rows)


def _described(failure: Failure) -> dict[str, object]:
    face, reason = failure
    return {
        "FaceId": face.face_id,
        "ImageId": face.image_id,
        "ExternalImageId": face.external_image_id,
        "Reason": reason,
    }


def _show_end(collection: Collection, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "CollectionId": collection.name,
                "FaceModelVersion": collection.model_version,
                "FaceCount": collection.face_count,
                "UserCount": collection.user_count,
                "Dimension": collection.dimension,
                "OldKept": collection.twin is not None,
            }
        )
    else:
        say(
            f"{collection.name} {what}: face model {collection.model_version}, {collection.face_count} "
            f"faces, {collection.user_count} users."
        )
