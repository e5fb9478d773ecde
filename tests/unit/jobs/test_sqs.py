"""What is SQS's own: the queues it makes, S3's events as jobs, and messages of others."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from facerec.config import read_settings
from facerec.errors import ConfigurationError, JobQueueUnavailable
from facerec.jobs.base import Job, JobQueue, NewJob, Priority
from facerec.jobs.opening import open_jobs
from facerec.metastore import open_at
from facerec.services.image_jobs import INDEX_IMAGE_JOB, S3EventRules

RULES = "staff/=employees,=guests"


@dataclass
class Place:
    """A queue of jobs, and the same queues by an own client."""

    queue: JobQueue
    client: Any
    name: str

    def url(self, suffix: str = "") -> str:
        return str(self.client.get_queue_url(QueueName=self.name + suffix)["QueueUrl"])

    def send(self, body: str) -> None:
        """Send what somebody else would send."""
        self.client.send_message(QueueUrl=self.url(), MessageBody=body)

    def lease(self, seconds: float = 60) -> list[Job]:
        return self.queue.lease([INDEX_IMAGE_JOB, "task"], 10, seconds=seconds)


@pytest.fixture
def place(tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    name = f"events-{uuid.uuid4()}"
    settings = read_settings(sqs_queue_name=name, sqs_endpoint_url=s3_url, sqs_wait_seconds=0)
    client = boto3.client("sqs", endpoint_url=s3_url, region_name="us-east-1")
    with (
        contextlib.closing(open_at(tmp_path)) as database,
        contextlib.closing(open_jobs(settings, database, S3EventRules(RULES).job)) as queue,
    ):
        queue.counts()  # makes the queues
        yield Place(queue, client, name)
        client.close()


def created(*keys: str, name: str = "ObjectCreated:Put", version: str | None = None) -> dict[str, Any]:
    """S3's message, its keys as S3 writes them."""
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": name,
                "s3": {
                    "bucket": {"name": "photos"},
                    "object": {"key": key, **({"versionId": version} if version else {})},
                },
            }
            for key in keys
        ]
    }


def images(jobs: list[Job]) -> dict[object, object]:
    """Collections by sources."""
    assert all(job.kind == INDEX_IMAGE_JOB for job in jobs)
    return {job.payload["source"]: job.payload["collection"] for job in jobs}


def test_the_queues_are_made_and_wired(place: Place) -> None:
    dead = place.client.get_queue_attributes(QueueUrl=place.url("-dead"), AttributeNames=["QueueArn"])
    for suffix in ("", "-backlog"):
        told = place.client.get_queue_attributes(QueueUrl=place.url(suffix), AttributeNames=["All"])
        policy = json.loads(told["Attributes"]["RedrivePolicy"])
        assert policy["deadLetterTargetArn"] == dead["Attributes"]["QueueArn"]


def test_a_queue_that_is_there_keeps_its_own_dead_letters(place: Place, tmp_path: Path, s3_url: str) -> None:
    own, name = f"own-{uuid.uuid4()}", f"given-{uuid.uuid4()}"
    url = place.client.create_queue(QueueName=own)["QueueUrl"]
    arn = place.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 7})
    place.client.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})
    settings = read_settings(sqs_queue_name=name, sqs_endpoint_url=s3_url, sqs_wait_seconds=0)
    with (
        contextlib.closing(open_at(tmp_path / "other")) as database,
        contextlib.closing(open_jobs(settings, database, lambda _: None)) as queue,
    ):
        queue.put([NewJob(kind="task", payload={})])
        (job,) = queue.lease(["task"], 1, seconds=60)
        queue.set_aside(job, reason="no\nway")
        assert [each.reason for each in queue.list_set_aside()] == ["no way"]
    (letter,) = place.client.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert letter["MessageAttributes"]["FacerecReason"]["StringValue"] == "no way"


def test_an_object_made_in_s3_becomes_a_job(place: Place) -> None:
    place.send(json.dumps(created("album+one/b%C3%A9a+%2B1.jpg", version="v7")))
    (job,) = place.lease()
    assert images([job]) == {"s3://photos/album one/béa +1.jpg?versionId=v7": "guests"}
    assert job.attempt == 1
    place.queue.release([job])  # it goes on as any other job
    (job,) = place.lease()
    assert job.attempt == 1
    place.queue.done([job])
    assert place.lease() == []


def test_several_records_become_several_jobs_by_the_longest_prefix(place: Place) -> None:
    place.send(json.dumps(created("a.jpg", "staff/b.PNG", "notes.txt", "folder/")))
    jobs = place.lease() or place.lease()
    assert images(jobs) == {"s3://photos/a.jpg": "guests", "s3://photos/staff/b.PNG": "employees"}


@pytest.mark.parametrize(
    "message",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"},
        created("a.jpg", name="ObjectRemoved:Delete"),
        created("a.txt"),
        {"Records": []},
        {"source": "aws.s3", "detail-type": "Object Deleted", "detail": {}},
    ],
)
def test_what_asks_for_nothing_is_forgotten(place: Place, message: dict[str, Any]) -> None:
    place.send(json.dumps(message))
    assert place.lease() == []
    counted = place.queue.counts()["*"]
    assert (counted.waiting, counted.leased, counted.set_aside) == (0, 0, 0)


@pytest.mark.parametrize(
    "message",
    [
        {"Type": "Notification", "Message": json.dumps(created("a%20b.jpg"))},
        {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "detail": {"bucket": {"name": "photos"}, "object": {"key": "a b.jpg", "version-id": ""}},
        },
    ],
    ids=["by SNS", "by EventBridge"],
)
def test_events_come_by_other_ways_too(place: Place, message: dict[str, Any]) -> None:
    place.send(json.dumps(message))
    assert images(place.lease()) == {"s3://photos/a b.jpg": "guests"}


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "[]",
        "[" * 5000,
        '{"Records": [17]}',
        '{"Records": [{"eventSource": "aws:ses"}]}',
        '{"source": "aws.s3"}',
        '{"Type": "Notification", "Message": "hello"}',
        '{"facerec": 1, "kind": "task"}',
        '{"facerec": 1, "id": "1", "kind": "task", "payload": {"a": []}, "queued_at": 1}',
        '{"facerec": 1, "id": "1", "kind": "task", "payload": {}, "queued_at": "now"}',
    ],
)
def test_messages_of_others_are_set_aside_at_once(place: Place, body: str) -> None:
    place.send(body)
    assert place.lease() == []
    (job,) = place.queue.list_set_aside()
    assert (job.kind, job.payload["body"]) == ("unknown", body[:500])
    assert "no event of S3" in job.reason
    assert place.queue.put_back([job.id]) == 1  # as it was, for whoever has mended what reads it
    assert place.lease() == []
    assert len(place.queue.list_set_aside()) == 1


def test_events_without_a_rule_are_set_aside(tmp_path: Path, place: Place, s3_url: str) -> None:
    settings = read_settings(sqs_queue_name=place.name, sqs_endpoint_url=s3_url, sqs_wait_seconds=0)
    place.send(json.dumps(created("a.jpg")))
    with (
        contextlib.closing(open_at(tmp_path)) as database,
        contextlib.closing(open_jobs(settings, database, S3EventRules(None).job)) as queue,
    ):
        assert queue.lease([INDEX_IMAGE_JOB], 10, seconds=60) == []
        assert "FACEREC_S3_EVENTS_COLLECTION" in queue.list_set_aside()[0].reason


def test_more_jobs_than_a_batch_and_than_a_batch_has_bytes(place: Place) -> None:
    place.queue.put(
        [NewJob(kind="task", payload={"a": "x" * 60_000}, priority=Priority.BACKLOG) for _ in range(12)]
    )
    jobs: list[Job] = []
    while some := place.queue.lease(["task"], 12, seconds=60):
        jobs += some
    assert len(jobs) == 12
    place.queue.done(jobs)
    assert place.queue.counts()["*"].leased == 0


@pytest.mark.parametrize("name", ["jobs.fifo", "", "a b", "x" * 73])
def test_names_that_no_queue_can_have_are_refused(tmp_path: Path, name: str) -> None:
    settings = read_settings().model_copy(update={"sqs_queue_name": name})
    with (
        contextlib.closing(open_at(tmp_path)) as database,
        pytest.raises(ConfigurationError, match="SQS_QUEUE_NAME"),
    ):
        open_jobs(settings, database, lambda _: None)


def test_an_sqs_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    settings = read_settings(sqs_queue_name="away", sqs_endpoint_url=url)
    with (
        contextlib.closing(open_at(tmp_path)) as database,
        contextlib.closing(open_jobs(settings, database, lambda _: None)) as queue,
        pytest.raises(JobQueueUnavailable, match="SQS"),
    ):
        queue.put([NewJob(kind="task", payload={})])


@pytest.mark.parametrize("rules", ["a b", "x=", "=a,b=ü"])
def test_rules_that_name_no_collection_are_refused(rules: str) -> None:
    with pytest.raises(ConfigurationError, match="FACEREC_S3_EVENTS_COLLECTION"):
        S3EventRules(rules)
