"""What a process of ours reads that another one starts: the settings, as they are there."""

from __future__ import annotations

import json

from pydantic import SecretStr

from facerec.config import Settings, read_settings


def order(settings: Settings) -> bytes:
    """Settings as a process reads them from its standard input, or an actor from its argument."""
    values = settings.model_dump(mode="json")
    # Secrets would be stars; the pipe is between these two processes alone.
    values |= {name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)}
    return json.dumps(values).encode()


def read_order(content: bytes) -> Settings:
    """The settings of an order. Neither the environment nor a file has a say in them."""
    return read_settings(**json.loads(content))
