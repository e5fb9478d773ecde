"""Joins the tracks of a video to persons: one person comes and goes, and is many tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facerec.engine.base import Calibration, Floats
from facerec.engine.video.tracking import Track

SAME_SIMILARITY = 90.0
"""Similarity (0..100) of the pack's calibration from which two tracks' mean looks are one person's. More than
the working point of one comparison: of many tracks every two are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoPerson:
    """A person of a video. `index` counts from 0 in the order of first appearance."""

    index: int
    tracks: tuple[Track, ...]
    mean: Floats | None
    """(dimension,) unit vector, the mean look of the person's best faces; None where none was good enough."""


def join_tracks(tracks: Sequence[Track], calibration: Calibration) -> list[VideoPerson]:
    """The persons of a video, in the order of their first appearance.

    The two groups that look most alike are joined, again and again, until none look alike enough. Tracks that
    one frame shows side by side are never one person (constrained agglomerative clustering by centroids).
    """
    known = [track for track in tracks if track.known]
    groups = [[track] for track in tracks if not track.known]
    groups += _grouped(known, calibration.cosine(SAME_SIMILARITY)) if known else []
    groups.sort(key=lambda group: min((track.first_ms, track.number) for track in group))
    return [
        VideoPerson(index, tuple(sorted(group, key=lambda track: track.number)), _mean(group))
        for index, group in enumerate(groups)
    ]


def _grouped(tracks: Sequence[Track], least: float) -> list[list[Track]]:
    """Groups of the tracks, at least one, whose means' cosine is `least` or more."""
    groups = [[track] for track in tracks]
    place = {track.number: row for row, track in enumerate(tracks)}
    sums = np.stack([len(track.samples) * track.mean for track in tracks])
    apart = np.eye(len(tracks), dtype=bool)
    for row, track in enumerate(tracks):
        apart[row, [place[number] for number in track.rivals if number in place]] = True
    cosines = np.where(apart, -2.0, _unit(sums) @ _unit(sums).T)
    while True:
        row, other = divmod(int(cosines.argmax()), len(tracks))
        if cosines[row, other] < least:
            return [group for group in groups if group]
        groups[row] += groups[other]
        groups[other] = []
        sums[row] += sums[other]
        apart[row] |= apart[other]
        apart[:, row] |= apart[:, other]
        apart[other], apart[:, other] = True, True
        cosines[other], cosines[:, other] = -2.0, -2.0
        renewed = np.where(apart[row], -2.0, _unit(sums) @ _unit(sums[row : row + 1])[0])
        cosines[row], cosines[:, row] = renewed, renewed


def _mean(group: Sequence[Track]) -> Floats | None:
    known = [len(track.samples) * track.mean for track in group if track.known]
    return _unit(np.sum(known, axis=0)[None])[0] if known else None


def _unit(vectors: Floats) -> Floats:
    """Vectors (N, d) scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)
