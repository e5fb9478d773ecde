"""What was to be reached, beside what was measured: the rows of the table of results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from files import Results

SERVER = "InsightFace Server"
"""Its figures on a machine of this class were given with the goals; it is in no package registry, so it can
not be measured in the same run."""


@dataclass(frozen=True, slots=True)
class Row:
    """One work: what it is compared with, what was to be reached, what was measured."""

    work: str
    reference: str
    reach: str
    ours: str = ""
    peer: str = ""
    ratio: str = ""
    share: str = ""
    met: bool | None = None
    """None where it was not measured."""


def rows(results: Results) -> list[Row]:
    """All rows, those that were not measured too."""
    return [
        *_engine(results),
        *_search(results),
        *_service(results),
        *_memory(results),
        *_service_memory(results),
        *_accuracy(results),
    ]


def _engine(results: Results) -> Iterator[Row]:
    for name, work, goal in (
        ("engine_lfw", "engine, small pictures, SCRFD-500M + MobileFaceNet", 6.0),
        ("engine_photos", "engine, photographs, the same networks", 5.0),
        ("engine_large", "engine, small pictures, SCRFD-2.5G + IResNet-50", 3.5),
        ("engine_dlib", "engine, small pictures, the default pack", None),
    ):
        figures = results.figures(name)
        peer = figures.get("peer", "face_recognition" if name == "engine_dlib" else "insightface")
        reference, reach = f"{peer}, same run", f"{goal:g}×" if goal else "-"
        if "ratio" not in figures:
            yield Row(work, reference, reach)
            continue
        share = figures.get("share_of_floor")
        yield Row(
            *(work, reference, reach),
            ours=f"{figures['images_per_second']:.1f} images/s",
            peer=f"{figures['peer_images_per_second']:.1f}",
            ratio=f"{figures['ratio']:.2f}×",
            share=f"{share:.0%}" if share else "",
            met=figures["ratio"] >= goal if goal else None,
        )


def _search(results: Results) -> Iterator[Row]:
    for faces, count, most_ms, most_gb in ((1_000_000, "1 M", 5.0, 0.6), (10_000_000, "10 M", 40.0, 8.0)):
        title = f"search, {count} faces of 512 dimensions"
        ours, peer = results.search(faces, 512, "facerec"), results.search(faces, 512, "FAISS", "flat")
        reference = f"{peer.get('store', 'FAISS flat')}, same run" if peer or not ours else "-"
        row = (f"{title}, one probe", reference, f"≤ {most_ms:g} ms")
        if not ours:
            yield Row(*row)
            continue
        share = ours.get("reading_share")
        yield Row(
            *row,
            ours=f"{ours['one_ms']:.2f} ms",
            peer=f"{peer['one_ms']:.0f} ms" if peer else "",
            ratio=f"{peer['one_ms'] / ours['one_ms']:.1f}×" if peer else "",
            share=f"{share:.0%}" if share else "",
            met=ours["one_ms"] <= most_ms,
        )
        told = f"{ours['found']:.4%} of {ours['asked']}"
        yield Row(f"{title}, matches found first", "all", "≥ 99.99 %", ours=told, met=ours["found"] >= 0.9999)
        gigabytes = ours["bytes_a_face"] * faces / 1e9
        theirs = f"{peer['bytes_a_face'] * faces / 1e9:.2f} GB" if peer else ""
        yield Row(
            *(f"{title}, memory", reference, f"≤ {most_gb:g} GB"),
            ours=f"{gigabytes:.2f} GB",
            peer=theirs,
            met=round(gigabytes, 1) <= most_gb,
        )


def _service(results: Results) -> Iterator[Row]:
    for name, operation, reference in (
        ("service_detect_lfw", "DetectFaces, small pictures", {1: (43, 5), 4: (44, 5), 16: (41, 5)}),
        ("service_index_lfw", "IndexFaces, small pictures", {1: (7, 6), 4: (20, 6), 16: (19, 6)}),
        ("service_detect_photos", "DetectFaces, photographs", {16: (6, 5)}),
    ):
        for clients, (theirs, goal) in reference.items():
            run = results.load(name, clients)
            work = f"{operation}, {clients} {'client' if clients == 1 else 'clients'}"
            row = (work, f"{SERVER}, {theirs} requests/s", f"{goal}×")
            if not run:
                yield Row(*row)
                continue
            ratio = run["requests_per_second"] / theirs
            yield Row(
                *row,
                ours=f"{run['requests_per_second']:.0f} requests/s",
                peer=str(theirs),
                ratio=f"{ratio:.1f}×",
                met=ratio >= goal,
            )
    yield from _latencies(results)
    yield from _large_gallery(results)


def _latencies(results: Results) -> Iterator[Row]:
    for name, operation, seed in (
        ("service_detect_lfw", "DetectFaces", 100),
        ("service_compare_lfw", "CompareFaces", 50),
        ("service_search_lfw", "SearchFacesByImage", 200),
    ):
        run = results.load(name, 1)
        row = (f"{operation}, one client, p50", f"{seed} ms", f"a third, {seed / 3:.0f} ms")
        if not run:
            yield Row(*row)
            continue
        p50 = run["p50_ms"]
        yield Row(*row, ours=f"{p50:.1f} ms", peer=str(seed), ratio=f"{seed / p50:.1f}×", met=p50 <= seed / 3)
    run = results.load("service_detect_photos", 16)
    row = ("DetectFaces, photographs, 16 clients, p99", "-", "< 2 s")
    yield Row(*row, ours=f"{run['p99_ms']:.0f} ms", met=run["p99_ms"] < 2000) if run else Row(*row)


def _large_gallery(results: Results) -> Iterator[Row]:
    for name, how in (
        ("service_search_1m", ""),
        ("service_search_1m_workers", ", two processes"),
        ("service_search_1m_default", ", two processes, the default pack"),
    ):
        run = results.load(name, 50)
        work = f"SearchFacesByImage, 1 M faces, 50 clients{how}"
        if not run:
            yield Row(f"{work}, p99", "-", "< 500 ms")
            yield Row(f"{work}, requests/s", "the engine alone, same run", "≥ 80 %")
            continue
        p99, errors = run["p99_ms"], run["errors"]
        told = f"{p99:.0f} ms, {errors} errors"
        yield Row(f"{work}, p99", "-", "< 500 ms", ours=told, met=p99 < 500 and not errors)
        bare, share = results.number(name, "engine_per_second"), run.get("of_engine")
        yield Row(
            *(f"{work}, requests/s", "the engine alone, same run", "≥ 80 %"),
            ours=f"{run['requests_per_second']:.0f} requests/s",
            peer=f"{bare:.0f}" if bare else "",
            ratio=f"{share:.0%}" if share else "",
            met=share >= 0.8 if share else None,
        )


def _memory(results: Results) -> Iterator[Row]:
    for name, work, seed in (
        ("loading_mib", "memory, networks loaded", 2000),
        ("photo_mib", "memory, a request", 200),
    ):
        row = (work, f"{seed / 1000:g} GB" if seed >= 1000 else f"{seed} MB", f"a third, {seed / 3:.0f} MB")
        mebibytes = results.number("engine_memory", name)
        if mebibytes is None:
            yield Row(*row)
            continue
        megabytes = mebibytes * 2**20 / 1e6
        yield Row(
            *row,
            ours=f"{megabytes:.0f} MB",
            peer=str(seed),
            ratio=f"{seed / megabytes:.1f}×",
            met=megabytes <= seed / 3,
        )


def _service_memory(results: Results) -> Iterator[Row]:
    peak = results.load("service_detect_photos", 16).get("server_peak_mib")
    row = ("memory of the service, photographs, 16 clients", "-", "< 1 GB")
    if peak is None:
        yield Row(*row)
    else:
        megabytes = peak * 2**20 / 1e6
        yield Row(*row, ours=f"{megabytes:.0f} MB", met=megabytes < 1000)


def _accuracy(results: Results) -> Iterator[Row]:
    ours = results.number("accuracy_auto", "Accuracy")
    exact = results.number("accuracy_f32", "Accuracy")
    row = ("LFW accuracy, as the service runs", "the same in float32", "within 0.1 points")
    if ours is None or exact is None:
        yield Row(*row)
    else:
        met = exact - ours <= 0.001
        yield Row(
            *row, ours=f"{ours:.2%}", peer=f"{exact:.2%}", ratio=f"{100 * (ours - exact):+.2f}", met=met
        )
    found, annotated = (results.number("accuracy_photos", name) for name in ("found", "annotated"))
    row = ("annotated faces found in photographs", "annotations", "all that float32 at 640 finds")
    if found is None or annotated is None:
        yield Row(*row)
    else:
        yield Row(
            *row,
            ours=f"{found:.0f}",
            peer=f"{annotated:.0f}",
            ratio=f"{found / annotated:.0%}",
            met=found >= annotated,
        )
