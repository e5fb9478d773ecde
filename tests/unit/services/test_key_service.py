"""Access keys over a real database, and who gets in with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from facerec.auth.sigv4 import SignedRequest
from facerec.config import Settings, read_settings
from facerec.db import Database
from facerec.errors import (
    AccessDenied,
    ConfigurationError,
    MissingCredentials,
    NotFound,
    SignatureMismatch,
    UnknownAccessKey,
)
from facerec.metastore import open_metastore
from facerec.services.keys import CreatedKey, KeyService, is_loopback


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data_dir=tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = open_metastore(settings)
    yield opened
    opened.close()


def key_service(database: Database, settings: Settings) -> KeyService:
    return KeyService(
        database,
        master_key_path=settings.master_key_path,
        clock_skew_seconds=settings.clock_skew_seconds,
    )


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
    identity = keys.authenticate(request_of(created))
    assert identity is not None
    assert identity.access_key_id == created.key.access_key_id
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
        assert keys.authenticate(request_of(None, host=host)) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "192.168.1.5", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_without_a_key_requests_to_other_names_are_refused(keys: KeyService, host: str) -> None:
    """A page that rebinds its own name to 127.0.0.1 sends that name as the host."""
    with pytest.raises(AccessDenied, match="answers only requests to this machine's own addresses"):
        keys.authenticate(request_of(None, host=host))


def test_with_a_key_an_unsigned_request_is_refused_at_once(keys: KeyService) -> None:
    assert keys.authenticate(request_of(None)) is None
    keys.create()
    with pytest.raises(MissingCredentials):
        keys.authenticate(request_of(None))


def test_a_key_made_by_another_process_closes_a_running_service_soon(
    keys: KeyService, database: Database, settings: Settings
) -> None:
    assert keys.authenticate(request_of(None)) is None
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
    assert "Every access key is revoked" in (restarted.check_address("127.0.0.1") or "")
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
    assert key_service(database, settings).authenticate(request_of(again)) is not None


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
