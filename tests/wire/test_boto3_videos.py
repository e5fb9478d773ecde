"""Videos by boto3: started, asked for, answered page by page, told, cancelled, and done again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from wire_server import REGION, Running, inline, running

from facerec.bootstrap import Service
from facerec.domain import VideoState
from facerec.engine.fake import FakeEngine, draw
from facerec.metastore import videos as rows
from facerec.notices.webhook import SIGNATURE, signature
from films import film, scene

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_rekognition.type_defs import VideoTypeDef
    from mypy_boto3_s3 import S3Client

BUCKET = "films"
SECRET = "between us"
PARTY = [
    *[scene("ann", "ben", variation=number) for number in range(10)],
    *[scene()] * 10,
    *[scene("ben", variation=number) for number in range(10, 20)],
]
"""Three seconds: ann and ben, nobody, ben."""


class Hook:
    """A receiver of webhooks that fails at first, when it is told of a job with a tag."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any], bool]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                seconds = int(self.headers[SIGNATURE].partition(",")[0].removeprefix("t="))
                sound = self.headers[SIGNATURE] == signature(SECRET, body, seconds)
                outer.received.append((self.path, json.loads(body), sound))
                first = sum(told == json.loads(body) for _, told, _ in outer.received) == 1
                self.send_response(500 if first and "JobTag" in json.loads(body) else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/told"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def s3(s3_url: str) -> S3Client:
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    client.put_object(Bucket=BUCKET, Key="party.mp4", Body=film(PARTY))
    client.put_object(Bucket=BUCKET, Key="notes.mp4", Body=b"no film at all")
    client.put_object(Bucket=BUCKET, Key="large.mp4", Body=bytes(2_000_001))
    return client


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture(scope="module")
def server(
    s3_url: str, s3: S3Client, hook: Hook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        with running(
            tmp_path_factory.mktemp("service"),
            background=True,
            s3_endpoint_url=s3_url,
            sns_endpoint_url=s3_url,
            webhook_url=hook.url,
            webhook_secret=SECRET,
            max_video_bytes=2_000_000,
            max_video_jobs=3,
        ) as server:
            client = server.client()
            client.create_collection(CollectionId="guests")
            client.index_faces(CollectionId="guests", Image=inline(draw("ben")), ExternalImageId="ben")
            yield server


@pytest.fixture
def client(server: Running) -> RekognitionClient:
    return server.client()


def video(name: str = "party.mp4") -> VideoTypeDef:
    return {"S3Object": {"Bucket": BUCKET, "Name": name}}


def ended(ask: Callable[..., Any], job_id: str, **more: Any) -> Any:
    deadline = time.monotonic() + 60
    while (answer := ask(JobId=job_id, **more))["JobStatus"] == "IN_PROGRESS":
        assert not answer.get("Faces")
        assert time.monotonic() < deadline, "the video never ended"
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="module")
def search(server: Running) -> str:
    """A search that has ended."""
    client = server.client()
    job_id = client.start_face_search(Video=video(), CollectionId="guests", JobTag="the-party")["JobId"]
    assert ended(client.get_face_search, job_id)["JobStatus"] == "SUCCEEDED"
    return job_id


def test_faces_of_a_video_in_time(client: RekognitionClient) -> None:
    job_id = client.start_face_detection(Video=video(), FaceAttributes="ALL")["JobId"]
    answer = ended(client.get_face_detection, job_id)
    assert answer["JobStatus"] == "SUCCEEDED"
    assert answer["VideoMetadata"] == {
        "Codec": "h264",
        "DurationMillis": 3000,
        "Format": "MP4",
        "FrameRate": 10.0,
        "FrameHeight": 240,
        "FrameWidth": 320,
        "ColorRange": "LIMITED",
    }
    times = [face["Timestamp"] for face in answer["Faces"]]
    assert times == [each for each in range(0, 1000, 200) for _ in "ab"] + list(range(2000, 3000, 200))
    first = answer["Faces"][0]["Face"]
    image = client.detect_faces(Image=inline(draw("ann", "ben", size=(320, 240))), Attributes=["ALL"])
    still = image["FaceDetails"][0]
    assert first["BoundingBox"] == pytest.approx(still["BoundingBox"], abs=0.01)
    assert first["Gender"]["Value"] == still["Gender"]["Value"]
    assert len(first["Landmarks"]) == 5


def test_results_come_in_pages(client: RekognitionClient) -> None:
    job_id = client.start_face_detection(Video=video())["JobId"]
    whole = ended(client.get_face_detection, job_id)["Faces"]
    assert "Gender" not in whole[0]["Face"]
    pages = []
    token: Any = {}
    while True:
        page = client.get_face_detection(JobId=job_id, MaxResults=4, **token)
        pages.append(page["Faces"])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert [len(page) for page in pages] == [4, 4, 4, 3]
    assert [face for page in pages for face in page] == whole
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.get_face_detection(JobId=job_id, NextToken="forged")


def test_persons_of_a_video_and_who_they_are(client: RekognitionClient, search: str) -> None:
    answer = client.get_face_search(JobId=search)
    assert answer["JobTag"] == "the-party"
    persons = answer["Persons"]
    assert [seen["Timestamp"] for seen in persons] == sorted(seen["Timestamp"] for seen in persons)
    assert {seen["Person"]["Index"] for seen in persons} == {0, 1}
    matched = [seen for seen in persons if seen["FaceMatches"]]
    assert {seen["FaceMatches"][0]["Face"]["ExternalImageId"] for seen in matched} == {"ben"}
    assert len({seen["Person"]["Index"] for seen in matched}) == 1, "he comes back after a second"
    times = {seen["Timestamp"] for seen in matched}
    assert times == set(range(0, 1000, 200)) | set(range(2000, 3000, 200))
    assert all(seen["FaceMatches"][0]["Similarity"] > 90 for seen in matched)


def test_persons_by_index_and_page(client: RekognitionClient, search: str) -> None:
    whole = client.get_face_search(JobId=search, SortBy="INDEX")["Persons"]
    order = [(seen["Person"]["Index"], seen["Timestamp"]) for seen in whole]
    assert order == sorted(order)
    first = client.get_face_search(JobId=search, SortBy="INDEX", MaxResults=7)
    assert first["Persons"] == whole[:7]
    rest = client.get_face_search(JobId=search, SortBy="INDEX", NextToken=first["NextToken"])
    assert rest["Persons"] == whole[7:]
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.get_face_search(JobId=search, SortBy="TIMESTAMP", NextToken=first["NextToken"])


def test_a_face_that_was_deleted_since_is_no_match(client: RekognitionClient) -> None:
    client.create_collection(CollectionId="fleeting")
    client.index_faces(CollectionId="fleeting", Image=inline(draw("ann")))
    job_id = client.start_face_search(Video=video(), CollectionId="fleeting")["JobId"]
    assert any(seen["FaceMatches"] for seen in ended(client.get_face_search, job_id)["Persons"])
    client.delete_collection(CollectionId="fleeting")
    assert not any(seen["FaceMatches"] for seen in client.get_face_search(JobId=job_id)["Persons"])


def test_what_is_refused_at_the_start(client: RekognitionClient) -> None:
    errors = client.exceptions
    with pytest.raises(errors.InvalidS3ObjectException):
        client.start_face_detection(Video=video("gone.mp4"))
    with pytest.raises(errors.VideoTooLargeException, match="2000001 is more than the maximum"):
        client.start_face_detection(Video=video("large.mp4"))
    with pytest.raises(errors.ResourceNotFoundException):
        client.start_face_search(Video=video(), CollectionId="nowhere")
    with pytest.raises(errors.InvalidParameterException):
        client.start_face_detection(Video={})


def test_a_file_that_is_no_video_fails(client: RekognitionClient) -> None:
    job_id = client.start_face_detection(Video=video("notes.mp4"))["JobId"]
    answer = ended(client.get_face_detection, job_id)
    assert answer["JobStatus"] == "FAILED"
    assert "no video" in answer["StatusMessage"]
    assert answer["Faces"] == []


def test_jobs_of_others_are_not_found(client: RekognitionClient, search: str) -> None:
    for ask, job_id in ((client.get_face_detection, search), (client.get_face_search, "f" * 64)):
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="Could not find JobId"):
            ask(JobId=job_id)


def test_the_same_token_gives_the_same_job(client: RekognitionClient) -> None:
    first = client.start_face_detection(Video=video(), ClientRequestToken="once")
    assert client.start_face_detection(Video=video(), ClientRequestToken="once")["JobId"] == first["JobId"]
    with pytest.raises(client.exceptions.IdempotentParameterMismatchException):
        client.start_face_detection(Video=video("notes.mp4"), ClientRequestToken="once")
    ended(client.get_face_detection, first["JobId"])


def test_the_end_is_told_to_a_topic_and_a_webhook(
    client: RekognitionClient, s3_url: str, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = boto3.Session("testing", "testing", region_name=REGION)
    sns: Any = session.client("sns", endpoint_url=s3_url)
    sqs: Any = session.client("sqs", endpoint_url=s3_url)
    topic = sns.create_topic(Name="films")["TopicArn"]
    queue = sqs.create_queue(QueueName="films")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    monkeypatch.setattr("facerec.services.videos.telling.FIRST_PAUSE_SECONDS", 0.1)
    job_id = client.start_face_detection(
        Video=video(),
        JobTag="tell",
        NotificationChannel={"SNSTopicArn": topic, "RoleArn": "arn:aws:iam::123456789012:role/any"},
    )["JobId"]
    ended(client.get_face_detection, job_id)
    deadline = time.monotonic() + 30
    while sum(told["JobId"] == job_id for _, told, _ in hook.received) < 2:
        assert time.monotonic() < deadline, "nobody was told again"
        time.sleep(0.05)
    path, told, sound = next(each for each in hook.received if each[1]["JobId"] == job_id)
    assert (path, sound) == ("/told", True)
    messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
    published = json.loads(json.loads(messages[0]["Body"])["Message"])
    assert published == told
    assert {name: told[name] for name in ("JobId", "Status", "API", "JobTag", "Video")} == {
        "JobId": job_id,
        "Status": "SUCCEEDED",
        "API": "StartFaceDetection",
        "JobTag": "tell",
        "Video": {"S3ObjectName": "party.mp4", "S3Bucket": BUCKET},
    }
    assert abs(told["Timestamp"] / 1000 - time.time()) < 120


# --- jobs that are held up ---------------------------------------------------------------------------


class HeldEngine(FakeEngine):
    """Looks at a frame when it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def frame(self, take: Callable[[], Any], nbytes: int) -> Any:
        self.entered.set()
        assert self.released.wait(60)
        return super().frame(take, nbytes)


@pytest.fixture
def held(s3_url: str, s3: S3Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    engine = HeldEngine()
    with running(
        tmp_path, engine=engine, background=True, s3_endpoint_url=s3_url, threads=2, max_video_jobs=2
    ) as server:
        yield server
        engine.released.set()


def engine_of(service: Service) -> HeldEngine:
    assert isinstance(service.engine, HeldEngine)
    return service.engine


def test_no_more_jobs_than_may_be_open_and_one_at_work_is_cancelled(held: Running) -> None:
    client, engine = held.client(), engine_of(held.service)
    first = client.start_face_detection(Video=video())["JobId"]
    assert engine.entered.wait(30)
    assert client.get_face_detection(JobId=first)["JobStatus"] == "IN_PROGRESS"
    second = client.start_face_detection(Video=video())["JobId"]
    with pytest.raises(client.exceptions.LimitExceededException, match="2 open Jobs"):
        client.start_face_detection(Video=video())
    held.service.videos.delete(first)
    engine.released.set()
    assert ended(client.get_face_detection, second)["JobStatus"] == "SUCCEEDED"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_face_detection(JobId=first)
    with held.service.database.read() as connection:
        assert rows.parts_of(connection, first, range(10)) == {}


def test_a_job_that_was_overtaken_writes_nothing_more(held: Running) -> None:
    """As when a worker hangs for longer than its lease: the next one begins, and the first comes back."""
    client, engine = held.client(), engine_of(held.service)
    job_id = client.start_face_detection(Video=video())["JobId"]
    assert engine.entered.wait(30)
    with held.service.database.write() as connection:
        later = rows.begin(connection, job_id, time.time())
        assert later is not None
        assert later.attempts == 2
        rows.finish(connection, later, VideoState.FAILED, now=time.time(), message="mine", notice=False)
    engine.released.set()
    time.sleep(0.3)
    answer = client.get_face_detection(JobId=job_id)
    assert (answer["JobStatus"], answer["StatusMessage"]) == ("FAILED", "mine")
