"""DetectFaces and CompareFaces through boto3, and how every operation takes an image."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from wire_server import Running, inline, running

from facerec.engine.fake import FakeFace, draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def client(server: Running) -> RekognitionClient:
    return server.client()


def encoded(image: bytes, encoding: str, orientation: int | None = None) -> bytes:
    """The picture in another format, with an EXIF orientation."""
    stream = io.BytesIO()
    exif = Image.new("L", (1, 1)).getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.open(io.BytesIO(image)).save(stream, encoding, exif=exif, quality=95)
    return stream.getvalue()


def test_faces_are_detected_largest_first(client: RekognitionClient) -> None:
    answer = client.detect_faces(Image=inline(draw("ann", "bob", "cat")))
    details = answer["FaceDetails"]
    assert len(details) == 3
    areas = [face["BoundingBox"]["Width"] * face["BoundingBox"]["Height"] for face in details]
    assert areas == sorted(areas, reverse=True)
    assert "OrientationCorrection" not in set(answer)
    assert [point["Type"] for point in details[0]["Landmarks"]] == [
        "eyeLeft",
        "eyeRight",
        "nose",
        "mouthLeft",
        "mouthRight",
    ]
    assert set(details[0]["Pose"]) == {"Roll", "Yaw", "Pitch"}
    assert set(details[0]["Quality"]) == {"Brightness", "Sharpness"}


def test_an_image_without_a_face_is_no_error(client: RekognitionClient) -> None:
    assert client.detect_faces(Image=inline(draw()))["FaceDetails"] == []


def test_all_attributes_are_those_the_engine_has(client: RekognitionClient) -> None:
    (face,) = client.detect_faces(Image=inline(draw("ann")), Attributes=["ALL"])["FaceDetails"]
    assert face["AgeRange"]["Low"] < face["AgeRange"]["High"]
    assert face["Gender"]["Value"] in ("Male", "Female")
    assert not {"Smile", "Beard", "Emotions", "EyesOpen"} & set(face)
    (plain,) = client.detect_faces(Image=inline(draw("ann")))["FaceDetails"]
    assert not {"AgeRange", "Gender"} & set(plain)


def test_boxes_refer_to_the_upright_image(client: RekognitionClient) -> None:
    upright = draw("ann", size=(300, 600))
    (expected,) = client.detect_faces(Image=inline(upright))["FaceDetails"]
    stream = io.BytesIO()
    Image.open(io.BytesIO(upright)).transpose(Image.Transpose.ROTATE_90).save(stream, "PNG")
    turned = encoded(stream.getvalue(), "JPEG", orientation=6)
    (face,) = client.detect_faces(Image=inline(turned))["FaceDetails"]
    for side in ("Left", "Top", "Width", "Height"):
        assert face["BoundingBox"][side] == pytest.approx(expected["BoundingBox"][side], abs=0.02)


# --- CompareFaces -----------------------------------------------------------------------------------


def test_the_largest_source_face_is_compared_with_every_target_face(client: RekognitionClient) -> None:
    target = draw("bob", "ann", "eve", variation=1)
    answer = client.compare_faces(SourceImage=inline(draw("ann", "bob")), TargetImage=inline(target))
    boxes = [face["BoundingBox"] for face in client.detect_faces(Image=inline(target))["FaceDetails"]]
    (match,) = answer["FaceMatches"]
    assert match["Similarity"] > 90
    assert match["Face"]["BoundingBox"] == boxes[1]
    assert set(match["Face"]) == {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
    assert [face["BoundingBox"] for face in answer["UnmatchedFaces"]] == [boxes[0], boxes[2]]
    source = client.detect_faces(Image=inline(draw("ann", "bob")))["FaceDetails"][0]
    assert answer["SourceImageFace"] == {
        "BoundingBox": source["BoundingBox"],
        "Confidence": source["Confidence"],
    }
    assert "SourceImageOrientationCorrection" not in set(answer)
    assert "TargetImageOrientationCorrection" not in set(answer)


def test_matches_come_most_similar_first_and_reach_the_threshold(client: RekognitionClient) -> None:
    source, target = inline(draw("ann")), inline(draw("bob", "eve", "ann", variation=1))
    everything = client.compare_faces(SourceImage=source, TargetImage=target, SimilarityThreshold=0)
    similarities = [match["Similarity"] for match in everything["FaceMatches"]]
    assert len(similarities) == 3
    assert similarities == sorted(similarities, reverse=True)
    assert everything["UnmatchedFaces"] == []
    nothing = client.compare_faces(SourceImage=source, TargetImage=target, SimilarityThreshold=100)
    assert nothing["FaceMatches"] == []
    assert len(nothing["UnmatchedFaces"]) == 3


def test_comparing_needs_a_face_on_both_sides(client: RekognitionClient) -> None:
    for source, target, lacking in [
        (draw(), draw("ann"), "source image"),
        (draw("ann"), draw(), "target image"),
        (draw(), draw(), "source and the target image"),
    ]:
        with pytest.raises(client.exceptions.InvalidParameterException) as caught:
            client.compare_faces(SourceImage=inline(source), TargetImage=inline(target))
        message = caught.value.response["Error"]["Message"]
        assert message.startswith("Request has invalid parameters")
        assert f"in the {lacking}." in message


def test_the_quality_filter_of_a_comparison_is_off_by_default(client: RekognitionClient) -> None:
    source, target = inline(draw("ann")), inline(draw(FakeFace("ann", dim=True)))
    assert client.compare_faces(SourceImage=source, TargetImage=target)["FaceMatches"]
    with pytest.raises(client.exceptions.InvalidParameterException):
        client.compare_faces(SourceImage=source, TargetImage=target, QualityFilter="AUTO")


# --- the image itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ({}, "neither"),
        ({"Bytes": b"x", "S3Object": {"Bucket": "bucket", "Name": "name"}}, "both"),
    ],
)
def test_an_image_is_either_bytes_or_an_object(
    client: RekognitionClient, image: dict[str, Any], found: str
) -> None:
    client.create_collection(CollectionId=f"album-{found}")
    picture: Any = image
    good: Any = inline(draw("ann"))
    calls: list[Callable[[], object]] = [
        lambda: client.detect_faces(Image=picture),
        lambda: client.compare_faces(SourceImage=picture, TargetImage=good),
        lambda: client.compare_faces(SourceImage=good, TargetImage=picture),
        lambda: client.index_faces(CollectionId=f"album-{found}", Image=picture),
        lambda: client.search_faces_by_image(CollectionId=f"album-{found}", Image=picture),
        lambda: client.search_users_by_image(CollectionId=f"album-{found}", Image=picture),
    ]
    for call in calls:
        with pytest.raises(client.exceptions.InvalidParameterException, match=found):
            call()


@pytest.mark.parametrize("s3_object", [{}, {"Bucket": "bucket"}, {"Name": "name"}])
def test_an_object_needs_bucket_and_name(client: RekognitionClient, s3_object: dict[str, str]) -> None:
    picture: Any = {"S3Object": s3_object}
    with pytest.raises(client.exceptions.InvalidParameterException, match="Bucket and Name"):
        client.detect_faces(Image=picture)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(b"these bytes are no image", id="text"),
        pytest.param(draw("ann")[:2000], id="cut off"),
        pytest.param(b"\xff\xd8\xff", id="JPEG's first bytes"),
        pytest.param(b"%PDF-1.7", id="PDF"),
    ],
)
def test_bytes_that_are_no_image(client: RekognitionClient, image: bytes) -> None:
    with pytest.raises(client.exceptions.InvalidImageFormatException):
        client.detect_faces(Image=inline(image))


def test_too_many_pixels(server: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("small")) as _:
        stream = io.BytesIO()
        Image.new("1", (20_000, 20_000)).save(stream, "PNG")
        client = server.client()
        with pytest.raises(client.exceptions.ImageTooLargeException):
            client.detect_faces(Image=inline(stream.getvalue()))
