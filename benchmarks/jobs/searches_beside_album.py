"""Fifty callers search while an album is indexed, as JSON.

    python benchmarks/jobs/searches_beside_album.py PACK IMAGES [--jobs worker|service]

A service over a large collection, with signed requests. An album of IMAGES in S3 (moto's server, on this
machine) is indexed from first to last, by `facerec worker` beside the service or by the service itself.
Four runs, each over a service of its own: clients without pause, and a load at half the rate at which those
were answered alone, both alone and beside the album. S3, the callers and the service share the processors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.credentials import Credentials
from callers import Answered, call_at_rate, call_without_pause, signed_searches
from object_store import aws_server

from facerec.cli.bench.gallery import fill_gallery
from facerec.cli.bench.process import Process
from facerec.cli.bench.server import Address, own_server
from facerec.config import read_settings
from facerec.engine.packs.loading import open_engine
from facerec.services.benchmark import percentile

COLLECTION, ALBUM, BUCKET = "everybody", "album", "photos"
SECRET = "a-secret-of-the-benchmark-alone"
BUSY = 0.5
"""Requests that come at a rate, as a share of those that are answered where clients ask without pause."""
LOOK_SECONDS = 0.5
MOST_SECONDS = 75
"""Of a run; signatures are good for five minutes. What is not indexed by then is told by the rate."""


@dataclass(slots=True)
class Watch:
    """Memory of the processes and how far the album is, twice a second."""

    address: Address
    processes: dict[str, Process]
    samples: list[dict[str, float]] = field(default_factory=list)

    def until(self, over: threading.Event, began: float, images: int, least_seconds: float) -> float:
        """Look until all images are done and the time is over; when the last image was done, in seconds."""
        done_at = 0.0
        while True:
            now = time.perf_counter() - began
            done = _done(self.address) if images else 0
            memory = {name: process.resident_mib() or 0.0 for name, process in self.processes.items()}
            self.samples.append({"at": round(now, 2), "images": done, **memory})
            if images and done >= images and not done_at:
                done_at = now
            if (now >= least_seconds and done >= images) or now >= MOST_SECONDS:
                over.set()
                return done_at or now
            time.sleep(LOOK_SECONDS)


def main() -> None:
    """Read the command line, measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack")
    parser.add_argument("images", type=Path)
    parser.add_argument("--jobs", choices=("worker", "service"), default="worker", help="who indexes")
    parser.add_argument("--gallery", type=int, default=100_000, help="faces to search in")
    parser.add_argument("--album", type=int, default=200, help="images of the album")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument(
        "--rate", type=float, help="requests a second of the load at a rate; default: see above"
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run, at least")
    chosen = parser.parse_args()
    files = sorted(chosen.images.glob("*.jpg"))[:100]
    with aws_server() as url, tempfile.TemporaryDirectory(prefix="facerec-bench-") as folder:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "FACEREC_S3_ENDPOINT_URL": url,
            "MODEL_PATH": chosen.pack,
            "API_KEY": SECRET,
            "FACEREC_SERVE_JOBS": "true" if chosen.jobs == "service" else "false",
        }
        fill(url, files, chosen.album)
        engine = open_engine(read_settings())
        wanted = [file.read_bytes() for file in files if _one_face(engine, file.read_bytes())]
        contract = engine.contract
        engine.close()
        fill_gallery(Path(folder) / "data", COLLECTION, contract, chosen.gallery)
        runs: list[dict[str, Any]] = []
        for load in ("without pause", "at a rate"):
            for album in (0, chosen.album):
                place = Path(folder) / f"{load}-{album}".replace(" ", "-")
                shutil.copytree(Path(folder) / "data", place / "data")
                rate = None
                if load == "at a rate":
                    rate = chosen.rate or BUSY * runs[0]["requests_per_second"]
                runs.append(run(chosen, place, wanted, rate, album))
    about = ("jobs", "gallery", "clients")
    print(json.dumps({name: getattr(chosen, name) for name in about} | {"runs": runs}))


def _one_face(engine: Any, data: bytes) -> bool:
    return bool(engine.detect(engine.decode(data)))


def run(
    chosen: argparse.Namespace, folder: Path, images: Sequence[bytes], rate: float | None, album: int
) -> dict[str, Any]:
    """One service, one load (rate None: clients without pause), with or without the album."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(own_server(read_settings(), folder))
        processes = {"service": Process(server.pid)}
        if chosen.jobs == "worker":
            processes["worker"] = stack.enter_context(worker(folder))
        requests = signed_searches(server.address, COLLECTION, images, Credentials("API_KEY", SECRET))
        warm(server.address, requests)
        if album:
            _rest(server.address, "/api/v1/albums", {"album_id": ALBUM})
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            if rate is None:
                calls = pool.submit(call_without_pause, server.address, requests, chosen.clients, over)
            else:
                calls = pool.submit(call_at_rate, server.address, requests, rate, over)
            began = time.perf_counter()
            try:
                if album:
                    prefix = {"prefix": {"bucket": BUCKET, "prefix": "all/"}}
                    _rest(server.address, f"/api/v1/albums/{ALBUM}/images", prefix)
                watch = Watch(server.address, processes)
                done_at = watch.until(over, began, album, chosen.seconds)
            finally:
                over.set()
            answered = calls.result()
    # What is answered while the album is at work, and for as long without it.
    return figures(rate, album, answered, watch.samples, done_at)


def figures(
    rate: float | None,
    album: int,
    answered: Sequence[Answered],
    samples: list[dict[str, float]],
    seconds: float,
) -> dict[str, Any]:
    """What is told of a run."""
    counted = [one for one in answered if one.at <= seconds]
    times = [1000 * one.seconds for one in counted if one.code == "OK"]
    errors = Counter(one.code for one in counted if one.code != "OK")
    by_second: dict[int, list[float]] = {}
    for one in answered:
        by_second.setdefault(int(one.at), []).append(1000 * one.seconds)
    half = [each for each in samples if each["at"] >= seconds / 2] or samples
    names = [name for name in samples[0] if name not in ("at", "images")]
    return {
        "rate": rate,
        "album": album,
        "seconds": round(seconds, 1),
        "requests": len(counted),
        "errors": dict(errors),
        "error_rate": round(sum(errors.values()) / max(len(counted), 1), 5),
        "requests_per_second": round(len(times) / seconds, 1),
        **{f"p{share}_ms": round(percentile(times, share / 100), 1) for share in (50, 95, 99)},
        "images_per_second": round(samples[-1]["images"] / seconds, 1) if album else None,
        "images_done": samples[-1]["images"],
        "memory_mib": {name: round(samples[-1][name]) for name in names},
        "memory_growth_mib": {name: round(half[-1][name] - half[0][name], 1) for name in names},
        "samples": samples,
        "median_by_second": [
            [second, round(statistics.median(each), 1), round(max(each), 1)]
            for second, each in sorted(by_second.items())
        ],
    }


def warm(address: Address, requests: Sequence[bytes]) -> None:
    """Open the index and the networks."""
    over = threading.Event()
    timer = threading.Timer(3.0, over.set)
    timer.start()
    codes = {one.code for one in call_without_pause(address, requests, 4, over)}
    if codes != {"OK"}:
        raise SystemExit(f"the service answers {codes}")


@contextlib.contextmanager
def worker(folder: Path) -> Iterator[Process]:
    """`facerec worker` over the same data."""
    command = [sys.executable, "-c", "from facerec.cli import main; main()", "worker"]
    environment = {**os.environ, "FACEREC_DATA_DIR": str(folder / "data"), "FACEREC_SPOT_NOTICE": "off"}
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        while b"Jobs are done" not in log.read_bytes():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield Process(process.pid)
    finally:
        process.terminate()
        process.wait(120)


def fill(url: str, files: Sequence[Path], count: int) -> None:
    """Lay the files into S3 until there are so many objects."""
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    for number in range(count):
        body = files[number % len(files)].read_bytes()
        client.put_object(Bucket=BUCKET, Key=f"all/{number:06}.jpg", Body=body)
    client.close()


def _done(address: Address) -> int:
    progress = _rest(address, f"/api/v1/albums/{ALBUM}")
    return int(progress["done"] + progress["failed"])


def _rest(address: Address, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the service by REST."""
    request = urllib.request.Request(
        f"http://{address[0]}:{address[1]}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": SECRET, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
