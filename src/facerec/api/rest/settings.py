"""The settings over HTTP, to be read. What is secret is told to be set or not, and never shown."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, Field, SecretStr
from pydantic.fields import FieldInfo

from facerec.config import Settings


class SettingModel(BaseModel):
    """A setting of the running service."""

    name: str = Field(description="Of the environment variable.", examples=["FACEREC_PORT"])
    value: str | None = Field(description="As it is; null for none, and for what is secret.")
    secret: bool
    given: bool = Field(description="Whether it is another value than the default.")
    description: str


class SettingList(BaseModel):
    """All settings, in the order of docs/settings.md."""

    settings: list[SettingModel]


def settings_router(settings: Settings) -> APIRouter:
    """The route of the settings."""
    router = APIRouter(tags=["settings"])
    told = SettingList(settings=list(_told(settings)))

    @router.get("/settings")
    def read_settings() -> SettingList:
        """What the service was started with. They are changed by its environment, and a restart."""
        return told

    return router


def _told(settings: Settings) -> Iterator[SettingModel]:
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        secret = isinstance(value, SecretStr) or not field.repr or "SecretStr" in str(field.annotation)
        yield SettingModel(
            name=_variable(name, field),
            value=None if secret or value is None else _text(value),
            secret=secret,
            given=value != field.get_default(call_default_factory=True),
            description=field.description or "",
        )


def _variable(name: str, field: FieldInfo) -> str:
    """The environment variable that gives a setting."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else name


def _text(value: object) -> str:
    """A value for people; an address without the name and password that may stand in it."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    text = str(value)
    if "://" in text and "@" in text:
        parts = urlsplit(text)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return text
