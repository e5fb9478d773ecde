"""Grouping of faces, on vectors drawn around as many directions as there are people."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facerec.clustering.candidates import NEAREST, alike_pairs
from facerec.clustering.grouping import FREE, group_faces
from facerec.clustering.limits import Limits, limits_of
from facerec.engine.calibration import Knots

LIMITS = Limits(lone=0.45, large=0.35)
DIMENSION = 64

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]


def drawn(who: Iterable[int], *, seed: int = 0, spread: float = 0.35) -> Floats:
    """Unit vectors around a direction for each person; two of one person have a cosine near 1 - spread."""
    chance = np.random.default_rng(seed)
    people = np.fromiter(who, np.int64)
    directions = chance.standard_normal((max(people.max(initial=0) + 1, 1), DIMENSION))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = chance.standard_normal((len(people), DIMENSION)) / np.sqrt(DIMENSION)
    made = np.sqrt(1 - spread) * directions[people] + np.sqrt(spread) * noise
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def partition(labels: Numbers) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


@st.composite
def albums(draw: st.DrawFn) -> tuple[Floats, Numbers, Numbers]:
    """Faces of up to 40, the photo of each, and who it is, of up to 8 people; so alike that it is hard."""
    count = draw(st.integers(1, 40))
    who = draw(st.lists(st.integers(0, 7), min_size=count, max_size=count))
    photos = draw(st.lists(st.integers(0, 19), min_size=count, max_size=count))
    spread = draw(st.sampled_from([0.1, 0.4, 0.6, 0.8]))
    vectors = drawn(who, seed=draw(st.integers(0, 999)), spread=spread)
    return vectors, np.array(photos), np.array(who)


def test_people_who_are_far_apart_are_told_apart() -> None:
    who = np.repeat(np.arange(30), np.arange(30) % 7 + 1)
    vectors = drawn(who, spread=0.3)
    assert partition(group_faces(vectors, np.arange(len(who)), LIMITS)) == partition(who)


def test_no_faces_are_no_people() -> None:
    assert group_faces(np.empty((0, 8), np.float32), np.empty(0, np.int64), LIMITS).tolist() == []


def test_people_are_numbered_by_their_first_faces() -> None:
    vectors = drawn([2, 0, 2, 1, 0], spread=0.1)
    assert group_faces(vectors, np.arange(5), LIMITS).tolist() == [0, 1, 0, 2, 1]


def test_pictures_of_one_moment_do_not_hide_the_others_of_a_person() -> None:
    """Each burst has more pictures, nearly the same, than pairs are looked at of each."""
    size = NEAREST + 8
    moments = drawn([0] * 4, spread=0.4)
    noise = np.random.default_rng(1).standard_normal((4 * size, DIMENSION)) * 0.002
    vectors = np.repeat(moments, size, axis=0) + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = group_faces(np.asarray(vectors, np.float32), np.arange(4 * size), LIMITS)
    assert set(labels.tolist()) == {0}


@settings(max_examples=60, deadline=None)
@given(albums())
def test_two_faces_of_one_photo_are_never_one_persons(album: tuple[Floats, Numbers, Numbers]) -> None:
    vectors, photos, _ = album
    labels = group_faces(vectors, photos, LIMITS)
    assert len(set(zip(labels.tolist(), photos.tolist(), strict=True))) == len(labels)


@settings(max_examples=60, deadline=None)
@given(albums())
def test_faces_held_apart_stay_apart(album: tuple[Floats, Numbers, Numbers]) -> None:
    vectors, photos, who = album
    same = [pair for pair in combinations(range(len(who)), 2) if who[pair[0]] == who[pair[1]]][::3]
    apart = np.array(same, np.int64).reshape(-1, 2)
    labels = group_faces(vectors, photos, LIMITS, apart=apart)
    assert not np.any(labels[apart[:, 0]] == labels[apart[:, 1]])


@settings(max_examples=60, deadline=None)
@given(albums(), st.integers(0, 999))
def test_the_order_of_the_faces_makes_no_difference(
    album: tuple[Floats, Numbers, Numbers], seed: int
) -> None:
    vectors, photos, _ = album
    order = np.random.default_rng(seed).permutation(len(vectors))
    first = group_faces(vectors, photos, LIMITS)
    second = np.empty_like(first)
    second[order] = group_faces(vectors[order], photos[order], LIMITS)
    assert partition(first) == partition(second)


@settings(max_examples=60, deadline=None)
@given(albums(), st.integers(0, 40))
def test_known_people_keep_their_faces_and_numbers(album: tuple[Floats, Numbers, Numbers], at: int) -> None:
    vectors, photos, _ = album
    known = np.full(len(vectors), FREE)
    known[:at] = group_faces(vectors[:at], photos[:at], LIMITS) * 10 + 5
    labels = group_faces(vectors, photos, LIMITS, people=known)
    assert labels[:at].tolist() == known[:at].tolist()
    new = set(labels.tolist()) - set(known.tolist())
    assert not new or min(new) > known.max()
    assert len(set(zip(labels.tolist(), photos.tolist(), strict=True))) == len(labels)


def test_faces_that_come_later_join_the_people_who_are_there() -> None:
    who = np.arange(60) % 6
    vectors = drawn(who, spread=0.3)
    known = np.full(60, FREE)
    for end in (20, 40, 60):
        known[:end] = group_faces(vectors[:end], np.arange(end), LIMITS, people=known[:end])
    assert partition(known) == partition(who)


def test_known_people_who_break_a_rule_are_an_error() -> None:
    vectors = drawn([0, 0])
    with pytest.raises(ValueError, match="not one person"):
        group_faces(vectors, np.array([3, 3]), LIMITS, people=np.array([0, 0]))
    with pytest.raises(ValueError, match="not one person"):
        group_faces(vectors, np.arange(2), LIMITS, people=np.array([0, 0]), apart=np.array([[1, 0]]))


def test_pairs_are_those_of_the_full_matrix() -> None:
    vectors = drawn(np.arange(50) % 20, spread=0.5)
    products = np.triu(vectors @ vectors.T, 1)
    expected = np.stack(np.nonzero(products >= 0.4), axis=1)
    assert alike_pairs(vectors, 0.4, rows=np.arange(50)).tolist() == expected.tolist()
    few = alike_pairs(vectors, 0.4, rows=np.array([7]))
    assert few.tolist() == expected[(expected == 7).any(axis=1)].tolist()


def test_a_lone_faces_limit_rises_with_the_faces_between_the_points_of_the_calibration() -> None:
    calibration = Knots(((-1.0, 0.0), (0.3, 80.0), (0.5, 99.0), (1.0, 100.0)))
    small, middle, large = (limits_of(calibration.cosine, count) for count in (50, 1000, 50_000))
    assert small.lone == pytest.approx(0.3)
    assert middle.lone == pytest.approx(0.4)
    assert large.lone == pytest.approx(0.5)
    assert small.large == middle.large == large.large == pytest.approx(0.3)
    sizes = np.array([1.0, 4.0]), np.array([1.0, 4.0])
    assert middle.between(*sizes) == pytest.approx([0.4, 0.325])
