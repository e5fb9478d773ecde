"""`facerec bench`: its arithmetic, with values computed by hand, and the commands on drawn pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, command_line, three_pictures  # noqa: F401 - fixtures

from facerec.cli.bench.options import numbers
from facerec.errors import InvalidParameter
from facerec.services.benchmark import (
    Turn,
    load_figures,
    median_processor_ms,
    median_rate,
    median_ratio,
    percentile,
    take_turns,
)

# --- arithmetic


def test_contestants_take_turns_and_the_first_rounds_do_not_count() -> None:
    now = 0.0
    calls: list[str] = []

    def contestant(name: str, times: list[float]) -> Callable[[], int]:
        def work() -> int:
            nonlocal now
            calls.append(name)
            now += times[calls.count(name) - 1]
            return calls.count(name)

        return work

    turns = take_turns(
        {"ours": contestant("ours", [100, 50, 2, 4, 1]), "peer": contestant("peer", [100, 50, 8, 8, 8])},
        work=40,
        rounds=3,
        clock=lambda: now,
        processor_clock=lambda: 3 * now,
    )
    assert calls == ["ours", "peer"] * 5
    assert turns["ours"] == [Turn(40, 2, 6, 3), Turn(40, 4, 12, 4), Turn(40, 1, 3, 5)]
    assert [turn.rate for turn in turns["ours"]] == [20, 10, 40]
    assert median_rate(turns["ours"]) == 20
    assert median_ratio(turns["ours"], turns["peer"]) == 4
    assert median_processor_ms(turns["ours"]) == pytest.approx(150)


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians() -> None:
    ours = [Turn(10, 1, 0, 0), Turn(10, 10, 0, 0), Turn(10, 2, 0, 0)]  # 10, 1 and 5 a second
    peer = [Turn(10, 2, 0, 0), Turn(10, 40, 0, 0), Turn(10, 2.5, 0, 0)]  # 5, 0.25 and 4 a second
    assert median_rate(ours) / median_rate(peer) == pytest.approx(1.25)
    assert median_ratio(ours, peer) == pytest.approx(2)  # of 2, 4 and 1.25
    with pytest.raises(ValueError, match="zip"):
        median_ratio(ours, peer[:2])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 5), (0.51, 6), (0.9, 9), (0.95, 10), (0.99, 10), (1.0, 10), (0.01, 1)]
)
def test_percentiles_are_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([10, 3, 1, 2, 4, 8, 9, 6, 5, 7], share) == expected


def test_figures_of_a_load_count_good_answers_alone() -> None:
    figures = load_figures(4, [n / 1000 for n in range(1, 101)], errors=7, seconds=4)
    assert (figures.clients, figures.requests, figures.errors) == (4, 100, 7)
    assert figures.requests_per_second == 25
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == pytest.approx((50, 95, 99))
    nothing = load_figures(1, [], errors=3, seconds=1)
    assert (nothing.requests_per_second, nothing.p50_ms, nothing.p99_ms) == (0, None, None)


def test_lists_of_numbers() -> None:
    assert numbers("1,4, 16 64", "--clients", 1, 64) == [1, 4, 16, 64]
    for wrong in ("", "0", "1,65", "-1", "1.5", "many"):
        with pytest.raises(InvalidParameter, match=r"--clients .* from 1 to 64"):
            numbers(wrong, "--clients", 1, 64)


# --- the commands


def test_bench_engine(facerec: Run, pictures: Path) -> None:
    done = facerec("bench", "engine", "--images", pictures, "--rounds", 3, "--json")
    assert done.code == 0, done.err
    assert (done.json["images"], done.json["faces"], done.json["rounds"]) == (3, 3, 3)
    assert done.json["pack"] == "fake"
    by_round = sorted(row["images_per_second"] for row in done.json["by_round"])
    assert done.json["images_per_second"] == by_round[1]
    assert "ratio" not in done.json

    twice = facerec("bench", "engine", "--images", pictures, "--rounds", 1, "--passes", 2, "--json").json
    assert (twice["images"], twice["passes"], twice["faces"]) == (3, 2, 3)

    fewer = facerec("bench", "engine", "--images", pictures, "--limit", 1, "--rounds", 1)
    assert fewer.code == 0, fewer.err
    assert "images 1" in fewer.out
    assert "facerec" in fewer.out


def test_bench_engine_names_what_it_can_not_use(facerec: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "d.png").write_bytes(b"no picture")
    unreadable = facerec("bench", "engine", "--images", pictures, "--rounds", 1)
    assert (unreadable.code, unreadable.out) == (1, "")
    assert "d.png" in unreadable.err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no pictures" in facerec("bench", "engine", "--images", empty).err
    assert "is no folder" in facerec("bench", "engine", "--images", tmp_path / "nowhere").err
    assert facerec("bench", "engine").code == 2
    assert facerec("bench", "engine", "--images", pictures, "--peer", "nobody").code == 2
    assert facerec("bench", "engine", "--images", pictures, "--rounds", 0).code == 2


@pytest.mark.skipif(
    importlib.util.find_spec("insightface") is not None, reason="the package insightface is installed here"
)
def test_a_missing_peer_is_told_with_what_installs_it(facerec: Run, pictures: Path) -> None:
    done = facerec("bench", "engine", "--images", pictures, "--peer", "insightface", "--json")
    assert (done.code, done.out) == (1, "")
    assert "pip install insightface onnxruntime" in done.err.replace("\n", " ")
