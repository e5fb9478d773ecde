"""Draws the pictures of docs/performance.md from the kept measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from files import Results
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

# Okabe and Ito's colours, which people who do not tell red from green tell apart too.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
GREY = "#999999"
INK = "#222222"
STAGE_COLOURS = {
    "decoding": SKY,
    "detection network": BLUE,
    "around the detector": "#7FB2D6",
    "alignment": GREEN,
    "embedding network": ORANGE,
}
WIDTH = 8.0
"""Inches; at DPI that is twice the width in which a page shows it."""
DPI = 180


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw every picture whose measurements are there; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in (
        ("stages", draw_stages),
        ("networks", draw_networks),
        ("gallery", draw_gallery),
        ("clients", draw_clients),
        ("load", draw_load),
    ):
        figure = draw(results)
        if figure is not None:
            path = folder / f"performance_{name}.png"
            figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})
            plt.close(figure)
            written.append(path)
    return written


def draw_stages(results: Results) -> Figure | None:
    """Processor time of a picture by stage, before and now."""
    kinds = [
        ("engine_lfw", "small pictures (250 x 250, one face)"),
        ("engine_photos", "photographs (up to 36 MP)"),
    ]
    kinds = [(name, title) for name, title in kinds if results.figures(name).get("stages")]
    if not kinds:
        return None
    figure, panels = _figure(len(kinds), 1, height=1.0 + 1.75 * len(kinds))
    for axes, (name, title) in zip(panels, kinds, strict=True):
        rows = [
            ("before", results.stages_before(name)),
            ("float32", results.figures(f"{name}_f32").get("stages")),
            ("now", results.figures(name)["stages"]),
        ]
        _stack(axes, [(label, stages) for label, stages in rows if stages])
        axes.set_title(title, loc="left", fontsize=11, color=INK)
    panels[-1].set_xlabel("milliseconds of processor time a picture")
    handles = [Patch(color=colour) for colour in STAGE_COLOURS.values()]
    figure.legend(
        handles, list(STAGE_COLOURS), loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return figure


def _stack(axes: Axes, rows: list[tuple[str, dict[str, float]]]) -> None:
    """Horizontal bars of stages, with the sum at the end of each."""
    longest = max(sum(stages.values()) for _, stages in rows)
    for place, (_, stages) in enumerate(rows):
        left = 0.0
        for name, colour in STAGE_COLOURS.items():
            value = stages.get(name, 0.0)
            axes.barh(place, value, left=left, height=0.62, color=colour, edgecolor="white", linewidth=0.6)
            if value > 0.06 * longest:
                axes.text(
                    left + value / 2,
                    place,
                    f"{value:.1f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if colour == BLUE else INK,
                )
            left += value
        axes.text(left + 0.01 * longest, place, f"{left:.1f} ms", va="center", fontsize=10, color=INK)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.13)
    _plain(axes, grid="x")


def draw_networks(results: Results) -> Figure | None:
    """How near each network comes to what the machine can do."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for name, label in (
        ("engine_lfw", "small pack"),
        ("engine_lfw_f32", "small pack"),
        ("engine_large", "large pack"),
    ):
        for network in results.figures(name).get("networks", []):
            if network.get("floor_ms"):
                role = {"detector": "detector", "recognizer": "recogniser"}[network["role"]]
                rows.append((f"{role}, {label}, {network['precision']}", network))
    if not rows:
        return None
    figure, (axes,) = _figure(1, 1, height=1.0 + 0.4 * len(rows))
    for place, (_, network) in enumerate(rows):
        share = network["floor_ms"] / network["ms"]
        colour = ORANGE if network["precision"] == "int8" else BLUE
        axes.barh(place, 1, height=0.62, color="#EEEEEE")
        axes.barh(place, share, height=0.62, color=colour)
        told = f"{share:.0%}: {network['floor_ms']:.2f} of {network['ms']:.2f} ms"
        axes.text(1.02, place, told, va="center", fontsize=9, color=INK)
    axes.set_xlim(0, 1.42)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "the machine's peak"])
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("share of a network's processor time that its multiply-adds need at the peak", loc="left")
    _plain(axes, grid="x")
    axes.spines["bottom"].set_visible(False)
    return figure


def draw_gallery(results: Results) -> Figure | None:
    """Milliseconds of a search over the size of the gallery."""
    points: dict[str, dict[int, float]] = {}
    for one in results.searches():
        if one["dimension"] == 512:
            points.setdefault(one["store"], {}).setdefault(one["faces"], one["one_ms"])
    if not points:
        return None
    before = [(int(faces), ms) for faces, ms in results.earlier["search_512"].items()]
    figure, (axes,) = _figure(1, 1, height=4.4)
    ours = next((name for name in points if name.startswith("facerec")), "")
    others = [GREY, ORANGE, PURPLE, RED, SKY]
    for name, found in sorted(points.items(), key=lambda item: item[0] != ours):
        sizes, times = zip(*sorted(found.items()), strict=True)
        own = name == ours
        colour = BLUE if own else others.pop(0)
        axes.plot(
            sizes,
            times,
            marker="o",
            color=colour,
            linewidth=2.5 if own else 1.5,
            label=name,
            zorder=3 if own else 2,
        )
    sizes, times = zip(*before, strict=True)
    axes.plot(sizes, times, marker="s", linestyle="--", color=GREEN, linewidth=1.5, label="facerec, before")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("faces in the gallery, 512 dimensions")
    axes.set_ylabel("milliseconds a search, 10 nearest")
    axes.legend(frameon=False, fontsize=9)
    _plain(axes, grid="both")
    return figure


def draw_clients(results: Results) -> Figure | None:
    """Requests a second and the slowest answers over the number of clients."""
    curves = [
        ("service_detect_lfw", "DetectFaces, small pictures", BLUE, "o"),
        ("service_index_lfw", "IndexFaces, small pictures", ORANGE, "s"),
        ("service_search_lfw", "SearchFacesByImage, small pictures", GREEN, "^"),
        ("service_detect_photos", "DetectFaces, photographs", PURPLE, "D"),
    ]
    curves = [curve for curve in curves if results.figures(curve[0]).get("runs")]
    if not curves:
        return None
    figure, (rate, wait) = _figure(1, 2, height=4.2)
    for name, label, colour, marker in curves:
        runs = results.figures(name)["runs"]
        clients = [run["clients"] for run in runs]
        rate.plot(
            clients, [run["requests_per_second"] for run in runs], marker=marker, color=colour, label=label
        )
        wait.plot(clients, [run["p99_ms"] for run in runs], marker=marker, color=colour)
        wait.plot(
            clients, [run["p50_ms"] for run in runs], marker=marker, color=colour, linestyle=":", markersize=3
        )
    for axes, title in ((rate, "requests a second"), (wait, "milliseconds: p99, dotted p50")):
        axes.set_xscale("log", base=2)
        counts = sorted({run["clients"] for name, *_ in curves for run in results.figures(name)["runs"]})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("clients")
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        axes.minorticks_off()
        _plain(axes, grid="both")
    rate.set_ylim(bottom=0)
    wait.set_yscale("log")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_load(results: Results) -> Figure | None:
    """Searches and memory over time, while an album is indexed beside them."""
    figures = results.figures("load_worker")
    run = next((run for run in figures.get("runs", []) if run["album"] and run["rate"]), None)
    if run is None:
        return None
    figure, (wait, memory) = _figure(2, 1, height=5.0)
    seconds, medians, most = zip(*run["median_by_second"], strict=True)
    wait.plot(seconds, medians, color=BLUE, label="median")
    wait.plot(seconds, most, color=ORANGE, label="slowest")
    wait.set_title("milliseconds of the searches of each second", loc="left", fontsize=11, color=INK)
    wait.set_ylim(bottom=0)
    wait.legend(frameon=False, fontsize=9)
    at = [sample["at"] for sample in run["samples"]]
    for name, colour in zip(run["memory_mib"], (BLUE, GREEN, PURPLE), strict=False):
        memory.plot(at, [sample[name] for sample in run["samples"]], color=colour, label=name)
    memory.set_title("memory, MiB", loc="left", fontsize=11, color=INK)
    memory.set_ylim(bottom=0)
    memory.set_xlabel(f"seconds; {run['rate']:.0f} searches a second, {run['album']} images of an album")
    memory.legend(frameon=False, fontsize=9)
    for axes in (wait, memory):
        _plain(axes, grid="y")
    return figure


def _figure(rows: int, columns: int, *, height: float) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False)
    return figure, list(axes.flat)


def _plain(axes: Axes, *, grid: str) -> None:
    """No frame but the two axes, and a faint grid behind."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.grid(axis=grid, color="#E3E3E3", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
