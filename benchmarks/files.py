"""Reads what `run.py` keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


JOINED = {"quality and pose": "around the detector", "rest": "alignment"}
"""Stages that were told apart before, and the ones that they are told with now."""


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements that there are, by name, and the figures of before."""

    by_name: dict[str, dict[str, Any]]
    earlier: dict[str, Any]

    def figures(self, name: str) -> dict[str, Any]:
        """What a measurement printed; nothing where it was never made."""
        found: dict[str, Any] = self.by_name.get(name, {}).get("figures", {})
        return found

    def number(self, name: str, *path: str) -> float | None:
        """A number of a measurement's figures, by the names that lead to it; None where it is not there."""
        value: Any = self.figures(name)
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return float(value) if isinstance(value, (int, float)) else None

    def stages_before(self, name: str) -> dict[str, float]:
        """Milliseconds a picture by stage, as they were before."""
        stages: dict[str, float] = {}
        for stage, ms in self.earlier[name]["stages"].items():
            told = JOINED.get(stage, stage)
            stages[told] = stages.get(told, 0.0) + ms
        return stages

    def load(self, name: str, clients: int) -> dict[str, Any]:
        """The run of a service's measurement with so many clients; nothing where there is none."""
        runs = self.figures(name).get("runs", [])
        return next((run for run in runs if run["clients"] == clients), {})

    def search(self, faces: int, dimension: int, *parts: str) -> dict[str, Any]:
        """The figures of the first store whose name has these parts, at one size of gallery; nothing where
        there are none.
        """
        for one in self.searches():
            named = all(part in one["store"] for part in parts)
            if named and (one["faces"], one["dimension"]) == (faces, dimension):
                return one
        return {}

    def searches(self) -> list[dict[str, Any]]:
        """The figures of every store at every size of gallery."""
        return self._of_galleries("searches")

    def starts(self) -> list[dict[str, Any]]:
        """How fast the index opens at every size of gallery."""
        return self._of_galleries("starts")

    def _of_galleries(self, kind: str) -> list[dict[str, Any]]:
        measured = [one["figures"] for one in self.by_name.values() if one["part"] == "search"]
        return [dict(row) for figures in measured for row in figures.get(kind, [])]


def read_results(folder: Path = FOLDER) -> Results:
    """Everything in `results/` of a folder, and its `earlier.json`."""
    files = sorted((folder / "results").glob("*.json"))
    return Results(
        by_name={path.stem: json.loads(path.read_text()) for path in files},
        earlier=json.loads((folder / "earlier.json").read_text()),
    )
