"""What S3 says in a queue when objects were made: by itself, by way of SNS, and by EventBridge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus


@dataclass(frozen=True, slots=True)
class CreatedObject:
    """An object that was made."""

    bucket: str
    key: str
    version: str | None = None


def created_objects(message: Mapping[str, Any]) -> list[CreatedObject] | None:
    """The objects that a message tells of: none for S3's test and for events of other kinds; None where the
    message is no event of S3.
    """
    if message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        try:
            inner = json.loads(message["Message"])
        except ValueError:
            return None
        return created_objects(inner) if isinstance(inner, dict) else None
    if message.get("Event") == "s3:TestEvent":
        return []
    try:
        if message.get("source") == "aws.s3":
            return _of_eventbridge(message)
        if isinstance(message.get("Records"), list):
            return _of_records(message["Records"])
    except (AttributeError, KeyError, TypeError):
        return None
    return None


def _of_records(records: list[Any]) -> list[CreatedObject] | None:
    found = []
    for record in records:
        if record["eventSource"] != "aws:s3":
            return None
        if record["eventName"].removeprefix("s3:").startswith("ObjectCreated:"):
            about = record["s3"]["object"]
            # Keys are written as in a form: %20 or + for a space.
            key = unquote_plus(about["key"])
            found.append(CreatedObject(str(record["s3"]["bucket"]["name"]), key, about.get("versionId")))
    return found


def _of_eventbridge(message: Mapping[str, Any]) -> list[CreatedObject]:
    if message["detail-type"] != "Object Created":
        return []
    about = message["detail"]
    key, version = about["object"]["key"], about["object"].get("version-id")
    return [CreatedObject(str(about["bucket"]["name"]), str(key), version or None)]
