"""What is answered of videos, as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from facerec.domain import VideoJob
from facerec.services.videos.service import Appearing


class VideoMatchModel(BaseModel):
    """A stored face that a person looks like."""

    face_id: str
    external_image_id: str | None
    user_id: str | None
    similarity: float = Field(description="0 to 100.")
    cosine: float


class AppearanceModel(BaseModel):
    """A time in which a person is to be seen."""

    first_ms: int
    last_ms: int


class VideoPersonModel(BaseModel):
    """A person of a video."""

    index: int
    frames: int = Field(description="Frames that were looked at and show the person.")
    appearances: list[AppearanceModel]
    matches: list[VideoMatchModel]

    @staticmethod
    def of(one: Appearing) -> VideoPersonModel:
        """A person, as it is answered."""
        return VideoPersonModel(
            index=one.person.index,
            frames=one.person.frames,
            appearances=[
                AppearanceModel(first_ms=each.first_ms, last_ms=each.last_ms)
                for each in one.person.appearances
            ],
            matches=[
                VideoMatchModel(
                    face_id=match.face.face_id,
                    external_image_id=match.face.external_image_id,
                    user_id=match.face.user_id,
                    similarity=match.similarity,
                    cosine=match.cosine,
                )
                for match in one.matches
            ],
        )


class VideoJobModel(BaseModel):
    """How a video job stands."""

    job_id: str
    status: str = Field(description="IN_PROGRESS, SUCCEEDED or FAILED.")
    message: str | None = Field(description="Why it failed, or what was wrong with the video all the same.")
    collection: str | None
    progress_ms: int = Field(description="How far it was looked at, in milliseconds of the video.")
    duration_ms: int | None = Field(description="Of the whole video; null until it was opened.")
    width: int | None
    height: int | None
    persons: list[VideoPersonModel] | None = Field(
        None, description="In the order of their first appearance, once the job has succeeded."
    )

    @staticmethod
    def of(job: VideoJob, persons: Sequence[Appearing] | None = None) -> VideoJobModel:
        """A job, as it is answered."""
        metadata = job.metadata
        return VideoJobModel(
            job_id=job.job_id,
            status=job.state.value,
            message=job.message,
            collection=job.wish.collection,
            progress_ms=job.progress_ms,
            duration_ms=None if metadata is None else metadata.duration_millis,
            width=None if metadata is None else metadata.width,
            height=None if metadata is None else metadata.height,
            persons=None if persons is None else [VideoPersonModel.of(one) for one in persons],
        )


class VideoList(BaseModel):
    """Jobs, newest first."""

    videos: list[VideoJobModel]
