"""botocore signs, we verify."""

from __future__ import annotations

import calendar
import hashlib
import string
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore import auth as botocore_auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from facerec.auth.sigv4 import Identity, SignedRequest, verify
from facerec.errors import (
    AccessDenied,
    MalformedCredentials,
    MissingCredentials,
    SignatureExpired,
    SignatureMismatch,
    UnknownAccessKey,
)

KEY, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-west-1"
SKEW = 300
TARGET = "RekognitionService.ListCollections"


class FixedQueryAuth(botocore_auth.SigV4QueryAuth):
    """Presigns with a body, which botocore's own would move into the query."""

    def __init__(self, body: bytes, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._body = body

    def payload(self, request: AWSRequest) -> str:
        return hashlib.sha256(self._body).hexdigest()


def sign(
    *,
    method: str = "POST",
    url: str = "http://127.0.0.1:8000/",
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
    token: str | None = None,
    service: str = "rekognition",
    presigned_seconds: int | None = None,
) -> SignedRequest:
    """The request as a server receives it from botocore."""
    request = AWSRequest(
        method=method,
        url=url,
        headers={"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1", **(headers or {})},
        data=body if presigned_seconds is None else b"",
    )
    credentials = Credentials(KEY, SECRET, token)
    if presigned_seconds is None:
        botocore_auth.SigV4Auth(credentials, service, REGION).add_auth(request)
    else:
        FixedQueryAuth(body, credentials, service, REGION, expires=presigned_seconds).add_auth(request)
    parts = urlsplit(str(request.url))
    sent = [("Host", parts.netloc)] if "host" not in {name.lower() for name in request.headers} else []
    return SignedRequest(
        method=method,
        path=parts.path.encode(),
        query=parts.query.encode(),
        headers=tuple(
            (name.encode(), str(value).encode()) for name, value in [*sent, *request.headers.items()]
        ),
        body=body,
    )


def check(request: SignedRequest, *, after: float = 0.0, secrets: dict[str, str] | None = None) -> Identity:
    """Verify `after` seconds from now."""
    secret_for = ({KEY: SECRET} if secrets is None else secrets).get
    now = calendar.timegm(datetime.now(UTC).timetuple()) + after
    return verify(request, secret_for=secret_for, now=now, clock_skew_seconds=SKEW)


def without(request: SignedRequest, name: str) -> SignedRequest:
    kept = tuple(pair for pair in request.headers if pair[0].lower() != name.lower().encode())
    return replace(request, headers=kept)


def with_header(request: SignedRequest, name: str, value: str | bytes) -> SignedRequest:
    raw = value if isinstance(value, bytes) else value.encode()
    return replace(request, headers=(*without(request, name).headers, (name.encode(), raw)))


def header(request: SignedRequest, name: str) -> str:
    return next(value.decode() for key, value in request.headers if key.lower() == name.lower().encode())


# --- what is accepted


@pytest.mark.parametrize("presigned", [None, 900])
@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEBYaD//+=="])
def test_botocores_signature_is_accepted(presigned: int | None, token: str | None) -> None:
    assert check(sign(presigned_seconds=presigned, token=token)) == Identity(KEY, REGION)


def test_header_form_with_a_date_header_instead_of_x_amz_date() -> None:
    assert check(sign(headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})).access_key_id == KEY


def test_a_declared_digest_of_the_body_is_accepted_when_right() -> None:
    body = b'{"MaxResults": 3}'
    digest = hashlib.sha256(body).hexdigest()
    assert check(sign(body=body, headers={"X-Amz-Content-SHA256": digest})).access_key_id == KEY


header_values = st.text(
    st.sampled_from(string.ascii_letters + string.digits + " \t,;:=/\"'"), max_size=30
).map(str.strip)
header_names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: (
        name.lower()
        not in {*botocore_auth.SIGNED_HEADERS_BLACKLIST, "host", "date", "authorization", "content-type"}
        and not name.lower().startswith("x-amz-")
    )
)
segments = st.text(st.sampled_from(string.ascii_letters + "._~-@ é/%"), max_size=12)
words = st.text(st.sampled_from(string.ascii_letters + "._~-@ é/%+&=ü"), max_size=8)


@given(
    headers=st.dictionaries(header_names, header_values, max_size=5),
    path=segments,
    query=st.lists(st.tuples(words.filter(bool), words), max_size=4),
    body=st.binary(max_size=60),
    presigned=st.sampled_from([None, 60]),
)
def test_every_shape_of_request_that_botocore_signs(
    headers: dict[str, str],
    path: str,
    query: list[tuple[str, str]],
    body: bytes,
    presigned: int | None,
) -> None:
    if presigned is not None:
        query = list(dict(query).items())  # botocore's presigner keeps one value a name
    encoded = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    url = f"http://localhost:8000/{quote(path, safe='/~')}" + (f"?{encoded}" if encoded else "")
    request = sign(url=url, headers=headers, body=body, presigned_seconds=presigned)
    assert check(request) == Identity(KEY, REGION)


def test_repeated_and_padded_header_values_are_joined_as_botocore_joins_them() -> None:
    request = sign(headers={"My-Header": "a   b  , c"})
    padded = with_header(request, "my-header", b"   a b ,    c  ")
    assert check(padded).access_key_id == KEY


def test_headers_that_were_not_signed_may_be_added_on_the_way() -> None:
    request = with_header(sign(), "X-Forwarded-For", "10.0.0.1")
    assert check(request).access_key_id == KEY


# --- what is refused


@given(position=st.integers(min_value=0, max_value=10_000), presigned=st.sampled_from([None, 60]))
def test_no_character_of_a_signature_can_be_changed(position: int, presigned: int | None) -> None:
    request = sign(presigned_seconds=presigned)
    text = header(request, "authorization") if presigned is None else request.query.decode()
    start = text.index("Signature=", text.index("SignedHeaders")) + len("Signature=")
    at = start + position % 64
    changed = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
    if presigned is None:
        request = with_header(request, "Authorization", changed)
    else:
        request = replace(request, query=changed.encode())
    with pytest.raises(SignatureMismatch, match="does not match the signature you provided"):
        check(request)


@pytest.mark.parametrize("presigned", [None, 60])
@pytest.mark.parametrize(
    "change",
    [
        {"body": b'{"CollectionId": "other"}'},
        {"method": "PUT"},
        {"path": b"/other"},
    ],
    ids=["body", "method", "path"],
)
def test_a_signature_is_good_for_one_request_alone(change: dict[str, Any], presigned: int | None) -> None:
    with pytest.raises(SignatureMismatch):
        check(replace(sign(presigned_seconds=presigned), **change))


@pytest.mark.parametrize("presigned", [None, 60])
@pytest.mark.parametrize("name", ["X-Amz-Target", "Content-Type", "Host"])
def test_signed_headers_can_not_be_changed(name: str, presigned: int | None) -> None:
    with pytest.raises(SignatureMismatch):
        check(with_header(sign(presigned_seconds=presigned), name, "RekognitionService.DeleteCollection"))


@pytest.mark.parametrize("presigned", [None, 60])
def test_signed_headers_can_not_be_taken_away(presigned: int | None) -> None:
    with pytest.raises(SignatureMismatch, match="'content-type' is not in the request"):
        check(without(sign(presigned_seconds=presigned), "content-type"))


def test_a_query_parameter_can_not_be_added() -> None:
    with pytest.raises(SignatureMismatch):
        check(replace(sign(presigned_seconds=60), query=sign(presigned_seconds=60).query + b"&a=b"))


@pytest.mark.parametrize("name", ["X-Amz-Target", "X-Amz-Security-Token"])
def test_headers_that_decide_the_meaning_have_to_be_signed(name: str) -> None:
    """Signing without them, then adding them, would let anyone on the way choose the operation."""
    request = without(sign(), "X-Amz-Target")
    signed = header(request, "authorization").replace(";x-amz-target", "")
    request = with_header(with_header(request, "Authorization", signed), name, "x")
    with pytest.raises(SignatureMismatch, match=f"'{name.lower()}' must be a 'SignedHeader'"):
        check(request)


@pytest.mark.parametrize("name", ["host", "x-amz-date"])
def test_host_and_date_have_to_be_signed(name: str) -> None:
    request = sign()
    changed = header(request, "authorization").replace(f"{name};", "")
    with pytest.raises(SignatureMismatch, match=f"'{name}' must be a 'SignedHeader'"):
        check(with_header(request, "Authorization", changed))


@pytest.mark.parametrize("declared", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64])
def test_a_body_that_is_not_the_signed_one_is_refused_even_when_declared(declared: str) -> None:
    with pytest.raises(SignatureMismatch, match="x-amz-content-sha256"):
        check(sign(headers={"X-Amz-Content-SHA256": declared}))


def test_unknown_access_key() -> None:
    with pytest.raises(UnknownAccessKey, match="The security token included in the request is invalid"):
        check(sign(), secrets={})


def test_wrong_secret() -> None:
    with pytest.raises(SignatureMismatch):
        check(sign(), secrets={KEY: SECRET[::-1]})


@pytest.mark.parametrize(
    ("after", "message"), [(-SKEW - 2, "Signature not yet current: "), (SKEW + 2, "Signature expired: ")]
)
def test_clocks_further_apart_than_the_skew(after: float, message: str) -> None:
    with pytest.raises(SignatureExpired, match=message + r"\d{8}T\d{6}Z is .*5 min\.\)"):
        check(sign(), after=after)


@pytest.mark.parametrize("after", [-SKEW + 2, SKEW - 2])
def test_clocks_within_the_skew(after: float) -> None:
    assert check(sign(), after=after).access_key_id == KEY


def test_a_presigned_request_is_good_for_its_own_time_alone() -> None:
    request = sign(presigned_seconds=3600)
    assert check(request, after=3590).access_key_id == KEY
    with pytest.raises(SignatureExpired, match="Signature expired"):
        check(request, after=3602)
    with pytest.raises(SignatureExpired, match="not yet current"):
        check(request, after=-SKEW - 2)


@pytest.mark.parametrize("seconds", [0, 604801, -5])
def test_presigned_lifetimes_beyond_a_week_are_refused(seconds: int) -> None:
    with pytest.raises(MalformedCredentials, match="X-Amz-Expires"):
        check(sign(presigned_seconds=seconds))


def test_a_lifetime_can_not_be_made_longer() -> None:
    request = sign(presigned_seconds=60)
    with pytest.raises(SignatureMismatch):
        check(replace(request, query=request.query.replace(b"Expires=60", b"Expires=6000")))


def test_another_services_signature() -> None:
    with pytest.raises(SignatureMismatch, match="scoped to correct service: 'rekognition'"):
        check(sign(service="s3"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("/aws4_request", "/aws5_request", "valid terminator"),
        (f"{KEY}/20", f"{KEY}/19", "Date in Credential scope does not match"),
    ],
)
def test_another_scope(old: str, new: str, message: str) -> None:
    request = sign()
    changed = header(request, "authorization").replace(old, new)
    with pytest.raises(SignatureMismatch, match=message):
        check(with_header(request, "Authorization", changed))


def test_without_any_signature() -> None:
    with pytest.raises(MissingCredentials, match="Missing Authentication Token"):
        check(without(sign(), "Authorization"))


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "Unsupported AWS 'algorithm'"),
        ("Bearer abc", "Unsupported AWS 'algorithm': 'Bearer'"),
        ("AWS4-HMAC-SHA256", "requires 'Credential' parameter"),
        ("AWS4-HMAC-SHA256 Credential", "not a valid key=value pair"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=f", "exactly 5 slash-delimited"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host", "requires 'Signature' parameter"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Credential=x, Signature=f", "more than once"),
    ],
)
def test_malformed_authorization(authorization: str, message: str) -> None:
    with pytest.raises(MalformedCredentials, match=message):
        check(with_header(sign(), "Authorization", authorization))


def test_a_date_that_is_none() -> None:
    with pytest.raises(
        MalformedCredentials, match=r"Date must be in ISO-8601 'basic format'\. Got 'yesterday'"
    ):
        check(with_header(sign(), "X-Amz-Date", "yesterday"))


def test_no_date_at_all() -> None:
    with pytest.raises(MalformedCredentials, match="requires existence of either a 'X-Amz-Date' or a 'Date'"):
        check(without(sign(), "X-Amz-Date"))


@pytest.mark.parametrize("name", ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders"])
def test_a_presigned_query_without_one_of_its_parameters(name: str) -> None:
    request = sign(presigned_seconds=60)
    kept = "&".join(piece for piece in request.query.decode().split("&") if not piece.startswith(f"{name}="))
    with pytest.raises(MalformedCredentials, match=f"must include '{name}'"):
        check(replace(request, query=kept.encode()))


def test_both_forms_at_once() -> None:
    request = with_header(sign(presigned_seconds=60), "Authorization", header(sign(), "authorization"))
    with pytest.raises(MalformedCredentials, match="use one"):
        check(request)


@given(
    authorization=st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from("AWS4-HMAC-SHA256 Credential=/,SignedHeaders=;host x\xe9"), max_size=120).map(
            lambda text: ("AWS4-HMAC-SHA256 " + text).encode("latin-1")
        ),
    ),
    date=st.one_of(st.binary(max_size=40), st.from_regex(rb"[0-9]{8}T[0-9]{6}Z", fullmatch=True)),
    query=st.binary(max_size=100),
)
def test_nothing_sent_gets_in_or_breaks_the_check(authorization: bytes, date: bytes, query: bytes) -> None:
    request = replace(sign(), query=query)
    request = with_header(with_header(request, "Authorization", authorization), "X-Amz-Date", date)
    with pytest.raises(AccessDenied):
        check(request)
