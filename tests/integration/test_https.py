"""HTTPS to AWS and REST clients, from one process and several, with the certificate of an own authority."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError
from serving import CREDENTIALS, serving

from certificates import Authority
from facerec.engine.fake import draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient


@pytest.mark.parametrize("workers", ["1", "2"])
def test_clients_that_trust_the_authority_are_served(tmp_path: Path, workers: str) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    settings = {"FACEREC_TLS_CERT": str(cert), "FACEREC_TLS_KEY": str(key), "FACEREC_WORKERS": workers}
    with serving(tmp_path / "data", settings=settings) as server:
        assert server.url.startswith("https://127.0.0.1:")

        def client(verify: str | bool) -> RekognitionClient:
            return boto3.client(
                "rekognition",
                endpoint_url=server.url,
                region_name="us-east-1",
                aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                verify=verify,
                config=Config(retries={"total_max_attempts": 1}),
            )

        trusting = client(str(authority.file))
        for number in range(4):  # on connections of their own, so that each worker has some
            other = client(str(authority.file))
            assert other.detect_faces(Image={"Bytes": draw("ann", variation=number)})["FaceDetails"]
        trusting.create_collection(CollectionId="door")
        with pytest.raises(SSLError):
            client(True).list_collections()
        trusted = ssl.create_default_context(cafile=str(authority.file))
        with httpx.Client(base_url=server.url, verify=trusted, timeout=30) as rest:
            listed = rest.get("/api/v1/collections").json()
            assert [each["collection_id"] for each in listed["collections"]] == ["door"]
            picture = {"image": ("a.png", draw("ann"))}
            assert rest.post("/verify", files=picture).json()["match"] is False
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http"), timeout=10)
        old = ssl.create_default_context(cafile=str(authority.file))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert httpx.get(f"{server.url}/health", verify=old, timeout=30).status_code == 200
        assert server.stop() == 0
