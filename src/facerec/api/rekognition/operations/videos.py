"""Operations on videos: each is started, and asked for by the id of its job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.access import ANYBODY
from facerec.api.rekognition import shapes
from facerec.api.rekognition.operations.images import DEFAULT_THRESHOLD
from facerec.api.rekognition.service import Service
from facerec.domain import S3Image, VideoOperation, VideoWish
from facerec.errors import InvalidParameter, NotFound
from facerec.observability import current_request


def start_face_detection(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """StartFaceDetection."""
    return _start(
        service,
        parameters,
        VideoWish(
            operation=VideoOperation.FACE_DETECTION,
            video=_video(parameters),
            all_attributes=parameters.get("FaceAttributes") == "ALL",
            job_tag=parameters.get("JobTag"),
            topic=_topic(parameters),
        ),
    )


def get_face_detection(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """GetFaceDetection."""
    found = service.videos.faces(
        parameters["JobId"], limit=parameters.get("MaxResults"), token=parameters.get("NextToken")
    )
    return {
        **shapes.video_job(found.job),
        "NextToken": found.page.next_token,
        "Faces": [
            {"Timestamp": entry.time_ms, "Face": shapes.face_detail(entry.face)} for entry in found.page.items
        ],
    }


def start_face_search(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """StartFaceSearch."""
    return _start(
        service,
        parameters,
        VideoWish(
            operation=VideoOperation.FACE_SEARCH,
            video=_video(parameters),
            collection=parameters["CollectionId"],
            threshold=parameters.get("FaceMatchThreshold", DEFAULT_THRESHOLD),
            job_tag=parameters.get("JobTag"),
            topic=_topic(parameters),
        ),
    )


def get_face_search(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """GetFaceSearch: sorted by time, or by person with `SortBy` INDEX.

    Raises NotFound, too for a job in a collection that the caller's key is not for.
    """
    job = service.videos.find(parameters["JobId"], VideoOperation.FACE_SEARCH)
    caller = current_request().caller or ANYBODY
    if not caller.reaches(job.wish.collection or ""):
        raise NotFound("Could not find JobId")
    found = service.videos.persons(
        job.job_id,
        limit=parameters.get("MaxResults"),
        token=parameters.get("NextToken"),
        by_person=parameters.get("SortBy") == "INDEX",
    )
    return {
        **shapes.video_job(found.job),
        "NextToken": found.page.next_token,
        "Persons": [
            {
                "Timestamp": seen.entry.time_ms,
                "Person": {
                    "Index": seen.person.index,
                    "BoundingBox": shapes.bounding_box(seen.entry.face.box),
                    "Face": shapes.face_detail(seen.entry.face),
                },
                "FaceMatches": [shapes.face_match(match) for match in seen.matches],
            }
            for seen in found.page.items
        ],
    }


def _start(service: Service, parameters: Mapping[str, Any], wish: VideoWish) -> shapes.Structure:
    job_id = service.videos.start(wish, client_token=parameters.get("ClientRequestToken"))
    return {"JobId": job_id}


def _video(parameters: Mapping[str, Any]) -> S3Image:
    """Where the video lies. Raises InvalidParameter for one without bucket and name, which the model
    allows."""
    place = parameters["Video"].get("S3Object", {})
    if "Bucket" not in place or "Name" not in place:
        raise InvalidParameter("Request has invalid parameters: Video needs S3Object with Bucket and Name")
    return S3Image(place["Bucket"], place["Name"], place.get("Version"))


def _topic(parameters: Mapping[str, Any]) -> str | None:
    """The topic to be told. The role beside it is for AWS, which has to be let in; here nobody has."""
    channel = parameters.get("NotificationChannel")
    return None if channel is None else channel["SNSTopicArn"]
