"""Settings that say one thing in several ways, by the names of the environment."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from facerec.bootstrap import open_keys
from facerec.config import read_settings
from facerec.errors import ConfigurationError, MissingCredentials
from facerec.metastore import open_metastore


def test_the_postgres_settings_are_another_way_to_say_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "::1")
    monkeypatch.setenv("POSTGRES_PORT", "6543")
    monkeypatch.setenv("POSTGRES_USER", "face rec")
    monkeypatch.setenv("POSTGRES_PASSWORD", "p@ss:w/rd%")
    monkeypatch.setenv("POSTGRES_DB", "faces")
    settings = read_settings()
    assert settings.database_url is not None
    url = make_url(settings.database_url)
    assert (url.host, url.port, url.database) == ("::1", 6543, "faces")
    assert (url.username, url.password) == ("face rec", "p@ss:w/rd%")
    assert "p@ss" not in repr(settings)
    assert "p%40ss" not in repr(settings)


def test_without_a_host_the_postgres_settings_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "secret")
    assert read_settings().database_url is None


def test_database_url_goes_before_the_postgres_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "elsewhere")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@here/faces")
    assert read_settings().database_url == "postgresql://me@here/faces"


@pytest.mark.parametrize("name", ["POSTGRES_PORT", "ENVIRONMENT", "AWS_S3_BUCKET"])
def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=name):
        read_settings()


@pytest.mark.parametrize(
    "name",
    [
        "FACEREC_EXTRA_PACKS",
        "FACEREC_DETECTION_SIZES",
        "FACEREC_LIVENESS_BUCKETS",
        "FACEREC_URL_ALLOWED_HOSTS",
    ],
)
def test_a_list_that_is_none_is_told_with_its_form(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for text in ("photos.example.com", "640", "()", "[640"):
        monkeypatch.setenv(name, text)
        with pytest.raises(ConfigurationError, match=rf"^{name}: .*has to be a JSON list"):
            read_settings()
    monkeypatch.setenv(name, "[]")
    read_settings()


NAMES = {
    "API_KEY": ("api_key", "0123456789abcdef"),
    "MODEL_PATH": ("model_path", "models/buffalo_l"),
    "LOG_LEVEL": ("log_level", "WARNING"),
    "ENVIRONMENT": ("environment", "production"),
    "MAX_IMAGE_PIXELS": ("max_image_pixels", "1920x1080"),
    "MAX_FACES_PER_IMAGE": ("max_faces_per_image", "20"),
    "MIN_FACE_CONFIDENCE": ("min_face_confidence", "0.9"),
    "SIMILARITY_THRESHOLD": ("similarity_threshold", "0.8"),
    "MAX_IMAGES_PER_REGISTRATION": ("max_images_per_registration", "5"),
    "ALLOWED_ORIGINS": ("allowed_origins", "http://localhost:3000"),
    "DATABASE_URL": ("database_url", "postgresql://me@here/faces"),
    "REDIS_URL": ("redis_url", "redis://localhost:6379/0"),
    "QDRANT_URL": ("qdrant_url", "http://localhost:6333"),
    "QDRANT_COLLECTION_NAME": ("qdrant_collection_name", "faces"),
    "PINECONE_API_KEY": ("pinecone_api_key", "key"),
    "PINECONE_INDEX_NAME": ("pinecone_index_name", "face-recognition"),
    "PINECONE_ENVIRONMENT": ("pinecone_environment", "gcp-starter"),
    "AWS_ACCESS_KEY_ID": ("aws_access_key_id", "AKIDEXAMPLE"),
    "AWS_SECRET_ACCESS_KEY": ("aws_secret_access_key", "secret"),
    "AWS_REGION": ("aws_region", "eu-west-1"),
    "AWS_S3_BUCKET": ("s3_bucket", "photos"),
    "AWS_S3_BUCKET_REGION": ("s3_region", "eu-west-1"),
    "SQS_QUEUE_NAME": ("sqs_queue_name", "faces"),
    "SQS_BATCH_SIZE": ("job_batch", "7"),
}
"""Settings by the names that services like this one give them: their fields, and a value that differs."""


def test_a_file_of_settings_is_read_by_their_usual_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, (_, value) in NAMES.items()))
    settings = read_settings()
    for name, (field, value) in NAMES.items():
        found = getattr(settings, field)
        assert found is not None, name
        default = type(settings).model_fields[field].default
        # Pinecone's former free environment is the region in which such indexes are made now.
        assert found != default or value == "gcp-starter", name
    assert settings.similarity_threshold == 80
    assert settings.max_image_pixels == 1920 * 1080
    assert settings.pinecone_environment == "aws-us-east-1"


def test_half_of_the_credentials_for_aws_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="AWS_SECRET_ACCESS_KEY go together"):
        read_settings()


def test_the_bucket_and_its_region_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_BUCKET", "photos")
    monkeypatch.setenv("AWS_S3_BUCKET_REGION", "eu-west-1")
    settings = read_settings()
    assert (settings.s3_bucket, settings.s3_region) == ("photos", "eu-west-1")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_in_production_nobody_is_let_in_without_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: str
) -> None:
    monkeypatch.setenv("ENVIRONMENT", environment)
    settings = read_settings(data_dir=tmp_path)
    with closing(open_metastore(settings)) as database:
        keys = open_keys(settings, database)
        with pytest.raises(MissingCredentials):
            keys.authenticate_api_key(None, host="localhost:8000")
        keys.create("test")


def test_while_developing_no_key_is_needed_before_there_is_one(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path)
    with closing(open_metastore(settings)) as database:
        assert open_keys(settings, database).authenticate_api_key(None, host="localhost:8000") is not None
