"""Domain values as the structures of the service model. None stands for a member that is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.domain import (
    AgeRange,
    Attributes,
    BoundingBox,
    DetectedFace,
    Face,
    FaceMatch,
    Gender,
    Judgement,
    Landmark,
    Pose,
    Quality,
    S3Image,
    User,
    UserMatch,
    VideoJob,
    VideoMetadata,
)

Structure = dict[str, Any]

ATTRIBUTES: Mapping[str, str] = {
    "AGE_RANGE": "age_range",
    "GENDER": "gender",
    "SMILE": "smile",
    "EYES_OPEN": "eyes_open",
    "MOUTH_OPEN": "mouth_open",
}
"""Rekognition's names of the attributes that a model pack may judge, and their fields of `Attributes`.

The others of the model (beard, emotions, ...) no pack judges; asking for them is no error, they stay away.
"""


def requested_attributes(names: list[str] | None) -> frozenset[str]:
    """Fields of `Attributes` that a request's `Attributes` or `DetectionAttributes` ask for.

    ALL wins over whatever stands beside it; DEFAULT, and no list, ask for none beyond what every face has.
    """
    if names and "ALL" in names:
        return frozenset(ATTRIBUTES.values())
    return frozenset(ATTRIBUTES[name] for name in names or () if name in ATTRIBUTES)


def bounding_box(box: BoundingBox) -> Structure:
    """BoundingBox."""
    return {"Width": box.width, "Height": box.height, "Left": box.left, "Top": box.top}


def face_detail(face: DetectedFace) -> Structure:
    """FaceDetail."""
    return {**compared_face(face), **_attributes(face.attributes)}


def compared_face(face: DetectedFace) -> Structure:
    """ComparedFace, which is FaceDetail without the attributes."""
    return {
        "BoundingBox": bounding_box(face.box),
        "Confidence": face.confidence,
        "Landmarks": [_landmark(landmark) for landmark in face.landmarks],
        "Pose": _pose(face.pose),
        "Quality": _quality(face.quality),
    }


def stored_face(face: Face) -> Structure:
    """Face."""
    return {
        "FaceId": face.face_id,
        "BoundingBox": bounding_box(face.box),
        "ImageId": face.image_id,
        "ExternalImageId": face.external_image_id,
        "Confidence": face.confidence,
        "IndexFacesModelVersion": face.model_version,
        "UserId": face.user_id,
    }


def face_match(match: FaceMatch) -> Structure:
    """FaceMatch."""
    return {"Similarity": match.similarity, "Face": stored_face(match.face)}


def user(value: User) -> Structure:
    """User, and MatchedUser, which has the same members."""
    return {"UserId": value.user_id, "UserStatus": value.status}


def user_match(match: UserMatch) -> Structure:
    """UserMatch."""
    return {"Similarity": match.similarity, "User": user(match.user)}


def video_job(job: VideoJob) -> Structure:
    """What both Get operations say of a job; of the video, where it lies in S3."""
    video = job.wish.video
    return {
        "JobId": job.job_id,
        "JobStatus": job.state,
        "StatusMessage": job.message,
        "JobTag": job.wish.job_tag,
        "VideoMetadata": _video_metadata(job.metadata),
        "Video": (
            {"S3Object": {"Bucket": video.bucket, "Name": video.name, "Version": video.version}}
            if isinstance(video, S3Image)
            else None
        ),
    }


def _video_metadata(metadata: VideoMetadata | None) -> Structure | None:
    if metadata is None:
        return None
    return {
        "Codec": metadata.codec,
        "DurationMillis": metadata.duration_millis,
        "Format": metadata.format,
        "FrameRate": metadata.frame_rate,
        "FrameHeight": metadata.height,
        "FrameWidth": metadata.width,
        "ColorRange": "FULL" if metadata.full_range else "LIMITED",
    }


def _landmark(landmark: Landmark) -> Structure:
    return {"Type": landmark.type, "X": landmark.x, "Y": landmark.y}


def _pose(pose: Pose) -> Structure:
    return {"Roll": pose.roll, "Yaw": pose.yaw, "Pitch": pose.pitch}


def _quality(quality: Quality) -> Structure:
    return {"Brightness": quality.brightness, "Sharpness": quality.sharpness}


def _attributes(attributes: Attributes) -> Structure:
    return {
        "AgeRange": _age_range(attributes.age_range),
        "Gender": _judgement(attributes.gender),
        "Smile": _judgement(attributes.smile),
        "EyesOpen": _judgement(attributes.eyes_open),
        "MouthOpen": _judgement(attributes.mouth_open),
    }


def _age_range(value: AgeRange | None) -> Structure | None:
    return None if value is None else {"Low": value.low, "High": value.high}


def _judgement(value: Judgement | Gender | None) -> Structure | None:
    return None if value is None else {"Value": value.value, "Confidence": value.confidence}
