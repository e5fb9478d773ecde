"""The ROC picture of `facerec eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facerec.errors import ConfigurationError, InvalidParameter
from facerec.services.evaluation import BINS, Floats64, ImpostorStatistics, Roc, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#222222"
PAIRS_COLOUR = "#0072B2"
CROSS_COLOUR = "#D55E00"


def check_drawable(target: Path) -> None:
    """Raise before the long work when the picture could not be made after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigurationError("the ROC picture needs matplotlib: pip install 'facerec[eval]'") from error
    if target.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidParameter(f"{target}: the ROC picture is a .png, .svg or .pdf file")


def draw_roc(
    target: Path,
    *,
    title: str,
    subtitle: str,
    curve: Roc,
    genuine: Floats64,
    cross: ImpostorStatistics | None,
) -> None:
    """Draw TAR over FAR, FAR on a logarithmic axis.

    curve: from the listed pairs. genuine: (G,) cosines of the genuine pairs. cross: every pair of different
    persons, which reaches lower rates; its TAR is that of the same genuine pairs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8, 5.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # A rate of zero has no place on a logarithmic axis: each curve begins at its first false accept.
    known = curve.far > 0
    curves = [(curve.far[known], curve.tar[known], PAIRS_COLOUR, "pairs of the list")]
    if cross is not None and cross.count:
        far, tar = _cross_curve(cross, genuine)
        known = far >= cross.strictest
        label = f"all {cross.count:,} pairs of different persons".replace(",", " ")
        curves.append((far[known], tar[known], CROSS_COLOUR, label))
    lowest_tar = min(_step(axes, *drawn, len(genuine)) for drawn in curves)
    axes.set_xscale("log")
    axes.set_xlim(0.8 * min(far[0] for far, *_ in curves), 1)
    axes.set_ylim(max(0.0, np.floor(lowest_tar * 50) / 50 - 0.001), 1.002)
    axes.set_xlabel("false accept rate", color=INK)
    axes.set_ylabel("true accept rate", color=INK)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.8)
    axes.grid(visible=True, which="minor", axis="x", color="#eeeeee", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=26)
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=9, color="#666666")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Software": None} if target.suffix.lower() == ".png" else None)


def _step(axes: Axes, far: Floats64, tar: Floats64, colour: str, label: str, genuine: int) -> float:
    """Draw one curve with its 95 % band; the least rate that the band reaches."""
    bounds = [wilson(round(rate * genuine), genuine) for rate in tar]
    low, high = [bound.low for bound in bounds], [bound.high for bound in bounds]
    axes.step(far, tar, where="post", color=colour, linewidth=1.8, label=label)
    axes.fill_between(far, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    return min(low)


def _cross_curve(cross: ImpostorStatistics, genuine: Floats64) -> tuple[Floats64, Floats64]:
    """(FAR, TAR) at each bin edge of the impostors' histogram, strictest first."""
    accepted = np.cumsum(cross.histogram[::-1])[::-1] / cross.count
    edges = np.linspace(-1, 1, BINS + 1)[:-1]
    ordered = np.sort(genuine)
    tar = 1 - np.searchsorted(ordered, edges, side="left") / len(ordered)
    changes = np.append(accepted[1:] != accepted[:-1], True)
    return accepted[changes][::-1], tar[changes][::-1]
