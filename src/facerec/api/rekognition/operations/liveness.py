"""Operations on sessions of active liveness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facerec.api.rekognition import shapes
from facerec.api.rekognition.service import Service
from facerec.errors import IdempotencyMismatch, InvalidParameter
from facerec.services.liveness.records import KeptPicture, LivenessSession, Output, SessionStatus, Wishes

CHALLENGE, VERSION = "FaceMovementChallenge", "1.0.0"
"""The challenge of this service, as Rekognition calls the one that is most like it."""


def create_session(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """CreateFaceLivenessSession."""
    settings = parameters.get("Settings", {})
    _check_preferences(settings.get("ChallengePreferences", ()))
    wishes = Wishes(
        reference=True,
        audit_images=settings.get("AuditImagesLimit", 0),
        output=_output(service, settings.get("OutputConfig"), parameters.get("KmsKeyId")),
    )
    try:
        session = service.liveness.open(wishes, client_token=parameters.get("ClientRequestToken"))
    except IdempotencyMismatch as error:  # of which the model says nothing for this operation
        raise InvalidParameter(f"Request has invalid parameters: {error}") from error
    return {"SessionId": session.session_id}


def get_results(service: Service, parameters: Mapping[str, Any]) -> shapes.Structure:
    """GetFaceLivenessSessionResults."""
    session = service.liveness.get(parameters["SessionId"])
    status = session.status(service.liveness.clock())
    answer: shapes.Structure = {
        "SessionId": session.session_id,
        "Status": status,
        "Challenge": {"Type": CHALLENGE, "Version": VERSION},
    }
    if status in (SessionStatus.SUCCEEDED, SessionStatus.FAILED):
        answer["Confidence"] = session.confidence
    if status is SessionStatus.SUCCEEDED:
        answer |= _pictures(service, session)
    return answer


def _pictures(service: Service, session: LivenessSession) -> shapes.Structure:
    """The session's pictures, as far as they are there."""
    reference = None if session.reference is None else _picture(service, session.reference)
    audit = [one for kept in session.audit if (one := _picture(service, kept)) is not None]
    return {"ReferenceImage": reference, "AuditImages": audit}


def _picture(service: Service, kept: KeptPicture) -> shapes.Structure | None:
    """AuditImage; None where its time is over."""
    box = shapes.bounding_box(kept.box)
    if kept.bucket is not None:
        return {"S3Object": {"Bucket": kept.bucket, "Name": kept.name}, "BoundingBox": box}
    data = service.liveness.pictures.load(kept)
    return None if data is None else {"Bytes": data, "BoundingBox": box}


def _output(service: Service, config: Mapping[str, Any] | None, kms_key: str | None) -> Output | None:
    """Where pictures are put. Raises InvalidParameter for a bucket that the settings do not name."""
    if config is None:
        return None
    bucket = config["S3Bucket"]
    if bucket not in service.settings.liveness_buckets:
        raise InvalidParameter(
            "Request has invalid parameters: OutputConfig.S3Bucket is none of FACEREC_LIVENESS_BUCKETS, into "
            "which this service puts pictures"
        )
    return Output(bucket=bucket, prefix=config.get("S3KeyPrefix", ""), kms_key=kms_key)


def _check_preferences(preferences: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidParameter where the challenge is wanted in versions that there are not. A preference for
    another challenge is none that has to be met; the results say which one was held."""
    for preference in preferences:
        versions = preference.get("Versions", {})
        least, most = versions.get("Minimum", VERSION), versions.get("Maximum", VERSION)
        if preference["Type"] == CHALLENGE and not _number(least) <= _number(VERSION) <= _number(most):
            raise InvalidParameter(
                f"Request has invalid parameters: {CHALLENGE} is offered in version {VERSION}, which is not "
                f"between {least} and {most}"
            )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
