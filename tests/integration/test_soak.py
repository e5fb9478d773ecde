"""Everything that the service offers, asked for at once, while it is reloaded and its workers are replaced.

FACEREC_SOAK_SECONDS: how long it lasts (10 by default). From a minute on (`make soak`) what
the processes hold has to stay as it is.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flatness import MEASURED_SECONDS, Holdings, growing
from job_workers import workers
from serving import serving, wait_until
from visitors import KINDS, KNOWN, Place, Visitors, photographer
from worker_processes import wait_for_workers

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import EntityKind
from facerec.engine.fake import FakeEngine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.slow

SOAK_SECONDS = float(os.environ.get("FACEREC_SOAK_SECONDS", "10"))


def new_key(data: Path, database_url: str | None) -> tuple[str, str]:
    """A key for AWS clients: its id and its secret."""
    settings = read_settings(data_dir=data, database_url=database_url)
    with open_service(settings, engine=FakeEngine()) as opened:
        created = opened.keys.create()
        return created.key.access_key_id, created.secret


def check_what_is_left(data: Path, database_url: str | None) -> None:
    """What nobody deletes, and an index that agrees with it."""
    settings = read_settings(data_dir=data, database_url=database_url)
    with open_service(settings, engine=FakeEngine()) as opened:
        opened.collections.finish_deletions()
        left = {found.name: found for found in opened.collections.list().items}
        assert {name: found.face_count for name, found in left.items()} == {
            KNOWN: 2,
            settings.registry_collection: 0,
        }
        for found in left.values():
            for kind in EntityKind:
                assert opened.vectors.verify(found, kind) == []
        assert opened.albums.service.list().items == ()
        assert opened.jobs.list_set_aside() == []


def test_everything_at_once(tmp_path: Path, database_url: str | None, s3_url: str, s3: S3Client) -> None:
    """Two processes that serve and one that works, of which all are replaced under load."""
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    scratch.mkdir()
    settings = {
        "FACEREC_WORKERS": "2",
        "FACEREC_SERVE_JOBS": "false",
        "LOG_LEVEL": "WARNING",
        "API_KEY": "a key of 32 random characters...",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "FACEREC_SPOT_NOTICE": "off",
        "TMPDIR": str(scratch),
        **({} if database_url is None else {"DATABASE_URL": database_url}),
    }
    with serving(data, settings=settings) as server, ExitStack() as working:
        first = set(wait_for_workers(server, 2).values())
        worker = working.enter_context(workers(data, settings))
        key_id, secret = new_key(data, database_url)
        visitors = Visitors(Place(server.url, server.port, key_id, secret, settings["API_KEY"], s3))
        with visitors.coming():
            visitors.wait(SOAK_SECONDS / 4)
            wait_until(lambda: visitors.counts[photographer.__name__] or visitors.errors, seconds=120)
            server.process.send_signal(signal.SIGHUP)
            other = working.enter_context(workers(data, settings))
            worker.send_signal(signal.SIGTERM)
            wait_until(lambda: not first & set(wait_for_workers(server, 2).values()), seconds=120)
            assert worker.wait(120) == 0
            holdings = Holdings([server.process.pid, other.pid])
            with holdings.watched():
                visitors.wait(SOAK_SECONDS * 3 / 4)
        print(f"{visitors}\n{holdings}")
        assert len(visitors.counts) == KINDS, "visitors of each kind came"
        assert SOAK_SECONDS < MEASURED_SECONDS or not growing(holdings.samples)
        other.send_signal(signal.SIGTERM)
        assert other.wait(60) == 0
        assert server.stop() == 0
        assert "ERROR" not in server.output
        assert "ERROR" not in (tmp_path / "worker.log").read_text()
    assert list(scratch.iterdir()) == [], "no file is left behind"
    check_what_is_left(data, database_url)
