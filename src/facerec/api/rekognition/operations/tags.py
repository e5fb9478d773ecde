"""Operations on the tags of collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.api.rekognition.arns import collection_of
from facerec.api.rekognition.service import Service
from facerec.api.rekognition.shapes import Structure


def list_tags_for_resource(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """ListTagsForResource."""
    return {"Tags": service.collections.tags(collection_of(service.settings, parameters["ResourceArn"]))}


def tag_resource(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """TagResource: adds tags, and replaces the values of those that are there."""
    service.collections.tag(collection_of(service.settings, parameters["ResourceArn"]), parameters["Tags"])
    return {}


def untag_resource(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """UntagResource: keys that are not there are no error."""
    service.collections.untag(
        collection_of(service.settings, parameters["ResourceArn"]), parameters["TagKeys"]
    )
    return {}
