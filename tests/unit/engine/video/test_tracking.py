"""Faces to tracks, and tracks to persons, with looks that a test makes up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerec.engine.base import Floats
from facerec.engine.calibration import Knots
from facerec.engine.video.persons import join_tracks
from facerec.engine.video.tracking import SAMPLES, Track, Tracker, overlaps

CALIBRATION = Knots(((-1.0, 0.0), (0.0, 5.0), (0.4, 80.0), (0.5, 99.0), (1.0, 100.0)))
DIMENSION = 32


def look(name: str) -> Floats:
    vector = np.random.default_rng(list(name.encode())).normal(size=DIMENSION)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


Face = tuple[str, float]
"""Whose face it is, and where its left edge lies; all are 100 pixels wide."""


class Film:
    """A tracker at work, five frames a second."""

    def __init__(self, gap_ms: int = 1000) -> None:
        self.tracker = Tracker(CALIBRATION, gap_ms=gap_ms)
        self.time_ms = 0

    def show(self, *faces: Face, cut: bool = False, worth: float = 1.0) -> list[int]:
        """Numbers of the tracks of one frame's faces."""
        boxes = np.array([(left, 0, left + 100, 100) for _, left in faces], np.float32).reshape(-1, 4)

        def embed(rows: Sequence[int]) -> Floats:
            return np.stack([look(faces[row][0]) for row in rows])

        tracks = self.tracker.see(self.time_ms, boxes, [worth] * len(faces), embed, cut=cut)
        self.time_ms += 200
        return [track.number for track in tracks]

    def persons(self) -> list[list[int]]:
        return [
            [track.number for track in each.tracks] for each in join_tracks(self.tracker.tracks, CALIBRATION)
        ]


def test_overlaps_of_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    others = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [100, 100, 101, 101]], np.float32)
    assert np.allclose(overlaps(boxes, others), [[1 / 3, 1.0, 0.0], [0.0, 0.0, 0.0]])


def test_a_face_that_moves_is_one_track_and_seldom_looked_at() -> None:
    film = Film()
    for step in range(50):
        assert film.show(("ann", 10.0 * step)) == [0]
    assert film.tracker.tracks[0].frames == 50
    assert film.tracker.embedded == SAMPLES


def test_two_faces_that_pass_each_other_are_told_by_their_looks() -> None:
    film = Film()
    assert film.show(("ann", 0), ("ben", 300)) == [0, 1]
    assert film.show(("ann", 140), ("ben", 160)) == [0, 1]
    assert film.show(("ben", 20), ("ann", 280)) == [1, 0]


def test_another_face_in_the_same_place_after_a_cut_is_another_track() -> None:
    film = Film()
    assert film.show(("ann", 0)) == [0]
    assert film.show(("ben", 0), cut=True) == [1]
    assert film.show(("ann", 0), cut=True) == [0], "she is back within the time that a track is open"


def test_a_cut_that_was_overlooked_is_found_by_the_look() -> None:
    film = Film()
    for _ in range(5):
        film.show(("ann", 0))
    numbers = [film.show(("ben", 0))[0] for _ in range(4)]
    assert numbers[-1] == 1


def test_a_face_that_was_out_of_sight_too_long_begins_anew_and_is_the_same_person() -> None:
    film = Film(gap_ms=500)
    film.show(("ann", 0))
    film.show()
    assert film.show(("ann", 200)) == [0], "400 ms"
    for _ in range(3):
        film.show()
    assert film.show(("ann", 0)) == [1], "800 ms"
    assert film.persons() == [[0, 1]]


def test_faces_that_tell_nothing_are_followed_by_their_place_alone() -> None:
    film = Film()
    assert film.show(("ann", 0), worth=0) == [0]
    assert film.show(("ann", 20), worth=0) == [0]
    assert film.show(("ann", 400), worth=0) == [1]
    assert film.tracker.embedded == 0
    assert film.persons() == [[0], [1]], "nothing says that they are one person"


def test_two_faces_of_one_frame_are_never_one_person() -> None:
    film = Film()
    film.show(("twin", 0), ("twin", 300))
    assert film.persons() == [[0], [1]]
    for _ in range(8):
        film.show()
    film.show(("twin", 0))
    assert film.persons() in ([[0, 2], [1]], [[0], [1, 2]])


def test_persons_are_counted_from_their_first_appearance() -> None:
    film = Film(gap_ms=200)
    for names in (["ben"], ["ann", "ben"], ["cat"], [], ["ann"], [], ["ben", "cat"]):
        film.show(*((name, 200.0 * place) for place, name in enumerate(names)), cut=True)
        film.show()
    persons = join_tracks(film.tracker.tracks, CALIBRATION)
    assert [each.index for each in persons] == [0, 1, 2]
    firsts = [min(track.first_ms for track in each.tracks) for each in persons]
    assert firsts == sorted(firsts)
    for person, name in zip(persons, ("ben", "ann", "cat"), strict=True):
        assert person.mean is not None
        assert float(person.mean @ look(name)) > 0.99


def test_no_tracks_are_no_persons() -> None:
    assert join_tracks([], CALIBRATION) == []


def test_the_worst_sample_makes_room_for_a_better_one() -> None:
    track = Track(number=0, first_ms=0, last_ms=0, box=np.zeros(4, np.float32))
    for number in range(SAMPLES):
        track.take_sample(1000 * number, 1.0 + number, look("ann"))
    assert not track.wants(9000, 1.1)
    assert track.wants(9000, 1.3)
    track.take_sample(9000, 1.3, look("ann"))
    assert sorted(worth for worth, _ in track.samples) == [1.3, 2.0, 3.0, 4.0, 5.0]
