"""Operations on the faces of a collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.api.rekognition import shapes
from facerec.api.rekognition.operations.collections import page_limit
from facerec.api.rekognition.operations.images import DEFAULT_THRESHOLD, image_reference, quality_filter
from facerec.api.rekognition.service import Service
from facerec.domain import QualityFilter


def index_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """IndexFaces: the faces that were stored, and those that were not with the reasons."""
    result = service.faces.index(
        parameters["CollectionId"],
        image_reference(parameters["Image"]),
        external_image_id=parameters.get("ExternalImageId"),
        max_faces=parameters.get("MaxFaces"),
        quality_filter=quality_filter(parameters, QualityFilter.AUTO),
        attributes=shapes.requested_attributes(parameters.get("DetectionAttributes")),
    )
    return {
        "FaceRecords": [
            {"Face": shapes.stored_face(indexed.face), "FaceDetail": shapes.face_detail(indexed.detected)}
            for indexed in result.indexed
        ],
        "FaceModelVersion": result.model_version,
        "UnindexedFaces": [
            {"Reasons": list(rejected.reasons), "FaceDetail": shapes.face_detail(rejected.detected)}
            for rejected in result.unindexed
        ],
    }


def list_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """ListFaces: all of a collection, of a user, or of the given ids."""
    listing = service.faces.list(
        parameters["CollectionId"],
        limit=page_limit(parameters),
        token=parameters.get("NextToken"),
        user_id=parameters.get("UserId"),
        face_ids=parameters.get("FaceIds"),
    )
    return {
        "Faces": [shapes.stored_face(face) for face in listing.page.items],
        "NextToken": listing.page.next_token,
        "FaceModelVersion": listing.model_version,
    }


def delete_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """DeleteFaces: ids that are not there, or belong to a user, are told in the answer."""
    deletion = service.faces.delete(parameters["CollectionId"], parameters["FaceIds"])
    return {
        "DeletedFaces": list(deletion.deleted),
        "UnsuccessfulFaceDeletions": [
            {"FaceId": failure.face_id, "UserId": failure.user_id, "Reasons": list(failure.reasons)}
            for failure in deletion.failures
        ],
    }


def search_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """SearchFaces: faces like a stored one, which is not among them."""
    search = service.faces.search(
        parameters["CollectionId"],
        parameters["FaceId"],
        limit=parameters.get("MaxFaces"),
        threshold=parameters.get("FaceMatchThreshold", DEFAULT_THRESHOLD),
    )
    return {
        "SearchedFaceId": parameters["FaceId"],
        "FaceMatches": [shapes.face_match(match) for match in search.matches],
        "FaceModelVersion": search.model_version,
    }


def search_faces_by_image(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """SearchFacesByImage: faces like the largest one of an image."""
    search = service.faces.search_by_image(
        parameters["CollectionId"],
        image_reference(parameters["Image"]),
        limit=parameters.get("MaxFaces"),
        threshold=parameters.get("FaceMatchThreshold", DEFAULT_THRESHOLD),
        quality_filter=quality_filter(parameters, QualityFilter.NONE),
    )
    return {
        "SearchedFaceBoundingBox": shapes.bounding_box(search.probe.box) if search.probe else None,
        "SearchedFaceConfidence": search.probe.confidence if search.probe else None,
        "FaceMatches": [shapes.face_match(match) for match in search.matches],
        "FaceModelVersion": search.model_version,
    }
