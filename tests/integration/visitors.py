"""Visitors of every door of a service at once, each of whom knows what it must be answered.

They come with keys of their own, through REST and AWS's protocol: photographers with albums in S3, people who
are enrolled and go, watchers of films, guests who compare and search, and strangers who send nonsense, come
with wrong keys and hang up in the midst. Whoever makes something deletes it again, so that a service which
holds more and more holds what nobody uses.
"""

from __future__ import annotations

import base64
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from crowd import Crowd
from serving import wait_until
from talking import head

from facerec.engine.fake import FakeFace, draw
from films import film, scene

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_rekognition.type_defs import ImageTypeDef
    from mypy_boto3_s3 import S3Client

BUCKET, KNOWN, FILM = "everything", "known", "films/ann.mp4"
SIZE = (160, 120)
JOB_SECONDS = 120.0
"""What an album of a few photos or a film of two seconds may take beside everything else."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Place:
    """A service and what a visitor needs to reach it."""

    url: str
    port: int
    access_key_id: str
    secret: str
    api_key: str
    s3: S3Client

    def aws(self, access_key_id: str | None = None) -> RekognitionClient:
        """boto3's client, which repeats what a restart cuts off, as by default; a stranger's does not."""
        attempts = 5 if access_key_id is None else 1
        return boto3.client(
            "rekognition",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=access_key_id or self.access_key_id,
            aws_secret_access_key=self.secret,
            config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=60),
        )

    def rest(self, api_key: str | None = None) -> httpx.Client:
        """A client of the REST door."""
        return httpx.Client(base_url=self.url, timeout=60, headers={"X-API-Key": api_key or self.api_key})


class Visitors(Crowd):
    """All of them at work until they are told to stop; what they did."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self._number = itertools.count()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """They come again and again while the block runs; raises the first error that one of them met."""
        prepare(self._place)
        with self.at_work([partial(self._come, visit) for visit in VISITS]):
            yield

    def _come(self, visit: Callable[[Place, str], None]) -> None:
        while self.goes_on:
            began = time.monotonic()
            visit(self._place, f"{visit.__name__}{next(self._number)}")
            self.count(visit.__name__, time.monotonic() - began)

    def __str__(self) -> str:
        return "\n".join(
            f"{who:24}{number:8}   slowest {self.slowest[who]:6.1f} s"
            for who, number in sorted(self.counts.items())
        )


def prepare(place: Place) -> None:
    """What the visitors find: a film in S3, and a collection of people whom nobody deletes."""
    place.s3.create_bucket(Bucket=BUCKET)
    frames = [scene("ann", variation=number, size=SIZE) for number in range(10)]
    place.s3.put_object(Bucket=BUCKET, Key=FILM, Body=film(frames, rate=5))
    with closing(place.aws()) as aws:
        aws.create_collection(CollectionId=KNOWN)
        for person in ("ann", "ben"):
            image: ImageTypeDef = {"Bytes": draw(person, size=SIZE)}
            aws.index_faces(CollectionId=KNOWN, Image=image, ExternalImageId=person)


def photographer(place: Place, album: str) -> None:
    """An album of photos in S3: indexed, searched by a guest, its people looked at, and deleted."""
    photos = {f"{album}/{n}.png": people for n, people in enumerate([("cem", "dan"), ("cem",), ("dan",), ()])}
    for key, people in photos.items():
        place.s3.put_object(Bucket=BUCKET, Key=key, Body=draw(*people, size=SIZE))
    with place.rest() as rest:
        good(rest.post("/api/v1/albums", json={"album_id": album}), 201)
        prefix = {"prefix": {"bucket": BUCKET, "prefix": f"{album}/"}}
        good(rest.post(f"/api/v1/albums/{album}/images", json=prefix), 202)
        told = patiently(lambda: good(rest.get(f"/api/v1/albums/{album}")), lambda told: told["done"] == 4)
        assert (told["failed"], told["faces"]) == (0, 4), told
        asked = {"image": picture("cem", 7), "album_ids": [album]}
        found = good(rest.post("/api/v1/albums/search", json=asked))["photos"]
        assert {photo["source"] for photo in found} == {f"s3://{BUCKET}/{album}/{n}.png" for n in (0, 1)}
        shown = f"/api/v1/albums/{album}/people"
        listed = patiently(lambda: good(rest.get(shown)), lambda listed: not listed["pending"])["people"]
        assert [each["photos"] for each in listed] == [2, 2], listed
        good(rest.delete(f"/api/v1/albums/{album}"), 202, 204)
        patiently(lambda: rest.get(f"/api/v1/albums/{album}").status_code, lambda status: status == 404)
    for key in photos:
        place.s3.delete_object(Bucket=BUCKET, Key=key)


def newcomer(place: Place, name: str) -> None:
    """Somebody is enrolled, verified, identified beside a stranger, described, and deleted."""
    with place.rest() as rest:
        images = [picture(name, 0), picture(name, 1)]
        good(rest.post("/register", json={"person_id": name, "images": images}), 201)
        verified = good(rest.post("/verify", json={"image": picture(name, 5)}))
        assert (verified["match"], verified["person_id"]) == (True, name), verified
        shown = base64.b64encode(draw(f"not {name}", name, size=SIZE)).decode()
        faces = good(rest.post("/identify", json={"image": shown}))["faces"]
        assert [face["person_id"] for face in faces] == [None, name], faces
        good(rest.put(f"/faces/{name}", json={"metadata": {"door": 1}}))
        assert good(rest.get(f"/faces/{name}"))["metadata"] == {"door": 1}
        good(rest.delete(f"/faces/{name}"), 204)
        assert not good(rest.post("/verify", json={"image": picture(name, 5)}))["match"]


def session_keeper(place: Place, name: str) -> None:
    """Somebody is enrolled frame by frame; another one gives up."""
    with place.rest() as rest:
        opened = good(rest.post("/registrations", json={"person_id": name}), 201)["session_id"]
        frames = f"/registrations/{opened}/frames"
        dim = base64.b64encode(draw(FakeFace(name, dim=True), size=SIZE)).decode()
        assert good(rest.post(frames, json={"image": dim}))["code"] == "PoorQuality"
        for variation in range(2):
            assert good(rest.post(frames, json={"image": picture(name, variation)}))["accepted"]
        person = good(rest.post(f"/registrations/{opened}/commit"))["person"]
        assert person["embeddings"] == 2
        good(rest.delete(f"/faces/{name}"), 204)
        given_up = good(rest.post("/registrations", json={"person_id": name}), 201)["session_id"]
        good(rest.delete(f"/registrations/{given_up}"), 204)


def watcher(place: Place, name: str) -> None:
    """A film of two seconds: its faces, and who of the known people is in it."""
    video: Any = {"S3Object": {"Bucket": BUCKET, "Name": FILM}}
    with closing(place.aws()) as aws:
        detection = aws.start_face_detection(Video=video, ClientRequestToken=f"{name}-detection")["JobId"]
        asked: Any = {"CollectionId": KNOWN, "ClientRequestToken": f"{name}-search"}
        search = aws.start_face_search(Video=video, **asked)["JobId"]
        faces: Any = patiently(lambda: aws.get_face_detection(JobId=detection), finished)
        assert [face["Timestamp"] for face in faces["Faces"]] == list(range(0, 2000, 200)), faces
        persons: Any = patiently(lambda: aws.get_face_search(JobId=search), finished)["Persons"]
        named = [match["Face"]["ExternalImageId"] for seen in persons for match in seen["FaceMatches"]]
        assert named == ["ann"] * 10, persons


def guest(place: Place, name: str) -> None:
    """Faces are detected, compared, and looked for; a collection is made and deleted."""
    ann: ImageTypeDef = {"Bytes": draw("ann", variation=3, size=SIZE)}
    both: ImageTypeDef = {"Bytes": draw("ann", "ben", size=SIZE)}
    with closing(place.aws()) as aws:
        assert len(aws.detect_faces(Image=both, Attributes=["ALL"])["FaceDetails"]) == 2
        compared = aws.compare_faces(SourceImage=ann, TargetImage=both)
        assert (len(compared["FaceMatches"]), len(compared["UnmatchedFaces"])) == (1, 1)
        found = aws.search_faces_by_image(CollectionId=KNOWN, Image=ann)["FaceMatches"]
        assert [match["Face"]["ExternalImageId"] for match in found] == ["ann"]
        aws.create_collection(CollectionId=name, Tags={"of": "a guest"})
        indexed = aws.index_faces(CollectionId=name, Image=both)["FaceRecords"]
        assert len(indexed) == 2
        aws.delete_collection(CollectionId=name)
    with place.rest() as rest:
        files = {"image": ("a.png", draw("ben", variation=4, size=SIZE), "image/png")}
        answer = good(rest.post(f"/api/v1/collections/{KNOWN}/search-faces", files=files))
        assert [match["face"]["external_image_id"] for match in answer["matches"]] == ["ben"], answer


def stranger(place: Place, name: str) -> None:
    """Nonsense, wrong keys, and callers who hang up: told what is wrong, and it is never the service."""
    with place.rest() as rest:
        for sent in (b"\xff\xd8\xff" + bytes(3000), b"GIF89a", draw("ann", size=SIZE)[:200]):
            files = {"image": ("a.jpg", sent, "image/jpeg")}
            refused(rest.post("/verify", files=files))
        refused(rest.post("/register", content=b"{" * 5000, headers={"Content-Type": "application/json"}))
        refused(rest.post("/register", json={"person_id": "../" * 50, "images": ["x"]}))
        refused(rest.get(f"/faces/{name}"))
        refused(rest.get("/api/v1/collections/no%00thing"))
    with place.rest("not a key of anybody") as rest:
        assert rest.get("/persons").status_code in (401, 429)  # who guesses often is told to wait
    unknown = pytest.raises(ClientError, match=r"UnrecognizedClientException|ThrottlingException")
    with closing(place.aws("AKIAOFNOBODYATALL000")) as aws, unknown:
        aws.list_collections()
    for part in (head(200_000)[:40], head(200_000) + b"{" * 1000, head(None) + b"ffff\r\n{"):
        with socket.create_connection(("127.0.0.1", place.port), timeout=60) as connection:
            connection.sendall(part)


VISITS = (photographer, newcomer, session_keeper, watcher, guest, guest, stranger)
KINDS = len(set(VISITS))


def picture(person: str, variation: int) -> str:
    """One face, in base64."""
    return base64.b64encode(draw(person, variation=variation, size=SIZE)).decode()


def good(answer: httpx.Response, *statuses: int) -> Any:
    """The body of an answer that is no error."""
    assert answer.status_code in (statuses or (200,)), f"{answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def refused(answer: httpx.Response) -> None:
    """The caller is told that it, and not the service, is wrong, and in what."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text}"
    assert answer.json()["code"]
    assert answer.json()["message"]


def finished(answer: Any) -> bool:
    """Whether the job of a film has ended, and well."""
    assert answer["JobStatus"] != "FAILED", answer
    return bool(answer["JobStatus"] == "SUCCEEDED")


def patiently(ask: Callable[[], Answer], until: Callable[[Answer], bool]) -> Answer:
    """The answer that was waited for."""
    answers: list[Answer] = []

    def satisfied() -> bool:
        answers[:] = [ask()]
        return until(answers[0])

    wait_until(satisfied, seconds=JOB_SECONDS)
    return answers[0]
