"""How well faces are told apart where it is known who is who: by pairs, and by BCubed."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """Shares 0..1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 where both are 0."""
        both = self.precision + self.recall
        return 2.0 * self.precision * self.recall / both if both else 0.0

    def as_json(self) -> dict[str, float]:
        """What is kept of it."""
        return {**asdict(self), "f1": self.f1}


def by_pairs(found: Numbers, true: Numbers) -> Score:
    """Over all pairs of faces that were put together, and all that belong together.

    found, true: (N,) the number of each face's person. No pair at all counts as 1.
    """
    together, founds, trues = _sizes(found, true)
    both, said, right = (_pairs(sizes) for sizes in (together, founds, trues))
    return Score(both / said if said else 1.0, both / right if right else 1.0)


def by_faces(found: Numbers, true: Numbers) -> Score:
    """BCubed: of each face, the share of its group that is its person, and of its person that is its group;
    the mean over the faces (Amigo et al., Information Retrieval 12, 2009).

    Each face weighs as much as any other, where pairs weigh those of many photos most.
    """
    together, founds, trues = _sizes(found, true)
    names, at = np.unique(np.stack([found, true], axis=1), axis=0, return_inverse=True)
    shared = together[at.ravel()]
    assert len(names) == len(together)
    precision = shared / founds[np.unique(found, return_inverse=True)[1]]
    recall = shared / trues[np.unique(true, return_inverse=True)[1]]
    return Score(float(precision.mean()), float(recall.mean()))


def _sizes(found: Numbers, true: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """How many faces each part, each group that was found and each person has."""
    return (
        np.unique(np.stack([found, true], axis=1), axis=0, return_counts=True)[1],
        np.unique(found, return_counts=True)[1],
        np.unique(true, return_counts=True)[1],
    )


def _pairs(sizes: Numbers) -> int:
    return int((sizes * (sizes - 1) // 2).sum())
