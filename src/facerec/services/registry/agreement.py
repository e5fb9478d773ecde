"""Whether the pictures of an enrolment show one person."""

from __future__ import annotations

import numpy as np

from facerec.domain import Review
from facerec.engine.base import Calibration, Floats

AGREE = {Review.OFF: 0.0, Review.STANDARD: 60.0, Review.STRICT: 75.0}
"""Similarity (0..100) from which two pictures agree. Whoever sends them says that they are of one person: a
mistake is to be seen, not a forger to be kept out, and a person looks different from day to day. 75 is what
Rekognition asks of a face that is associated with a user."""


def agreeing(embeddings: Floats, known: Floats, calibration: Calibration, review: Review) -> list[bool]:
    """Which of N new pictures show the person that most of them do.

    embeddings: unit vectors (N, dimension). known: those (K, dimension) that the person has already, against
    which, where there are any, every picture is held: by the best of them. Else the picture that most others
    agree with says who the person is; with two that disagree nobody can tell, and neither is taken.
    """
    least = calibration.cosine(AGREE[review])
    if len(known):
        return list((embeddings @ known.T).max(axis=1) >= least)
    near = embeddings @ embeddings.T >= least
    if len(embeddings) == 1:
        return [True]
    centre = int(np.argmax(near.sum(axis=1)))
    if near[centre].sum() * 2 <= len(embeddings):
        return [False] * len(embeddings)  # no more than half agree with any
    return list(near[centre])
