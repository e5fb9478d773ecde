"""Index a photo of a person, then find the person in another photo, with AWS's own Python client.

    python examples/boto3_quickstart.py KNOWN.jpg UNKNOWN.jpg

The service is looked for at AWS_ENDPOINT_URL_REKOGNITION, else at http://127.0.0.1:8000. Sign with the key
that `facerec keys create` printed (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); a service without keys takes
any.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

COLLECTION = "boto3-quickstart"


def main(known: Path, unknown: Path) -> None:
    # The one line that differs from a program that uses Amazon Rekognition.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_REKOGNITION", "http://127.0.0.1:8000")
    client = boto3.client("rekognition", endpoint_url=endpoint, region_name="us-east-1")
    try:
        client.create_collection(CollectionId=COLLECTION)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
            raise
    image_id = "".join(letter if letter.isalnum() else "_" for letter in known.stem)
    indexed = client.index_faces(
        CollectionId=COLLECTION, Image={"Bytes": known.read_bytes()}, ExternalImageId=image_id, MaxFaces=1
    )
    for record in indexed["FaceRecords"]:
        print(f"indexed {record['Face']['ExternalImageId']} as {record['Face']['FaceId']}")
    found = client.search_faces_by_image(CollectionId=COLLECTION, Image={"Bytes": unknown.read_bytes()})
    for match in found["FaceMatches"]:
        print(f"found {match['Face']['ExternalImageId']} with similarity {match['Similarity']:.1f}")
    if not found["FaceMatches"]:
        print("found nobody")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
