"""Operations on the users of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facerec.api.rekognition import shapes
from facerec.api.rekognition.operations.collections import page_limit
from facerec.api.rekognition.operations.images import DEFAULT_THRESHOLD, image_reference, quality_filter
from facerec.api.rekognition.service import Service
from facerec.domain import QualityFilter
from facerec.errors import InvalidParameter
from facerec.services.faces import FaceFailure

DEFAULT_ASSOCIATION_THRESHOLD = 75.0
"""Rekognition's default for AssociateFaces."""


def create_user(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """CreateUser."""
    service.people.create(
        parameters["CollectionId"], parameters["UserId"], client_token=parameters.get("ClientRequestToken")
    )
    return {}


def delete_user(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """DeleteUser: its faces stay in the collection."""
    service.people.delete(
        parameters["CollectionId"], parameters["UserId"], client_token=parameters.get("ClientRequestToken")
    )
    return {}


def list_users(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """ListUsers."""
    page = service.people.list(
        parameters["CollectionId"], limit=page_limit(parameters), token=parameters.get("NextToken")
    )
    return {"Users": [shapes.user(user) for user in page.items], "NextToken": page.next_token}


def associate_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """AssociateFaces."""
    association = service.people.associate(
        parameters["CollectionId"],
        parameters["UserId"],
        parameters["FaceIds"],
        threshold=parameters.get("UserMatchThreshold", DEFAULT_ASSOCIATION_THRESHOLD),
        client_token=parameters.get("ClientRequestToken"),
    )
    return {
        "AssociatedFaces": [{"FaceId": face_id} for face_id in association.changed],
        "UnsuccessfulFaceAssociations": [
            {**failure, "Confidence": one.confidence}
            for failure, one in zip(_failures(association.failures), association.failures, strict=True)
        ],
        "UserStatus": association.status,
    }


def disassociate_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """DisassociateFaces."""
    association = service.people.disassociate(
        parameters["CollectionId"],
        parameters["UserId"],
        parameters["FaceIds"],
        client_token=parameters.get("ClientRequestToken"),
    )
    return {
        "DisassociatedFaces": [{"FaceId": face_id} for face_id in association.changed],
        "UnsuccessfulFaceDisassociations": _failures(association.failures),
        "UserStatus": association.status,
    }


def search_users(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """SearchUsers: users like a stored face or another user."""
    user_id, face_id = parameters.get("UserId"), parameters.get("FaceId")
    if (user_id is None) == (face_id is None):
        found = "neither" if user_id is None else "both"
        raise InvalidParameter(
            f"Request has invalid parameters: SearchUsers takes one of UserId and FaceId, and has {found}"
        )
    search = service.people.search(
        parameters["CollectionId"],
        user_id=user_id,
        face_id=face_id,
        limit=parameters.get("MaxUsers"),
        threshold=parameters.get("UserMatchThreshold", DEFAULT_THRESHOLD),
    )
    return {
        "UserMatches": [shapes.user_match(match) for match in search.matches],
        "FaceModelVersion": search.model_version,
        "SearchedFace": None if face_id is None else {"FaceId": face_id},
        "SearchedUser": None if user_id is None else {"UserId": user_id},
    }


def search_users_by_image(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """SearchUsersByImage: users like the largest face of an image; an image without a face is no error."""
    search = service.people.search_by_image(
        parameters["CollectionId"],
        image_reference(parameters["Image"]),
        limit=parameters.get("MaxUsers"),
        threshold=parameters.get("UserMatchThreshold", DEFAULT_THRESHOLD),
        quality_filter=quality_filter(parameters, QualityFilter.NONE),
    )
    return {
        "UserMatches": [shapes.user_match(match) for match in search.matches],
        "FaceModelVersion": search.model_version,
        "SearchedFace": (
            None if search.searched is None else {"FaceDetail": shapes.face_detail(search.searched)}
        ),
        "UnsearchedFaces": [
            {"FaceDetails": shapes.face_detail(rejected.detected), "Reasons": list(rejected.reasons)}
            for rejected in search.unsearched
        ],
    }


def _failures(failures: Sequence[FaceFailure]) -> list[shapes.Structure]:
    return [
        {"FaceId": failure.face_id, "UserId": failure.user_id, "Reasons": list(failure.reasons)}
        for failure in failures
    ]
