"""A client's `S3Object`, fetched by the service from a real S3 server (moto's)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from wire_server import REGION, running

from facerec.engine.fake import draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client

BUCKET = "album-photos"


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
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture(scope="module")
def client(
    s3_url: str, s3: S3Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RekognitionClient]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        folder = tmp_path_factory.mktemp("service")
        with running(folder, s3_endpoint_url=s3_url, max_s3_image_bytes=100_000) as server:
            yield server.client()


def test_an_object_is_the_image_it_holds(client: RekognitionClient, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="party/ann & bob.png", Body=draw("ann", "bob"))
    client.create_collection(CollectionId="album")
    indexed = client.index_faces(
        CollectionId="album", Image={"S3Object": {"Bucket": BUCKET, "Name": "party/ann & bob.png"}}
    )
    assert len(indexed["FaceRecords"]) == 2
    inline = client.index_faces(CollectionId="album", Image={"Bytes": draw("ann", "bob")})
    assert inline["FaceRecords"][0]["Face"]["ImageId"] == indexed["FaceRecords"][0]["Face"]["ImageId"]


def test_an_older_version_of_an_object(client: RekognitionClient, s3: S3Client) -> None:
    older = s3.put_object(Bucket=BUCKET, Key="photo.png", Body=draw("ann", "bob", "cat"))
    s3.put_object(Bucket=BUCKET, Key="photo.png", Body=draw("ann"))
    newest = client.detect_faces(Image={"S3Object": {"Bucket": BUCKET, "Name": "photo.png"}})
    assert len(newest["FaceDetails"]) == 1
    version = client.detect_faces(
        Image={"S3Object": {"Bucket": BUCKET, "Name": "photo.png", "Version": older["VersionId"]}}
    )
    assert len(version["FaceDetails"]) == 3


def test_two_objects_are_compared(client: RekognitionClient, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="one.png", Body=draw("ann"))
    s3.put_object(Bucket=BUCKET, Key="two.png", Body=draw("ann", variation=1))
    answer = client.compare_faces(
        SourceImage={"S3Object": {"Bucket": BUCKET, "Name": "one.png"}},
        TargetImage={"S3Object": {"Bucket": BUCKET, "Name": "two.png"}},
    )
    assert answer["FaceMatches"][0]["Similarity"] > 90


def test_objects_that_can_not_be_had(client: RekognitionClient, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="large.png", Body=bytes(100_001))
    s3.put_object(Bucket=BUCKET, Key="notes.txt", Body=b"no image at all")
    errors = client.exceptions
    with pytest.raises(errors.InvalidS3ObjectException) as caught:
        client.detect_faces(Image={"S3Object": {"Bucket": BUCKET, "Name": "gone.png"}})
    assert caught.value.response["Error"]["Message"] == (
        "Unable to get object metadata from S3. Check object key, region and/or access permissions."
    )
    with pytest.raises(errors.InvalidS3ObjectException):
        client.detect_faces(Image={"S3Object": {"Bucket": "no-such-bucket", "Name": "photo.png"}})
    with pytest.raises(errors.ImageTooLargeException):
        client.detect_faces(Image={"S3Object": {"Bucket": BUCKET, "Name": "large.png"}})
    with pytest.raises(errors.InvalidImageFormatException):
        client.detect_faces(Image={"S3Object": {"Bucket": BUCKET, "Name": "notes.txt"}})
