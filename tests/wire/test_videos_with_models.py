"""A real film, real networks, real boto3: who is enrolled from one frame is found through the film."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import boto3
import pytest
from PIL import Image
from wire_server import REGION, Running, inline, running

from facerec.cli.timeline import draw_timeline
from facerec.config import read_settings
from facerec.engine.packs.loading import open_engine
from int8_products import INT8_HERE

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import VideoTypeDef

FILM: VideoTypeDef = {"S3Object": {"Bucket": "cinema", "Name": "film.mp4"}}
SINGER = ((844, 1345), (3747, 7751))
"""When the singer is to be seen, in milliseconds: from afar, and close."""


@pytest.fixture(scope="module")
def film(shared: Path) -> Path:
    return shared / "data" / "video" / "short_hamilton_clip.mp4"


@pytest.fixture(scope="module")
def server(
    film: Path, s3_url: str, scrfd_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("cinema")
    session = boto3.Session("testing", "testing", region_name=REGION)
    s3 = session.client("s3", endpoint_url=s3_url)
    s3.create_bucket(Bucket="cinema", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="cinema", Key="film.mp4", Body=film.read_bytes())
    engine = open_engine(read_settings(model_path=str(scrfd_pack), data_dir=folder))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        with running(folder / "data", engine=engine, background=True, s3_endpoint_url=s3_url) as server:
            yield server
    engine.close()


def frame_at(film: Path, seconds: float) -> bytes:
    """The frame of the film at a time, as a PNG."""
    with av.open(str(film)) as container:
        frame = next(each for each in container.decode(video=0) if each.time >= seconds)
    stream = io.BytesIO()
    Image.fromarray(frame.to_ndarray(format="rgb24")).save(stream, "PNG")
    return stream.getvalue()


def test_a_person_enrolled_from_one_frame_is_found_through_the_film(
    server: Running, film: Path, tmp_path: Path
) -> None:
    client = server.client()
    client.create_collection(CollectionId="stage")
    enrolled = client.index_faces(
        CollectionId="stage", Image=inline(frame_at(film, 5.8)), ExternalImageId="singer", MaxFaces=1
    )
    face_id = enrolled["FaceRecords"][0]["Face"]["FaceId"]
    job_id = client.start_face_search(Video=FILM, CollectionId="stage")["JobId"]
    deadline = time.monotonic() + 120
    while (answer := client.get_face_search(JobId=job_id))["JobStatus"] == "IN_PROGRESS":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer["JobStatus"] == "SUCCEEDED"
    metadata = answer["VideoMetadata"]
    assert (metadata["FrameWidth"], metadata["FrameHeight"], metadata["DurationMillis"]) == (640, 360, 10019)
    found = [seen for seen in answer["Persons"] if seen["FaceMatches"]]
    assert {match["Face"]["FaceId"] for seen in found for match in seen["FaceMatches"]} == {face_id}
    assert len({seen["Person"]["Index"] for seen in found}) == 1, "he is one person, from afar and close"
    times = [seen["Timestamp"] for seen in found]
    for first, last in SINGER:
        inside = [each for each in times if first - 100 <= each <= last + 100]
        assert len(inside) >= (last - first) // 200, "five looks a second"
    assert all(any(first - 100 <= each <= last + 100 for first, last in SINGER) for each in times)
    audience = {seen["Person"]["Index"] for seen in answer["Persons"] if seen["Timestamp"] > 9000}
    # In float32 one of the four is taken for two, turned away and back.
    assert len(audience) == (4 if INT8_HERE else 5)
    for each in answer["Persons"]:
        beside = [one for one in answer["Persons"] if one["Timestamp"] == each["Timestamp"]]
        assert len({one["Person"]["Index"] for one in beside}) == len(beside), "two faces, two persons"

    target = tmp_path / "timeline.png"
    service = server.service.videos
    draw_timeline(target, service.find(job_id), service.appearances(job_id), title="stage")
    assert target.read_bytes().startswith(b"\x89PNG")


def test_all_faces_of_the_film(server: Running) -> None:
    client = server.client()
    job_id = client.start_face_detection(Video=FILM)["JobId"]
    deadline = time.monotonic() + 120
    while (answer := client.get_face_detection(JobId=job_id))["JobStatus"] == "IN_PROGRESS":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    times = [face["Timestamp"] for face in answer["Faces"]]
    assert times == sorted(times)
    assert 60 < len(times) < 110
    assert sum(each > 9000 for each in times) >= 4 * 4, "four people in the last second"
