"""From Rekognition, as docs/from-rekognition.md goes: the list of faces, the images in S3, the comparison.

Amazon is played by a service of its own, which answers ListFaces and SearchFacesByImage in the same
form; the images lie in an S3 server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from commands import facerec
from serving import CREDENTIALS, serving

from facerec.engine.fake import draw

COMPARE = Path(__file__).resolve().parents[2] / "examples" / "compare_answers.py"
PEOPLE = ("ann", "bob", "carla")

pytestmark = pytest.mark.slow


def test_a_collection_comes_along_and_answers_are_compared(tmp_path: Path, s3_url: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    s3.create_bucket(Bucket="rekognition-photos")
    queries = tmp_path / "queries"
    queries.mkdir()
    for person in PEOPLE:
        s3.put_object(Bucket="rekognition-photos", Key=f"people/{person}.png", Body=draw(person))
        (queries / f"{person}.png").write_bytes(draw(person, variation=1))
    (queries / "stranger.png").write_bytes(draw("a stranger"))
    s3.close()
    settings = {"FACEREC_S3_ENDPOINT_URL": s3_url, **CREDENTIALS}
    with (
        serving(tmp_path / "amazon", settings=settings) as amazon,
        serving(tmp_path / "ours", settings=settings) as ours,
    ):
        client = amazon.client()
        client.create_collection(CollectionId="guests")
        for person in (*PEOPLE, "moved away"):
            client.index_faces(
                CollectionId="guests",
                ExternalImageId=person.replace(" ", "_"),
                Image={"Bytes": draw(person)},
            )
        listed = client.list_faces(CollectionId="guests")
        client.close()
        (tmp_path / "faces.json").write_text(json.dumps({"Faces": listed["Faces"]}))

        assert facerec(ours.data, "collections", "create", "guests").code == 0
        place = "s3://rekognition-photos/people/{external_id}.png"
        done = facerec(
            ours.data, "import-images", tmp_path / "faces.json", "--collection", "guests",
            "--template", place, "--wait", "--json", settings=settings,
        )  # fmt: skip
        assert "moved_away" in done.out + done.err  # its image is not there, which is said

        compared = subprocess.run(
            [
                sys.executable, str(COMPARE), "--collection", "guests", "--json",
                "--reference", amazon.url, "--endpoint", ours.url, str(queries),
            ],
            env={**os.environ, **CREDENTIALS},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )  # fmt: skip
        assert compared.returncode == 0, compared.stdout + compared.stderr
        rows = {row["picture"]: row for row in map(json.loads, compared.stdout.splitlines())}
        assert {name: row["verdict"] for name, row in rows.items()} == {
            "ann.png": "same", "bob.png": "same", "carla.png": "same", "stranger.png": "nobody",
        }  # fmt: skip
        assert rows["ann.png"]["here"][0] == "ann"

        (queries / "moved.png").write_bytes(draw("moved away", variation=1))
        compared = subprocess.run(
            [
                sys.executable, str(COMPARE), "--collection", "guests",
                "--reference", amazon.url, "--endpoint", ours.url, str(queries),
            ],
            env={**os.environ, **CREDENTIALS},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )  # fmt: skip
        assert compared.returncode == 1
        assert "moved.png: only at the reference: moved_away" in compared.stdout
