"""Requests with pictures as JSON (base64) or as multipart/form-data, which become one and the same."""

from __future__ import annotations

import binascii
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pybase64
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile

from facerec.domain import ImageReference, InlineImage, QualityFilter, Review
from facerec.errors import InvalidImage, InvalidParameter
from facerec.services.albums.sources import parse_source

MOST_PARTS = 128
"""Files, and fields, of a form."""

JSON_PARTS = frozenset(
    {
        "add",
        "attributes",
        "expires_in",
        "max_faces",
        "max_searched",
        "metadata",
        "replace",
        "similarity_threshold",
        "threshold",
        "version",
    }
)
"""Parts of a form whose text is JSON: objects, numbers, true and false."""

MULTIPART = "multipart/form-data"


class FormRoute(APIRoute):
    """A route that takes a form in place of JSON.

    Files become base64, the parts `images` a list, and the text of `JSON_PARTS` is read as JSON.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The route's handler behind one that reads forms."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.headers.get("content-type", "").lower().startswith(MULTIPART):
                request = _Filled(request, await _read_form(request))
            return await handler(request)

        return handle


def image_of(text: str, name: str) -> ImageReference:
    """The image in a base64 text, perhaps a data URL, or at s3://bucket/key or a web address.

    Raises InvalidImage that calls it by its name, InvalidParameter for an address that none can be.
    """
    if text.startswith(("s3://", "http://", "https://")):
        return parse_source(text)
    head, comma, rest = text.partition(",")
    encoded = rest if comma and head.startswith("data:") else text
    try:
        return InlineImage(pybase64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"{name} is not base64: {str(error)[:120]}.") from error


def form_of(required: tuple[str, ...], **parts: dict[str, Any]) -> dict[str, Any]:
    """What the API's description says of a form beside the JSON body of a route."""
    schema = {"type": "object", "required": list(required), "properties": parts}
    return {"requestBody": {"content": {MULTIPART: {"schema": schema}}}}


def told_as(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """What the API's description says of a route that answers with text other than JSON."""
    content = {media_type: {"schema": {"type": "string"}} for media_type in media_types}
    return {200: {"description": "Successful Response", "content": content}}


FILE = {"type": "string", "format": "binary"}
FILES = {"type": "array", "items": FILE}
TEXT = {"type": "string"}
FILTER = {"type": "string", "enum": [str(each) for each in QualityFilter]}
REVIEW = {"type": "string", "enum": [str(review) for review in Review]}
NUMBER, WHOLE, FLAG = {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
OBJECT = {"type": "object"}


async def _read_form(request: Request) -> dict[str, Any]:
    """The parts of a form as the members of a JSON object. Raises InvalidParameter."""
    values: dict[str, Any] = {}
    async with request.form(max_files=MOST_PARTS, max_fields=MOST_PARTS) as form:
        for name, part in form.multi_items():
            value: Any = part
            if isinstance(part, UploadFile):
                value = pybase64.b64encode_as_string(await part.read())
            elif name in JSON_PARTS:
                try:
                    value = json.loads(part)
                except ValueError as error:
                    raise InvalidParameter(f"The part {name} has to be JSON.") from error
            if name == "images":
                values.setdefault("images", []).append(value)
            else:
                values[name] = value
    return values


class _Filled(Request):
    """The request with the parts of its form for its JSON, which is not written down and read again."""

    def __init__(self, request: Request, values: dict[str, Any]) -> None:
        headers = [
            (name, value)
            for name, value in request.scope["headers"]
            if name not in (b"content-type", b"content-length")
        ]
        headers.append((b"content-type", b"application/json"))
        super().__init__({**request.scope, "headers": headers}, request.receive)
        self._values = values

    async def body(self) -> bytes:
        """Something, so that it is asked for its JSON."""
        return b"{}"

    async def json(self) -> Any:
        """The parts."""
        return self._values
