"""Keys, scopes, limits to collections and rates, at both doors: who is refused, and in which words."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from wire_server import ACCOUNT, REGION, Running, running

from facerec.access import KeyKind, RateLimit, Scope
from facerec.api.rekognition.operations import OPERATIONS
from facerec.api.rekognition.permissions import SCOPES
from facerec.domain import S3Image, VideoOperation, VideoWish
from facerec.engine.fake import draw
from facerec.metastore import videos
from facerec.services.albums.uploading import Upload
from facerec.services.authentication import FAILURES
from facerec.services.keys import CreatedKey, KeyLimits

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

UNKNOWN = "frk_ABCDEFGHABCDEFGH.c2VjcmV0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("access")) as server:
        server.service.keys.create("so that it is closed")
        server.service.collections.create("persons", {})
        server.service.collections.create("door-1", {})
        server.service.collections.create("hall", {})
        yield server


def key(server: Running, kind: KeyKind, **limits: Any) -> CreatedKey:
    return server.service.keys.create(kind=kind, limits=KeyLimits(**limits))


def aws(
    server: Running, created: CreatedKey, *, secret: str | None = None, retries: Any = None
) -> RekognitionClient:
    given: Any = retries or {"total_max_attempts": 1}
    return boto3.client(
        "rekognition",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=created.key.access_key_id,
        aws_secret_access_key=secret or created.secret,
        config=Config(retries=given),
    )


def rest(server: Running, header: str | None, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {} if header is None else {"X-API-Key": header}
    return httpx.request(method, f"{server.url}/api/v1{path}", headers=headers, **options)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_each_offered_operation_needs_a_scope() -> None:
    assert set(SCOPES) == set(OPERATIONS)


def test_scopes_at_the_rekognition_door(server: Running) -> None:
    reader = aws(server, key(server, KeyKind.AWS, scope=Scope.READ))
    writer = aws(server, key(server, KeyKind.AWS, scope=Scope.WRITE))
    assert "hall" in reader.list_collections()["CollectionIds"]
    with pytest.raises(ClientError, match="because the key's scope is read, and write is needed") as refused:
        reader.create_user(CollectionId="hall", UserId="ann")
    assert code_of(refused) == "AccessDeniedException"
    assert f"User: arn:aws:iam::{ACCOUNT}:user/AKIA" in str(refused.value)
    assert "is not authorized to perform: rekognition:CreateUser" in str(refused.value)
    writer.create_user(CollectionId="hall", UserId="ann")
    with pytest.raises(ClientError, match="scope is write, and admin is needed"):
        writer.delete_collection(CollectionId="hall")


def test_limits_to_collections_at_the_rekognition_door(server: Running) -> None:
    limited = aws(server, key(server, KeyKind.AWS, collections=("door-*",)))
    assert limited.list_collections()["CollectionIds"] == ["door-1"]
    assert limited.describe_collection(CollectionId="door-1")["FaceCount"] == 0
    for name in ("hall", "no-such-collection"):
        with pytest.raises(ClientError, match=f"collection/{name} because the key is for other") as refused:
            limited.describe_collection(CollectionId=name)
        assert code_of(refused) == "AccessDeniedException"
    arn = f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/hall"
    with pytest.raises(ClientError, match="because the key is for other collections"):
        limited.list_tags_for_resource(ResourceArn=arn)
    limited.create_collection(CollectionId="door-2")
    limited.delete_collection(CollectionId="door-2")


def test_wrong_and_revoked_keys_at_the_rekognition_door(server: Running) -> None:
    good, revoked = key(server, KeyKind.AWS), key(server, KeyKind.AWS)
    server.service.keys.revoke(revoked.key.access_key_id)
    expired = key(server, KeyKind.AWS, seconds=-1)
    with pytest.raises(ClientError) as refused:
        aws(server, good, secret="wrong").list_collections()
    assert code_of(refused) == "InvalidSignatureException"
    for gone in (revoked, expired):
        with pytest.raises(ClientError) as refused:
            aws(server, gone).list_collections()
        assert code_of(refused) == "UnrecognizedClientException"


def test_a_request_without_a_key_at_the_rekognition_door(server: Running) -> None:
    unsigned = boto3.client(
        "rekognition",
        endpoint_url=server.url,
        region_name=REGION,
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ClientError) as refused:
        unsigned.list_collections()
    assert code_of(refused) == "MissingAuthenticationTokenException"


def test_guessing_is_slowed_down_at_both_doors(server: Running) -> None:
    api, signing = key(server, KeyKind.API), key(server, KeyKind.AWS)
    wrong = f"{api.key.access_key_id}.{'A' * 43}"
    statuses = [rest(server, wrong, "GET", "/persons").status_code for _ in range(FAILURES + 1)]
    assert statuses == [401] * FAILURES + [429]
    guessing = aws(server, signing, secret="guessed")
    told = []
    for _ in range(FAILURES + 1):
        with pytest.raises(ClientError) as refused:
            guessing.list_collections()
        told.append(code_of(refused))
    assert told == ["InvalidSignatureException"] * FAILURES + ["ThrottlingException"]
    # Whoever has the right one is let in from there no sooner: the pair of key and address is refused.
    assert rest(server, api.secret, "GET", "/persons").status_code == 429


def test_keys_at_the_rest_door(server: Running) -> None:
    reader = key(server, KeyKind.API, scope=Scope.READ)
    revoked = key(server, KeyKind.API)
    server.service.keys.revoke(revoked.key.access_key_id)
    expired = key(server, KeyKind.API, seconds=-1)
    assert rest(server, reader.secret, "GET", "/persons").status_code == 200
    told = set()
    for header in (UNKNOWN, revoked.secret, expired.secret, f"{reader.key.access_key_id}.wrong", "x"):
        answer = rest(server, header, "GET", "/persons")
        assert answer.status_code == 401
        told.add((answer.json()["code"], answer.json()["message"], answer.json()["hint"]))
    assert told == {
        ("InvalidCredentials", "The API key is not valid.", "Send a valid key in the header X-API-Key.")
    }
    missing = rest(server, None, "GET", "/persons")
    assert (missing.status_code, missing.json()["code"]) == (401, "MissingCredentials")
    refused = rest(server, reader.secret, "POST", "/registrations", json={"person_id": "ann"})
    assert (refused.status_code, refused.json()["code"]) == (403, "AccessDenied")
    assert refused.json()["message"] == "The key's scope is read; this takes write."
    assert rest(server, reader.secret, "DELETE", "/faces/ann").status_code == 403


def test_limits_to_collections_at_the_rest_door(server: Running) -> None:
    for names, status in ((("hall",), 403), (("persons",), 200), (("per*",), 200)):
        limited = key(server, KeyKind.API, collections=names)
        assert rest(server, limited.secret, "GET", "/persons").status_code == status
        at_the_root = httpx.get(f"{server.url}/persons", headers={"X-API-Key": limited.secret})
        assert at_the_root.status_code == status


def test_a_limited_key_searches_its_albums_alone(server: Running) -> None:
    albums = server.service.albums
    for name in ("door-album", "attic"):
        albums.service.create(name)
        albums.uploads.add(name, [Upload(f"{name}.png", draw("ann"))])
    limited, free = (key(server, KeyKind.API, collections=names) for names in (("door-*",), ()))

    def found(secret: str, *names: str) -> list[str] | int:
        sent = {"image": ("ann.png", draw("ann", variation=1))}
        answer = rest(server, secret, "POST", "/albums/search", files=sent, data={"album_ids": names})
        if answer.status_code != 200:
            return answer.status_code
        return sorted(photo["album_id"] for photo in answer.json()["photos"])

    assert found(free.secret) == ["attic", "door-album"]
    assert found(limited.secret) == found(limited.secret, "door-album") == ["door-album"]
    assert found(limited.secret, "door-album", "attic") == 404
    assert found(limited.secret, "nowhere") == 404


def test_a_limited_key_imports_into_its_collections_alone(server: Running) -> None:
    limited, free = (key(server, KeyKind.API, collections=names) for names in (("door-*",), ()))

    def begin(secret: str, collection: str) -> httpx.Response:
        manifest = {"file": ("list.csv", b"source\ns3://photos/1.jpg\n")}
        return rest(server, secret, "POST", "/imports", files=manifest, data={"collection_id": collection})

    for name in ("hall", "no-such-collection"):
        assert begin(limited.secret, name).status_code == 403
    own = begin(limited.secret, "door-1").json()["import_id"]
    others = begin(free.secret, "hall").json()["import_id"]
    listed = rest(server, limited.secret, "GET", "/imports").json()["imports"]
    assert [each["import_id"] for each in listed] == [own]
    for path, method in (("", "GET"), ("/report", "GET"), ("/cancel", "POST"), ("/retry", "POST")):
        assert rest(server, limited.secret, method, f"/imports/{own}{path}").status_code == 200
        assert rest(server, limited.secret, method, f"/imports/{others}{path}").status_code == 404
    assert rest(server, limited.secret, "DELETE", f"/imports/{others}").status_code == 404
    assert rest(server, free.secret, "GET", f"/imports/{others}").status_code == 200


def test_a_limited_key_sees_no_videos_of_other_collections(server: Running) -> None:
    jobs = {"hall": "a" * 64, "door-1": "b" * 64}
    with server.service.database.write() as connection:
        for name, job_id in jobs.items():
            wish = VideoWish(
                operation=VideoOperation.FACE_SEARCH, video=S3Image("films", "1.mp4", None), collection=name
            )
            videos.insert(connection, job_id, wish, node=None, now=time.time())
    client = aws(server, key(server, KeyKind.AWS, collections=("door-*",)))
    assert client.get_face_search(JobId=jobs["door-1"])["JobStatus"] == "IN_PROGRESS"
    for job_id in (jobs["hall"], "c" * 64):
        with pytest.raises(ClientError, match="Could not find JobId") as refused:
            client.get_face_search(JobId=job_id)
        assert code_of(refused) == "ResourceNotFoundException"
    limited = key(server, KeyKind.API, collections=("door-*",)).secret
    listed = rest(server, limited, "GET", "/videos").json()["videos"]
    assert [each["job_id"] for each in listed] == [jobs["door-1"]]
    assert rest(server, limited, "GET", f"/videos/{jobs['hall']}").status_code == 404
    assert rest(server, limited, "DELETE", f"/videos/{jobs['hall']}").status_code == 404
    assert rest(server, limited, "DELETE", f"/videos/{jobs['door-1']}").status_code == 204
    wanted = {"video": "s3://films/1.mp4", "collection": "hall"}
    assert rest(server, limited, "POST", "/videos", json=wanted).status_code == 403
    sent = rest(server, limited, "POST", "/videos/upload?collection=hall", content=b"film")
    assert sent.status_code == 403


def test_a_key_is_told_what_it_may_do(server: Running) -> None:
    limited = key(server, KeyKind.API, scope=Scope.WRITE, collections=("door-*",))
    answer = rest(server, limited.secret, "GET", "/whoami")
    assert answer.status_code == 200
    assert answer.json() == {
        "key_id": limited.key.access_key_id,
        "scope": "write",
        "collections": ["door-*"],
        "registry_collection": "persons",
    }
    assert rest(server, None, "GET", "/whoami").status_code == 401


def test_a_flood_is_refused_at_the_rest_door_with_the_time_to_wait(server: Running) -> None:
    limited = key(server, KeyKind.API, rate=RateLimit(3, 3600))
    statuses = [rest(server, limited.secret, "GET", "/persons").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = rest(server, limited.secret, "GET", "/persons")
    assert refused.json()["code"] == "RateExceeded"
    assert 1000 < int(refused.headers["Retry-After"]) <= 1200


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_an_aws_client_waits_and_gets_through(server: Running, mode: str) -> None:
    limited = key(server, KeyKind.AWS, rate=RateLimit(2, 1))
    client = aws(server, limited, retries={"mode": mode, "max_attempts": 8})
    attempts = [client.list_collections()["ResponseMetadata"]["RetryAttempts"] for _ in range(4)]
    assert sum(attempts) > 0


def test_a_flood_is_refused_at_the_rekognition_door(server: Running) -> None:
    client = aws(server, key(server, KeyKind.AWS, rate=RateLimit(1, 3600)))
    client.list_collections()
    with pytest.raises(ClientError, match="Rate exceeded") as refused:
        client.list_collections()
    assert code_of(refused) == "ThrottlingException"
    assert int(refused.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) > 3000


def test_an_open_service_limits_each_address(tmp_path: Path) -> None:
    with running(tmp_path, rate_limit="2/h") as server:
        statuses = [rest(server, None, "GET", "/persons").status_code for _ in range(3)]
        assert statuses[2] == 429


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_a_request_that_has_waited_too_long_is_not_begun(tmp_path: Path, mode: str) -> None:
    with running(tmp_path, request_seconds=1e-6) as server:
        created = key(server, KeyKind.AWS)
        client = aws(server, created, retries={"mode": mode, "total_max_attempts": 2})
        with pytest.raises(ClientError) as refused:
            client.create_collection(CollectionId="late")
        assert code_of(refused) == "ProvisionedThroughputExceededException"
        assert refused.value.response["ResponseMetadata"]["RetryAttempts"] == 1
        assert not server.service.collections.list().items
        api = key(server, KeyKind.API)
        late = rest(server, api.secret, "POST", "/albums", json={"album_id": "late"})
        assert (late.status_code, late.json()["code"]) == (503, "WaitedTooLong")
        assert late.headers["Retry-After"] == "1"
        assert late.json()["message"].startswith("The request waited for too long and was left undone.")
        assert not server.service.collections.list().items


def test_browsers_let_only_the_pages_of_the_settings_call(server: Running, tmp_path: Path) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    good, evil = {"Origin": "https://gate.example"}, {"Origin": "https://evil.example"}
    with running(tmp_path, allowed_origins=("https://gate.example",)) as service:
        before = httpx.options(f"{service.url}/verify", headers={**good, **asked})
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == "https://gate.example"
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            asked_so = {**good, "Access-Control-Request-Method": method}
            assert httpx.options(f"{service.url}/persons", headers=asked_so).status_code == 200
        after = httpx.get(f"{service.url}/persons", headers=good)
        assert after.headers["access-control-allow-origin"] == "https://gate.example"
        assert "access-control-allow-credentials" not in after.headers
        refused = httpx.options(f"{service.url}/verify", headers={**evil, **asked})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
    without = httpx.get(f"{server.url}/persons", headers=good)
    assert "access-control-allow-origin" not in without.headers


def test_no_secret_is_logged(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    api, signing = key(server, KeyKind.API), key(server, KeyKind.AWS)
    with caplog.at_level(logging.DEBUG, logger="facerec"):
        rest(server, api.secret, "GET", "/persons")
        rest(server, f"{api.key.access_key_id}.guessed", "GET", "/persons")
        aws(server, signing).list_collections()
        with pytest.raises(ClientError):
            aws(server, signing, secret="guessed").list_collections()
    assert caplog.records
    for secret in (api.secret.partition(".")[2], signing.secret, "guessed"):
        assert secret not in caplog.text
