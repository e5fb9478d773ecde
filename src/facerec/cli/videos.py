"""`facerec video` and `facerec videos`: who is in a film, and when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from facerec.api.rekognition.shapes import video_job
from facerec.bootstrap import Service, open_service, open_worker
from facerec.cli.auditing import audited
from facerec.cli.image_places import reference
from facerec.cli.output import AsJson, downloading, print_json, print_table, say
from facerec.cli.search import described
from facerec.cli.timeline import check_timeline, draw_timeline, name_of
from facerec.config import read_settings
from facerec.domain import VideoJob, VideoOperation, VideoState, VideoWish
from facerec.errors import InvalidVideo
from facerec.services.audit import Act
from facerec.services.videos.service import Appearing
from facerec.workers.loop import WorkerThread
from facerec.workers.tasks import video_handlers

POLL_SECONDS = 0.1

videos_app = typer.Typer(help="Videos that are, or were, looked at.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("--output", "-o", help="Picture file: .png, .svg or .pdf.")]


def video(
    place: Annotated[str, typer.Argument(help="A video file, s3://bucket/key or https://host/path.")],
    collection: Annotated[str, typer.Option(help="Collection in which its faces are looked for.")],
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity.")] = 80.0,
    timeline: Annotated[Path | None, typer.Option(help="Draw who appears when to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out who is in a video, and when."""
    if timeline is not None:
        check_timeline(timeline)
    with (
        open_service(read_settings()) as service,
        audited(service.audit, "video", collection, act=Act.SEARCH) as entry,
    ):
        wish = VideoWish(
            operation=VideoOperation.FACE_SEARCH,
            video=reference(place, Path.cwd()),
            collection=collection,
            threshold=threshold,
        )
        job = _done(service, service.videos.start(wish))
        if job.state is VideoState.FAILED:
            raise InvalidVideo(f"{place}: {job.message}")
        found = service.videos.appearances(job.job_id)
        entry.faces += [match.face.face_id for one in found for match in one.matches]
        if timeline is not None:
            draw_timeline(timeline, job, found, title=f"{Path(place).name} in {collection}")
    if as_json:
        print_json({**video_job(job), "Persons": [_person(one) for one in found]})
        return
    _print(job, found, title=f"{place}: {len(found)} person{'s' if len(found) != 1 else ''}")
    if timeline is not None:
        say(f"Drawn in {timeline}.")


@videos_app.command("list")
def list_videos(as_json: AsJson = False) -> None:
    """List the newest jobs."""
    with open_service(read_settings()) as service:
        jobs = service.videos.list()
    if as_json:
        print_json({"Jobs": [video_job(job) for job in jobs]})
        return
    rows = [
        (job.job_id, job.wish.operation.value, job.state.value, job.progress_ms / 1000, job.message)
        for job in jobs
    ]
    print_table(("job", "operation", "state", "seconds seen", "message"), rows)


@videos_app.command()
def timeline(
    job_id: Annotated[str, typer.Argument(help="Job of a face search.")],
    output: Output = Path("timeline.png"),
) -> None:
    """Draw who appears when in a video that was searched."""
    check_timeline(output)
    with open_service(read_settings()) as service:
        job = service.videos.find(job_id, VideoOperation.FACE_SEARCH)
        draw_timeline(
            output, job, service.videos.appearances(job_id), title=f"Video in {job.wish.collection}"
        )
    say(f"Drawn in {output}.")


def _done(service: Service, job_id: str) -> VideoJob:
    """The job when it has ended, done here unless a running service is faster."""
    with (
        closing(WorkerThread(open_worker(service, 1, video_handlers(service)))),
        downloading("looking at the video") as progress,
    ):
        while (job := service.videos.find(job_id)).state is VideoState.IN_PROGRESS:
            if job.metadata is not None:
                progress(job.progress_ms, job.metadata.duration_millis)
            time.sleep(POLL_SECONDS)
    return job


def _person(one: Appearing) -> dict[str, object]:
    return {
        "Index": one.person.index,
        "Frames": one.person.frames,
        "Appearances": [
            {"FirstTimestamp": each.first_ms, "LastTimestamp": each.last_ms}
            for each in one.person.appearances
        ],
        "FaceMatches": [described(match) for match in one.matches],
    }


def _print(job: VideoJob, found: Sequence[Appearing], *, title: str) -> None:
    rows = []
    for one in found:
        best = one.matches[0] if one.matches else None
        times = ", ".join(
            f"{each.first_ms / 1000:.1f}-{each.last_ms / 1000:.1f}" for each in one.person.appearances
        )
        name = None if best is None else name_of(best.face)
        rows.append((one.person.index, name, None if best is None else best.similarity, times))
    print_table(("person", "looks like", "similarity", "seconds"), rows, title=title)
    if job.message:
        say(job.message)
