"""The queues in SQS that jobs are in: found or made, and spoken with in batches."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from facerec.access import AwsCredentials
from facerec.errors import ConfigurationError, JobQueueUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

T = TypeVar("T")

BATCH = 10
"""Messages of one request, which is what SQS takes."""

BATCH_BYTES = 200 * 1024
"""Bytes of the messages of one request; SQS took 256 KiB for long, and emulators do."""

MOST_DELAY_SECONDS = 900
MOST_LEASE_SECONDS = 43_200

RECEIPTS = 100
"""Receipts after which SQS itself moves a message to the dead-letter queue: what no worker has set aside."""

KEPT_SECONDS = 1_209_600
"""How long messages are kept: 14 days, which is the most."""

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, ATTEMPTS = 3, 10, 3

SUFFIXES: Mapping[str, str] = {"DEAD": "-dead", "FRESH": "", "BACKLOG": "-backlog"}
"""Of the queues' names in SQS, by ours; the dead-letter queue is there before those that need it."""

_log = logging.getLogger(__name__)


class SqsQueues:
    """The queues of one name. Thread-safe. All methods raise JobQueueUnavailable."""

    def __init__(
        self,
        name: str,
        *,
        region: str,
        endpoint_url: str | None,
        credentials: AwsCredentials,
        connections: int = 10,
    ) -> None:
        """name: of the queue of fresh jobs. Nothing is asked before the first use.

        Raises ConfigurationError for a name that cannot be one.
        """
        if re.fullmatch(r"[A-Za-z0-9_-]{1,72}", name) is None:
            raise ConfigurationError(
                f"SQS_QUEUE_NAME is {name[:80]!r}; it has 1 to 72 letters, digits, - and _ (no FIFO queue)"
            )
        self._name = name
        self._region = region
        self._endpoint_url = endpoint_url
        self._credentials = credentials
        self._connections = connections
        self._opened: SQSClient | None = None
        self._urls: dict[str, str] = {}
        self._lock = threading.Lock()

    def send(
        self,
        queue: str,
        messages: Sequence[tuple[str, float]],
        *,
        attribute: tuple[str, str] | None = None,
    ) -> None:
        """Send bodies, each after its delay in seconds (at most MOST_DELAY_SECONDS)."""
        attributes: dict[str, Any] = {}
        if attribute is not None:
            name, value = attribute
            text = "".join(each if each.isprintable() else " " for each in value[:1000]) or "-"
            attributes = {"MessageAttributes": {name: {"DataType": "String", "StringValue": text}}}
        for some in batches(messages, size=lambda message: len(message[0].encode())):
            entries: list[Any] = [
                {
                    "Id": str(place),
                    "MessageBody": body,
                    "DelaySeconds": min(math.ceil(delay), MOST_DELAY_SECONDS),
                    **attributes,
                }
                for place, (body, delay) in enumerate(some)
            ]
            with self._meant():
                answer = self._client().send_message_batch(QueueUrl=self._url(queue), Entries=entries)
            if answer.get("Failed"):
                raise JobQueueUnavailable(f"SQS did not take a job: {answer['Failed'][0].get('Code')}.")

    def receive(
        self, queue: str, limit: int, seconds: float, *, wait_seconds: int = 0
    ) -> list[MessageTypeDef]:
        """Up to `limit` (BATCH) messages, hidden from others for `seconds`."""
        with self._meant():
            answer = self._client().receive_message(
                QueueUrl=self._url(queue),
                MaxNumberOfMessages=limit,
                VisibilityTimeout=_whole(seconds),
                WaitTimeSeconds=wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=["All"],
            )
        return answer.get("Messages", [])

    def show_after(self, queue: str, handles: Sequence[str], seconds: float) -> frozenset[int]:
        """Hide messages from others for `seconds` from now; the places of those that were so no longer."""
        failed: set[int] = set()
        for first, some in _numbered(handles):
            entries: list[Any] = [
                {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": _whole(seconds)}
                for place, handle in enumerate(some, first)
            ]
            with self._meant():
                answer = self._client().change_message_visibility_batch(
                    QueueUrl=self._url(queue), Entries=entries
                )
            failed |= {int(each["Id"]) for each in answer.get("Failed", [])}
        return frozenset(failed)

    def delete(self, queue: str, handles: Sequence[str]) -> None:
        """Delete messages; those that are gone already are no error."""
        for first, some in _numbered(handles):
            entries: list[Any] = [
                {"Id": str(place), "ReceiptHandle": handle} for place, handle in enumerate(some, first)
            ]
            with self._meant():
                self._client().delete_message_batch(QueueUrl=self._url(queue), Entries=entries)

    def count(self, queue: str) -> tuple[int, int]:
        """About how many messages wait (delayed ones too), and how many are hidden by leases."""
        with self._meant():
            told = self._client().get_queue_attributes(
                QueueUrl=self._url(queue),
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesDelayed",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )["Attributes"]
        waiting = int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesDelayed"])
        return waiting, int(told["ApproximateNumberOfMessagesNotVisible"])

    def close(self) -> None:
        """Let go of connections."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _url(self, queue: str) -> str:
        """The address of a queue; all are looked up, or made, at the first call."""
        client = self._client()
        with self._lock:
            if not self._urls:
                dead: dict[str, str] = {}
                urls = {}
                for name, suffix in SUFFIXES.items():
                    urls[name] = _found_or_made(client, self._name + suffix, dead)
                    if name == "DEAD":
                        dead = _redrive_to(client, urls[name])
                urls["DEAD"] = _own_dead_letters(client, urls["FRESH"]) or urls["DEAD"]
                self._urls = urls
            return self._urls[queue]

    def _client(self) -> SQSClient:
        """The client, made at the first call: loading boto3's service model takes a noticeable moment."""
        with self._lock:
            if self._opened is None:
                import boto3
                from botocore.config import Config

                self._opened = boto3.session.Session().client(
                    "sqs",
                    aws_access_key_id=self._credentials.access_key_id,
                    aws_secret_access_key=self._credentials.secret_access_key,
                    aws_session_token=self._credentials.session_token,
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        connect_timeout=CONNECT_TIMEOUT_SECONDS,
                        read_timeout=READ_TIMEOUT_SECONDS,
                        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                        max_pool_connections=self._connections,
                    ),
                )
            return self._opened

    @contextmanager
    def _meant(self) -> Iterator[None]:
        """Raise JobQueueUnavailable where SQS does not do what is asked."""
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            self._urls = {}  # a queue that was removed is looked for, or made, anew
            raise JobQueueUnavailable(f"SQS refused: {code}.") from error
        except BotoCoreError as error:
            raise JobQueueUnavailable(f"SQS does not answer: {type(error).__name__}.") from error


def batches(items: Sequence[T], *, size: Any) -> Iterator[list[T]]:
    """The items in lists of up to BATCH, and BATCH_BYTES by what `size` tells of each."""
    some: list[T] = []
    total = 0
    for item in items:
        if some and (len(some) == BATCH or total + size(item) > BATCH_BYTES):
            yield some
            some, total = [], 0
        some.append(item)
        total += size(item)
    if some:
        yield some


def _numbered(handles: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Lists of up to BATCH, with the place of the first."""
    for first in range(0, len(handles), BATCH):
        yield first, handles[first : first + BATCH]


def _whole(seconds: float) -> int:
    """SQS counts in seconds: rather longer."""
    return min(math.ceil(seconds), MOST_LEASE_SECONDS)


def _found_or_made(client: SQSClient, name: str, attributes: Mapping[str, str]) -> str:
    try:
        return client.get_queue_url(QueueName=name)["QueueUrl"]
    except client.exceptions.QueueDoesNotExist:
        _log.info("the queue %s is made in SQS", name)
    kept = {"MessageRetentionPeriod": str(KEPT_SECONDS), **attributes}
    return client.create_queue(QueueName=name, Attributes=kept)["QueueUrl"]  # type: ignore[arg-type]


def _redrive_to(client: SQSClient, dead_url: str) -> dict[str, str]:
    """The attribute that has SQS move what nobody can do to the dead-letter queue."""
    told = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": told["QueueArn"], "maxReceiveCount": str(RECEIPTS)}
    return {"RedrivePolicy": json.dumps(policy)}


def _own_dead_letters(client: SQSClient, url: str) -> str | None:
    """The dead-letter queue that a queue was given by whoever has made it."""
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes", {})
    arn = json.loads(told.get("RedrivePolicy", "{}")).get("deadLetterTargetArn", "")
    name = arn.rpartition(":")[2]
    return client.get_queue_url(QueueName=name)["QueueUrl"] if name else None
