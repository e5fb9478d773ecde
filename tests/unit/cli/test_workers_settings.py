"""What a supervisor hands to its workers: the settings whole, and to each its share."""

from __future__ import annotations

from pathlib import Path

import pytest

from facerec.cli.orders import order, read_order
from facerec.config import MEBIBYTE, Settings, read_settings


def test_a_worker_reads_the_settings_that_its_supervisor_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings(
        data_dir=tmp_path / "data",
        host="::1",
        threads=5,
        detection_sizes=(640, 160),
        max_image_pixels="1920x1080",
        master_key_file=tmp_path / "key",
        database_url="postgresql://user:secret@host:5432/name",
    )
    # Neither the environment nor a file that have changed since reach it.
    monkeypatch.setenv("FACEREC_THREADS", "99")
    monkeypatch.setenv("FACEREC_MAX_QUEUE", "99")
    (tmp_path / ".env").write_text("FACEREC_HOST=0.0.0.0\n")
    assert read_order(order(settings)) == settings


def test_every_setting_gets_across(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None is of a type that is written otherwise than it is read, such as a secret shown as stars."""
    monkeypatch.chdir(tmp_path)
    settings = read_settings()
    texts = {name: "some text" for name, field in Settings.model_fields.items() if field.default is None}
    for name, text in texts.items():
        try:
            changed = read_settings(**{name: text})
        except Exception:  # noqa: BLE001 - a setting of another type than text
            continue
        settings = settings.model_copy(update={name: getattr(changed, name)})
    assert read_order(order(settings)) == settings


def test_the_machine_and_the_bounds_are_split() -> None:
    settings = read_settings(
        threads=7, workers=3, max_queue=100, max_decoded_bytes=900 * MEBIBYTE, result_cache_mib=10
    )
    shares = [settings.share(worker) for worker in (1, 2, 3)]
    assert [share.threads for share in shares] == [3, 2, 2]
    assert {share.max_queue for share in shares} == {33}
    assert {share.decoded_bytes for share in shares} == {300 * MEBIBYTE}
    assert {share.result_cache_mib for share in shares} == {4}
    assert {share.workers for share in shares} == {3}


def test_by_default_the_pictures_of_all_workers_take_what_those_of_one_would() -> None:
    settings = read_settings(threads=4, workers=2)
    assert sum(settings.share(worker).decoded_bytes for worker in (1, 2)) == settings.decoded_bytes


def test_more_workers_than_processors_have_one_each() -> None:
    settings = read_settings(threads=2, workers=4, max_queue=3, result_cache_mib=0)
    shares = [settings.share(worker) for worker in (1, 2, 3, 4)]
    assert [share.threads for share in shares] == [1, 1, 1, 1]
    assert [share.max_queue for share in shares] == [1, 1, 1, 1]
    assert [share.result_cache_mib for share in shares] == [0, 0, 0, 0]


def test_one_worker_has_everything() -> None:
    settings = read_settings(threads=3)
    share = settings.share(1)
    assert (share.threads, share.max_queue, share.decoded_bytes) == (3, 256, settings.decoded_bytes)


@pytest.mark.parametrize("worker", [0, 4])
def test_there_is_no_other_worker(worker: int) -> None:
    with pytest.raises(ValueError, match="of 3"):
        read_settings(workers=3).share(worker)
