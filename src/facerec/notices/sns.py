"""Notices to a topic of Amazon SNS, or of a service that speaks its protocol."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from facerec.access import AwsCredentials
from facerec.errors import NoticeFailed

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

TIMEOUT_SECONDS = 10


class SnsTopics:
    """Publishes. Thread-safe."""

    def __init__(self, *, region: str, endpoint_url: str | None, credentials: AwsCredentials) -> None:
        """`endpoint_url` None means AWS."""
        self._region = region
        self._endpoint_url = endpoint_url
        self._credentials = credentials
        self._opened: SNSClient | None = None
        self._lock = threading.Lock()

    def publish(self, topic: str, message: str) -> None:
        """Publish a message to a topic (its ARN). Raises NoticeFailed."""
        try:
            self._client().publish(TopicArn=topic, Message=message)
        except (ClientError, BotoCoreError) as error:
            raise NoticeFailed(f"The topic was not told: {type(error).__name__}") from error

    def _client(self) -> SNSClient:
        """The client, made at the first call: loading boto3's service model takes a noticeable moment."""
        with self._lock:
            if self._opened is None:
                import boto3
                from botocore.config import Config

                self._opened = boto3.session.Session().client(
                    "sns",
                    aws_access_key_id=self._credentials.access_key_id,
                    aws_secret_access_key=self._credentials.secret_access_key,
                    aws_session_token=self._credentials.session_token,
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS),
                )
            return self._opened
