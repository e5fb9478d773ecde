"""Videos asked for by boto3 and done by workers in processes of their own, which are killed in the midst."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from serving import wait_until
from wire_server import Running, inline, running

from facerec.engine.fake import draw
from films import film, scene

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import VideoTypeDef

BUCKET, KEY = "worker-films", "ben.mp4"
LOOKS = 600
"""Frames that are looked at, five a second."""
PATIENCE_SECONDS = 400.0

VIDEO: VideoTypeDef = {"S3Object": {"Bucket": BUCKET, "Name": KEY}}


@contextmanager
def service_without_workers(folder: Path, s3_url: str) -> Iterator[Running]:
    """A service that does no jobs, with a film in S3 and the person of the film in a collection."""
    frames = [scene("ben", variation=number, size=(160, 120)) for number in range(20)]
    session = boto3.Session("test", "test", region_name="us-east-1")
    with closing(session.client("s3", endpoint_url=s3_url)) as s3:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=film([*frames] * (LOOKS // len(frames)), rate=5))
    with running(folder) as service:
        client = service.client()
        client.create_collection(CollectionId="known")
        client.index_faces(CollectionId="known", Image=inline(draw("ben")), ExternalImageId="ben")
        client.close()
        yield service


def check_a_search_whose_workers_are_killed(service: Running, workers: Callable[[], list[int]]) -> None:
    """Others do it anew, and in the end every frame is there once. workers: the processes that do jobs."""
    client = service.client()
    job_id = _killed_in_the_midst(service, workers)
    wait_until(
        lambda: client.get_face_search(JobId=job_id)["JobStatus"] != "IN_PROGRESS",
        seconds=PATIENCE_SECONDS,
        pause=0.25,
    )
    answer = client.get_face_search(JobId=job_id, MaxResults=1000)
    assert answer["JobStatus"] == "SUCCEEDED", answer.get("StatusMessage")
    persons = answer["Persons"]
    assert [seen["Timestamp"] for seen in persons] == list(range(0, LOOKS * 200, 200)), "each once"
    assert {seen["FaceMatches"][0]["Face"]["ExternalImageId"] for seen in persons} == {"ben"}
    assert service.service.videos.find(job_id).attempts == 2
    client.close()


def check_a_detection(service: Running) -> None:
    """Every frame with its face."""
    client = service.client()
    job_id = client.start_face_detection(Video=VIDEO, JobTag="short")["JobId"]
    wait_until(
        lambda: client.get_face_detection(JobId=job_id)["JobStatus"] != "IN_PROGRESS",
        seconds=PATIENCE_SECONDS,
        pause=0.25,
    )
    answer = client.get_face_detection(JobId=job_id, MaxResults=1000)
    assert (answer["JobStatus"], answer["JobTag"]) == ("SUCCEEDED", "short")
    assert [face["Timestamp"] for face in answer["Faces"]] == list(range(0, LOOKS * 200, 200))
    client.close()


def _killed_in_the_midst(service: Running, workers: Callable[[], list[int]]) -> str:
    """A search all of whose workers were killed while it was at work; one that was faster is begun anew."""
    client = service.client()
    while True:
        job_id = client.start_face_search(Video=VIDEO, CollectionId="known")["JobId"]
        wait_until(partial(_is_begun, service, job_id), seconds=PATIENCE_SECONDS)
        there = workers()
        for each in there:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        at_work = client.get_face_search(JobId=job_id)["JobStatus"] == "IN_PROGRESS"
        for each in there:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL if at_work else signal.SIGCONT)
        if at_work:
            client.close()
            return job_id


def _is_begun(service: Running, job_id: str) -> bool:
    return service.service.videos.find(job_id).attempts > 0
