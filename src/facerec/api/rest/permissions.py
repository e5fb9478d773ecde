"""What a key needs for each route of this door: a scope, and to reach the collection that it is about."""

from __future__ import annotations

from collections.abc import Mapping

from facerec.access import Caller, Scope
from facerec.errors import AccessDenied

READING_POSTS = frozenset({"/verify", "/identify", "/albums/search"})
"""Posts that change nothing: they only send a picture."""

REGISTRY = ("/register", "/verify", "/identify", "/persons", "/faces", "/registrations")
"""First parts of the paths that are about the registry's collection."""


def scope_of(method: str, path: str) -> Scope:
    """The scope that a request needs. path: without the prefix."""
    return Scope.READ if method in ("GET", "HEAD") or path in READING_POSTS else Scope.WRITE


def check(caller: Caller, method: str, path: str, parameters: Mapping[str, object], *, registry: str) -> None:
    """Raise AccessDenied unless the caller may send this request.

    parameters: of the path. registry: name of the registry's collection. A key for some collections may use
    what is about one of them by its path alone: lists of everything, and searches over several, are for keys
    without such a limit. Whether a thing exists makes no difference.
    """
    needed = scope_of(method, path)
    if not caller.may(needed):
        raise AccessDenied(f"The key's scope is {caller.scope}; this takes {needed}.")
    if not caller.collections:
        return
    about = parameters.get("album_id")
    if any(path == first or path.startswith(f"{first}/") for first in REGISTRY):
        about = registry
    if about is None or not caller.reaches(str(about)):
        raise AccessDenied("The key is for other collections.")
