"""Ask Amazon Rekognition and another endpoint the same questions, and say where they agree.

    python examples/compare_answers.py --collection guests --endpoint http://127.0.0.1:8000 FOLDER

Each picture of the folder is sent to SearchFacesByImage of both; the best matches are compared by their
ExternalImageId. Amazon is asked with the credentials of the environment (or the endpoint of --reference), the
other endpoint with those of the profile --profile, else the same. Exit code 0: every answer is the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

PICTURES = {".jpg", ".jpeg", ".png"}


def best_match(
    client: RekognitionClient, collection: str, picture: bytes, threshold: float
) -> tuple[str | None, float | None]:
    """ExternalImageId and similarity of the best match; (None, None) for a stranger or no face."""
    try:
        found = client.search_faces_by_image(
            CollectionId=collection, Image={"Bytes": picture}, FaceMatchThreshold=threshold, MaxFaces=1
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidParameterException":  # what no face in it is
            raise
        return None, None
    for match in found["FaceMatches"]:
        return match["Face"].get("ExternalImageId"), match["Similarity"]
    return None, None


def verdict(reference: str | None, ours: str | None) -> str:
    if reference == ours:
        return "same" if ours else "nobody"
    if ours is None:
        return "only at the reference"
    return "only at the endpoint" if reference is None else "different"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--reference", help="endpoint of the reference, where it is not Amazon's")
    parser.add_argument("--profile", help="profile of the endpoint's key in ~/.aws/credentials")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--threshold", type=float, default=80.0)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    options = parser.parse_args()
    reference: RekognitionClient = boto3.client(
        "rekognition", region_name=options.region, endpoint_url=options.reference
    )
    ours: RekognitionClient = boto3.Session(profile_name=options.profile).client(
        "rekognition", region_name=options.region, endpoint_url=options.endpoint
    )
    counts: Counter[str] = Counter()
    for path in sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in PICTURES):
        picture = path.read_bytes()
        expected, there = best_match(reference, options.collection, picture, options.threshold)
        found, here = best_match(ours, options.collection, picture, options.threshold)
        said = verdict(expected, found)
        counts[said] += 1
        row = {"picture": path.name, "verdict": said, "reference": [expected, there], "here": [found, here]}
        if options.json:
            print(json.dumps(row))
        elif said not in ("same", "nobody"):
            print(f"{path.name}: {said}: {expected} ({there}) there, {found} ({here}) here")
    print(", ".join(f"{count} {said}" for said, count in counts.most_common()), file=sys.stderr)
    return 0 if set(counts) <= {"same", "nobody"} else 1


if __name__ == "__main__":
    sys.exit(main())
