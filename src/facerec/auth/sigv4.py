"""AWS Signature Version 4, the server's side: do this key and secret give the signature that this request
has?

A pure function of the request, the clock and a look-up of secrets. Both forms are read: the `Authorization`
header and the presigned query. The rules are those of "Signature Version 4 signing process" in the AWS
General Reference; where a request breaks one, the message is the one AWS's services answer with.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from facerec.errors import (
    MalformedCredentials,
    MissingCredentials,
    SignatureExpired,
    SignatureMismatch,
    UnknownAccessKey,
)

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
LONGEST_PRESIGNED_SECONDS = 7 * 24 * 3600
"""AWS's own bound on X-Amz-Expires."""

_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_TIMESTAMP_PATTERN = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_QUERY_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request as it came over the wire."""

    method: str
    path: bytes
    """As sent, percent-encoding included, without the query."""
    query: bytes
    """As sent, without the question mark."""
    headers: tuple[tuple[bytes, bytes], ...]
    """In the order sent; names in any case."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed a request, and for which region."""

    access_key_id: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a request says of its own signature, read but not yet believed."""

    access_key_id: str
    scope_date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    """Lower case, sorted, each once."""
    signature: str
    signed_at: datetime
    lifetime: timedelta | None
    """How long a presigned request is good for; None for the header form."""


def verify(
    request: SignedRequest,
    *,
    secret_for: Callable[[str], str | None],
    now: float,
    clock_skew_seconds: int,
    service: str = "rekognition",
) -> Identity:
    """Check the signature of `request`; who made it.

    `secret_for` gives the secret of an access key id, or None for one that is not (or no longer) good. `now`
    is in seconds since the epoch. Any region is accepted: one service answers for all.

    The digest of the body that was received is always part of what is checked, so a signature is good for one
    body alone; UNSIGNED-PAYLOAD is refused. A session token is accepted and, being signed, can not be
    altered; keys of this service are permanent and need none.

    Raises MissingCredentials, MalformedCredentials, SignatureExpired, UnknownAccessKey or SignatureMismatch.
    """
    headers = _headers_by_name(request)
    claim = _read_claim(request, headers)
    _check_scope(claim, service)
    _check_time(claim, datetime.fromtimestamp(now, UTC), timedelta(seconds=clock_skew_seconds))
    _check_signed_headers(claim, headers)
    digest = hashlib.sha256(request.body).hexdigest()
    _check_declared_digest(digest, headers)
    secret = secret_for(claim.access_key_id)
    if secret is None:
        raise UnknownAccessKey
    expected = _signature(claim, _canonical_request(request, digest, claim, headers), secret)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise SignatureMismatch
    return Identity(claim.access_key_id, claim.region)


# --- reading what the request claims -----------------------------------------------------------------


def _headers_by_name(request: SignedRequest) -> dict[str, list[bytes]]:
    """Values of each header in the order sent, by lower-case name."""
    headers: dict[str, list[bytes]] = {}
    for name, value in request.headers:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value)
    return headers


def _read_claim(request: SignedRequest, headers: dict[str, list[bytes]]) -> _Claim:
    """Find the signature in the header or in the query."""
    query = _query_parameters(request.query)
    presigned = any(name in query for name in ("X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"))
    authorizations = headers.get("authorization", [])
    if authorizations and presigned:
        raise MalformedCredentials(
            "The request is signed both in the Authorization header and in the query; use one."
        )
    if presigned:
        return _claim_of_query(query)
    if not authorizations:
        raise MissingCredentials
    if len(authorizations) > 1:
        raise MalformedCredentials("The request has more than one Authorization header.")
    return _claim_of_header(authorizations[0].decode("latin-1"), headers)


def _claim_of_header(authorization: str, headers: dict[str, list[bytes]]) -> _Claim:
    """Read `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`."""
    algorithm, _, rest = authorization.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise MalformedCredentials(f"Unsupported AWS 'algorithm': '{algorithm[:40]}'. Use '{ALGORITHM}'.")
    parts: dict[str, str] = {}
    for piece in filter(None, (piece.strip() for piece in rest.split(","))):
        name, equals, value = piece.partition("=")
        if not equals:
            raise MalformedCredentials(
                f"'{piece[:80]}' not a valid key=value pair (missing equal-sign) in Authorization header."
            )
        if name in parts:
            raise MalformedCredentials(f"Authorization header has '{name[:40]}' more than once.")
        parts[name] = value
    dates = headers.get("x-amz-date") or headers.get("date") or []
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not parts.get(name)
    ]
    if not dates:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing:
        raise MalformedCredentials(" ".join(missing))
    if len(dates) > 1:
        raise MalformedCredentials("The request has more than one date header.")
    return _claim(
        parts["Credential"],
        parts["SignedHeaders"],
        parts["Signature"],
        dates[0].decode("latin-1"),
        lifetime=None,
    )


def _claim_of_query(query: dict[str, list[str]]) -> _Claim:
    """Read the X-Amz-… parameters of a presigned request."""
    for name in _QUERY_PARAMETERS:
        if not any(query.get(name, [])):
            raise MalformedCredentials(
                f"AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
            )
        if len(query[name]) > 1:
            raise MalformedCredentials(f"The query-string parameter '{name}' is given more than once.")
    algorithm, credential, date, expires, signed_headers, signature = (
        query[name][0] for name in _QUERY_PARAMETERS
    )
    if algorithm != ALGORITHM:
        raise MalformedCredentials(f"Unsupported AWS 'algorithm': '{algorithm[:40]}'. Use '{ALGORITHM}'.")
    if not re.fullmatch("[0-9]{1,6}", expires) or not 1 <= int(expires) <= LONGEST_PRESIGNED_SECONDS:
        raise MalformedCredentials(
            f"X-Amz-Expires must be a number of seconds from 1 to {LONGEST_PRESIGNED_SECONDS}."
        )
    return _claim(credential, signed_headers, signature, date, lifetime=timedelta(seconds=int(expires)))


def _claim(
    credential: str, signed_headers: str, signature: str, date: str, *, lifetime: timedelta | None
) -> _Claim:
    """Read the parts that both forms share."""
    elements = credential.split("/")
    if len(elements) != 5 or not all(elements):
        raise MalformedCredentials(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential[:120]}'."
        )
    access_key_id, scope_date, region, service, terminator = elements
    return _Claim(
        access_key_id=access_key_id,
        scope_date=scope_date,
        region=region,
        service=service,
        terminator=terminator,
        signed_headers=tuple(sorted({name.strip().lower() for name in signed_headers.split(";")})),
        signature=signature,
        signed_at=_read_date(date.strip()),
        lifetime=lifetime,
    )


def _read_date(text: str) -> datetime:
    """Read ISO 8601's basic form, or the form of HTTP's Date header."""
    try:
        if _TIMESTAMP_PATTERN.fullmatch(text):
            return datetime.strptime(text, _TIMESTAMP).replace(tzinfo=UTC)
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedCredentials(
            f"Date must be in ISO-8601 'basic format'. Got '{text[:40]}'. See https://en.wikipedia.org/wiki/ISO_8601"
        ) from error


def _query_parameters(query: bytes) -> dict[str, list[str]]:
    """Decoded values of each parameter, in the order sent."""
    parameters: dict[str, list[str]] = {}
    for name, value in _query_pairs(query):
        parameters.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return parameters


def _query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """Decoded names and values; a plus sign stands for itself, as AWS reads it."""
    pairs = []
    for piece in query.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return pairs


# --- checking the claim ------------------------------------------------------------------------------


def _check_scope(claim: _Claim, service: str) -> None:
    """Refuse a key derived for another service or another day."""
    if claim.terminator != TERMINATOR:
        raise SignatureMismatch(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not "
            f"'{claim.terminator[:40]}'."
        )
    if claim.service != service:
        raise SignatureMismatch(f"Credential should be scoped to correct service: '{service}'.")
    stamp = claim.signed_at.strftime(_TIMESTAMP)
    if claim.scope_date != stamp[:8]:
        raise SignatureMismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{claim.scope_date[:40]}' != '{stamp[:8]}', from '{stamp}'."
        )


def _check_time(claim: _Claim, now: datetime, skew: timedelta) -> None:
    """Refuse a signature of another time: older than the skew (or its own lifetime), or from the future."""
    stamp, minutes = claim.signed_at.strftime(_TIMESTAMP), f"{skew.total_seconds() / 60:g} min."
    if claim.signed_at > now + skew:
        raise SignatureExpired(
            f"Signature not yet current: {stamp} is still later than {(now + skew).strftime(_TIMESTAMP)} "
            f"({now.strftime(_TIMESTAMP)} + {minutes})"
        )
    if claim.lifetime is not None:
        if now > claim.signed_at + claim.lifetime:
            raise SignatureExpired(
                f"Signature expired: {(claim.signed_at + claim.lifetime).strftime(_TIMESTAMP)} is now "
                f"earlier than "
                f"{now.strftime(_TIMESTAMP)}"
            )
    elif claim.signed_at < now - skew:
        raise SignatureExpired(
            f"Signature expired: {stamp} is now earlier than {(now - skew).strftime(_TIMESTAMP)} "
            f"({now.strftime(_TIMESTAMP)} - {minutes})"
        )


def _check_signed_headers(claim: _Claim, headers: dict[str, list[bytes]]) -> None:
    """Refuse a signature that leaves out the host, the date or any x-amz-… header."""
    needed = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    if claim.lifetime is None and "x-amz-date" not in headers:
        needed.add("date")
    unsigned = sorted(needed.difference(claim.signed_headers))
    if unsigned:
        raise SignatureMismatch(f"'{unsigned[0][:80]}' must be a 'SignedHeader' in the AWS Authorization.")
    absent = sorted(set(claim.signed_headers).difference(headers))
    if absent:
        raise SignatureMismatch(f"The signed header '{absent[0][:80]}' is not in the request.")


def _check_declared_digest(digest: str, headers: dict[str, list[bytes]]) -> None:
    """Refuse a request that declares another body than it has, or none (UNSIGNED-PAYLOAD, STREAMING-…)."""
    for value in headers.get("x-amz-content-sha256", []):
        if value.strip().lower() != digest.encode():
            raise SignatureMismatch(
                "The value of x-amz-content-sha256 is not the SHA-256 of the body that was received."
            )


# --- calculating what the signature should be --------------------------------------------------------


def _canonical_request(
    request: SignedRequest, digest: str, claim: _Claim, headers: dict[str, list[bytes]]
) -> bytes:
    """The bytes whose digest is signed; `digest` is that of the body, 64 lower-case hexadecimal digits."""
    lines = [request.method.upper().encode(), _canonical_path(request.path), _canonical_query(request.query)]
    lines += [
        name.encode("latin-1") + b":" + _canonical_value(headers[name]) for name in claim.signed_headers
    ]
    lines += [b"", ";".join(claim.signed_headers).encode("latin-1"), digest.encode()]
    return b"\n".join(lines)


def _canonical_path(path: bytes) -> bytes:
    """The path without dot and empty segments, encoded once more than on the wire (every service but S3)."""
    segments: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    closing = "/" if segments and path.endswith(b"/") else ""
    return ("/" + "/".join(quote(segment, safe="~") for segment in segments) + closing).encode()


def _canonical_query(query: bytes) -> bytes:
    """Name=value pairs, encoded by RFC 3986 and sorted, without the signature itself."""
    pairs = sorted(
        (quote_from_bytes(name, safe="-_.~"), quote_from_bytes(value, safe="-_.~"))
        for name, value in _query_pairs(query)
        if name != b"X-Amz-Signature"
    )
    return "&".join(f"{name}={value}" for name, value in pairs).encode()


def _canonical_value(values: list[bytes]) -> bytes:
    """A header's values, trimmed, runs of white space made one space, joined by commas."""
    return b",".join(b" ".join(value.split()) for value in values)


def _signature(claim: _Claim, canonical_request: bytes, secret: str) -> str:
    """Signature of the canonical request, 64 lower-case hexadecimal digits."""
    scope = "/".join((claim.scope_date, claim.region, claim.service, claim.terminator))
    digest = hashlib.sha256(canonical_request).hexdigest()
    key = f"AWS4{secret}".encode()
    for step in (claim.scope_date, claim.region, claim.service, claim.terminator):
        key = hmac.digest(key, step.encode(), "sha256")
    to_sign = "\n".join((ALGORITHM, claim.signed_at.strftime(_TIMESTAMP), scope, digest))
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
