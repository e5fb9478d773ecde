"""Snapshots: used when sound, never trusted when not, gone when what they hold is gone."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.config import SnapshotPolicy
from facerec.domain import Collection, CollectionKey, EntityKind, QuantizedEmbedding, RowKey, VectorChanges
from facerec.errors import HistoryPruned, StorageError
from facerec.vectors import archive, snapshot
from facerec.vectors.archive import Archive
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.index import CollectionIndex
from facerec.vectors.quantization import dequantize, quantize_batch
from facerec.vectors.snapshot import ALIGNMENT, Identity, Part, UnusableSnapshotError

KEY = CollectionKey(7)
FACE = EntityKind.FACE


class ListFeed:
    """A database's side in memory, which also tells how far back it was asked."""

    def __init__(self, dimension: int = 128) -> None:
        self.identity = "the database"
        self.dimension = dimension
        self.rows: dict[RowKey, tuple[int, QuantizedEmbedding]] = {}
        self.removals: list[tuple[int, RowKey]] = []
        self.number = 0
        self.pruned_to = 0
        self.present = frozenset({KEY})
        self.asked_after: list[int] = []
        self.broken_after: int | None = None
        self._rng = np.random.default_rng(0)

    @property
    def collection(self) -> Collection:
        return Collection(
            key=KEY,
            name="a",
            contract_id="c",
            model_version="1.0",
            dimension=self.dimension,
            created_at=0.0,
            face_count=len(self.rows),
            user_count=0,
            change_number=self.number,
        )

    def add(self, count: int) -> None:
        vectors = self._rng.standard_normal((count, self.dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for embedding in quantize_batch(vectors.astype(np.float32)):
            self.number += 1
            self.rows[RowKey(self.number)] = (self.number, embedding)

    def remove(self, key: int) -> None:
        self.number += 1
        del self.rows[RowKey(key)]
        self.removals.append((self.number, RowKey(key)))

    def vector(self, key: int) -> NDArray[np.float32]:
        """The probe (1, d) that finds a row."""
        return dequantize(self.rows[RowKey(key)][1])[None]

    def store_id(self) -> str:
        return self.identity

    def changes(self, collection: CollectionKey, kind: EntityKind, after: int) -> Iterator[VectorChanges]:
        self.asked_after.append(after)
        if collection != KEY or kind is not FACE:
            return
        if 0 < after < self.pruned_to:
            raise HistoryPruned
        removed = [key for number, key in self.removals if number > after] if after else []
        if removed:
            yield VectorChanges(number=self.number, removed=removed)
        found = [(key, embedding) for key, (number, embedding) in self.rows.items() if number > after]
        for start in range(0, len(found), 100):
            if self.broken_after is not None and start >= self.broken_after:
                raise StorageError("The disk is gone.")
            batch = found[start : start + 100]
            yield VectorChanges(
                number=self.number,
                keys=[key for key, _ in batch],
                scales=[embedding.scale for _, embedding in batch],
                codes=[embedding.codes for _, embedding in batch],
            )

    def removed_since(self, collection: CollectionKey, kind: EntityKind, after: int) -> bool:
        return after < self.pruned_to or any(number > after for number, _ in self.removals)

    def embeddings(self, kind: EntityKind, keys: Sequence[RowKey]) -> dict[RowKey, QuantizedEmbedding]:
        return {key: self.rows[key][1] for key in keys if key in self.rows}

    def collections(self) -> frozenset[CollectionKey]:
        return self.present


def open_store(
    folder: Path, feed: ListFeed, memory_limit: int | None = None, snapshots: SnapshotPolicy = "auto"
) -> EmbeddedStore:
    return EmbeddedStore(folder, feed, snapshot_from=100, memory_limit=memory_limit, snapshots=snapshots)


def saved(folder: Path, feed: ListFeed, snapshots: SnapshotPolicy = "auto") -> Path:
    """Use and close a store over the feed: its snapshot."""
    store = open_store(folder, feed, snapshots=snapshots)
    store.search(feed.collection, FACE, feed.vector(min(feed.rows)), limit=1, min_cosine=0)
    store.close()
    return folder / "7-face.index"


def assert_right(folder: Path, feed: ListFeed) -> list[int]:
    """A newly opened store answers and verifies; returns how far back it asked the feed before that."""
    feed.asked_after.clear()
    store = open_store(folder, feed)
    keys = sorted(feed.rows)
    probes = np.concatenate([feed.vector(key) for key in keys[:: max(len(keys) // 20, 1)]])
    found = store.search(feed.collection, FACE, probes, limit=1, min_cosine=0.99)
    assert [hits[0].key for hits in found] == keys[:: max(len(keys) // 20, 1)]
    asked = list(feed.asked_after)
    assert store.verify(feed.collection, FACE) == []
    assert store.status(feed.collection, FACE) == (len(keys), feed.number)
    store.close()
    return asked


def empty_index(dimension: int) -> CollectionIndex:
    return CollectionIndex(KEY, FACE, dimension, pool=ThreadPoolExecutor(1), jobs=1)


def test_a_start_reads_the_snapshot_and_the_changes_since(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(500)
    path = saved(tmp_path, feed)
    assert path.stat().st_mode & 0o077 == 0
    assert assert_right(tmp_path, feed) == []
    feed.add(30)
    assert assert_right(tmp_path, feed) == [500]
    # Closing that store brought the file up to date.
    assert assert_right(tmp_path, feed) == []


def test_small_collections_and_long_vectors_have_none(tmp_path: Path) -> None:
    small, long = ListFeed(), ListFeed(dimension=512)
    small.add(99)
    long.add(300)
    for feed in (small, long):
        saved(tmp_path, feed)
        assert list(tmp_path.iterdir()) == []
        assert assert_right(tmp_path, feed) == [0]


def test_a_file_is_not_written_for_a_few_changes(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(500)
    before = saved(tmp_path, feed).read_bytes()
    feed.add(4)
    assert assert_right(tmp_path, feed) == [500]
    assert (tmp_path / "7-face.index").read_bytes() == before
    feed.add(1)
    assert assert_right(tmp_path, feed) == [500]
    assert assert_right(tmp_path, feed) == []
    # What was removed goes at once, however little it is.
    feed.remove(3)
    assert assert_right(tmp_path, feed) == [505]
    assert assert_right(tmp_path, feed) == []


def test_the_policy_says_which_indexes_are_kept(tmp_path: Path) -> None:
    feed = ListFeed(dimension=512)
    feed.add(300)
    path = saved(tmp_path, feed, "always")
    assert path.exists()
    store = open_store(tmp_path, feed, snapshots="always")
    feed.asked_after.clear()
    assert store.search(feed.collection, FACE, feed.vector(9), limit=1, min_cosine=0.9)[0][0].key == 9
    assert feed.asked_after == []
    store.close()
    # Where the policy does not allow a file that is there, its use ends with it.
    assert assert_right(tmp_path, feed) == [0]
    assert not path.exists()
    small = ListFeed()
    small.add(300)
    assert saved(tmp_path, small).exists()
    assert not saved(tmp_path, small, "never").exists()


def test_many_changes_are_saved_without_waiting_for_the_end(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(500)
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
    deadline = time.monotonic() + 60
    while not (tmp_path / "7-face.index").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # A second process starts from it while the first still runs.
    assert assert_right(tmp_path, feed) == []
    store.close()


@pytest.mark.parametrize("length", [0, 5, 17, 30, 200, 5000, -1, -33])
def test_a_snapshot_cut_short_is_built_anew(tmp_path: Path, length: int) -> None:
    feed = ListFeed()
    feed.add(500)
    path = saved(tmp_path, feed)
    path.write_bytes(path.read_bytes()[:length])
    assert assert_right(tmp_path, feed) == [0]
    assert assert_right(tmp_path, feed) == []


def flip_a_bit(path: Path, start: int, end: int, seed: int) -> None:
    """Damage one of the bytes from `start` to `end` that are not zero, as those between arrays are."""
    rng = np.random.default_rng(seed)
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8).copy()
    content[start + rng.choice(np.flatnonzero(content[start:end]))] ^= 1 << rng.integers(0, 8)
    path.write_bytes(content.tobytes())


@pytest.mark.parametrize("seed", range(12))
def test_a_snapshot_with_a_flipped_bit_is_built_anew(tmp_path: Path, seed: int) -> None:
    feed = ListFeed(dimension=(64, 256)[seed % 2])
    feed.add(200)
    path = saved(tmp_path, feed)
    size = path.stat().st_size
    # Anywhere; the start; the table at the end; keys, lengths, codes and sketches.
    arrays = [(number * ALIGNMENT, (number + 1) * ALIGNMENT) for number in range(1, 5)]
    for part, (start, end) in enumerate([(0, size), (0, 16), (size - 600, size), *arrays]):
        flip_a_bit(path, start, end, seed * 10 + part)
        assert assert_right(tmp_path, feed) == [0]


def test_codes_of_a_large_snapshot_are_checked_while_it_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(archive, "CHECKED_AT_ONCE", 0)
    feed = ListFeed(dimension=256)
    feed.add(500)
    path = saved(tmp_path, feed)
    assert assert_right(tmp_path, feed) == []
    place = path.read_bytes().index(feed.rows[RowKey(77)][1].codes)
    flip_a_bit(path, place, place + 256, 0)
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
    deadline = time.monotonic() + 60
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "is damaged" in caplog.text
    assert store.search(feed.collection, FACE, feed.vector(77), limit=1, min_cosine=0)[0][0].cosine > 0.9999
    assert store.verify(feed.collection, FACE) == []
    store.close()
    assert assert_right(tmp_path, feed) == []


def test_a_check_stops_when_the_store_is_closed(tmp_path: Path) -> None:
    feed = ListFeed(dimension=256)
    feed.add(500)
    path = saved(tmp_path, feed)
    flip_a_bit(path, 3 * ALIGNMENT, 4 * ALIGNMENT, 0)
    identity = Identity(feed.identity, KEY, FACE, 256)
    opened = snapshot.read(tmp_path, identity)
    assert opened.mapped_bytes == 512 * 256
    opened.check_codes(lambda: False)
    with pytest.raises(UnusableSnapshotError, match="codes"):
        snapshot.read(tmp_path, identity).check_codes()


def test_what_changes_in_a_mapped_index_does_not_change_its_file(tmp_path: Path) -> None:
    feed = ListFeed(dimension=256)
    feed.add(300)
    path = saved(tmp_path, feed)
    before = path.read_bytes()
    opened = snapshot.read(tmp_path, Identity(feed.identity, KEY, FACE, 256))
    opened.check_codes()
    index = empty_index(256)
    index.adopt(opened.segments, opened.number)
    feed.remove(5)
    feed.remove(299)
    feed.add(3)
    index.refresh(feed)
    assert len(index) == 301
    assert path.read_bytes() == before


def test_rows_that_come_while_a_snapshot_is_written_are_not_in_it(tmp_path: Path) -> None:
    feed = ListFeed(dimension=256)
    index = empty_index(256)
    feed.add(100)
    index.refresh(feed)
    parts = [Part.of(segment) for segment in index.segments]
    feed.add(4)
    index.refresh(feed)
    identity = Identity(feed.identity, KEY, FACE, 256)
    snapshot.put_in_place(snapshot.write_unfinished(tmp_path, identity, parts, 100), identity)
    opened = snapshot.read(tmp_path, identity)
    opened.check_codes()
    assert [len(segment) for segment in opened.segments] == [100]
    for array in opened.segments[0].arrays[:3]:
        assert len(array) == 112
        assert not array[100:].any()
    assert not opened.segments[0].arrays.sketch[12, :, 4:].any()
    assert assert_right(tmp_path, feed) == [100]


def test_a_snapshot_of_another_database_is_built_anew(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    saved(tmp_path, feed)
    other = ListFeed()
    other.identity = "another database"
    other.add(5)
    other.add(300)
    assert assert_right(tmp_path, other) == [0]


def test_a_snapshot_under_another_collections_name_is_built_anew(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    saved(tmp_path, feed).rename(tmp_path / "7-user.index")
    store = open_store(tmp_path, feed)
    assert store.search(feed.collection, EntityKind.USER, feed.vector(1), limit=1, min_cosine=0) == [[]]
    store.close()


def test_a_snapshot_newer_than_the_database_is_built_anew(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    saved(tmp_path, feed)
    for key in range(201, 301):  # back to an older copy of the database
        del feed.rows[RowKey(key)]
    feed.number = 200
    assert assert_right(tmp_path, feed) == [0]


def test_a_snapshot_of_a_past_that_never_was_is_found_out(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    saved(tmp_path, feed)
    for key in range(201, 301):  # back to an older copy, and on from there beyond the snapshot's number
        del feed.rows[RowKey(key)]
    feed.number = 200
    feed.remove(1)
    feed.number = 350
    feed.add(10)
    assert assert_right(tmp_path, feed) == [300, 0]


def test_removed_faces_leave_the_disk_with_the_next_search(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    path = saved(tmp_path, feed)
    codes = feed.rows[RowKey(5)][1].codes
    assert codes in path.read_bytes()
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(6), limit=1, min_cosine=0)
    feed.remove(5)
    store.search(feed.collection, FACE, feed.vector(6), limit=1, min_cosine=0)
    assert not path.exists()
    store.close()
    assert codes not in path.read_bytes()
    assert assert_right(tmp_path, feed) == []


def test_a_dropped_collection_leaves_nothing_behind(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    path = saved(tmp_path, feed)
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    store.drop(KEY)
    assert not path.exists()
    # A search that was under way when the collection was dropped does not bring it back.
    store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_another_process_deleted_is_not_saved(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    store = open_store(tmp_path, feed)
    feed.present = frozenset()
    store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_start_clears_away_what_is_nobodys_and_nothing_else(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    path = saved(tmp_path, feed)
    (tmp_path / "8-face.index").write_bytes(path.read_bytes())
    old, young = tmp_path / "7-face.index.1.unfinished", tmp_path / "7-face.index.2.unfinished"
    for file in (old, young, tmp_path / "notes.txt"):
        file.write_text("x")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    open_store(tmp_path, feed).close()
    assert {p.name for p in tmp_path.iterdir()} == {path.name, young.name, "notes.txt"}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(StorageError, match=str(blocked)):
        open_store(blocked, ListFeed())


def test_a_snapshot_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    folder = tmp_path / "vectors"
    store = open_store(folder, feed)
    store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    store.close()
    store = open_store(folder, feed)
    feed.add(200)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert store.search(feed.collection, FACE, feed.vector(450), limit=1, min_cosine=0)[0][0].key == 450
    store.close()
    assert assert_right(folder, feed) == [0]


def test_a_reading_that_breaks_leaves_no_half_index(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(500)
    store = open_store(tmp_path, feed)
    feed.broken_after = 300
    with pytest.raises(StorageError, match="disk"):
        store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    feed.remove(3)  # read from the start again, the feed says nothing of a row that is gone
    feed.broken_after = None
    store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    assert store.verify(feed.collection, FACE) == []
    feed.add(300)
    feed.broken_after = 200
    with pytest.raises(StorageError, match="disk"):
        store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    feed.broken_after = None
    feed.remove(510)
    store.search(feed.collection, FACE, feed.vector(5), limit=1, min_cosine=0)
    assert store.verify(feed.collection, FACE) == []
    store.close()


def test_a_collection_that_is_being_read_holds_up_no_other(tmp_path: Path) -> None:
    reading, go_on = threading.Event(), threading.Event()

    class SlowFeed(ListFeed):
        def changes(self, collection: CollectionKey, kind: EntityKind, after: int) -> Iterator[VectorChanges]:
            if kind is EntityKind.USER:
                reading.set()
                assert go_on.wait(60)
            yield from super().changes(collection, FACE, after)

    feed = SlowFeed()
    feed.add(300)
    store = open_store(tmp_path, feed, memory_limit=10**6)
    with ThreadPoolExecutor(1) as other:
        slow = other.submit(
            store.search, feed.collection, EntityKind.USER, feed.vector(5), limit=1, min_cosine=0.9
        )
        assert reading.wait(60)
        found = store.search(feed.collection, FACE, feed.vector(9), limit=1, min_cosine=0.9)
        assert (found[0][0].key, store.nbytes > 300 * 128, slow.done()) == (9, True, False)
        go_on.set()
        assert slow.result()[0][0].key == 5
    store.close()


def test_damaged_rows_are_named(tmp_path: Path) -> None:
    for codes in (b"\x01" * 127, bytes(128)):
        feed = ListFeed()
        feed.add(3)
        feed.rows[RowKey(2)] = (2, QuantizedEmbedding(codes=codes, scale=0.01))
        store = open_store(tmp_path, feed)
        with pytest.raises(StorageError, match="row 2 of collection 7 is damaged"):
            store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
        store.close()


def test_verify_names_every_difference(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(50)
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
    # The database changes without a change number: what an index cannot know.
    vector = feed.rows[RowKey(4)]
    feed.rows[RowKey(3)] = (3, vector[1])
    del feed.rows[RowKey(10)]
    feed.rows[RowKey(90)] = (20, vector[1])
    assert store.verify(feed.collection, FACE) == [
        "face row 3: another vector than in the database",
        "face row 10: in the index but not in the database",
        "face row 90: missing from the index",
    ]
    store.close()


def test_memory_stays_within_the_limit_and_what_left_comes_back(tmp_path: Path) -> None:
    feed = ListFeed(dimension=512)  # without snapshots: what comes back is read from the feed again
    feed.add(300)
    store = open_store(tmp_path, feed, memory_limit=1000)
    other = dataclasses.replace(feed.collection, key=CollectionKey(8), face_count=0)
    for collection, reads in ((feed.collection, 1), (feed.collection, 1), (other, 2), (feed.collection, 3)):
        found = store.search(collection, FACE, feed.vector(5), limit=1, min_cosine=0.9)
        assert len(found[0]) == (collection is not other)
        assert len(feed.asked_after) == reads  # the last one used stays, however large
    store.close()


def test_a_face_removed_while_the_snapshot_is_written_does_not_stay_in_it(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(300)
    index = empty_index(128)
    index.refresh(feed)

    class RemovingFeed(ListFeed):
        armed = False

        def collections(self) -> frozenset[CollectionKey]:
            """Asked once the file is written: the moment at which another thread may take a face out."""
            if self.armed:
                feed.remove(5)
                index.refresh(feed)
            return feed.present

    removing = RemovingFeed()
    kept = Archive(tmp_path, removing, "auto", 100)
    removing.armed = True
    kept.save(index)
    assert list(tmp_path.iterdir()) == []
    Archive(tmp_path, feed, "auto", 100).save(index)
    assert [path.name for path in tmp_path.iterdir()] == ["7-face.index"]


SAVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_snapshots import FACE, ListFeed, open_store

feed = ListFeed()
feed.add(20_000)
while True:
    store = open_store(Path({folder!r}), feed)
    store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
    store.close()
    print("saved", flush=True)
    feed.remove(max(feed.rows))
    feed.number = 20_000  # the same change number: written again, not skipped
    Path({folder!r}, "7-face.index").unlink()
"""


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.011, 0.023, 0.041])
def test_killed_at_any_moment_the_folder_stays_usable(tmp_path: Path, delay: float) -> None:
    script = SAVER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "saved\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    feed = ListFeed()
    feed.add(20_000)
    assert assert_right(tmp_path, feed) in ([], [0], [20_000], [20_000, 0])


def test_a_snapshot_older_than_what_is_remembered_of_removals_is_built_anew(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(200)
    path = saved(tmp_path, feed)
    older = path.read_bytes()
    probe = feed.vector(7)
    feed.remove(7)
    feed.removals, feed.pruned_to = [], feed.number
    for _ in range(2):  # built anew, and from the file that is written then in place of the older one
        store = open_store(tmp_path, feed)
        (hits,) = store.search(feed.collection, FACE, probe, limit=200, min_cosine=-1)
        assert {hit.key for hit in hits} == set(feed.rows)
        store.close()
        assert path.read_bytes() != older


def test_an_index_in_memory_that_fell_behind_what_is_remembered_is_built_anew(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(200)
    store = open_store(tmp_path, feed)
    probe = feed.vector(7)
    store.search(feed.collection, FACE, probe, limit=1, min_cosine=0)
    feed.remove(7)
    feed.add(1)
    feed.removals, feed.pruned_to = [], feed.number - 1
    (hits,) = store.search(feed.collection, FACE, probe, limit=300, min_cosine=-1)
    assert {hit.key for hit in hits} == set(feed.rows)
    store.close()


def test_purging_removes_snapshots_of_what_was_removed_and_no_others(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(200)
    path = saved(tmp_path, feed)
    store = open_store(tmp_path, feed)
    store.purge()
    assert path.exists()
    feed.remove(7)
    store.purge()
    assert not path.exists()
    store.close()


def test_purging_takes_removed_vectors_out_of_memory(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(200)
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
    feed.remove(7)
    store.purge()
    assert store.status(feed.collection, FACE) == (199, feed.number)
    store.close()


def test_a_snapshot_of_what_another_process_removed_meanwhile_is_not_put_in_place(tmp_path: Path) -> None:
    feed = ListFeed()
    feed.add(200)
    store = open_store(tmp_path, feed)
    store.search(feed.collection, FACE, feed.vector(1), limit=1, min_cosine=0)
    feed.remove(7)
    store.close()
    assert not list(tmp_path.iterdir())
