"""What a key needs for each route of this door: a scope, and to reach the collection that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from facerec.access import ANYBODY, Caller, Scope
from facerec.errors import AccessDenied
from facerec.observability import current_request

READING_POSTS = frozenset(
    {
        "/albums/search",
        "/collections/{collection_id}/faces/{face_id}/search",
        "/collections/{collection_id}/search-all-faces",
        "/collections/{collection_id}/search-by-embedding",
        "/collections/{collection_id}/search-faces",
        "/compare-faces",
        "/detect-faces",
        "/embed-faces",
        "/face-recognition/match",
        "/identify",
        "/verify",
    }
)
"""Posts that change nothing: they only send a picture."""

ADMINISTRATION = frozenset(
    {
        ("POST", "/collections"),
        ("DELETE", "/collections/{collection_id}"),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("DELETE", "/keys/{key_id}"),
        ("POST", "/keys/{key_id}/rotate"),
        ("GET", "/audit"),
        ("GET", "/settings"),
    }
)
"""What makes and removes collections and keys, and shows how the service is set up and was used."""

SHOWING_PHOTOS = frozenset({("GET", "/albums/{album_id}/images/{number}/source")})
"""What changes nothing, but gives away whole photos that the service has access to."""

REGISTRY = ("/register", "/verify", "/identify", "/persons", "/faces", "/registrations")
"""First parts of the paths that are about the registry's collection."""

ABOUT_NONE = frozenset(
    {
        "/collections",
        "/compare-faces",
        "/detect-faces",
        "/embed-faces",
        "/liveness/sessions",
        "/liveness/sessions/{session_id}",
        "/model",
        "/whoami",
    }
)
"""Routes that touch no collection, or show of each only what the key is for."""

WITHOUT_KEY = frozenset({"/liveness/sessions/{session_id}/frames"})
"""Routes that take no key: whoever has the id in the path, which nobody can guess, was told it."""

CHECKED_THERE = ("/albums/search", "/face-recognition", "/imports", "/videos")
"""First parts of the paths whose collection is told by the body, or by the thing itself: those routes check
it, and show nothing of collections that the key is not for."""


def scope_of(method: str, route: str) -> Scope:
    """The scope that a request needs. route: the pattern of its path, without the prefix."""
    if (method, route) in ADMINISTRATION:
        return Scope.ADMIN
    if (method, route) in SHOWING_PHOTOS:
        return Scope.WRITE
    return Scope.READ if method in ("GET", "HEAD") or route in READING_POSTS else Scope.WRITE


def check(
    caller: Caller, method: str, route: str, parameters: Mapping[str, object], *, registry: str
) -> None:
    """Raise AccessDenied unless the caller may send this request.

    route: the pattern of its path, without the prefix; parameters: what stands in the path. registry: name of
    the registry's collection. A key for some collections may use what is about one of them by its path or
    body; albums are searched, and imports and videos shown, as far as it reaches. Lists of everything else
    are for keys without such a limit. Whether a thing exists makes no difference.
    """
    needed = scope_of(method, route)
    _check_scope(caller, needed)
    if not caller.collections or _begins(route, CHECKED_THERE):
        return
    if route in ABOUT_NONE and needed is not Scope.ADMIN:
        return
    collection = about(route, parameters, registry=registry)
    if collection is None or not caller.reaches(collection):
        raise AccessDenied("The key is for other collections.")


def about(route: str, parameters: Mapping[str, object], *, registry: str) -> str | None:
    """The collection that a request names by its path; None for none, or several."""
    if _begins(route, REGISTRY):
        return registry
    found = parameters.get("collection_id", parameters.get("album_id"))
    return None if found is None else str(found)


def check_collection(name: str, needed: Scope) -> None:
    """Raise AccessDenied unless whoever sends the request at work may do this to a collection."""
    request = current_request()
    request.collection = name
    caller = request.caller or ANYBODY
    _check_scope(caller, needed)
    if not caller.reaches(name):
        raise AccessDenied("The key is for other collections.")


def reaches(collection: str | None) -> bool:
    """Whether whoever sends the request at work may see what is in a collection, or of none (None)."""
    caller = current_request().caller or ANYBODY
    return not caller.collections if collection is None else caller.reaches(collection)


def _begins(route: str, firsts: Iterable[str]) -> bool:
    """Whether a path is one of these, or below one."""
    return any(route == first or route.startswith(f"{first}/") for first in firsts)


def _check_scope(caller: Caller, needed: Scope) -> None:
    if not caller.may(needed):
        raise AccessDenied(f"The key's scope is {caller.scope}; this takes {needed}.")
