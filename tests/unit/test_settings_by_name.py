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
