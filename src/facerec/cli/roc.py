"""The ROC picture of `facerec eval`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerec.errors import ConfigurationError, InvalidParameter
from facerec.services.evaluation import BINS, Floats64, ImpostorStatistics, Roc, wilson

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
    lowest = 0.5 / (len(curve.far) and round(1 / curve.far[curve.far > 0].min()))
    shown = [_step(axes, curve.far, curve.tar, len(genuine), PAIRS_COLOUR, "pairs of the list", lowest)]
    if cross is not None and cross.count:
        far, tar = _cross_curve(cross, genuine)
        lowest = min(lowest, 10.0 ** np.floor(np.log10(cross.strictest)))
        keep = far >= cross.strictest
        label = f"all {cross.count:,} pairs of different persons".replace(",", " ")
        shown.append(_step(axes, far[keep], tar[keep], len(genuine), CROSS_COLOUR, label, lowest))
    floor = max(0.0, min(shown) - 0.02)
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(np.floor(floor * 50) / 50, 1.002)
    axes.set_xlabel("false accept rate", color=INK)
    axes.set_ylabel("true accept rate", color=INK)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1%}"))
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.8)
    axes.grid(visible=True, which="minor", axis="x", color="#eeeeee", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(subtitle, loc="left", fontsize=9, color="#666666")
    figure.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold", color=INK)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Software": None} if target.suffix.lower() == ".png" else None)


def _step(
    axes: object, far: Floats64, tar: Floats64, genuine: int, colour: str, label: str, lowest: float
) -> float:
    """Draw one curve with its 95 % band; the least TAR that it shows."""
    drawn_far = np.maximum(far, lowest)
    bounds = [wilson(round(rate * genuine), genuine) for rate in tar]
    axes.step(drawn_far, tar, where="post", color=colour, linewidth=1.8, label=label)  # type: ignore[attr-defined]
    axes.fill_between(  # type: ignore[attr-defined]
        drawn_far,
        [b.low for b in bounds],
        [b.high for b in bounds],
        step="post",
        color=colour,
        alpha=0.13,
        linewidth=0,
    )
    visible = tar[far >= lowest] if (far >= lowest).any() else tar
    return float(min(wilson(round(rate * genuine), genuine).low for rate in visible[:1]))


def _cross_curve(cross: ImpostorStatistics, genuine: Floats64) -> tuple[Floats64, Floats64]:
    """(FAR, TAR) at each bin edge of the impostors' histogram, strictest first."""
    accepted = np.cumsum(cross.histogram[::-1])[::-1] / cross.count
    edges = np.linspace(-1, 1, BINS + 1)[:-1]
    ordered = np.sort(genuine)
    tar = 1 - np.searchsorted(ordered, edges, side="left") / len(ordered)
    changes = np.append(accepted[1:] != accepted[:-1], True)
    return accepted[changes][::-1], tar[changes][::-1]
