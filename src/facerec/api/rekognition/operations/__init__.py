"""The operations of Rekognition that are offered, one file an aggregate.

Each turns parameters into a use case call and its result into an answer; the rest of the model is answered
with `AccessDeniedException`, which every operation of the model may raise and no client repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from facerec.api.rekognition.operations import collections, faces, images, liveness, tags, users, videos
from facerec.api.rekognition.service import Service
from facerec.api.rekognition.shapes import Structure

Handler = Callable[[Service, Mapping[str, Any]], Structure]

OPERATIONS: Mapping[str, Handler] = MappingProxyType(
    {
        "AssociateFaces": users.associate_faces,
        "CompareFaces": images.compare_faces,
        "CreateCollection": collections.create_collection,
        "CreateFaceLivenessSession": liveness.create_session,
        "CreateUser": users.create_user,
        "DeleteCollection": collections.delete_collection,
        "DeleteFaces": faces.delete_faces,
        "DeleteUser": users.delete_user,
        "DescribeCollection": collections.describe_collection,
        "DetectFaces": images.detect_faces,
        "DisassociateFaces": users.disassociate_faces,
        "GetFaceDetection": videos.get_face_detection,
        "GetFaceLivenessSessionResults": liveness.get_results,
        "GetFaceSearch": videos.get_face_search,
        "IndexFaces": faces.index_faces,
        "ListCollections": collections.list_collections,
        "ListFaces": faces.list_faces,
        "ListTagsForResource": tags.list_tags_for_resource,
        "ListUsers": users.list_users,
        "SearchFaces": faces.search_faces,
        "SearchFacesByImage": faces.search_faces_by_image,
        "SearchUsers": users.search_users,
        "SearchUsersByImage": users.search_users_by_image,
        "StartFaceDetection": videos.start_face_detection,
        "StartFaceSearch": videos.start_face_search,
        "TagResource": tags.tag_resource,
        "UntagResource": tags.untag_resource,
    }
)
"""The dispatch table: what is in it is offered."""
