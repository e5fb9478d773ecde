"""Images that a request names in S3: a real S3 server (moto's), a real service, boto3 on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from serving import CREDENTIALS, Server, serving

from facerec.engine.fake import draw

BUCKET = "album"


@pytest.fixture
def server(tmp_path: Path, s3_url: str) -> Iterator[Server]:
    settings = {"FACEREC_S3_ENDPOINT_URL": s3_url, "FACEREC_MAX_S3_IMAGE_BYTES": "100000", **CREDENTIALS}
    with serving(tmp_path / "data", settings=settings) as started:
        yield started


def test_images_in_s3(server: Server, s3_url: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="people/anna 1.png", Body=draw("anna"))
    s3.put_object(Bucket=BUCKET, Key="anna2.png", Body=draw("anna", variation=2))
    s3.put_object(Bucket=BUCKET, Key="large.png", Body=bytes(100_001))
    s3.put_object(Bucket=BUCKET, Key="text.png", Body=b"no picture")
    client = server.client()
    client.create_collection(CollectionId="people")
    indexed = client.index_faces(
        CollectionId="people", Image={"S3Object": {"Bucket": BUCKET, "Name": "people/anna 1.png"}}
    )
    (record,) = indexed["FaceRecords"]
    found = client.search_faces_by_image(
        CollectionId="people", Image={"S3Object": {"Bucket": BUCKET, "Name": "anna2.png"}}
    )
    assert [match["Face"]["FaceId"] for match in found["FaceMatches"]] == [record["Face"]["FaceId"]]
    # The same bytes sent with the request are the same image.
    again = client.index_faces(CollectionId="people", Image={"Bytes": draw("anna")})
    assert again["FaceRecords"][0]["Face"]["ImageId"] == record["Face"]["ImageId"]

    count = client.describe_collection(CollectionId="people")["FaceCount"]
    for bucket, name, error in (
        (BUCKET, "none.png", client.exceptions.InvalidS3ObjectException),
        ("no-such-bucket", "anna2.png", client.exceptions.InvalidS3ObjectException),
        (BUCKET, "large.png", client.exceptions.ImageTooLargeException),
        (BUCKET, "text.png", client.exceptions.InvalidImageFormatException),
    ):
        with pytest.raises(error):
            client.index_faces(CollectionId="people", Image={"S3Object": {"Bucket": bucket, "Name": name}})
    assert client.describe_collection(CollectionId="people")["FaceCount"] == count
    client.close()
    s3.close()
