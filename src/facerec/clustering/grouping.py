"""Groups faces into people: those most alike first, by the mean over all pairs of two groups.

This is agglomeration by average linkage, in rounds. In each round every group looks for the group that it
reaches its limit with by the widest margin, and those that chose each other become one. For unit vectors the
mean cosine of all pairs of two groups is the product of their sums over the product of their sizes, so a
group is its sum and its size, however many faces it has.

What may never be one person is never looked at again: faces of one photo, faces held apart, people that are
known to be two. The order of the faces makes no difference, but where two pairs are alike to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.clustering.candidates import alike_pairs
from facerec.clustering.limits import Limits

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]

FREE = -1
"""As the person of a face: none yet."""

NO_PAIRS: Numbers = np.empty((0, 2), np.int64)

BLOCK_PAIRS = 1 << 16
"""Pairs whose vectors are in memory at a time."""


def group_faces(
    vectors: Floats,
    photos: Numbers,
    limits: Limits,
    *,
    people: Numbers | None = None,
    apart: Numbers = NO_PAIRS,
) -> Numbers:
    """The person of each face (N,): 0, 1, 2...

    vectors: (N, D) unit vectors. photos: (N,) number of the photo of each: no two of one are one person's.
    people: (N,) the person whom a face belongs to already, 0 or more, or FREE (None: all are). Those keep
    their faces and their numbers, stay as many as they are, and are joined by free faces; new people get the
    numbers after theirs, in the order of their first faces. apart: (M, 2) pairs of faces that are never one
    person's. Raises ValueError where a known person has two faces of one photo, or two that are apart.
    """
    count = len(vectors)
    known = np.full(count, FREE, np.int64) if people is None else people
    if count == 0:
        return known.copy()
    # A node is a known person, or a free face: the people come first.
    numbers = np.unique(known[known != FREE])
    nodes = np.searchsorted(numbers, known)
    free = known == FREE
    nodes[free] = len(numbers) + np.arange(int(free.sum()))
    forbidden = _forbidden(nodes, photos, apart)
    groups = _Groups.of(vectors, nodes, len(numbers))
    roots = _agglomerate(groups, forbidden, limits)[nodes]
    return _numbered(roots, numbers)


@dataclass(slots=True)
class _Groups:
    """Groups by their index: what agglomeration knows of each."""

    sums: Floats
    sizes: NDArray[np.float64]
    known: NDArray[np.bool_]
    """Whether it is a person that was known before: no two of these become one."""

    @classmethod
    def of(cls, vectors: Floats, nodes: Numbers, people: int) -> _Groups:
        count = int(nodes.max()) + 1
        order = np.argsort(nodes, kind="stable")
        starts = np.searchsorted(nodes[order], np.arange(count))
        sums = np.add.reduceat(vectors[order], starts, axis=0)
        return cls(sums, np.bincount(nodes).astype(np.float64), np.arange(count) < people)

    def means(self) -> Floats:
        """The mean of each group's faces (N, D)."""
        return np.divide(self.sums, self.sizes[:, None], dtype=np.float32)

    def unite(self, kept: Numbers, gone: Numbers) -> None:
        """Put groups into others; no group is in both."""
        self.sums[kept] += self.sums[gone]
        self.sizes[kept] += self.sizes[gone]

    def only(self, wanted: Numbers) -> _Groups:
        """Some of them."""
        return _Groups(self.sums[wanted], self.sizes[wanted], self.known[wanted])

    def margins(self, pairs: Numbers, limits: Limits) -> NDArray[np.float64]:
        """By how much the mean cosine of each pair of groups is above what it has to be (M,)."""
        margins = np.empty(len(pairs))
        for start in range(0, len(pairs), BLOCK_PAIRS):
            first, second = pairs[start : start + BLOCK_PAIRS].T
            products = np.einsum("ij,ij->i", self.sums[first], self.sums[second])
            sizes = self.sizes[first], self.sizes[second]
            means = products / (sizes[0] * sizes[1])
            margins[start : start + BLOCK_PAIRS] = means - limits.between(*sizes)
        return margins


def _forbidden(nodes: Numbers, photos: Numbers, apart: Numbers) -> Numbers:
    """Pairs of nodes that are never one person: of one photo, or held apart."""
    pairs = np.concatenate([nodes[_of_one_photo(photos)], nodes[apart]])
    if bool(np.any(pairs[:, 0] == pairs[:, 1])):
        raise ValueError("a known person has two faces that are not one person's")
    return _unique(pairs, int(nodes.max()) + 1)


def _of_one_photo(photos: Numbers) -> Numbers:
    """All pairs of faces of one photo."""
    order = np.argsort(photos, kind="stable")
    _, starts, sizes = np.unique(photos[order], return_index=True, return_counts=True)
    found = [NO_PAIRS]
    for size in np.unique(sizes[sizes > 1]):
        first, second = np.triu_indices(size, 1)
        at = starts[sizes == size][:, None]
        found.append(np.stack([order[at + first].ravel(), order[at + second].ravel()], axis=1))
    return np.concatenate(found)


def _agglomerate(groups: _Groups, forbidden: Numbers, limits: Limits) -> Numbers:
    """The group that each node has come into.

    Only so many pairs of each group are looked at. Forty pictures of one moment are each other's nearest and
    see nothing else: so the groups that come out are grouped again, until nothing comes together any more.
    """
    roots = np.arange(len(groups.sizes))
    while True:
        before = len(groups.sizes)
        groups, forbidden, into = _pass(groups, forbidden, limits)
        roots = into[roots]
        if len(groups.sizes) == before:
            return roots


def _pass(groups: _Groups, forbidden: Numbers, limits: Limits) -> tuple[_Groups, Numbers, Numbers]:
    """Unite groups by the pairs of those that are alike now; the groups left, numbered anew in their order,
    what is forbidden between them, and the new number of each old one.
    """
    count = len(groups.sizes)
    roots = np.arange(count)
    pairs = alike_pairs(groups.means(), limits.large, rows=np.flatnonzero(~groups.known))
    pairs = pairs[_is_allowed(pairs, forbidden, groups.known, count)]
    margins = groups.margins(pairs, limits)
    while len(chosen := _mutual(pairs, margins, count)):
        kept, gone = pairs[chosen].T  # no group is in two of them
        groups.unite(kept, gone)
        into = np.arange(count)
        into[gone] = kept
        roots = into[roots]
        forbidden = _unique(into[forbidden], count)
        pairs, margins = _contract(pairs, margins, into, kept, count)
        allowed = _is_allowed(pairs, forbidden, groups.known, count)
        pairs, margins = pairs[allowed], margins[allowed]
        anew = np.isnan(margins)
        margins[anew] = groups.margins(pairs[anew], limits)
    left, new = np.unique(roots, return_inverse=True)
    return groups.only(left), np.searchsorted(left, forbidden), new


def _mutual(pairs: Numbers, margins: NDArray[np.float64], count: int) -> Numbers:
    """Indices of the pairs of groups that are each other's best, of those with a margin of 0 or more."""
    good = np.flatnonzero(margins >= 0)
    ascending = good[np.argsort(margins[good], kind="stable")]
    best = np.full(count, -1, np.int64)
    best[pairs[ascending].ravel()] = np.repeat(ascending, 2)  # of several values the last one stays
    mutual: Numbers = good[(best[pairs[good, 0]] == good) & (best[pairs[good, 1]] == good)]
    return mutual


def _contract(
    pairs: Numbers, margins: NDArray[np.float64], into: Numbers, grown: Numbers, count: int
) -> tuple[Numbers, NDArray[np.float64]]:
    """The pairs of the groups that are left, ascending; NaN as the margin where a group has grown."""
    changed = np.zeros(count, np.bool_)
    changed[grown] = True
    touched = changed[into[pairs]].any(axis=1)
    renewed = _unique(into[pairs[touched]], count)
    renewed = renewed[renewed[:, 0] != renewed[:, 1]]
    pairs = np.concatenate([pairs[~touched], renewed])
    margins = np.concatenate([margins[~touched], np.full(len(renewed), np.nan)])
    order = np.argsort(pairs[:, 0] * count + pairs[:, 1], kind="stable")
    return pairs[order], margins[order]


def _is_allowed(
    pairs: Numbers, forbidden: Numbers, known: NDArray[np.bool_], count: int
) -> NDArray[np.bool_]:
    """Whether each pair of groups may become one."""
    keys, never = pairs[:, 0] * count + pairs[:, 1], forbidden[:, 0] * count + forbidden[:, 1]
    return ~np.isin(keys, never) & ~known[pairs].all(axis=1)


def _unique(pairs: Numbers, count: int) -> Numbers:
    """Each pair once, the lower one first."""
    ends = np.sort(pairs, axis=1)
    keys = np.unique(ends[:, 0] * count + ends[:, 1])
    return np.stack([keys // count, keys % count], axis=1)


def _numbered(roots: Numbers, numbers: Numbers) -> Numbers:
    """Persons by their numbers: known ones by theirs, new ones after these, by their first faces."""
    labels = np.empty(int(roots.max()) + 1, np.int64)
    labels[: len(numbers)] = numbers[: len(labels)]
    new = roots[roots >= len(numbers)]
    first = np.unique(new, return_index=True)[1]
    after = int(numbers.max()) + 1 if len(numbers) else 0
    labels[new[np.sort(first)]] = after + np.arange(len(first))
    return labels[roots]
