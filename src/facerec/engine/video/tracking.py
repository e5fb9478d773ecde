"""Links the faces of successive frames to tracks: a track is one face for as long as it is seen.

A face that lies where a track's face lay a moment ago is that face; this is certain enough to need no look at
it. Every other face is embedded: it goes on with the track that it looks like, or begins a new one. So few
faces are embedded, and each track knows the looks of its best ones. A dark, blurred or turned face looks like
any other such face to a recogniser: it is followed by its place alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Calibration, Floats

SURE_OVERLAP = 0.4
"""Overlap (intersection over union) from which a face is the one that was there in the frame before. A face
that moves by a quarter of its width still overlaps by 0.6; two faces beside each other hardly at all."""

NEAR_OVERLAP = 0.1
"""Overlap from which place speaks for a track at all, where looks do not tell: a turned or blurred face."""

SAME_SIMILARITY = 80.0
"""Similarity (0..100) of the pack's calibration from which a face looks like a track: its working point."""

OTHER_SIMILARITY = 25.0
"""Similarity under which a face contradicts the track in whose place it is."""

SAMPLES = 5
"""Faces of a track that are embedded and kept, the best ones."""

BETTER = 1.2
"""How many times better than the worst of them a face has to be to take its place."""

SAMPLE_MS = 400
"""Least time between two faces of a track that are embedded: neighbours look alike and tell nothing new."""

Embed = Callable[[Sequence[int]], Floats]
"""Unit embeddings (N, dimension) float32 of some of a frame's faces, by their places."""


@dataclass(slots=True, eq=False)
class Track:
    """One face over a time, as far as it is known. Times in milliseconds since the video's beginning."""

    number: int
    first_ms: int
    last_ms: int
    box: Floats
    """(4,) left, top, right, bottom in pixels, as last seen."""
    frames: int = 1
    """How many frames show it."""
    rivals: set[int] = field(default_factory=set)
    """Numbers of the tracks that a frame shows beside it: those are other people."""
    samples: list[tuple[float, Floats]] = field(default_factory=list)
    """Worth and unit embedding (dimension,) of its best faces; none while no face was good enough."""
    sampled_ms: int = 0
    mean: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    """(dimension,) unit vector, the mean of the samples; empty without any."""

    @property
    def known(self) -> bool:
        """Whether one of its faces was good enough to tell how it looks."""
        return bool(self.samples)

    def wants(self, time_ms: int, worth: float) -> bool:
        """Whether a face of such a worth is to be embedded."""
        if worth <= 0 or (self.samples and time_ms - self.sampled_ms < SAMPLE_MS):
            return False
        return len(self.samples) < SAMPLES or worth > BETTER * min(each for each, _ in self.samples)

    def take_sample(self, time_ms: int, worth: float, embedding: Floats) -> None:
        """Keep the look of a face, in place of the worst where there are enough."""
        self.samples.append((worth, embedding))
        if len(self.samples) > SAMPLES:
            self.samples.remove(min(self.samples, key=lambda sample: sample[0]))
        self.sampled_ms = time_ms
        total = np.sum([each for _, each in self.samples], axis=0)
        length = float(np.linalg.norm(total))
        self.mean = np.asarray(total / length, np.float32) if length > 1e-6 else embedding

    def see(self, time_ms: int, box: Floats) -> None:
        """It is in one more frame."""
        self.last_ms, self.box = time_ms, box
        self.frames += 1


class Tracker:
    """Follows the faces of one video. For one thread."""

    def __init__(self, calibration: Calibration, *, gap_ms: int) -> None:
        """gap_ms: longest time that a face may be out of sight and still be the same track."""
        self._same = calibration.cosine(SAME_SIMILARITY)
        self._other = calibration.cosine(OTHER_SIMILARITY)
        self._gap_ms = gap_ms
        self._open: list[Track] = []
        self._seen_ms = -1
        """Time of the frame before."""
        self.tracks: list[Track] = []
        """All so far, by their numbers."""
        self.embedded = 0
        """Faces that were embedded."""

    def see(
        self, time_ms: int, boxes: Floats, worths: Sequence[float], embed: Embed, *, cut: bool
    ) -> list[Track]:
        """The track of each of a frame's faces, no two the same.

        boxes: (N, 4) left, top, right, bottom in pixels. worths: how good each face's picture is, on any
        scale; 0 for one that does not tell whose it is, which is followed by its place alone. cut: another
        scene has begun, and places mean nothing.
        """
        self._open = [track for track in self._open if time_ms - track.last_ms <= self._gap_ms]
        shares = overlaps(boxes, np.array([track.box for track in self._open], np.float32).reshape(-1, 4))
        fresh = np.array([track.last_ms == self._seen_ms and not cut for track in self._open], bool)
        places = np.where(fresh, shares, 0.0)
        linked = {row: self._open[column] for row, column in _pairs(places, SURE_OVERLAP)}
        looked_at = [
            row
            for row, worth in enumerate(worths)
            if worth > 0 and (row not in linked or linked[row].wants(time_ms, worth))
        ]
        looks = dict(zip(looked_at, embed(looked_at), strict=True)) if looked_at else {}
        self.embedded += len(looks)
        for row in looks:
            if row in linked and linked[row].known and float(looks[row] @ linked[row].mean) < self._other:
                del linked[row]
        self._link_by_look(linked, looks, places)
        found = [self._entered(time_ms, box, linked.get(row)) for row, box in enumerate(boxes)]
        for row, embedding in looks.items():
            if found[row].wants(time_ms, worths[row]):
                found[row].take_sample(time_ms, worths[row], embedding)
        numbers = {track.number for track in found}
        for track in found:
            track.rivals |= numbers - {track.number}
        self._seen_ms = time_ms
        return found

    def _link_by_look(
        self, linked: dict[int, Track], looks: dict[int, Floats], places: NDArray[np.float32]
    ) -> None:
        """Link the faces that are left to the tracks that are left: by look, then by place, where looks do
        not contradict it."""
        cosines = np.full(places.shape, np.nan, np.float32)
        for row, look in looks.items():
            for column, track in enumerate(self._open):
                if track.known:
                    cosines[row, column] = look @ track.mean
        alike = np.nan_to_num(cosines, nan=-1.0)
        near = np.where(np.isnan(cosines) | (cosines >= self._other), places, 0.0)
        for scores, least in ((alike, self._same), (near, NEAR_OVERLAP)):
            taken = {track.number for track in linked.values()}
            scores[list(linked), :] = -1.0
            scores[:, [column for column, track in enumerate(self._open) if track.number in taken]] = -1.0
            for row, column in _pairs(scores, least):
                linked[row] = self._open[column]

    def _entered(self, time_ms: int, box: Floats, track: Track | None) -> Track:
        """The track, with one more face; a new one for None."""
        if track is not None:
            track.see(time_ms, box)
            return track
        track = Track(number=len(self.tracks), first_ms=time_ms, last_ms=time_ms, box=box)
        self.tracks.append(track)
        self._open.append(track)
        return track


def overlaps(boxes: Floats, others: Floats) -> NDArray[np.float32]:
    """Intersection over union (N, M), 0..1, of boxes (N, 4) and (M, 4) left, top, right, bottom."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    own = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    its = (others[:, 2:] - others[:, :2]).prod(axis=1)
    whole = own[:, None] + its[None, :] - shared
    return np.asarray(shared / np.maximum(whole, 1e-9), np.float32)


def _pairs(scores: NDArray[np.float32], least: float) -> list[tuple[int, int]]:
    """Rows and columns of a matrix joined in pairs, highest scores first, each once, none under `least`."""
    pairs: list[tuple[int, int]] = []
    rows: set[int] = set()
    columns: set[int] = set()
    for place in np.argsort(-scores, axis=None, kind="stable").tolist():
        row, column = divmod(place, scores.shape[1])
        if scores[row, column] < least:
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs
