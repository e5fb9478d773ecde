"""What is measured: every command whose figures the page of results is made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PARTS = (
    "engine",
    "search",
    "service",
    "accuracy",
    "people",
    "liveness",
    "clustering",
    "jobs",
    "video",
    "audit",
    "load",
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the measurements look at."""

    images: Path
    """Small pictures of one face each."""
    photos: Path
    pairs: Path
    """List of pairs of the small pictures; accuracy is left out where there is none."""
    small: Path
    """Pack of small networks, those of a phone."""
    large: Path | None
    """Pack of large networks; left out where there is none."""
    lively: Path | None
    """Pack with liveness networks; left out where there is none."""
    film: Path
    """One in which a head turns (`benchmarks/liveness/active.py`)."""
    quick: bool
    """A few rounds of little work, to see that all runs."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A command that prints figures as JSON."""

    name: str
    """Also that of its file."""
    part: str
    title: str
    words: tuple[str, ...]
    """As one would type it in the checkout: `facerec ...` or `python ...`."""
    environment: dict[str, str] = field(default_factory=dict)
    large: bool = False
    """Takes very long, so it runs only where it is asked for."""


def measurements(inputs: Inputs) -> Iterator[Measurement]:
    """All of them, in the order in which they run."""
    yield from _engine(inputs)
    yield from _search(inputs)
    yield from _service(inputs)
    if inputs.pairs.is_file():
        yield from _accuracy(inputs)
        yield from _people(inputs)
        yield from _clustering(inputs)
    if inputs.lively and inputs.film.is_file():
        yield from _liveness(inputs, inputs.lively)
    yield from _jobs(inputs)
    if inputs.film.is_file():
        yield from _video(inputs)
    few = ("--pairs", "2", "--requests", "20") if inputs.quick else ()
    words = ("python", "benchmarks/audit/audit_cost.py", *few)
    yield Measurement("audit_cost", "audit", "the audit log", words)
    yield from _load(inputs)


def _engine(inputs: Inputs) -> Iterator[Measurement]:
    bench = ("facerec", "bench", "engine", "--json", "--stages")
    small = ("--pack", str(inputs.small))
    lfw = ("--images", str(inputs.images), "--limit", "10" if inputs.quick else "300")
    photos = ("--images", str(inputs.photos), *(("--limit", "4") if inputs.quick else ("--passes", "5")))
    rounds = ("--rounds", "1" if inputs.quick else "5")
    beside = (*rounds, "--peer", "insightface")
    f32 = {"FACEREC_PRECISION": "f32"}
    part = "engine"
    yield Measurement("engine_lfw", part, "small pictures, small networks", (*bench, *small, *lfw, *beside))
    yield Measurement(
        "engine_lfw_f32", part, "small pictures in float32", (*bench, *small, *lfw, *rounds), f32
    )
    yield Measurement(
        "engine_photos", part, "photographs, small networks", (*bench, *small, *photos, *beside)
    )
    yield Measurement(
        "engine_photos_f32", part, "photographs in float32", (*bench, *small, *photos, *rounds), f32
    )
    if inputs.large:
        few = ("--images", str(inputs.images), "--limit", "3" if inputs.quick else "40")
        words = (*bench, "--pack", str(inputs.large), *few, *beside)
        yield Measurement("engine_large", part, "small pictures, large networks", words)
    few = ("--images", str(inputs.images), "--limit", "2" if inputs.quick else "6")
    dlib = (*bench, "--pack", "dlib", *few, "--rounds", "1" if inputs.quick else "3")
    yield Measurement(
        "engine_dlib", part, "small pictures, the default pack", (*dlib, "--peer", "face_recognition")
    )
    memory = (
        "python",
        "benchmarks/engine/memory.py",
        str(inputs.small),
        str(inputs.images),
        str(inputs.photos),
    )
    yield Measurement("engine_memory", part, "memory of the engine", memory)


def _search(inputs: Inputs) -> Iterator[Measurement]:
    bench = ("facerec", "bench", "search", "--json", "--faces")
    sizes = "1000,10000" if inputs.quick else "1000,10000,100000,1000000"
    few = ("--asked", "50", "--rounds", "1") if inputs.quick else ()
    title = "galleries of 512 dimensions"
    yield Measurement("search_512", "search", title, (*bench, sizes, "--dimensions", "512", *few))
    sizes = "10000" if inputs.quick else "100000,1000000"
    title = "galleries of 128 dimensions"
    yield Measurement("search_128", "search", title, (*bench, sizes, "--dimensions", "128", *few))
    sizes = "1000" if inputs.quick else "100000"
    graphs = ("--dimensions", "512", "--peer", "usearch", "--no-starts", *few)
    yield Measurement("search_graphs", "search", "beside a graph", (*bench, sizes, *graphs))
    words = (*bench, "10000000", "--dimensions", "512", "--peer", "none", "--asked", "500", "--rounds", "5")
    yield Measurement("search_10m", "search", "ten million faces", words, large=True)


def _service(inputs: Inputs) -> Iterator[Measurement]:
    any_pack = ("facerec", "bench", "service", "--json", "--pack")
    bench = (*any_pack, str(inputs.small))
    seconds = ("--seconds", "0.5" if inputs.quick else "8")
    few, gallery = ("1,4,16", "1000000")
    if inputs.quick:
        few, gallery = ("1,2", "10000")
    images, photos = str(inputs.images), str(inputs.photos)
    for name, operation, pictures, clients, title in (
        ("detect_lfw", "DetectFaces", images, "1,2,4,8,16,32", "DetectFaces, small pictures"),
        ("index_lfw", "IndexFaces", images, few, "IndexFaces, small pictures"),
        ("compare_lfw", "CompareFaces", images, few, "CompareFaces, small pictures"),
        ("search_lfw", "SearchFacesByImage", images, few, "SearchFacesByImage, small pictures"),
        ("detect_photos", "DetectFaces", photos, few, "DetectFaces, photographs"),
    ):
        words = (*bench, "--operation", operation, "--images", pictures, "--clients", clients, *seconds)
        yield Measurement(f"service_{name}", "service", title, words)
    search = ("--operation", "SearchFacesByImage", "--images", images, "--gallery", gallery)
    among = (*search, *seconds, "--clients", "1,16,50")
    title = "SearchFacesByImage, a million faces"
    yield Measurement("service_search_1m", "service", title, (*bench, *among))
    two = {"FACEREC_WORKERS": "2"}
    title = "SearchFacesByImage, a million faces, two processes"
    yield Measurement("service_search_1m_workers", "service", title, (*bench, *among), two)
    title = "SearchFacesByImage, a million faces, two processes, the default pack"
    yield Measurement("service_search_1m_default", "service", title, (*any_pack, "dlib", *among), two)


def _accuracy(inputs: Inputs) -> Iterator[Measurement]:
    words = ("facerec", "eval", str(inputs.pairs), "--images", str(inputs.images), "--json", "--pack")
    small = (*words, str(inputs.small))
    part = "accuracy"
    yield Measurement("accuracy_auto", part, "small networks as the service runs them", small)
    f32 = {"FACEREC_PRECISION": "f32"}
    yield Measurement("accuracy_f32", part, "small networks in float32", small, f32)
    yield Measurement("accuracy_dlib", part, "the default pack", (*words, "dlib"))
    recall = ("python", "benchmarks/accuracy/photo_recall.py", str(inputs.small), str(inputs.photos))
    if (inputs.photos / "photos.csv").is_file() or (inputs.photos.parent / "photos.csv").is_file():
        yield Measurement("accuracy_photos", part, "faces found in photographs", recall)
        yield Measurement("accuracy_photos_f32", part, "faces found, in float32", recall, f32)


def _people(inputs: Inputs) -> Iterator[Measurement]:
    draws = ("--draws", "1" if inputs.quick else "8")
    for name, pack, title in (
        ("people_small", str(inputs.small), "small networks"),
        ("people_dlib", "dlib", "the default pack"),
    ):
        words = ("python", "benchmarks/people/known_and_unknown.py", pack, str(inputs.images), *draws)
        yield Measurement(name, "people", title, words)


def _clustering(inputs: Inputs) -> Iterator[Measurement]:
    part = "clustering"
    few = ("--orders", "1", "--grid", "2") if inputs.quick else ()
    for name, pack, title in (
        ("clustering_small", str(inputs.small), "small networks"),
        ("clustering_dlib", "dlib", "the default pack"),
    ):
        words = ("python", "benchmarks/clustering/who_is_who.py", pack, str(inputs.images), *few)
        yield Measurement(name, part, title, words)
    words = ("python", "benchmarks/clustering/thousands.py", *(("--faces", "500") if inputs.quick else ()))
    yield Measurement("clustering_thousands", part, "thousands of faces", words)


def _liveness(inputs: Inputs, pack: Path) -> Iterator[Measurement]:
    spoofs = inputs.film.parent.parent / "spoof"
    limit = ("--limit", "5" if inputs.quick else "60")
    passive = ("python", "benchmarks/liveness/passive.py", str(pack), str(inputs.images), str(spoofs), *limit)
    yield Measurement("liveness_passive", "liveness", "pictures, passive", passive)
    trials = ("--trials", "1" if inputs.quick else "6")
    active = ("python", "benchmarks/liveness/active.py", str(pack), str(inputs.film), *trials)
    yield Measurement("liveness_active", "liveness", "sessions, active", active)


def _jobs(inputs: Inputs) -> Iterator[Measurement]:
    script = "benchmarks/jobs/album_by_workers.py"
    # 10 000 images take minutes: the queue of every installation is measured so, the others with fewer. What
    # moto's SQS does for a message grows with the queue (docs/jobs.md).
    for name, pack, queue, count, alone, more, title in (
        ("jobs_embedded", inputs.small, "embedded", "10000", "1000", (), "the queue in the database"),
        (
            "jobs_large",
            inputs.large,
            "embedded",
            "10000",
            "3000",
            (),
            "the queue in the database, large networks",
        ),
        ("jobs_sqs", inputs.small, "sqs", "1000", "500", (), "SQS"),
        ("jobs_sqs_large", inputs.large, "sqs", "1000", "500", (), "SQS, large networks"),
        ("jobs_ray", inputs.small, "ray", "2000", "1000", ("--processes", "2"), "Ray, two actors"),
        (
            "jobs_ray_large",
            inputs.large,
            "ray",
            "3000",
            "1000",
            ("--processes", "2"),
            "Ray, two actors, large networks",
        ),
        (
            "jobs_ray_one",
            inputs.small,
            "ray",
            "1000",
            "1000",
            ("--processes", "1"),
            "Ray, one actor of the same size",
        ),
    ):
        if pack is None:
            continue
        sizes = ("--count", "60", "--alone", "60") if inputs.quick else ("--count", count, "--alone", alone)
        words = ("python", script, str(pack), str(inputs.images), "--queue", queue, *sizes, *more)
        # An actor, or a process, has one processor: two of them are twice one.
        own = {"FACEREC_THREADS": "1"} if name == "jobs_ray_one" else {}
        yield Measurement(name, "jobs", title, words, own)


def _load(inputs: Inputs) -> Iterator[Measurement]:
    script = "benchmarks/jobs/searches_beside_album.py"
    few = ("--gallery", "1000", "--album", "20", "--seconds", "2", "--clients", "4") if inputs.quick else ()
    for who, processes, title in (
        ("worker", "1", "jobs by a worker"),
        ("worker", "2", "jobs by a worker, two processes of the service"),
        ("service", "1", "jobs by the service"),
    ):
        words = ("python", script, str(inputs.small), str(inputs.images), "--jobs", who, *few)
        name = f"load_{who}" if processes == "1" else f"load_{who}_{processes}"
        yield Measurement(name, "load", title, words, {"FACEREC_WORKERS": processes})


def _video(inputs: Inputs) -> Iterator[Measurement]:
    rounds = ("--rounds", "1" if inputs.quick else "3")
    packs = [("small", str(inputs.small), "small networks"), ("dlib", "dlib", "the default pack")]
    if inputs.large:
        packs.insert(1, ("large", str(inputs.large), "large networks"))
    for name, pack, title in packs:
        words = ("python", "benchmarks/video/film.py", pack, str(inputs.film), str(inputs.images), *rounds)
        yield Measurement(f"video_{name}", "video", title, words)
