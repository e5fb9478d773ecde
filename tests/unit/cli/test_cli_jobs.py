"""`facerec jobs`: the queue seen and mended from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Run, command_line  # noqa: F401  (a fixture)

from facerec.bootstrap import open_queue
from facerec.config import read_settings
from facerec.jobs.base import NewJob


@pytest.fixture
def set_aside(tmp_path: Path) -> list[str]:
    """Ids of two jobs that were set aside; a third one waits."""
    with open_queue(read_settings(data_dir=tmp_path / "data")) as queue:
        queue.put([NewJob(kind=kind, payload={"number": 1}) for kind in ("a", "b", "c")])
        jobs = queue.lease(["a", "b"], 10, seconds=60)
        for job in jobs:
            queue.set_aside(job, reason=f"no {job.kind} today")
    return [job.id for job in jobs]


def test_jobs_set_aside_are_listed_shown_and_queued_anew(facerec: Run, set_aside: list[str]) -> None:
    listed = facerec("jobs", "list", "--json").json["Jobs"]
    assert {job["Id"]: job["Reason"] for job in listed} == dict(
        zip(set_aside, ("no a today", "no b today"), strict=True)
    )
    assert "no b today" in facerec("jobs", "list", "--kind", "b").out
    assert "no a today" not in facerec("jobs", "list", "--kind", "b").out

    shown = facerec("jobs", "show", set_aside[0]).json
    assert (shown["Kind"], shown["Attempts"], shown["Payload"]) == ("a", 1, {"number": 1})
    counted = facerec("jobs", "counts", "--json").json
    assert (counted["a"]["set_aside"], counted["c"]["waiting"]) == (1, 1)
    assert "oldest" in facerec("jobs", "counts").out

    assert "1 jobs are queued" in facerec("jobs", "retry", set_aside[0]).out
    assert facerec("jobs", "show", set_aside[0]).code == 1
    assert "1 jobs are queued" in facerec("jobs", "retry", "--all").out
    assert facerec("jobs", "list", "--json").json["Jobs"] == []
    assert facerec("jobs", "counts", "--json").json["a"]["waiting"] == 1


@pytest.mark.parametrize("arguments", [(), ("17", "--all")])
def test_retry_needs_jobs_or_all(facerec: Run, arguments: tuple[str, ...]) -> None:
    assert facerec("jobs", "retry", *arguments).code == 2
