"""Images sent again: the answers are those of a service that remembers nothing, and the engine rests."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from redis import Redis
from wire_server import Running, inline, running

from facerec.engine.base import Floats, FoundFace, Picture
from facerec.engine.fake import FakeEngine, draw
from facerec.engine.found import from_bytes
from facerec.engine.remembering import RememberingEngine
from redis_server import RedisServer


class CountingEngine(FakeEngine):
    """Counts the work that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = self.detected = self.embedded = 0

    def decode(self, data: bytes) -> Picture:
        self.decoded += 1
        return super().decode(data)

    def detect(self, picture: Picture, attributes: frozenset[str] = frozenset()) -> list[FoundFace]:
        self.detected += 1
        return super().detect(picture, attributes)

    def embed(self, picture: Picture, faces: Sequence[FoundFace]) -> Floats:
        self.embedded += len(faces)
        return super().embed(picture, faces)

    @property
    def work(self) -> tuple[int, int, int]:
        return self.decoded, self.detected, self.embedded


def counts_of(server: Running) -> dict[str, Any] | None:
    with urllib.request.urlopen(server.url + "/health", timeout=30) as answer:
        counts: dict[str, Any] | None = json.load(answer).get("result_cache")
    return counts


def without_id(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def conversation(server: Running) -> list[dict[str, Any]]:
    """Operations in which images come again, in other operations and with other wishes."""
    client = server.client()
    two, one, none = inline(draw("ann", "ben")), inline(draw("ann", variation=1)), inline(draw())
    client.create_collection(CollectionId="album")
    asked: list[Any] = [
        client.detect_faces(Image=two),
        client.detect_faces(Image=two),
        client.detect_faces(Image=two, Attributes=["ALL"]),
        client.detect_faces(Image=two, Attributes=["AGE_RANGE"]),
        client.detect_faces(Image=two),
        client.index_faces(CollectionId="album", Image=two, ExternalImageId="two", MaxFaces=1),
        client.index_faces(CollectionId="album", Image=two, ExternalImageId="all"),
        client.search_faces_by_image(CollectionId="album", Image=one),
        client.search_faces_by_image(CollectionId="album", Image=two),
        client.search_faces_by_image(CollectionId="album", Image=two, QualityFilter="HIGH"),
        client.compare_faces(SourceImage=one, TargetImage=two, SimilarityThreshold=0),
        client.compare_faces(SourceImage=two, TargetImage=two, SimilarityThreshold=0),
        client.detect_faces(Image=none),
        client.detect_faces(Image=none),
    ]
    for _ in range(2):
        with pytest.raises(client.exceptions.InvalidImageFormatException):
            client.detect_faces(Image=inline(b"no image"))
        with pytest.raises(client.exceptions.InvalidParameterException):
            client.search_faces_by_image(CollectionId="album", Image=none)
    return [without_id(answer) for answer in asked]


def test_every_answer_is_as_without_a_cache(tmp_path: Path) -> None:
    plain, cached = CountingEngine(), CountingEngine()
    with running(tmp_path / "plain", engine=plain) as server:
        expected = conversation(server)
        assert counts_of(server) is None
    with running(tmp_path / "cached", engine=cached, result_cache_mib=1) as server:
        assert conversation(server) == expected
        counts = counts_of(server)
    assert counts is not None
    assert counts["images"] == 3
    assert counts["hits"] == 15
    assert counts["misses"] == 5  # three images, and twice what is none
    # Each image was decoded once, `two` a second and third time for other attributes and for embeddings.
    assert cached.embedded == 3
    assert cached.detected == 5
    assert plain.embedded > 3
    assert plain.detected == 18


def test_an_image_sent_again_is_no_work(tmp_path: Path) -> None:
    engine = CountingEngine()
    with running(tmp_path, engine=engine, result_cache_mib=1) as server:
        client = server.client()
        client.create_collection(CollectionId="album")
        image = inline(draw("ann"))
        client.index_faces(CollectionId="album", Image=image)
        before = engine.work
        client.index_faces(CollectionId="album", Image=image)
        client.search_faces_by_image(CollectionId="album", Image=image)
        client.detect_faces(Image=image)
        assert engine.work == before


def test_what_does_not_fit_is_forgotten_from_the_oldest_on(tmp_path: Path) -> None:
    engine = CountingEngine()
    remembering = RememberingEngine(engine, max_bytes=20_000)
    images = [draw("ann", variation=number) for number in range(12)]

    def look(data: bytes) -> list[FoundFace]:
        return remembering.detect(remembering.decode(data))

    for data in images:
        look(data)
        look(images[0])
    counts = remembering.counts
    assert 0 < counts.images < 12
    assert counts.nbytes <= 20_000
    before = engine.work
    assert [found.face for found in look(images[0])]  # asked for again and again: still there
    assert [found.face for found in look(images[-1])]
    assert engine.work == before
    look(images[1])
    assert engine.work != before


def test_an_image_too_full_for_the_cache_is_answered_all_the_same() -> None:
    engine = CountingEngine()
    remembering = RememberingEngine(engine, max_bytes=1000)
    for _ in range(2):
        picture = remembering.decode(draw("ann", "ben"))
        faces = remembering.detect(picture)
        assert remembering.embed(picture, faces).shape == (2, 128)
        assert remembering.embed(picture, []).shape == (0, 128)
    assert remembering.counts.nbytes <= 1000
    assert engine.detected == 2


def test_many_threads_with_the_same_images(tmp_path: Path) -> None:
    remembering = RememberingEngine(FakeEngine(), max_bytes=8_000)
    images = [draw("ann", "ben", variation=number) for number in range(5)]
    plain = FakeEngine()
    expected = []
    for data in images:
        picture = plain.decode(data)
        expected.append(plain.embed(picture, plain.detect(picture)).tobytes())

    def look(number: int) -> bool:
        picture = remembering.decode(images[number % 5])
        return remembering.embed(picture, remembering.detect(picture)).tobytes() == expected[number % 5]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))
    assert 0 <= remembering.counts.nbytes <= 8_000


# --- with Redis


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of a server without an entry."""
    with Redis(port=redis_server.port) as client:
        client.flushall()
        yield client


def test_another_process_finds_what_one_has_found(
    tmp_path: Path, redis_server: RedisServer, redis: Redis
) -> None:
    first, second = CountingEngine(), CountingEngine()
    settings: dict[str, Any] = {"result_cache_mib": 1, "redis_url": redis_server.url}
    image = inline(draw("ann", "ben"))
    with (
        running(tmp_path / "first", engine=first, **settings) as one,
        running(tmp_path / "second", engine=second, **settings) as other,
    ):
        expected = one.client().detect_faces(Image=image, Attributes=["ALL"])["FaceDetails"]
        for server in (one, other):
            server.client().create_collection(CollectionId="album")
            server.client().index_faces(CollectionId="album", Image=image, DetectionAttributes=["ALL"])
        assert first.work == (2, 1, 2)  # once more for the embeddings
        assert second.work == (0, 0, 0)
        assert other.client().detect_faces(Image=image, Attributes=["ALL"])["FaceDetails"] == expected
        found = other.client().search_faces_by_image(CollectionId="album", Image=image)
        assert [round(match["Similarity"]) for match in found["FaceMatches"]] == [100]
        assert counts_of(other) == {"images": 1, "nbytes": ANY, "hits": 3, "misses": 0}
        (key,) = redis.keys("facerec:results*")
        assert 0 < redis.ttl(key) <= 900
        faces = [face["FaceId"] for face in other.client().list_faces(CollectionId="album")["Faces"]]
        other.client().delete_faces(CollectionId="album", FaceIds=faces[:1])
        assert redis.keys("facerec:results*") == []


def test_what_lies_in_redis_is_sealed_where_embeddings_are(
    tmp_path: Path, redis_server: RedisServer, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for name, key, sealed in (("plain", None, False), ("sealed", base64.b64encode(b"k" * 32).decode(), True)):
        caplog.clear()
        settings: dict[str, Any] = {
            "result_cache_mib": 1,
            "redis_url": redis_server.url,
            "embedding_key": key,
        }
        with running(tmp_path / name, **settings) as server:
            server.client().detect_faces(Image=inline(draw("ann", variation=int(sealed))))
        assert ("are not sealed" in caplog.text) is not sealed
        values = [redis.get(found) for found in redis.keys("facerec:results*")]
        redis.flushall()
        assert [b"confidence" in (value or b"") for value in values] == [not sealed]


def test_each_process_remembers_for_itself_while_redis_is_away(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    engine = CountingEngine()
    redis_server.kill()
    try:
        with running(tmp_path, engine=engine, result_cache_mib=1, redis_url=redis_server.url) as server:
            for _ in range(3):
                assert server.client().detect_faces(Image=inline(draw("ann")))["FaceDetails"]
            assert engine.work == (1, 1, 0)
    finally:
        redis_server.start()


@pytest.mark.parametrize("stored", [b"", b"{}", b"no JSON", b'{"width": 1, "height": 1, "until": 9e9}'])
def test_what_others_have_written_is_checked(stored: bytes) -> None:
    assert from_bytes(stored) is None
