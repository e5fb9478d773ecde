"""The audit log over HTTP, to be read by whoever administers the service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from facerec.services.audit import AuditLog


class AuditEntryModel(BaseModel):
    """What was done, by whom and to whom. Ids that callers gave stand as keyed hashes."""

    at: datetime
    chain: str = Field(description="Of the process that wrote it.")
    number: int = Field(description="Its place in the chain.")
    key: str = Field(description="Id of the key; `open` for a service without keys, `cli` for a command.")
    client: str = Field(description="Address that it came from.")
    request: str = Field(description="Id of the request, as in the log.")
    door: str
    operation: str
    collection: str | None
    outcome: str = Field(description="`ok`, or the code of the error.")
    faces: list[str] = Field(description="Ids of the first faces that it was about.")
    face_count: int
    people: list[str] = Field(description="Keyed hashes of the first users, persons and external image ids.")
    people_count: int
    access_key: str | None = Field(description="Id of the key that was made or changed.")

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> AuditEntryModel:
        """The wire form."""
        moment = datetime.fromtimestamp(entry["at"], UTC)
        return cls.model_validate({"access_key": None, **entry, "at": moment})


class AuditEntryList(BaseModel):
    """A page of entries, the newest first."""

    entries: list[AuditEntryModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


def audit_router(log: AuditLog) -> APIRouter:
    """The route of the audit log."""
    router = APIRouter(prefix="/audit", tags=["audit"])

    @router.get("")
    def list_entries(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        person: Annotated[
            str | None, Query(max_length=255, description="Only those about this user, person or image id.")
        ] = None,
        next_token: Annotated[str | None, Query(max_length=255)] = None,
    ) -> AuditEntryList:
        """Who enrolled, searched and deleted whom."""
        page = log.page(limit=limit, token=next_token, person=person)
        return AuditEntryList(
            entries=[AuditEntryModel.of(one) for one in page.items], next_token=page.next_token
        )

    return router
