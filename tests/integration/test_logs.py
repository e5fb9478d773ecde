"""The log of a running service: an object on each line, one id through all, and nothing that is secret."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from botocore.exceptions import ClientError
from commands import environment
from serving import FACEREC, Server, serving, wait_until

from facerec.bootstrap import open_queue
from facerec.config import read_settings
from facerec.engine.fake import FakeEngine, draw
from facerec.services.askers import REQUEST

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import ImageTypeDef
    from mypy_boto3_s3 import S3Client

API_KEY = "MARKED-api-key-of-the-service"
WEBHOOK_SECRET = "MARKED-webhook-secret"
S3_SECRET = "MARKED-s3-secret"
PRESENTED = "frk_ABCDEFGHABCDEFGH.TUFSS0VELXdyb25n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Iterator[Server]:
    """A service that logs all it has to say."""
    settings = {
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "API_KEY": API_KEY,
        "FACEREC_WEBHOOK_URL": "http://127.0.0.1:9/hook",
        "FACEREC_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "AWS_ENDPOINT_URL_S3": s3_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        "FACEREC_SERVE_JOBS": "false",
    }
    with serving(tmp_path_factory.mktemp("logs") / "data", settings=settings) as server:
        yield server


def lines(server: Server) -> list[dict[str, Any]]:
    """What is logged, after the greeting."""
    found: list[dict[str, Any]] = [json.loads(line) for line in server.lines if line.startswith("{")]
    return found


def of_request(server: Server, request_id: str) -> list[dict[str, Any]]:
    wait_until(lambda: any(line["request_id"] == request_id for line in lines(server)))
    return [line for line in lines(server) if line["request_id"] == request_id]


def rest(server: Server, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"X-API-Key": API_KEY, **options.pop("headers", {})}
    return httpx.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=60, **options)


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Correlation-ID"])
def test_a_request_brings_its_id_and_finds_it_in_the_answer_and_the_log(server: Server, header: str) -> None:
    own = f"order-{header}-17"
    answer = rest(server, "GET", "/collections", headers={header: own})
    assert (answer.headers["X-Correlation-ID"], answer.headers["x-amzn-RequestId"]) == (own, own)
    (line,) = of_request(server, own)
    assert line["logger"] == "facerec.access"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/collections", 200)
    assert line["level"] == "INFO"
    assert line["milliseconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    missing = rest(server, "GET", "/collections/nobody", headers={header: own + "-b"})
    assert missing.json()["correlation_id"] == own + "-b"


@pytest.mark.parametrize("wrong", ["a b", "x" * 129, 'a"},{"level":"ERROR', "é".encode()])
def test_an_id_that_may_not_stand_in_a_log_is_replaced(server: Server, wrong: str | bytes) -> None:
    answer = rest(server, "GET", "/collections", headers={"X-Request-ID": wrong})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["X-Correlation-ID"])


def test_a_job_goes_on_with_the_id_of_the_request_that_asked_for_it(server: Server, s3: S3Client) -> None:
    s3.create_bucket(Bucket="logged-photos")
    s3.put_object(Bucket="logged-photos", Key="no-image.jpg", Body=b"no image")
    own = "album-of-the-test"
    body = {"images": ["s3://logged-photos/no-image.jpg"]}
    made = rest(server, "POST", "/albums", json={"album_id": "logged"}, headers={"X-Request-ID": own})
    assert made.status_code < 300, made.text
    put = rest(server, "POST", "/albums/logged/images", json=body, headers={"X-Request-ID": own})
    assert put.status_code < 300, put.text
    with open_queue(read_settings(data_dir=server.data)) as queue:
        (kind,) = queue.counts()
        (job,) = queue.lease([kind], 1, seconds=5)
        assert job.payload[REQUEST] == own
        queue.release([job])


def test_nothing_secret_and_nothing_biometric_is_ever_logged(server: Server) -> None:
    picture = draw("MARKED", "ben")
    image: ImageTypeDef = {"Bytes": picture}
    client = server.client("API_KEY", API_KEY)
    client.create_collection(CollectionId="people")
    client.index_faces(CollectionId="people", Image=image, ExternalImageId="MARKED-external")
    client.search_faces_by_image(CollectionId="people", Image=image)
    client.detect_faces(Image=image, Attributes=["ALL"])
    client.compare_faces(SourceImage=image, TargetImage=image)
    for wrong in (b"MARKED no image", picture[: len(picture) // 2]):
        with pytest.raises(ClientError):
            client.detect_faces(Image={"Bytes": wrong})
    with pytest.raises(ClientError):
        client.detect_faces(Image={"S3Object": {"Bucket": "nobodys", "Name": "none.jpg"}})
    client.close()
    stranger = server.client("AKIDSTRANGER", "MARKED-aws-secret")
    with pytest.raises(ClientError):
        stranger.list_collections()
    stranger.close()
    text = base64.b64encode(picture).decode()
    files = [("images", ("a.png", picture, "image/png"))]
    registered = rest(server, "POST", "/register", data={"person_id": "MARKED-person"}, files=files)
    assert registered.status_code in (200, 201, 422), registered.text
    rest(server, "POST", "/verify", json={"image": text})
    rest(server, "POST", "/verify", json={"image": text, "MARKED-field": "MARKED-value"})
    rest(server, "POST", "/verify", content=b"{MARKED-json")
    rest(server, "GET", "/faces/MARKED-person")
    assert rest(server, "GET", "/collections", headers={"X-API-Key": PRESENTED}).status_code == 401
    last = rest(server, "GET", "/collections", headers={"X-Request-ID": "the-last-one"})
    assert last.status_code == 200
    of_request(server, "the-last-one")

    engine = FakeEngine()
    drawn = engine.decode(picture)
    embedding = engine.embed(drawn, engine.detect(drawn))[0]
    log = server.output
    assert log.count('"logger":"facerec.access"') > 10  # it was said at all
    secret = {
        "a secret of the settings, of a client or of a request": "MARKED",
        "what was presented as a key": PRESENTED.partition(".")[2],
        "an image as base64": text[40:72],
        "an image's bytes": repr(picture[64:80])[2:-1],
        "the numbers of an embedding": f"{embedding[0]:.5f}"[:7],
        "an embedding as an array": np.array2string(embedding[:4])[1:-1],
    }
    for what, marked in secret.items():
        assert marked not in log, what


def test_text_lines_have_the_id_too(tmp_path: Path) -> None:
    with serving(tmp_path / "data", settings={"LOG_FORMAT": "text", "FACEREC_WORKERS": "1"}) as server:
        httpx.get(server.url + "/health/live", headers={"X-Request-ID": "seen-in-text"})
        wait_until(lambda: "INFO facerec.access [seen-in-text] 127.0.0.1 GET" in server.output)


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(FACEREC), "serve", "--port", "0"],
        env=environment(tmp_path / "data", {"LOG_FORMAT": "yaml"}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "LOG_FORMAT" in done.stderr
