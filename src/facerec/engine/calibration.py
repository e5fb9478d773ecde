"""From cosines to Rekognition's similarities: a monotone curve per model pack, kept as knots."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

from facerec.errors import PackError


@dataclass(frozen=True, slots=True)
class Knots:
    """A monotone piecewise linear curve through (cosine, similarity) points; implements `Calibration`.

    points: at least two pairs; cosines (-1..1) strictly ascending, similarities (0..100) never descending.
    Beyond the first and last knot the curve is flat. Raises PackError for points that are not such a curve.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise PackError(f"calibration has {len(self.points)} knots; a curve needs at least two")
        for cosine, similarity in self.points:
            if not (-1.0 <= cosine <= 1.0 and 0.0 <= similarity <= 100.0):
                raise PackError(
                    f"calibration knot [{cosine}, {similarity}] is outside cosine -1..1, similarity 0..100"
                )
        for (cosine, similarity), (next_cosine, next_similarity) in pairwise(self.points):
            if next_cosine <= cosine or next_similarity < similarity:
                raise PackError(
                    f"calibration knot [{next_cosine}, {next_similarity}] does not rise above "
                    f"[{cosine}, {similarity}]: cosines ascend strictly and similarities never descend"
                )

    def similarity(self, cosine: float) -> float:
        """Similarity 0..100 for a cosine; cosines beyond the knots get the nearest knot's similarity."""
        if math.isnan(cosine):
            raise ValueError("the cosine is not a number: an embedding was not finite")
        after = bisect_right(self.points, cosine, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        if after == len(self.points):
            return self.points[-1][1]
        (x0, y0), (x1, y1) = self.points[after - 1], self.points[after]
        return y0 + (y1 - y0) * (cosine - x0) / (x1 - x0)

    def cosine(self, similarity: float) -> float:
        """The least cosine whose similarity reaches `similarity` (0..100).

        At or under the first knot's similarity every cosine will do: -1. Above the last knot's none will: a
        value just over 1, so that no cosine passes.
        """
        if math.isnan(similarity):
            raise ValueError("the similarity is not a number; expected 0..100")
        at = bisect_left(self.points, similarity, key=lambda point: point[1])
        if at == 0:
            return -1.0
        if at == len(self.points):
            return math.nextafter(1.0, 2.0)
        (x0, y0), (x1, y1) = self.points[at - 1], self.points[at]
        found = x0 + (x1 - x0) * (similarity - y0) / (y1 - y0)
        # Rounding may land just short of the wanted similarity; a caller that cuts at this cosine must not
        # then see a similarity below its threshold.
        while found < x1 and self.similarity(found) < similarity:
            found = math.nextafter(found, x1)
        return found
