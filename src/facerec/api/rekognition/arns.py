"""Amazon Resource Names of collections."""

from __future__ import annotations

import re

from facerec.config import Settings
from facerec.errors import AccessDenied, InvalidParameter, NotFound

# CreateCollection answers `aws:rekognition:...`, DescribeCollection and IAM have `arn:aws:rekognition:...`.
ARN = re.compile(
    r"(?:arn:aws[a-z-]*|aws):rekognition:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):(?P<resource>.+)",
    re.DOTALL,
)


def short_arn(settings: Settings, collection: str) -> str:
    """The form that CreateCollection answers."""
    return f"aws:rekognition:{settings.aws_region}:{settings.account_id}:collection/{collection}"


def full_arn(settings: Settings, collection: str) -> str:
    """The form that DescribeCollection answers."""
    return f"arn:{short_arn(settings, collection)}"


def collection_of(settings: Settings, arn: str) -> str:
    """Name of the collection that an ARN of either form means.

    Raises InvalidParameter for what is no Rekognition ARN, AccessDenied for another account's, NotFound for
    another region's and for a resource that is no collection.
    """
    found = ARN.fullmatch(arn)
    if found is None:
        raise InvalidParameter(
            "Request has invalid parameters: ResourceArn is not of the form "
            f"{full_arn(settings, '<CollectionId>')}"
        )
    if found["account"] != settings.account_id:
        raise AccessDenied(
            f"ResourceArn belongs to account {found['account']}; this service is {settings.account_id}"
        )
    if found["region"] != settings.aws_region:
        raise NotFound(
            f"ResourceArn lies in the region {found['region']}; this service is in {settings.aws_region}"
        )
    kind, _, name = found["resource"].partition("/")
    if kind != "collection" or not name:
        raise NotFound("ResourceArn names no collection, and collections alone can be tagged here")
    return name
