"""The stateless operations, and how every operation takes an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.api.rekognition import shapes
from facerec.api.rekognition.service import Service
from facerec.domain import ImageReference, InlineImage, QualityFilter, S3Image
from facerec.errors import InvalidParameter, NoFaceInImage

DEFAULT_THRESHOLD = 80.0
"""Rekognition's default for every similarity threshold of a search or comparison."""


def image_reference(image: Mapping[str, Any]) -> ImageReference:
    """Where an `Image` structure's bytes are to come from.

    Raises InvalidParameter for both or neither of `Bytes` and `S3Object`, and for an object without a bucket
    or name: the model allows them, and AWS documents no rule.
    """
    if ("Bytes" in image) == ("S3Object" in image):
        found = "both" if "Bytes" in image else "neither"
        raise InvalidParameter(
            f"Request has invalid parameters: Image takes one of Bytes and S3Object, and has {found}"
        )
    if "Bytes" in image:
        return InlineImage(image["Bytes"])
    s3_object = image["S3Object"]
    if "Bucket" not in s3_object or "Name" not in s3_object:
        raise InvalidParameter("Request has invalid parameters: S3Object needs Bucket and Name")
    return S3Image(s3_object["Bucket"], s3_object["Name"], s3_object.get("Version"))


def quality_filter(parameters: Mapping[str, Any], default: QualityFilter) -> QualityFilter:
    """The request's `QualityFilter`, or the operation's default."""
    return QualityFilter(parameters.get("QualityFilter", default))


def detect_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """DetectFaces. An image without a face is no error."""
    faces = service.analysis.detect(
        image_reference(parameters["Image"]), shapes.requested_attributes(parameters.get("Attributes"))
    )
    return {"FaceDetails": [shapes.face_detail(face) for face in faces]}


def compare_faces(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """CompareFaces: the largest face of the source with each face of the target."""
    try:
        comparison = service.analysis.compare(
            image_reference(parameters["SourceImage"]),
            image_reference(parameters["TargetImage"]),
            threshold=parameters.get("SimilarityThreshold", DEFAULT_THRESHOLD),
            quality_filter=quality_filter(parameters, QualityFilter.NONE),
        )
    except NoFaceInImage as error:
        # The words before the colon are all that AWS says.
        raise InvalidParameter(f"Request has invalid parameters: {error}") from error
    return {
        "SourceImageFace": {
            "BoundingBox": shapes.bounding_box(comparison.source.box),
            "Confidence": comparison.source.confidence,
        },
        "FaceMatches": [
            {"Similarity": match.similarity, "Face": shapes.compared_face(match.face)}
            for match in comparison.matches
        ],
        "UnmatchedFaces": [shapes.compared_face(face) for face in comparison.unmatched],
    }
