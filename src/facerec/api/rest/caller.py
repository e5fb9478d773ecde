"""Who a key belongs to, over HTTP: for clients that show what it may do."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from facerec.access import ANYBODY, Scope
from facerec.observability import current_request


class CallerModel(BaseModel):
    """The caller, and what it may do."""

    key_id: str | None = Field(description="Null: the service has no key, and lets everybody in.")
    scope: Scope
    collections: list[str] = Field(
        description="Names, or beginnings with * after them, of the collections that the key is good for; "
        "empty: all."
    )
    registry_collection: str = Field(description="Collection whose users are the persons of the registry.")


def caller_router(registry_collection: str) -> APIRouter:
    """The route that tells a caller who it is."""
    router = APIRouter(tags=["caller"])

    @router.get("/whoami")
    def whoami() -> CallerModel:
        """Whose key was sent, and what it may do."""
        caller = current_request().caller or ANYBODY
        return CallerModel(
            key_id=caller.key_id,
            scope=caller.scope,
            collections=list(caller.collections),
            registry_collection=registry_collection,
        )

    return router
