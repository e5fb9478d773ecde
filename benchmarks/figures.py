"""Fills tables of the guides, between marks, from the measurements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from files import Results
from goals import rows
from tables import fixed, table

PRICE_OF_AN_HOUR = 0.10
"""US dollars for PRICED_PROCESSORS: an example, told as such in the text."""
PRICED_PROCESSORS = 2
PRICE_OF_AN_IMAGE = 0.001
"""US dollars that Rekognition asks for an image, the first million of a month."""
ALBUM = 10_000
PEERS = {
    "engine, small pictures, SCRFD-500M + MobileFaceNet": "faces of a small picture, found and embedded",
    "engine, photographs, the same networks": "the same with photographs of up to 36 megapixels",
    "engine, small pictures, the default pack": "small pictures with the default pack, dlib's networks",
    "search, 1 M faces of 512 dimensions, one probe": "one search among a million faces",
    "DetectFaces, small pictures, 16 clients": "DetectFaces over HTTP, 16 clients",
}
"""Rows of the goals that the front page shows, in words for it."""
ALBUM_PROCESSORS, ALBUM_SECONDS = 8, 600
"""A c6i.2xlarge, and the ten minutes that an album may take."""
MARK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, results: Results) -> str:
    """The text with the tables between its marks written anew. Raises KeyError for an unknown mark."""

    def filled(mark: re.Match[str]) -> str:
        return f"{mark[1]}{BLOCKS[mark[2]](results)}{mark[3]}"

    return MARK.sub(filled, text)


def _short(results: Results) -> str:
    """The rows of the goals that have a peer, without their bookkeeping."""
    lines = [
        (row.work, row.ours, f"{row.peer} ({row.reference.split(',')[0]})", row.ratio)
        for row in rows(results)
        if row.ratio.endswith("×") and row.peer
    ]
    return table(("Work", "facerec", "Reference", "Times as fast, or as small"), lines)


def _peers(results: Results) -> str:
    """The rows of the front page: the work in plain words, and how many times the peer's speed."""
    measured = {row.work: row for row in rows(results) if row.ratio}
    lines = []
    for work, title in PEERS.items():
        if row := measured.get(work):
            peer = re.sub(r", (same run|\d+ requests/s)", "", row.reference)
            lines.append((title, row.ours, row.peer, peer, f"**{row.ratio}**"))
    return table(("Work", "facerec", "Peer", "Which", "Times as fast"), lines)


def _accuracy(results: Results) -> str:
    """What each pack reaches on LFW, and who may use it."""
    lines = []
    for name, title, free in (
        ("accuracy_dlib", "`dlib`, the default", "yes"),
        ("accuracy_auto", "SCRFD-500M + MobileFaceNet", "no"),
    ):
        figures = results.figures(name)
        if "Accuracy" in figures:
            rates = {row["Far"]: row["Tar"] for row in figures["TarAtFar"]}
            lines.append((title, f"{figures['Accuracy']:.2%}", f"{rates[0.01]:.1%}", free))
    return table(("LFW folds 1 and 2, 1200 pairs", "Accuracy", "TAR at FAR 1 %", "Free for every use"), lines)


def _rates(results: Results) -> str:
    """Accuracy, and the rates at which one person is known, of each pack that is measured."""
    lines = []
    for name, title in (
        ("accuracy_dlib", "`dlib` (default)"),
        ("accuracy_auto", "SCRFD-500M + MobileFaceNet (the family of `buffalo_s`), int8"),
        ("accuracy_f32", "the same, f32"),
    ):
        figures = results.figures(name)
        if "Accuracy" in figures:
            listed = {row["Far"]: row["Tar"] for row in figures["TarAtFar"]}
            wide = {row["Far"]: row["Tar"] for row in figures["AllPairsOfDifferentPersons"]["TarAtFar"]}
            rates = (listed[0.01], wide[1e-3], wide[1e-4], wide[1e-5])
            lines.append((title, f"{figures['Accuracy']:.2%}", *(f"{rate:.1%}" for rate in rates)))
    heads = ("TAR at FAR 1 %", "TAR at 1e-3", "TAR at 1e-4", "TAR at 1e-5")
    return table(("Model pack", "Accuracy", *heads), lines)


def _stages(results: Results) -> str:
    """Milliseconds a picture by stage, before and now."""
    lines = []
    for name, title in (("engine_lfw", "small pictures"), ("engine_photos", "photographs")):
        now = results.figures(name).get("stages")
        if not now:
            continue
        before = results.stages_before(name)
        cells = []
        for stage, ms in now.items():
            cells.append(f"{before[stage]:.1f} → {ms:.1f}")
        total = sum(before.values()), sum(now.values())
        lines.append((title, *cells, f"{total[0]:.1f} → {total[1]:.1f} ({total[0] / total[1]:.1f}×)"))
        stages = tuple(now)
    return table(("Milliseconds, before → now", *stages, "sum"), lines) if lines else table((), [])


def _latencies(results: Results) -> str:
    """How long callers wait for an answer, by how many of them ask at once."""
    lines = []
    for name, title in (
        ("service_search_lfw", "who is this, small pictures"),
        ("service_search_1m", "the same among a million faces"),
        ("service_index_lfw", "a picture's faces stored, small pictures"),
        ("service_compare_lfw", "two small pictures compared"),
        ("service_detect_photos", "the faces of a photograph"),
    ):
        figures = results.figures(name)
        lines += [
            (title, str(run["clients"]), f"{run['p50_ms']:.0f}", f"{run['p99_ms']:.0f}")
            for run in (figures["runs"] if figures else ())
        ]
    heads = ("What is asked", "Callers at once", "Half of the answers within, ms", "99 of 100, ms")
    return table(heads, lines)


def _sizing(results: Results) -> str:
    """Pictures a second and faces a gigabyte, and what an album costs."""
    return f"{table(_SPEED_HEADS, list(_speeds(results)))}\n{table(_SPACE_HEADS, list(_spaces(results)))}"


_SPEED_HEADS = (
    "Pictures and networks",
    "Pictures/s a processor",
    f"{ALBUM:,} pictures on {PRICED_PROCESSORS} processors".replace(",", " "),
    f"at US$ {PRICE_OF_AN_HOUR:.2f} an hour",
    "Rekognition",
)
_SPACE_HEADS = (
    "Dimensions",
    "Memory a face, bytes",
    "Faces a GB of memory",
    "On disk a face, bytes",
    "Faces a GB on disk",
)


def _speeds(results: Results) -> Iterator[tuple[str, ...]]:
    for name, title in (
        ("engine_lfw", "small pictures, small networks"),
        ("engine_lfw_f32", "the same in float32"),
        ("engine_photos", "photographs, small networks"),
        ("engine_photos_f32", "the same in float32"),
        ("engine_large", "small pictures, large networks"),
        ("engine_dlib", "small pictures, the default pack"),
    ):
        figures = results.figures(name)
        if not figures:
            continue
        each = figures["images_per_second"] / figures["threads"]
        seconds = ALBUM / (each * PRICED_PROCESSORS)
        cost = seconds / 3600 * PRICE_OF_AN_HOUR
        minutes = f"{seconds / 60:.1f} minutes"
        yield title, f"{each:.0f}", minutes, f"US$ {cost:.4f}", f"US$ {ALBUM * PRICE_OF_AN_IMAGE:.2f}"


def _spaces(results: Results) -> Iterator[tuple[str, ...]]:
    for dimension in (128, 512):
        sizes = [
            one for one in results.searches() if one["dimension"] == dimension and "facerec" in one["store"]
        ]
        starts = [one for one in results.starts() if one["dimension"] == dimension]
        if not sizes:
            continue
        memory = max(sizes, key=lambda one: int(one["faces"]))["bytes_a_face"]
        disk = max(starts, key=lambda one: int(one["faces"]))["bytes_a_face"] if starts else None
        yield (
            *(str(dimension), f"{memory:.0f}", f"{1e9 / memory / 1e6:.1f} million"),
            *(fixed(disk, 0), f"{1e9 / disk / 1e6:.1f} million" if disk else ""),
        )


def _album(results: Results) -> str:
    """How long an album takes on a machine that is usual for it, by the processor time of an image."""
    lines = []
    for name, title in (
        ("jobs_embedded", "the queue in the database"),
        ("jobs_sqs", "SQS"),
        ("jobs_ray", "Ray"),
    ):
        ms = results.number(name, "alone", "processor_ms")
        if ms is None:
            continue
        seconds = ALBUM * ms / 1000 / ALBUM_PROCESSORS
        share = seconds / ALBUM_SECONDS
        lines.append((title, f"{ms:.1f}", f"{1000 / ms:.0f}", f"{seconds:.0f} s", f"{share:.0%}"))
    heads = (
        "Jobs by",
        "Processor ms a picture",
        "Pictures/s a processor",
        f"{ALBUM:,} on {ALBUM_PROCESSORS} processors".replace(",", " "),
        f"Share of {ALBUM_PROCESSORS} processors for {ALBUM_SECONDS // 60} minutes",
    )
    return table(heads, lines)


BLOCKS: dict[str, Callable[[Results], str]] = {
    "peers": _peers,
    "accuracy": _accuracy,
    "rates": _rates,
    "short": _short,
    "stages": _stages,
    "sizing": _sizing,
    "latencies": _latencies,
    "album": _album,
}
"""What stands between the marks, by their name."""
