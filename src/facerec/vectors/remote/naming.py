"""How a scope is called in its store."""

from __future__ import annotations

import hashlib

from facerec.domain import IndexScope


def scope_name(store_id: str, scope: IndexScope) -> str:
    """The name of a scope in its store, 24 hexadecimal digits.

    Of the database's identity too: a copy of a database, which got an identity of its own, does not find the
    original's vectors under the tokens that it copied.
    """
    return hashlib.blake2b(f"{store_id}/{scope.token}".encode(), digest_size=12).hexdigest()
