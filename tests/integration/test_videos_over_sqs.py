"""Videos by boto3 whose jobs lie in SQS, done by `facerec worker`."""

from __future__ import annotations

import uuid

import pytest
from job_workers import workers, workers_of
from video_workers import (
    check_a_detection,
    check_a_search_whose_workers_are_killed,
    service_without_workers,
)
from wire_server import REGION


@pytest.fixture
def own(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "SQS_QUEUE_NAME": f"films-{uuid.uuid4()}",
        "FACEREC_SQS_ENDPOINT_URL": s3_url,
        "FACEREC_SPOT_NOTICE": "off",
        "FACEREC_JOB_LEASE_SECONDS": "15",  # a busy machine prolongs shorter ones too late
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.mark.slow
def test_videos_over_sqs(tmp_path_factory: pytest.TempPathFactory, s3_url: str, own: dict[str, str]) -> None:
    """One whose workers are killed in the midst, and one that is left alone."""
    folder = tmp_path_factory.mktemp("sqs") / "data"
    with (
        service_without_workers(folder, s3_url) as service,
        workers(folder, own, "--processes", "2") as process,
    ):
        check_a_search_whose_workers_are_killed(service, lambda: workers_of(process.pid))
        check_a_detection(service)
