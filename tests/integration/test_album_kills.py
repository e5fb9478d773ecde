"""An album whose workers are killed: its progress goes forwards alone, and every face is there once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import boto3
import pytest
from job_workers import workers, workers_of

from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.domain import S3Image
from facerec.engine.fake import FakeEngine, draw
from facerec.metastore.albums import NewImage
from facerec.metastore.items import ItemState
from facerec.services.albums.service import AlbumState, Progress
from facerec.services.albums.sources import new_image

BUCKET, ALBUM = "wedding-photos", "wedding"
DOZEN = 12
KILLS = 2
PATIENCE_SECONDS = 400.0
FACES = (1, 2, 0)
"""How many each third picture shows."""


class Bucket:
    """Pictures in S3, more and more of them."""

    def __init__(self, s3_url: str) -> None:
        session = boto3.Session("test", "test", region_name="us-east-1")
        self._client = session.client("s3", endpoint_url=s3_url)
        self._client.create_bucket(Bucket=BUCKET)
        self.count = 0

    def lay(self) -> list[NewImage]:
        """A dozen new ones."""
        pictures = [draw("ann"), draw("ann", "ben"), draw()]
        keys = [f"photos/{number:04}.png" for number in range(self.count, self.count + DOZEN)]
        for place, key in enumerate(keys):
            self._client.put_object(Bucket=BUCKET, Key=key, Body=pictures[place % len(pictures)])
        self.count += DOZEN
        return [new_image(S3Image(BUCKET, key, None)) for key in keys]

    def close(self) -> None:
        self._client.close()


@pytest.mark.slow
def test_an_album_of_killed_workers_goes_forwards_and_is_complete_without_doubles(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "FACEREC_JOB_LEASE_SECONDS": "3",
        "FACEREC_SPOT_NOTICE": "off",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(data_dir=tmp_path / "data")
    with (
        open_service(settings, engine=FakeEngine()) as service,
        closing(Bucket(s3_url)) as bucket,
        workers(tmp_path / "data", own, "--processes", "2") as process,
    ):
        albums = service.albums.service
        albums.create(ALBUM)
        for _ in range(3):
            albums.add(ALBUM, bucket.lay())
        kills, at_kill, before = 0, 0, albums.progress(ALBUM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while kills < KILLS or before.state is AlbumState.WORKING:
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
            went_on = finished(before) > at_kill
            if kills < KILLS and went_on and kill_at_work(service, workers_of(process.pid)):
                kills, at_kill = kills + 1, finished(albums.progress(ALBUM))
            if kills < KILLS and before.state is not AlbumState.WORKING:
                albums.add(ALBUM, bucket.lay())
            now = albums.progress(ALBUM)
            check_forwards(before, now, bucket.count)
            before = now
            time.sleep(0.01)
        end = albums.progress(ALBUM)
        assert end.counts[ItemState.DONE] == bucket.count
        assert end.faces == bucket.count // len(FACES) * sum(FACES)
        found = service.faces.list(ALBUM, limit=1000).page.items
        by_image = Counter(face.external_image_id for face in found)
        assert by_image == {
            f"photos:{number:04}.png": FACES[number % len(FACES)]
            for number in range(bucket.count)
            if FACES[number % len(FACES)]
        }
        assert service.jobs.list_set_aside() == []


def finished(progress: Progress) -> int:
    return progress.counts[ItemState.DONE] + progress.counts[ItemState.FAILED]


def check_forwards(before: Progress, now: Progress, images: int) -> None:
    """No image is finished and then not, none has failed, and there are as many as were added."""
    assert sum(now.counts.values()) == images
    assert now.counts[ItemState.FAILED] == 0
    assert finished(now) >= finished(before)
    assert now.faces >= before.faces


def kill_at_work(service: Service, processes: list[int]) -> bool:
    """Kill workers while something is left to do; they go on where nothing is."""
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGSTOP)
    working = service.albums.service.progress(ALBUM).state is AlbumState.WORKING
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL if working else signal.SIGCONT)
    return working
