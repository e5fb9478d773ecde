"""Access keys over a real database, and who gets in with them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from facerec.access import ANYBODY, AccessKey, Caller, KeyKind, RateLimit, Scope
from facerec.auth.sigv4 import SignedRequest
from facerec.config import Settings, read_settings
from facerec.db import Database
from facerec.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    MissingCredentials,
    NotFound,
    RateExceeded,
    SignatureMismatch,
    UnknownAccessKey,
)
from facerec.metastore import open_metastore
from facerec.observability import RequestContext, request_context
from facerec.services.authentication import FAILURES, SERVICE_KEY_ID, KeyRules, ServiceKey, is_loopback
from facerec.services.keys import CreatedKey, KeyLimits, KeyService


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data_dir=tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = open_metastore(settings)
    yield opened
    opened.close()


class Clock:
    """Seconds since the epoch, as a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def key_service(
    database: Database,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    service_key: ServiceKey | None = None,
) -> KeyService:
    rules = KeyRules(
        master_key_path=settings.master_key_path,
        clock_skew_seconds=settings.clock_skew_seconds,
        service_key=service_key,
    )
    return KeyService(database, rules, clock=clock)


@pytest.fixture
def keys(database: Database, settings: Settings) -> KeyService:
    return key_service(database, settings)


def request_of(
    key: CreatedKey | None, *, secret: str | None = None, host: str = "127.0.0.1"
) -> SignedRequest:
    request = AWSRequest(
        method="POST", url=f"http://{host}:8000/", headers={"Host": f"{host}:8000"}, data=b"{}"
    )
    if key is not None:
        credentials = Credentials(key.key.access_key_id, secret or key.secret)
        SigV4Auth(credentials, "rekognition", "us-east-1").add_auth(request)
    return SignedRequest(
        method="POST",
        path=b"/",
        query=b"",
        headers=tuple((name.encode(), str(value).encode()) for name, value in request.headers.items()),
        body=b"{}",
    )


def test_a_created_key_gets_in(keys: KeyService) -> None:
    created = keys.create("camera")
    caller = keys.authenticate(request_of(created))
    assert caller == Caller(key_id=created.key.access_key_id, scope=Scope.ADMIN)
    assert (len(created.key.access_key_id), len(created.secret)) == (20, 40)
    assert created.key.label == "camera"
    assert created.secret not in repr(created)


def test_keys_are_never_the_same(keys: KeyService) -> None:
    created = [keys.create() for _ in range(20)]
    assert len({one.key.access_key_id for one in created}) == len({one.secret for one in created}) == 20
    assert [key.access_key_id for key in keys.list()] == [one.key.access_key_id for one in created]


def test_secrets_lie_sealed_in_the_database(keys: KeyService, database: Database, tmp_path: Path) -> None:
    secret = keys.create().secret
    database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret.encode() not in stored


def test_without_a_key_this_machine_gets_in(keys: KeyService) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "127.1.2.3"):
        assert keys.authenticate(request_of(None, host=host)) is ANYBODY


@pytest.mark.parametrize(
    "host", ["evil.example", "192.168.1.5", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_without_a_key_requests_to_other_names_are_refused(keys: KeyService, host: str) -> None:
    """A page that rebinds its own name to 127.0.0.1 sends that name as the host."""
    with pytest.raises(AccessDenied, match="answers only requests to this machine's own addresses"):
        keys.authenticate(request_of(None, host=host))


def test_with_a_key_an_unsigned_request_is_refused_at_once(keys: KeyService) -> None:
    assert keys.authenticate(request_of(None)) is ANYBODY
    keys.create()
    with pytest.raises(MissingCredentials):
        keys.authenticate(request_of(None))


def test_a_key_made_by_another_process_closes_a_running_service_soon(
    keys: KeyService, database: Database, settings: Settings
) -> None:
    assert keys.authenticate(request_of(None)) is ANYBODY
    key_service(database, settings).create()
    deadline = time.monotonic() + 30
    with pytest.raises(MissingCredentials):  # noqa: PT012  (asked until it is seen)
        while time.monotonic() < deadline:
            keys.authenticate(request_of(None))
            time.sleep(0.05)


def test_revocation_works_at_once_and_does_not_open_the_service(keys: KeyService) -> None:
    created = keys.create()
    keys.authenticate(request_of(created))
    keys.revoke(created.key.access_key_id)
    with pytest.raises(UnknownAccessKey):
        keys.authenticate(request_of(created))
    with pytest.raises(MissingCredentials):
        keys.authenticate(request_of(None))
    (listed,) = keys.list()
    assert listed.revoked_at is not None


def test_a_revocation_by_another_process_is_seen_soon(
    keys: KeyService, database: Database, settings: Settings
) -> None:
    created = keys.create()
    keys.authenticate(request_of(created))
    key_service(database, settings).revoke(created.key.access_key_id)
    deadline = time.monotonic() + 30
    with pytest.raises(UnknownAccessKey):  # noqa: PT012  (asked until it is seen)
        while time.monotonic() < deadline:
            keys.authenticate(request_of(created))
            time.sleep(0.05)


def test_after_a_restart_revoked_keys_still_close_the_service(
    keys: KeyService, database: Database, settings: Settings
) -> None:
    keys.revoke(keys.create().key.access_key_id)
    restarted = key_service(database, settings)
    with pytest.raises(MissingCredentials):
        restarted.authenticate(request_of(None))
    assert "Every access key is revoked or expired" in (restarted.check_address("127.0.0.1") or "")
    with pytest.raises(ConfigurationError):
        restarted.check_address("0.0.0.0")


def test_another_keys_secret(keys: KeyService) -> None:
    first, second = keys.create(), keys.create()
    with pytest.raises(SignatureMismatch):
        keys.authenticate(request_of(first, secret=second.secret))


def test_revoking_an_unknown_key(keys: KeyService) -> None:
    with pytest.raises(NotFound):
        keys.revoke("AKIANOSUCHKEY")


def test_where_the_service_may_listen(keys: KeyService) -> None:
    assert "There is no access key" in (keys.check_address("127.0.0.1") or "")
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigurationError, match="Create one with `facerec keys create`"):
            keys.check_address(host)
    keys.create()
    assert keys.check_address("0.0.0.0") is None
    assert keys.check_address("127.0.0.1") is None


def test_a_lost_master_key_is_told_at_the_start(
    keys: KeyService, database: Database, settings: Settings
) -> None:
    created = keys.create()
    settings.master_key_path.unlink()
    restarted = key_service(database, settings)
    with pytest.raises(ConfigurationError, match=r"master\.key is missing"):
        restarted.check_address("127.0.0.1")
    with pytest.raises(ConfigurationError, match=r"master\.key is missing"):
        restarted.create()
    restarted.revoke(created.key.access_key_id)
    again = restarted.create()
    assert key_service(database, settings).authenticate(request_of(again)).key_id == again.key.access_key_id


def test_another_master_key_is_told_at_the_start(
    keys: KeyService, database: Database, settings: Settings, tmp_path: Path
) -> None:
    keys.create()
    other = read_settings(data_dir=tmp_path / "other")
    other_database = open_metastore(other)
    key_service(other_database, other).create()
    other_database.close()
    settings.master_key_path.write_bytes(other.master_key_path.read_bytes())
    with pytest.raises(ConfigurationError, match="does not open the secret"):
        key_service(database, settings).check_address("127.0.0.1")


# --- keys sent in X-API-Key


def sent(keys: KeyService, header: str | None) -> Caller:
    return keys.authenticate_api_key(header, host="127.0.0.1:8000")


def test_an_api_key_gets_in_with_what_it_may(keys: KeyService) -> None:
    limits = KeyLimits(scope=Scope.READ, collections=("door", "hall-*"), rate=RateLimit(5, 1))
    created = keys.create("gate", kind=KeyKind.API, limits=limits)
    caller = sent(keys, created.secret)
    assert caller.key_id == created.key.access_key_id
    assert (caller.scope, caller.collections, caller.rate) == (
        Scope.READ,
        ("door", "hall-*"),
        RateLimit(5, 1),
    )
    assert created.secret.startswith(f"{created.key.access_key_id}.")


def test_wrong_missing_revoked_and_expired_api_keys_are_refused_alike(
    database: Database, settings: Settings
) -> None:
    clock = Clock()
    keys = key_service(database, settings, clock=clock)
    good = keys.create(kind=KeyKind.API)
    revoked = keys.create(kind=KeyKind.API)
    keys.revoke(revoked.key.access_key_id)
    expired = keys.create(kind=KeyKind.API, limits=KeyLimits(seconds=60))
    signing = keys.create()
    assert sent(keys, expired.secret).key_id == expired.key.access_key_id
    clock.ahead = 61
    refused = {
        "another secret": f"{good.key.access_key_id}.{expired.secret.partition('.')[2]}",
        "unknown id": "frk_ABCDEFGHABCDEFGH." + good.secret.partition(".")[2],
        "revoked": revoked.secret,
        "expired": expired.secret,
        "an AWS key": f"{signing.key.access_key_id}.{signing.secret}",
        "the digest kept of it": f"{good.key.access_key_id}." + "0" * 64,
        "no form": "nonsense",
        "too long": good.secret + "x" * 10_000,
        "odd characters": "frk_\u00e4.\u00f6",
    }
    told = set()
    for header in refused.values():
        with pytest.raises(UnknownAccessKey) as error:
            sent(keys, header)
        told.add(str(error.value))
    assert told == {"The API key is not valid."}
    for nothing in (None, ""):
        with pytest.raises(MissingCredentials):
            sent(keys, nothing)
    assert sent(keys, good.secret).key_id == good.key.access_key_id


def test_an_api_key_lies_neither_plain_nor_as_its_hash_in_the_database(
    keys: KeyService, database: Database, tmp_path: Path
) -> None:
    secret = keys.create(kind=KeyKind.API).secret.partition(".")[2]
    database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret.encode() not in stored
    assert hashlib.sha256(secret.encode()).hexdigest().encode() not in stored


def test_an_api_key_signs_nothing(keys: KeyService) -> None:
    created = keys.create(kind=KeyKind.API)
    with pytest.raises(UnknownAccessKey):
        keys.authenticate(request_of(created))


def test_an_open_service_takes_requests_to_this_machine_alone(keys: KeyService) -> None:
    assert sent(keys, None) is ANYBODY
    with pytest.raises(AccessDenied):
        keys.authenticate_api_key(None, host="evil.example")


@pytest.mark.parametrize("kind", KeyKind)
def test_rotation_leaves_no_moment_without_a_good_secret(
    kind: KeyKind, database: Database, settings: Settings
) -> None:
    clock = Clock()
    keys = key_service(database, settings, clock=clock)

    def get_in(key: CreatedKey) -> str | None:
        if kind is KeyKind.AWS:
            return keys.authenticate(signed_later(key, clock)).key_id
        return sent(keys, key.secret).key_id

    first = keys.create(kind=kind, limits=KeyLimits(scope=Scope.WRITE))
    second = keys.rotate(first.key.access_key_id, grace_seconds=3600)
    assert second.key.access_key_id == first.key.access_key_id
    assert get_in(first) == get_in(second) == first.key.access_key_id
    third = keys.rotate(first.key.access_key_id, grace_seconds=3600)
    with pytest.raises(AccessDenied):
        get_in(first)
    assert get_in(second) == get_in(third)
    clock.ahead = 3601
    keys = key_service(database, settings, clock=clock)
    with pytest.raises(AccessDenied):
        get_in(second)
    assert get_in(third) == first.key.access_key_id
    keys.revoke(first.key.access_key_id)
    with pytest.raises(AccessDenied):
        get_in(third)
    with pytest.raises(Conflict):
        keys.rotate(first.key.access_key_id, grace_seconds=1)


def signed_later(key: CreatedKey, clock: Clock) -> SignedRequest:
    """A request that is signed at the time of a clock."""
    stamp = datetime.fromtimestamp(clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": "127.0.0.1:8000", "x-amz-date": stamp}
    request = AWSRequest(method="POST", url="http://127.0.0.1:8000/", headers=dict(headers), data=b"{}")
    signer = SigV4Auth(Credentials(key.key.access_key_id, key.secret), "rekognition", "us-east-1")
    request.context["timestamp"] = stamp
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    scope = f"{stamp[:8]}/us-east-1/rekognition/aws4_request"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.key.access_key_id}/{scope}, SignedHeaders=host;x-amz-date, "
        f"Signature={signature}"
    )
    pairs = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return SignedRequest(method="POST", path=b"/", query=b"", headers=pairs, body=b"{}")


def test_the_key_of_the_settings_is_good_at_both_doors_and_for_any_address(
    database: Database, settings: Settings
) -> None:
    service_key = ServiceKey("a key of the settings", Scope.WRITE)
    keys = key_service(database, settings, service_key=service_key)
    assert keys.check_address("0.0.0.0") is None
    expected = Caller(key_id=SERVICE_KEY_ID, scope=Scope.WRITE)
    assert sent(keys, "a key of the settings") == expected
    key = CreatedKey(AccessKey(access_key_id=SERVICE_KEY_ID, created_at=0), service_key.secret)
    assert keys.authenticate(request_of(key)) == expected
    with pytest.raises(SignatureMismatch):
        keys.authenticate(request_of(key, secret="another"))
    with pytest.raises(MissingCredentials):
        keys.authenticate(request_of(None))
    with pytest.raises(UnknownAccessKey):
        sent(keys, "a key of the setting")


def test_guessing_is_slowed_down_and_the_right_key_of_another_is_not(keys: KeyService) -> None:
    victim, other = keys.create(kind=KeyKind.API), keys.create(kind=KeyKind.API)
    signing = keys.create()
    for _ in range(FAILURES):
        with pytest.raises(UnknownAccessKey):
            sent(keys, f"{victim.key.access_key_id}.guess")
        with pytest.raises(SignatureMismatch):
            keys.authenticate(request_of(signing, secret="guess"))
    with pytest.raises(RateExceeded) as told:
        sent(keys, f"{victim.key.access_key_id}.guess")
    assert told.value.seconds > 1
    with pytest.raises(RateExceeded):
        keys.authenticate(request_of(signing, secret="guess"))
    assert sent(keys, other.secret).key_id == other.key.access_key_id
    elsewhere = RequestContext(client="192.0.2.7")
    with request_context(elsewhere):
        assert sent(keys, victim.secret).key_id == victim.key.access_key_id


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST", "a.localhost"]
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.com", "example.org", "127.0.0.1.nip.io"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
