"""`facerec jobs`: what waits in the queue, and what was set aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from facerec.bootstrap import open_queue
from facerec.cli.output import AsJson, print_json, print_table, say
from facerec.config import read_settings
from facerec.errors import NotFound
from facerec.jobs.base import JobQueue, SetAsideJob

MOST = 10_000

jobs_app = typer.Typer(no_args_is_help=True, help="The queue of jobs, and the jobs that were set aside.")

Kind = Annotated[str | None, typer.Option(help="Jobs of this kind alone.")]


@jobs_app.command()
def counts(as_json: AsJson = False) -> None:
    """Count the jobs, by kind (SQS: all together, approximately)."""
    with open_queue(read_settings()) as queue:
        counted = queue.counts()
    if as_json:
        print_json({kind: dataclasses.asdict(each) for kind, each in counted.items()})
        return
    rows = [
        (kind, each.waiting, each.leased, each.set_aside, each.oldest_seconds)
        for kind, each in sorted(counted.items())
    ]
    print_table(("kind", "waiting", "at work", "set aside", "oldest, seconds"), rows)


@jobs_app.command("list")
def list_jobs(
    kind: Kind = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Most jobs listed.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the jobs that were set aside, newest first, with the reasons."""
    with open_queue(read_settings()) as queue:
        listed = queue.list_set_aside(kind, limit=limit)
    if as_json:
        print_json({"Jobs": [_described(job) for job in listed]})
        return
    rows = [(job.id, job.kind, job.attempts, _moment(job.set_aside_at), job.reason) for job in listed]
    print_table(("job", "kind", "attempts", "set aside", "reason"), rows)


@jobs_app.command()
def show(job_id: Annotated[str, typer.Argument(help="As `facerec jobs list` shows it.")]) -> None:
    """Show a job that was set aside: what it is about, and why it is not done."""
    with open_queue(read_settings()) as queue:
        print_json(_described(_find(queue, job_id)))


@jobs_app.command()
def retry(
    job_ids: Annotated[list[str] | None, typer.Argument(help="As `facerec jobs list` shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were set aside.")] = False,
    kind: Kind = None,
) -> None:
    """Queue jobs anew that were set aside."""
    if bool(job_ids) == every:
        raise typer.BadParameter("name jobs, or give --all")
    with open_queue(read_settings()) as queue:
        put_back = _put_back_all(queue, kind) if every else queue.put_back(job_ids or [])
    say(f"{put_back} jobs are queued anew.")


def _put_back_all(queue: JobQueue, kind: str | None) -> int:
    total = 0
    while ids := [job.id for job in queue.list_set_aside(kind, limit=MOST)]:
        put_back = queue.put_back(ids)
        total += put_back
        if put_back == 0:
            break
    return total


def _find(queue: JobQueue, job_id: str) -> SetAsideJob:
    found: Sequence[SetAsideJob] = [job for job in queue.list_set_aside(limit=MOST) if job.id == job_id]
    if not found:
        raise NotFound(f"No job {job_id} was set aside.")
    return found[0]


def _described(job: SetAsideJob) -> dict[str, object]:
    return {
        "Id": job.id,
        "Kind": job.kind,
        "Payload": dict(job.payload),
        "Attempts": job.attempts,
        "Reason": job.reason,
        "SetAside": _moment(job.set_aside_at),
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
