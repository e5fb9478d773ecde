"""Keys over HTTP: listed, made and revoked by whoever administers the service."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, status
from pydantic import BaseModel, Field, Strict

from facerec.access import AccessKey, KeyKind, Scope, parse_collections, parse_rate
from facerec.api.rest.person_models import Body
from facerec.errors import InvalidParameter
from facerec.observability import current_request
from facerec.services.keys import KeyLimits, KeyService

KeyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_]{1,128}$")]


class NewKeyRequest(Body):
    """A new key, and its limits."""

    label: str = Field("", max_length=128, examples=["gate"])
    kind: KeyKind = Field(KeyKind.API, description="api: sent in X-API-Key; aws: signs requests.")
    scope: Scope = Field(Scope.READ, description="Each one includes those before it: read, write, admin.")
    collections: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Names, or beginnings with * after them; empty: all.",
        examples=[["door-*"]],
    )
    rate: str | None = Field(
        None, max_length=20, description="10/s, 600/m, 5000/h or 100000/d; null: the service's own."
    )
    expires_in: Annotated[int, Strict()] | None = Field(
        None, ge=1, le=10**10, description="Seconds that it is good for; null: until it is revoked."
    )

    def limits(self) -> KeyLimits:
        """What the key may do. Raises InvalidParameter."""
        try:
            return KeyLimits(
                scope=self.scope,
                collections=parse_collections(self.collections),
                rate=None if self.rate is None else parse_rate(self.rate),
                seconds=self.expires_in,
            )
        except ValueError as error:
            raise InvalidParameter(str(error)) from error


class RotationRequest(Body):
    """How a key gets another secret."""

    grace_seconds: Annotated[int, Strict()] = Field(
        86_400, ge=0, le=90 * 86_400, description="Seconds for which the present secret is taken too."
    )


class KeyModel(BaseModel):
    """A key, without its secret."""

    key_id: str = Field(examples=["frk_ABCDEFGHABCDEFGH"])
    label: str
    kind: KeyKind
    scope: Scope
    collections: list[str]
    rate: str | None
    active: bool = Field(description="Whether requests with it are taken now.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    previous_until: datetime | None = Field(description="Until when the secret before a rotation is taken.")

    @classmethod
    def of(cls, key: AccessKey) -> KeyModel:
        """The wire form."""
        return cls(
            key_id=key.access_key_id,
            label=key.label,
            kind=key.kind,
            scope=key.scope,
            collections=list(key.collections),
            rate=None if key.rate is None else str(key.rate),
            active=key.active(time.time()),
            created_at=datetime.fromtimestamp(key.created_at, UTC),
            expires_at=_moment(key.expires_at),
            revoked_at=_moment(key.revoked_at),
            previous_until=_moment(key.previous_until),
        )


class NewKeyModel(BaseModel):
    """A key that was made, with its secret, which nobody can read again."""

    key: KeyModel
    secret: str = Field(
        description="Of an api key the whole header X-API-Key; of an aws key what requests are signed with."
    )


class KeyList(BaseModel):
    """All keys of the database, revoked ones too, oldest first. API_KEY is none of them."""

    keys: list[KeyModel]


def keys_router(keys: KeyService) -> APIRouter:
    """The routes of keys."""
    router = APIRouter(prefix="/keys", tags=["keys"])

    @router.get("")
    def list_keys() -> KeyList:
        """Every key, without secrets."""
        return KeyList(keys=[KeyModel.of(key) for key in keys.list()])

    @router.post("", status_code=status.HTTP_201_CREATED)
    def create(body: NewKeyRequest) -> NewKeyModel:
        """Make a key. From the first one on every request needs a key."""
        made = keys.create(body.label, kind=body.kind, limits=body.limits())
        current_request().access_key = made.key.access_key_id
        return NewKeyModel(key=KeyModel.of(made.key), secret=made.secret)

    @router.post("/{key_id}/rotate")
    def rotate(key_id: KeyId, body: RotationRequest) -> NewKeyModel:
        """Give a key another secret: every process takes it, and for a while the present one too."""
        current_request().access_key = key_id
        made = keys.rotate(key_id, grace_seconds=body.grace_seconds)
        return NewKeyModel(key=KeyModel.of(made.key), secret=made.secret)

    @router.delete("/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
    def revoke(key_id: KeyId) -> None:
        """Revoke a key: no process takes it any more when this is answered."""
        current_request().access_key = key_id
        keys.revoke(key_id)

    return router


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
