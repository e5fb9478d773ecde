"""The picture of who appears when in a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facerec.domain import Face, VideoJob
from facerec.errors import ConfigurationError, InvalidParameter
from facerec.services.videos.service import Appearing

INK = "#222222"
KNOWN = "#0072B2"
UNKNOWN = "#B8B8B8"
MOST_ROWS = 40
"""Persons that are drawn: those seen longest."""

SHORTEST = 0.004
"""Width of a bar, as a share of the whole time, under which it could not be seen."""


def check_timeline(target: Path) -> None:
    """Raise before the long work when the picture could not be made after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigurationError("the timeline needs matplotlib: pip install 'facerec[eval]'") from error
    if target.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidParameter(f"{target}: the timeline is a .png, .svg or .pdf file")


def draw_timeline(target: Path, job: VideoJob, found: Sequence[Appearing], *, title: str) -> None:
    """Draw persons as rows, in the order of their first appearance, and when they are seen as bars."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = sorted(found, key=lambda one: -one.person.frames)[:MOST_ROWS]
    rows = sorted(longest, key=lambda one: one.person.index)
    end = max(job.progress_ms, job.metadata.duration_millis if job.metadata else 0, 1) / 1000
    figure = Figure(figsize=(9, 1.3 + 0.36 * max(len(rows), 1)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, one in enumerate(rows):
        bars = [
            (each.first_ms / 1000, max((each.last_ms - each.first_ms) / 1000, SHORTEST * end))
            for each in one.person.appearances
        ]
        axes.broken_barh(
            bars, (place - 0.32, 0.64), facecolors=KNOWN if one.matches else UNKNOWN, linewidth=0
        )
    axes.set_yticks(range(len(rows)), [_label(one) for one in rows], fontsize=9, color=INK)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_xlim(0, end)
    axes.set_xlabel("seconds", color=INK)
    axes.grid(visible=True, axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Software": None} if target.suffix.lower() == ".png" else None)


def _label(one: Appearing) -> str:
    """Who a person is, as far as the collection tells."""
    if not one.matches:
        return f"person {one.person.index}"
    return f"{name_of(one.matches[0].face)[:32]}  {one.matches[0].similarity:.1f}"


def name_of(face: Face) -> str:
    """What people call whose face it is: its user, or the name of its picture."""
    return face.user_id or face.external_image_id or face.face_id
