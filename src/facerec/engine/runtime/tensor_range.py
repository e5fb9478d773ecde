"""What a range of a network's tensor is."""

from __future__ import annotations

Bound = float | tuple[float, ...]
"""Of all values of a tensor, or of each of its channels."""
Range = tuple[Bound, Bound]
"""Least and greatest value of a tensor, or of each of its channels."""
