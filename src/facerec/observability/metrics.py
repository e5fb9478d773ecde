"""What the service counts and times of its work, in Prometheus' terms; told by `exposition`.

What happens is counted here, at the place where it happens. What is so at the moment (how many faces there
are, how many jobs wait) is asked for when somebody looks; see `facerec.api.metrics`.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of a request's time, in seconds: among them 50, 100, 200 and 500 ms, which targets are set at."""

STEPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds of the time of one step of the work."""

JOB_TIMES = (0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 7200.0)

REGISTRY = CollectorRegistry()
"""Of this process. Not the library's own, into which other packages may write."""


LABELS: dict[str, tuple[str, ...]] = {}
"""Names of the labels of each counter and histogram, for the documentation."""


def _counter(name: str, text: str, *labels: str) -> Counter:
    LABELS[f"facerec_{name}"] = labels
    return Counter(f"facerec_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str, bounds: tuple[float, ...] = STEPS) -> Histogram:
    LABELS[f"facerec_{name}"] = labels
    return Histogram(f"facerec_{name}", text, labels, buckets=bounds, registry=REGISTRY)


# --- requests
requests = _counter(
    "requests", "Requests answered, by door, operation and HTTP status.", "door", "operation", "status"
)
request_errors = _counter(
    "request_errors", "Requests answered with an error, by its code.", "door", "operation", "code"
)
request_seconds = _histogram(
    "request_duration_seconds",
    "From the arrival of a request's head to the beginning of its answer.",
    "door",
    "operation",
    bounds=LATENCIES,
)
requests_in_progress = Gauge(
    "facerec_requests_in_progress",
    "Requests that are not answered yet.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
rate_limited = _counter("rate_limited", "Requests refused because their key or address has sent too many.")
wait_seconds = _histogram(
    "wait_duration_seconds",
    "Time that work waits before it begins, by what it waits for: a thread, room for a picture, a processor, "
    "a batch.",
    "reason",
)

# --- recognition
inference_seconds = _histogram(
    "inference_duration_seconds",
    "Time of the engine's steps at work, without waiting: decode, detect, embed, examine, liveness.",
    "step",
)
batch_faces = _histogram(
    "inference_batch_faces", "Faces embedded in one run.", bounds=(1, 2, 4, 8, 16, 32, 64, 100)
)
faces_detected = _counter("faces_detected", "Faces that the detector has found.")
faces_embedded = _counter("faces_embedded", "Faces that were embedded.")
result_cache = _counter(
    "result_cache_requests", "Images looked up among the remembered results: hit or miss.", "result"
)

# --- images
image_seconds = _histogram(
    "image_load_duration_seconds",
    "Time until an image's bytes are there, by where it lies: bytes, s3, url, file.",
    "source",
)
images = _counter("images", "Images that were loaded, by where they lay.", "source")
image_bytes = _counter("image_bytes", "Bytes of the images that were loaded.", "source")

# --- stores
database_seconds = _histogram(
    "database_transaction_duration_seconds", "Time of transactions: read or write.", "kind"
)
database_errors = _counter("database_errors", "Transactions that failed: read or write.", "kind")
search_seconds = _histogram("vector_search_duration_seconds", "Time of searches in the vector store.")
search_errors = _counter("vector_search_errors", "Searches that failed in the vector store.")

# --- jobs
job_seconds = _histogram("job_duration_seconds", "Time of a job at work.", "kind", bounds=JOB_TIMES)
job_wait_seconds = _histogram(
    "job_wait_duration_seconds",
    "From a job's being queued to its first beginning.",
    "kind",
    bounds=JOB_TIMES,
)
jobs_finished = _counter(
    "jobs_finished", "Attempts at jobs that ended: done, retry, release, left, set_aside.", "kind", "outcome"
)


def _name_what_is_known() -> None:
    """Have the series that are sure to come exist from the start, so that their first rise is seen."""
    for reason in ("thread", "picture", "processor", "batch"):
        wait_seconds.labels(reason)
    for step in ("decode", "detect", "embed", "examine", "liveness"):
        inference_seconds.labels(step)
    for source in ("bytes", "s3", "url", "file"):
        image_seconds.labels(source)
        images.labels(source)
        image_bytes.labels(source)
    for kind in ("read", "write"):
        database_seconds.labels(kind)
        database_errors.labels(kind)
    for result in ("hit", "miss"):
        result_cache.labels(result)


_name_what_is_known()
