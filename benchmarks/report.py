"""Writes RESULTS.md, the pictures of docs/performance.md and tables of the guides, from `results/`.

    python benchmarks/report.py

`tests/unit/test_benchmark_report.py` fails when they are stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from figures import fill
from files import FOLDER, Results, read_results
from goals import SERVER, rows
from tables import fixed, table

PAGE = FOLDER / "RESULTS.md"
GUIDES = tuple(
    FOLDER.parent / name
    for name in (
        "README.md",
        "docs/accuracy.md",
        "docs/albums.md",
        "docs/performance.md",
        "docs/csharp.md",
    )
)
PICTURES = FOLDER.parent / "docs" / "images"

INTRODUCTION = """<!-- Written by benchmarks/report.py from benchmarks/results/*.json; do not edit. -->

`make bench` measures everything anew; `make bench-engine`, `bench-search`, `bench-service`,
`bench-accuracy`, `bench-people`, `bench-liveness`, `bench-clustering`, `bench-jobs`, `bench-video`,
`bench-audit` and `bench-load` one part each, and what is not measured anew keeps its last figures.
Contestants take turns in one process (A B A B); figures are medians over the rounds, ratios are medians of
the ratios of each round. What the figures mean, and where the time goes, is in
[docs/performance.md](../docs/performance.md).
"""
GOALS = f"""Reach is what was to be reached: a multiple of the reference, or a bound. {SERVER} can not be had
from a package registry, so its figures are those that were given with the goals, from a machine of the same
class and not of the same run. The share of the roofline is the time in which this processor does as many
multiply-adds as the networks in large matrix products of the same precision, over all the time that a picture
takes.
"""
PICTURES_NOTE = """Small pictures are LFW's (250 x 250, 1.2 faces each); photographs are 18 of 0.2 to 36
megapixels with up to 8 faces."""
DLIB_NOTE = "dlib 20.0.1 by its own Python on the same pairs: accuracy 99.0 %, TAR 98.7 % at FAR 1 %."
JOBS = """An album of LFW's pictures under as many keys in moto's S3, indexed by worker processes; the bare
engine looks at the same files, from bytes to embeddings. Then an album with a worker killed every 10 seconds.
The pictures are small and the networks those of a phone, so fetching an image and writing its faces weigh
more than with photographs; and moto's servers and the database use the same processors as the workers: the
processor time of an image is that of the workers alone. Workers and engine have looked at a few pictures
before, but those of the first image and of the kills are new. Rows of different machines do not compare: see
the bare engine of each.
"""

VIDEO = """A film of {film} looked through as a job, {fps} frames a second, one job at a time in one process:
from beginning to the result in the database. A look is a frame that is due; one that shows nobody and does
not change costs less. The search follows the faces, embeds the best of each track, and searches 50 pictures.
"""
PEOPLE = """Each registry has 50 people, enrolled from all their pictures but one and verified by that one,
and 500 strangers; thresholds, margin and review are the defaults. Right and unknown are shares of those who
were enrolled: who has two pictures alone, of which the other is refused, is not. A picture with several faces
of which none is clearly meant is refused, not answered.
"""
AUDIT = """Two services side by side, one with the audit log and one without, asked in turns by one client;
the networks are the fake engine's. A difference is the mean over pairs of turns, with its standard error.
"""
LOAD = """SearchFacesByImage of LFW's pictures among many faces, signed, while an album in moto's S3 is
indexed from first to last image by `facerec worker` or by the service itself; beside it the same without the
album. Clients without pause ask again as soon as they are answered; a load at a rate, half of what those get
without the album, comes at random times, and each request's time counts from when it was due. S3 and the
callers share the processors.
"""
CLUSTERING = """Faces of LFW folds 1 and 2, the named one of each picture, put into people without being told
who is who; the same embeddings for all methods, in three random orders, of which figures are means.
Precision, recall and F1 are over pairs of faces; BCubed's F1 is over faces, so that people of many photos
weigh no more. Nobody can tune on an album whose people are unknown: rows of a calibration or a default are
what a method runs with, "best for this set" is what it reaches with the one cosine, of 24, that is best for
these very faces. Calibrations come of strangers' pairs of these pictures, never of who is one person. So
halves of the people are also grouped by calibrations of the strangers among all others (means of ten halves).
"""
LIVENESS = """Passive: faces of LFW's pictures and the same as filters make them look again from a print or a
screen; these are imitations, no recordings of attacks. A real face below the threshold counts to BPCER, an
attack from it on to APCER (ISO/IEC 30107-3). Active: sessions of four movements, whose frames are those of a
real head of a film, or attacks made of them; confident are those that succeed with a confidence of 50 or
more.
"""
CRASH = """`tests/integration/test_crash.py`: the server is killed (SIGKILL) at twenty random moments of an
indexing run by four callers. After each restart every acknowledged face is found, none is double, and the
index equals the database.
"""
NOT_MEASURED = f"""- {SERVER}: no package registry has it.
- deepface: its package is on PyPI, its networks are not: it downloads them from GitHub at the first use.
- Graphics cards: these are figures of processors.
"""


def page(results: Results) -> str:
    """The page of results."""
    parts = [
        f"# Results\n\n{INTRODUCTION}",
        f"## The machine\n\n{_machine(results)}\n{PICTURES_NOTE}\n",
        f"## Against the goals\n\n{GOALS}\n{_goals(results)}",
        "## Engine: from JPEG bytes to embeddings of all faces\n",
        *(_engine(results), _stages(results), _networks(results)),
        f"## Accuracy\n\n{_accuracy(results)}\n{DLIB_NOTE}\n",
        f"## People: known and unknown\n\n{PEOPLE}\n{_people(results)}",
        f"## Who is in an album\n\n{CLUSTERING}\n{_clustering(results)}",
        f"## Liveness\n\n{LIVENESS}\n{_liveness(results)}",
        f"## Albums by workers\n\n{JOBS}\n{_jobs(results)}",
        f"## Videos\n\n{_videos(results)}",
        f"## Search\n\n{_searches(results)}",
        f"## Start and size\n\n{_starts(results)}",
        f"## Service over HTTP\n\nClient and server share the processors.\n\n{_service(results)}",
        f"## Searches beside an album\n\n{LOAD}\n{_load(results)}",
        f"## What the audit log costs\n\n{AUDIT}\n{_audit(results)}",
        f"## Crash\n\n{CRASH}",
        f"## What is not measured\n\n{NOT_MEASURED}",
        f"## How each was measured\n\n{_commands(results)}",
    ]
    return "\n".join(parts)


def _machine(results: Results) -> str:
    """Each machine that measured something, and the versions of the last measurement on it."""
    machines: dict[str, tuple[str, str]] = {}
    for one in sorted(results.by_name.values(), key=lambda measurement: str(measurement["date"])):
        facts = one["machine"]
        name = (
            f"{facts['processors']} processors ({facts['processor']}; {', '.join(facts['instructions'])}), "
            f"{facts['memory_gib']:.0f} GiB, {facts['system']}, Python {facts['python']}"
        )
        versions = ", ".join(f"{package} {version}" for package, version in one["versions"].items())
        machines[name] = one["date"], versions
    return "".join(f"- {name}. {versions}.\n" for name, (_, versions) in machines.items())


def _goals(results: Results) -> str:
    lines = [
        (
            *(row.work, row.reference, row.reach, row.ours or "not measured"),
            *(row.peer, row.ratio, row.share, {True: "yes", False: "no", None: ""}[row.met]),
        )
        for row in rows(results)
    ]
    heads = ("Work", "Reference", "Reach", "Ours", "Peer", "Ratio", "Share of the roofline", "Reached")
    return table(heads, lines)


def _engine(results: Results) -> str:
    lines = []
    for one in _part(results, "engine"):
        figures = one["figures"]
        if "images_per_second" not in figures:
            continue
        ratios = [each["ratio"] for each in figures["by_round"] if "ratio" in each]
        lines.append(
            (
                one["title"],
                figures["pack"],
                "/".join(network["precision"] for network in figures.get("networks", [])),
                f"{figures['images_per_second']:.1f}",
                f"{figures['processor_ms']:.2f}",
                figures.get("peer", ""),
                fixed(figures.get("peer_images_per_second"), 1),
                fixed(figures.get("peer_processor_ms"), 1),
                f"{figures['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "",
                f"{figures['faces']}" + (f" / {figures['peer_faces']}" if ratios else ""),
            )
        )
    heads = ("Pictures", "Pack", "Precision", "Images/s", "Processor ms", "Peer", "Images/s", "Processor ms")
    return table((*heads, "Ratio (range)", "Faces, ours / peer"), lines) + _memory(results)


def _memory(results: Results) -> str:
    memory = results.figures("engine_memory")
    if not memory:
        return ""
    return (
        f"\nMemory: {memory['loading_mib']:.0f} MiB to load the networks; {memory['image_mib']:.0f} MiB more "
        f"while a small picture is looked at, {memory['photo_mib']:.0f} MiB while the largest photograph is. "
        f"What is kept for the next pictures is {memory['after_image_mib']:.0f} MiB after small ones, "
        f"{memory['after_photo_mib']:.0f} MiB after photographs.\n"
    )


def _stages(results: Results) -> str:
    """Processor time by stage, of one picture after the other."""
    measured = [one for one in _part(results, "engine") if one["figures"].get("stages")]
    names = list(dict.fromkeys(name for one in measured for name in one["figures"]["stages"]))
    heads = ("Milliseconds of processor time by stage", *names, "sum")
    lines = []
    for one in measured:
        stages = one["figures"]["stages"]
        title = f"{one['title']}, {one['name']}"
        lines.append((title, *(fixed(stages.get(name), 2) for name in names), f"{sum(stages.values()):.2f}"))
    return table(heads, lines)


def _networks(results: Results) -> str:
    lines = [
        (
            *(one["name"], network["network"], network["precision"], f"{network['runs']:.2f}"),
            *(f"{network['multiply_adds']:.0f}", f"{network['ms']:.2f}", fixed(network.get("floor_ms"), 2)),
            f"{network['floor_ms'] / network['ms']:.0%}" if network.get("floor_ms") else "",
        )
        for one in _part(results, "engine")
        for network in one["figures"].get("networks", [])
    ]
    heads = (
        "Measurement",
        "Network",
        "Precision",
        "Runs a picture",
        "Million multiply-adds",
        "ms",
        "ms at peak",
    )
    peak = results.figures("engine_lfw").get("peak", {})
    told = ", ".join(f"{rate:.0f} in {name}" for name, rate in peak.items())
    sentence = (
        f"\nThousand million multiply-adds a second of one processor at its peak: {told}.\n" if told else ""
    )
    return table((*heads, "Share"), lines) + sentence


def _accuracy(results: Results) -> str:
    lines = []
    for one in _part(results, "accuracy"):
        figures = one["figures"]
        if "Accuracy" not in figures:
            continue
        rates = {
            row["Far"]: row["Tar"]
            for row in figures.get("AllPairsOfDifferentPersons", {}).get("TarAtFar", [])
        }
        listed = {row["Far"]: row["Tar"] for row in figures["TarAtFar"]}
        wide = [f"{rates[far]:.1%}" if far in rates else "-" for far in (1e-3, 1e-4, 1e-5)]
        lines.append(
            (
                one["title"],
                f"{figures['Accuracy']:.2%}",
                f"{listed[0.01]:.2%}",
                " / ".join(wide),
                str(len(figures["WithoutFace"])),
            )
        )
    heads = (
        "LFW folds 1 and 2, 1200 pairs",
        "Accuracy",
        "TAR at FAR 1 %",
        "TAR at 1e-3 / 1e-4 / 1e-5, all pairs",
    )
    photos = [
        f"{one['title']}: {one['figures']['found']} of {one['figures']['annotated']} annotated "
        f"({one['figures']['detected']} detected)."
        for one in _part(results, "accuracy")
        if "annotated" in one["figures"]
    ]
    return table((*heads, "Pictures without a face"), lines) + "".join(f"\n{line}\n" for line in photos)


def _people(results: Results) -> str:
    lines = []
    for one in _part(results, "people"):
        figures = one["figures"]
        persons, strangers = figures["persons"], figures["strangers"]
        enrolled = sum(persons.values()) - persons.get("not enrolled", 0)
        lines.append(
            (
                one["title"],
                f"{figures['pictures'].get('taken', 0)} of {sum(figures['pictures'].values())}",
                f"{enrolled} of {sum(persons.values())}",
                *(f"{persons.get(name, 0) / enrolled:.1%}" for name in ("right", "unknown", "MultipleFaces")),
                str(persons.get("wrong", 0)),
                f"{strangers.get('unknown', 0)} / {strangers.get('MultipleFaces', 0)}",
                str(strangers.get("wrong", 0)),
            )
        )
    heads = ("Registries of 50 people of LFW", "Pictures taken", "Enrolled", "Right", "Unknown")
    more = ("Several faces", "Wrong", "Strangers unknown / several faces", "Strangers known")
    return table((*heads, *more), lines)


def _clustering(results: Results) -> str:
    parts = []
    for one in _part(results, "clustering"):
        for each in one["figures"].get("sets", []):
            title = f"{one['title']}, {each['set']}: {each['faces']} faces, {each['people']} people"
            lines = [_grouping(row) for row in each["rows"]]
            heads = ("Method", "With", "Cosine", "Precision", "Recall", "F1", "BCubed F1", "People found")
            parts.append(f"{title[0].upper()}{title[1:]}.\n\n{table(heads, lines)}")
    parts.append(_any_table(results.figures("clustering_thousands").get("rows", [])))
    return "\n".join(parts)


def _grouping(row: dict[str, Any]) -> tuple[str, ...]:
    """A method's line of one set of faces."""
    pairs, faces = row["pairs"], row["faces"]
    shares = (pairs["precision"], pairs["recall"], pairs["f1"], faces["f1"])
    told = (f"{share:.4f}" for share in shares)
    return (row["method"], row["how"], fixed(row.get("cosine"), 3), *told, f"{row['people']:.0f}")


def _liveness(results: Results) -> str:
    passive, active = [], []
    for one in _part(results, "liveness"):
        for kind, own in one["figures"]["kinds"].items():
            if "sessions" in own:
                active.append((kind, *(str(own[name]) for name in ("sessions", "succeeded", "confident"))))
                continue
            shares = [own[name] if kind != "real" else 1 - own[name] for name in ("live_at_50", "live_at_80")]
            error = "BPCER" if kind == "real" else "APCER"
            passive.append(
                (kind, str(own["faces"]), f"{own['median']:.0f}", error, *(f"{each:.1%}" for each in shares))
            )
    scores = table(("Pictures", "Faces", "Median score", "Error", "At 50", "At 80"), passive)
    sessions = table(("Before the camera", "Sessions", "Succeeded", "Confident"), active)
    return f"{scores}\n{sessions}"


def _jobs(results: Results) -> str:
    lines = []
    for one in _part(results, "jobs"):
        figures = one["figures"]
        alone, killed = figures["alone"], figures["killed"]
        wrong = sum(run[name] for run in (alone, killed) for name in ("doubles", "unequal_files", "failed"))
        lines.append(
            (
                one["title"],
                f"{figures['images_alone']}, {figures['images']} with kills",
                f"{figures['bare']['images_per_second']:.1f} ({figures['bare']['processor_ms']:.1f} ms)",
                f"{alone['images_per_second']:.1f} ({alone['processor_ms']:.1f} ms)",
                f"{figures['rate_ratio']:.0%} / {figures['processor_ratio']:.0%}",
                f"{killed['first_image_after_seconds']:.1f} s",
                f"{killed['kills']}, {killed['images_per_second']:.1f} ({figures['rate_ratio_killed']:.0%})",
                str(wrong),
                str(alone["wrong_progress"] + killed["wrong_progress"]),
            )
        )
    heads = ("Queue", "Images", "Bare engine, images/s (processor)", "Workers, images/s (processor)")
    more = (
        "Of the bare rate / processor time",
        "First image",
        "Kills, images/s with them (of the bare rate)",
    )
    scaling = ""
    single, pair = (
        results.number(name, "alone", "images_per_second") for name in ("jobs_ray_one", "jobs_ray")
    )
    if single and pair:
        scaling = f"\nTwo actors beside one: {pair / single:.2f} times as many images a second.\n"
    return table((*heads, *more, "Failed, missing or twice", "Wrong progress"), lines) + scaling


def _videos(results: Results) -> str:
    lines, about = [], ""
    for one in _part(results, "video"):
        for run in one["figures"]["runs"]:
            film = f"{run['film_seconds']:.1f} seconds ({run['width']} x {run['height']})"
            about = VIDEO.format(film=film, fps=f"{one['figures']['looks_a_second']:g}") + "\n"
            lines.append(
                (
                    one["title"],
                    {"FACE_DETECTION": "StartFaceDetection", "FACE_SEARCH": "StartFaceSearch"}[
                        run["operation"]
                    ],
                    f"{run['film_seconds_a_second']:.1f}",
                    f"{run['processor_ms_a_look']:.1f}",
                    f"{run['processor_ms_a_film_second']:.0f}",
                )
            )
    heads = ("Networks", "Operation", "Seconds of film a second", "Processor ms a look", "a second of film")
    return about + table(heads, lines)


def _searches(results: Results) -> str:
    """A table for each measurement."""
    return "\n".join(
        f"{one['title'].capitalize()}:\n\n{_any_table(one['figures']['searches'])}"
        for one in _part(results, "search")
    )


def _starts(results: Results) -> str:
    return _any_table(results.starts())


def _service(results: Results) -> str:
    heads = ("Requests", "Clients", "Requests/s", "p50, ms", "p99, ms", "Errors")
    lines = []
    for one in _part(results, "service"):
        runs = one["figures"]["runs"]
        lines.append(
            (
                one["title"],
                " / ".join(str(run["clients"]) for run in runs),
                " / ".join(f"{run['requests_per_second']:.0f}" for run in runs),
                *(
                    " / ".join(fixed(run.get(name), 0) or "-" for run in runs)
                    for name in ("p50_ms", "p99_ms")
                ),
                str(sum(run["errors"] for run in runs)),
                " / ".join(f"{run['of_engine']:.0%}" if "of_engine" in run else "-" for run in runs),
                " / ".join(fixed(run.get("server_cpu_ms"), 1) or "-" for run in runs),
                " / ".join(fixed(run.get("server_peak_mib"), 0) or "-" for run in runs),
            )
        )
    return table((*heads, "Of the bare engine", "Server's processor ms", "Server's peak, MiB"), lines)


def _load(results: Results) -> str:
    lines = []
    for one in _part(results, "load"):
        figures = one["figures"]
        for run in figures["runs"]:
            asked = (
                f"{figures['clients']} clients without pause"
                if run["rate"] is None
                else f"{run['rate']:.0f} a second"
            )
            told = ", ".join(f"{name} {number}" for name, number in run["errors"].items()) or "0"
            growth = run["memory_growth_mib"]
            lines.append(
                (
                    f"{one['title']}, {figures['gallery']} faces",
                    asked,
                    str(run["album"] or "none"),
                    f"{run['requests']} ({run['requests_per_second']:.0f}/s)",
                    told,
                    *(f"{run[name]:.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
                    fixed(run["images_per_second"], 1),
                    " / ".join(
                        f"{name} {held} ({growth[name]:+.0f})" for name, held in run["memory_mib"].items()
                    ),
                )
            )
    heads = ("Service", "Searches", "Images of the album", "Requests", "Errors", "p50, ms", "p95", "p99")
    return table((*heads, "Images/s", "MiB (growth over the second half)"), lines)


def _audit(results: Results) -> str:
    lines = [
        (
            figures["operation"],
            f"{figures['pairs']} of {figures['requests']}",
            f"{figures['without_ms']:.2f}",
            f"{figures['with_ms']:.2f}",
            f"{figures['difference_ms']:.2f} ± {figures['standard_error_ms']:.2f}",
        )
        for one in _part(results, "audit")
        for figures in one["figures"]["operations"]
    ]
    heads = ("Requests", "Pairs of turns, requests", "Processor ms without", "with", "Difference")
    return table(heads, lines)


def _commands(results: Results) -> str:
    lines = [
        (
            name,
            f"`{one['command']}`",
            one["commit"],
            one["date"] + (", quick: not to be relied on" if one["quick"] else ""),
        )
        for name, one in results.by_name.items()
    ]
    return table(("File", "Command", "Commit", "When"), lines)


def _part(results: Results, part: str) -> Iterator[dict[str, Any]]:
    return (one for one in results.by_name.values() if one["part"] == part)


def _any_table(found: Sequence[dict[str, Any]]) -> str:
    """A table with a column for each name that any row has, in the order in which they come."""
    names = list(dict.fromkeys(name for row in found for name in row))
    heads = [name.replace("_", " ") for name in names]
    return table(heads, [[_written(row.get(name)) for name in names] for row in found])


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", " ")
    return "" if value is None else str(value)


def main() -> None:
    """Write the page and the pictures."""
    from charts import draw_all  # matplotlib, which the page alone does not need

    results = read_results()
    PAGE.write_text(page(results), encoding="utf-8")
    for guide in GUIDES:
        guide.write_text(fill(guide.read_text(encoding="utf-8"), results), encoding="utf-8")
    written: list[Path] = [PAGE, *GUIDES, *draw_all(results, PICTURES)]
    print("\n".join(f"wrote {path.relative_to(FOLDER.parent)}" for path in written))


if __name__ == "__main__":
    main()
