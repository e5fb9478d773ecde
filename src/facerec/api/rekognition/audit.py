"""Which operations of this door are written to the audit log, and what they were about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from facerec.access import Scope
from facerec.api.rekognition.arns import collection_of
from facerec.api.rekognition.errors import wire_error
from facerec.api.rekognition.permissions import SCOPES
from facerec.api.rekognition.service import Service
from facerec.config import Settings
from facerec.observability import RequestContext
from facerec.services.audit import DONE, Act, Deed

DOOR = "rekognition"
SEARCHES = frozenset(
    {
        "SearchFaces",
        "SearchFacesByImage",
        "SearchUsers",
        "SearchUsersByImage",
        "StartFaceSearch",
        "GetFaceSearch",
    }
)
"""Operations that look for people among those who are enrolled."""


def act_of(operation: str) -> Act | None:
    """What an offered operation does to people; None for those that are not written."""
    if operation in SEARCHES:
        return Act.SEARCH
    return None if SCOPES[operation] is Scope.READ else Act.CHANGE


def deed_of(
    settings: Settings,
    act: Act,
    operation: str,
    parameters: Mapping[str, Any],
    result: Mapping[str, Any],
    outcome: str,
) -> Deed:
    """What a request did. parameters: as far as they were read; result: {} where there is none."""
    collection = parameters.get("CollectionId")
    if collection is None and "ResourceArn" in parameters and outcome == DONE:
        collection = collection_of(settings, parameters["ResourceArn"])
    faces = [
        *_present(parameters.get("FaceId")),
        *(parameters.get("FaceIds") or ()),
        *(record["Face"]["FaceId"] for record in result.get("FaceRecords") or ()),
        *(match["Face"]["FaceId"] for match in result.get("FaceMatches") or ()),
    ]
    people = [
        *_present(parameters.get("UserId")),
        *_present(parameters.get("ExternalImageId")),
        *(match["User"]["UserId"] for match in result.get("UserMatches") or ()),
    ]
    return Deed(
        act=act,
        door=DOOR,
        operation=operation,
        collection=collection,
        outcome=outcome,
        face_ids=tuple(dict.fromkeys(faces)),
        people=tuple(dict.fromkeys(people)),
    )


class Entry:
    """The audit log's entry of an operation that is at work: written at the end of the block.

    At the end of one that changed something StorageError is raised where the entry can not be written.
    """

    def __init__(self, service: Service, context: RequestContext, operation: str) -> None:
        self._service = service
        self._context = context
        self._operation = operation
        self._act = act_of(operation)
        self.parameters: Mapping[str, Any] = {}
        """Once they are known to be valid: else they may be of any form and length."""
        self.result: Mapping[str, Any] = {}

    def __enter__(self) -> Entry:
        """Begin."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Write it, and let the error go on."""
        log = self._service.audit
        if (
            self._act is None
            or not log.wants(self._act)
            or not (error is None or isinstance(error, Exception))
        ):
            return
        outcome = DONE if error is None else wire_error(error).code
        deed = deed_of(
            self._service.settings, self._act, self._operation, self.parameters, self.result, outcome
        )
        log.record(self._context, deed)


def _present(value: str | None) -> Iterable[str]:
    return () if value is None else (value,)
