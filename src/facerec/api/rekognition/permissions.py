"""What a key needs for each operation of this door: a scope, and to reach the collection."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from facerec.access import Caller, Scope
from facerec.api.rekognition.arns import collection_of, full_arn
from facerec.config import Settings
from facerec.errors import AccessDenied

SCOPES: Mapping[str, Scope] = MappingProxyType(
    {
        "AssociateFaces": Scope.WRITE,
        "CompareFaces": Scope.READ,
        "CreateCollection": Scope.ADMIN,
        "CreateFaceLivenessSession": Scope.WRITE,
        "CreateUser": Scope.WRITE,
        "DeleteCollection": Scope.ADMIN,
        "DeleteFaces": Scope.WRITE,
        "DeleteUser": Scope.WRITE,
        "DescribeCollection": Scope.READ,
        "DetectFaces": Scope.READ,
        "DisassociateFaces": Scope.WRITE,
        # By the id of a job or session, which nobody can guess: whoever has it was told it. Of a search the
        # operation itself looks whether the key is for its collection.
        "GetFaceDetection": Scope.READ,
        "GetFaceLivenessSessionResults": Scope.READ,
        "GetFaceSearch": Scope.READ,
        "IndexFaces": Scope.WRITE,
        "ListCollections": Scope.READ,
        "ListFaces": Scope.READ,
        "ListTagsForResource": Scope.READ,
        "ListUsers": Scope.READ,
        "SearchFaces": Scope.READ,
        "SearchFacesByImage": Scope.READ,
        "SearchUsers": Scope.READ,
        "SearchUsersByImage": Scope.READ,
        "StartFaceDetection": Scope.READ,
        "StartFaceSearch": Scope.READ,
        # A tag says how long faces are kept.
        "TagResource": Scope.ADMIN,
        "UntagResource": Scope.ADMIN,
    }
)
"""The scope that each offered operation needs."""


def check_scope(settings: Settings, caller: Caller, operation: str) -> None:
    """Raise AccessDenied unless the caller's scope suffices for an offered operation."""
    needed = SCOPES[operation]
    if not caller.may(needed):
        why = f"because the key's scope is {caller.scope}, and {needed} is needed"
        raise _refusal(settings, caller, operation, None, why)


def check_collection(
    settings: Settings, caller: Caller, operation: str, parameters: Mapping[str, Any]
) -> None:
    """Raise AccessDenied when the caller's key is not for the collection that a request is about.

    Whether the collection exists makes no difference.
    """
    if not caller.collections:
        return
    name = parameters.get("CollectionId")
    if name is None and "ResourceArn" in parameters:
        name = collection_of(settings, parameters["ResourceArn"])
    if name is not None and not caller.reaches(name):
        raise _refusal(settings, caller, operation, name, "because the key is for other collections")


def _refusal(
    settings: Settings, caller: Caller, operation: str, collection: str | None, why: str
) -> AccessDenied:
    """In the words of AWS's own refusal."""
    user = f"arn:aws:iam::{settings.account_id}:user/{caller.key_id}"
    resource = "" if collection is None else f" on resource: {full_arn(settings, collection)}"
    return AccessDenied(f"User: {user} is not authorized to perform: rekognition:{operation}{resource} {why}")
