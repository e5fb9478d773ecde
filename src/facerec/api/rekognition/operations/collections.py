"""Operations on collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.access import ANYBODY
from facerec.api.rekognition.arns import full_arn, short_arn
from facerec.api.rekognition.service import Service
from facerec.api.rekognition.shapes import Structure
from facerec.observability import current_request


def page_limit(parameters: Mapping[str, Any]) -> int | None:
    """Most items of a page. `MaxResults` may be 0, which AWS does not explain: here it is the default."""
    return parameters.get("MaxResults") or None


def create_collection(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """CreateCollection."""
    collection = service.collections.create(parameters["CollectionId"], parameters.get("Tags", {}))
    return {
        "StatusCode": 200,
        "CollectionArn": short_arn(service.settings, collection.name),
        "FaceModelVersion": collection.model_version,
    }


def delete_collection(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """DeleteCollection, with all its faces and users."""
    service.collections.delete(parameters["CollectionId"])
    return {"StatusCode": 200}


def describe_collection(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """DescribeCollection."""
    collection = service.collections.describe(parameters["CollectionId"])
    return {
        "FaceCount": collection.face_count,
        "UserCount": collection.user_count,
        "FaceModelVersion": collection.model_version,
        "CollectionARN": full_arn(service.settings, collection.name),
        "CreationTimestamp": collection.created_at,
    }


def list_collections(service: Service, parameters: Mapping[str, Any]) -> Structure:
    """ListCollections: two lists in step, of those that the caller's key is for; a page may be short."""
    page = service.collections.list(limit=page_limit(parameters), token=parameters.get("NextToken"))
    caller = current_request().caller or ANYBODY
    shown = [collection for collection in page.items if caller.reaches(collection.name)]
    return {
        "CollectionIds": [collection.name for collection in shown],
        "FaceModelVersions": [collection.model_version for collection in shown],
        "NextToken": page.next_token,
    }
