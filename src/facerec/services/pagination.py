"""Pagination tokens: where a listing goes on, signed so that no other listing and no forger can use one."""

from __future__ import annotations

import base64
import binascii
import hmac
import json

from facerec.db import Database
from facerec.errors import InvalidPaginationToken
from facerec.metastore import meta

_SIGNATURE_BYTES = 16


class PageTokens:
    """Makes and reads the tokens of one database; they outlive the process and serve every process on it.

    A token is at most 255 characters for a cursor of at most 170 bytes.
    """

    def __init__(self, database: Database) -> None:
        with database.read() as connection:
            self._secret = meta.token_secret(connection)

    def make(self, cursor: str | int, *scope: object) -> str:
        """The token that goes on after `cursor` in the listing that `scope` (JSON values) describes."""
        content = json.dumps(cursor).encode()
        return base64.urlsafe_b64encode(self._signature(content, scope) + content).decode().rstrip("=")

    def read_number(self, token: str | None, *scope: object) -> int:
        """The number in a token of this listing; 0 without a token. Raises InvalidPaginationToken."""
        cursor = self._read(token, 0, scope)
        if not isinstance(cursor, int):
            raise InvalidPaginationToken
        return cursor

    def read_text(self, token: str | None, *scope: object) -> str:
        """The text in a token of this listing; empty without a token. Raises InvalidPaginationToken."""
        cursor = self._read(token, "", scope)
        if not isinstance(cursor, str):
            raise InvalidPaginationToken
        return cursor

    def _read(self, token: str | None, start: str | int, scope: tuple[object, ...]) -> object:
        if token is None:
            return start
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidPaginationToken from error
        signature, content = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(content, scope)):
            raise InvalidPaginationToken
        return json.loads(content)

    def _signature(self, content: bytes, scope: tuple[object, ...]) -> bytes:
        listing = json.dumps(scope, sort_keys=True).encode()
        message = len(listing).to_bytes(8, "big") + listing + content
        return hmac.digest(self._secret, message, "sha256")[:_SIGNATURE_BYTES]


def page_size(limit: int | None, default: int, largest: int) -> int:
    """How many items a page gets: `limit`, or `default` without one (None or 0), at most `largest`."""
    return min(limit or default, largest)
