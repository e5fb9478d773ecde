"""An album in S3 indexed by worker processes, one of which is killed every few seconds, as JSON.

    python benchmarks/jobs/album_by_workers.py PACK IMAGES --count 10000 --queue embedded|sqs|ray

IMAGES are laid into S3 (moto's, on this machine) under as many keys as wanted, again and again. Two
albums are indexed: one by workers that are left alone and that, like the bare engine, have looked at a few
images before; and one by workers that are new, and of which one is killed every few seconds. Beside them the
bare engine looks at the same files, from bytes to embeddings, before and after. S3's server, SQS's and the
database share the processors with the workers: processor time an image tells what the workers need.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
from object_store import aws_server

from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.engine.base import Engine
from facerec.engine.packs.loading import open_engine
from facerec.metastore.items import ItemState
from facerec.services.external_ids import readable_id

BUCKET = "album"
BARE = 400
"""Images that the bare engine looks at, before and after."""
WARMING = 50
"""Images for each worker, or thread of the bare engine, that are looked at before anything is measured."""
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.25
MOST_SECONDS = 3000


def main() -> None:
    """Read the command line, measure, print the figures."""
    parser = argparse.ArgumentParser(description="An album indexed by worker processes.")
    parser.add_argument("pack")
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=10_000, help="images of the album with kills")
    parser.add_argument("--alone", type=int, help="images of the one without; default: as many")
    parser.add_argument("--queue", choices=("embedded", "sqs", "ray"), default="embedded")
    parser.add_argument("--processes", type=int, default=read_settings().threads, help="workers, or actors")
    parser.add_argument("--kill-every", type=float, default=10.0, help="seconds")
    chosen = parser.parse_args()
    if chosen.queue != "ray" and chosen.processes < 2:
        parser.error("--processes: two at least, since one is killed while another goes on")
    files = sorted(chosen.images.glob("*.jpg"))[: chosen.count]
    seen = files[:BARE]
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "MODEL_PATH": chosen.pack}
    engine = open_engine(read_settings())
    # A server each, as moto's SQS would hold up its S3: what it does for a message grows with the queue.
    with aws_server() as url, aws_server() as sqs_url:
        os.environ |= {"FACEREC_S3_ENDPOINT_URL": url, "FACEREC_SQS_ENDPOINT_URL": sqs_url}
        fill(url, "warm", files, WARMING * chosen.processes)
        quiet = fill(url, "alone", files, chosen.alone or chosen.count)
        names = fill(url, "killed", files, chosen.count)
        before = bare(engine, seen)
        alone = run(engine, chosen, "alone", quiet, kill_every=None)
        killed = run(engine, chosen, "killed", names, kill_every=chosen.kill_every)
        after = bare(engine, seen)
    bare_rate = (before["images_per_second"] + after["images_per_second"]) / 2
    bare_ms = (before["processor_ms"] + after["processor_ms"]) / 2
    figures = {
        "pack": engine.contract.pack,
        "queue": chosen.queue,
        "images": chosen.count,
        "images_alone": len(quiet),
        "files": len(files),
        "processes": chosen.processes,
        "kill_every_seconds": chosen.kill_every,
        "bare": {"images_per_second": bare_rate, "processor_ms": bare_ms},
        "alone": alone,
        "killed": killed,
        "rate_ratio": alone["images_per_second"] / bare_rate,
        "rate_ratio_killed": killed["images_per_second"] / bare_rate,
        "processor_ratio": bare_ms / alone["processor_ms"],
    }
    engine.close()
    print(json.dumps(figures))


def fill(url: str, prefix: str, files: Sequence[Path], count: int) -> dict[str, str]:
    """Lay the files into S3 until a prefix has so many objects: file names by external image ids."""
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    keys = {
        f"{prefix}/{number // len(files):03}/{files[number % len(files)].name}": number
        for number in range(count)
    }

    def put(key: str) -> None:
        client.put_object(Bucket=BUCKET, Key=key, Body=files[keys[key] % len(files)].read_bytes())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put, keys))
    client.close()
    return {readable_id(key): files[number % len(files)].name for key, number in keys.items()}


def bare(engine: Engine, files: Sequence[Path]) -> dict[str, float]:
    """The engine alone over the files."""
    data = [file.read_bytes() for file in files]

    def look(content: bytes) -> int:
        picture = engine.decode(content)
        return len(engine.embed(picture, engine.detect(picture)))

    with ThreadPoolExecutor(read_settings().threads) as pool:
        list(pool.map(look, data[: WARMING * read_settings().threads]))
        began, used = time.perf_counter(), time.process_time()
        list(pool.map(look, data))
        seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {"images_per_second": len(data) / seconds, "processor_ms": processor / len(data) * 1000}


def run(
    engine: Engine,
    chosen: argparse.Namespace,
    prefix: str,
    names: dict[str, str],
    *,
    kill_every: float | None,
) -> dict[str, Any]:
    """Index the album of a prefix."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["FACEREC_DATA_DIR"] = folder
        if chosen.queue == "sqs":
            os.environ["SQS_QUEUE_NAME"] = f"album-{time.time_ns()}"
        service = stack.enter_context(open_service(read_settings(), engine=engine))
        process = stack.enter_context(workers(chosen, Path(folder)))
        if kill_every is None:
            follow(service, process, "warm", WARMING * chosen.processes, None)
        used = processor_seconds(process.pid)
        figures = follow(service, process, prefix, len(names), kill_every)
        if kill_every is None:  # what killed workers have used is not known
            used = processor_seconds(process.pid) - used
            figures["processor_ms"] = used / len(names) * 1000
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        return figures | outcome(service, prefix, names)


@contextlib.contextmanager
def workers(chosen: argparse.Namespace, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The workers, once they are there to work."""
    facerec = [sys.executable, "-c", "from facerec.cli import main; main()", "worker"]
    environment = {**os.environ, "FACEREC_SPOT_NOTICE": "off", "FACEREC_JOB_LEASE_SECONDS": "5"}
    if chosen.queue == "ray":
        words = ["--ray"]
        share = str(max(read_settings().threads // chosen.processes, 1))
        cluster = json.dumps({"CPU": int(share) * chosen.processes})
        environment |= {"FACEREC_RAY_ACTOR_CPUS": share, "RAY_OVERRIDE_RESOURCES": cluster}
    else:
        words = ["--processes", str(chosen.processes)]
    with (folder / "workers.log").open("wb") as log:
        process = subprocess.Popen([*facerec, *words], env=environment, stderr=log, stdout=log)
    try:
        while len(doing(process.pid)) < chosen.processes:
            time.sleep(LOOK_SECONDS)
        time.sleep(10)  # they load their models
        yield process
    finally:
        for each in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait()


def follow(
    service: Service, process: subprocess.Popen[bytes], prefix: str, count: int, kill_every: float | None
) -> dict[str, Any]:
    """Make an album of a prefix, watch it until nothing waits, and kill a worker now and then."""
    service.albums.service.create(prefix)
    began = time.perf_counter()
    service.albums.service.add_prefix(prefix, BUCKET, f"{prefix}/")
    chance, kills, first, wrong = random.Random(1), 0, 0.0, 0
    next_kill = began + kill_every if kill_every else float("inf")
    done, started = 0, False
    while True:
        progress = service.albums.service.progress(prefix)
        now = time.perf_counter()
        finished = progress.counts[ItemState.DONE] + progress.counts[ItemState.FAILED]
        # Never backwards, and never more than there are.
        wrong += finished < done or sum(progress.counts.values()) > count
        done = finished
        if done and not started:
            first, started = now - began, True
        if done == count:
            break
        if now - began > MOST_SECONDS or process.poll() is not None:
            raise SystemExit(f"{done} of {count} images after {now - began:.0f} s; workers: {process.poll()}")
        if now >= next_kill and (alive := doing(process.pid)):
            os.kill(chance.choice(alive), signal.SIGKILL)
            kills, next_kill = kills + 1, now + (kill_every or 0)
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "images_per_second": count / seconds,
        "first_image_after_seconds": first,
        "kills": kills,
        "wrong_progress": wrong,
    }


def outcome(service: Service, album: str, names: dict[str, str]) -> dict[str, int]:
    """What is missing from the collection, and what is there twice."""
    progress = service.albums.service.progress(album)
    faces: Counter[tuple[str | None, object]] = Counter()
    token = None
    while True:
        page = service.faces.list(album, limit=4096, token=token).page
        faces.update((face.external_image_id, face.box) for face in page.items)
        token = page.next_token
        if token is None:
            break
    by_image = Counter(external_id for external_id, _ in faces)
    # All objects of one file have the same faces.
    of_file: dict[str, set[int]] = {}
    for external_id, name in names.items():
        of_file.setdefault(name, set()).add(by_image[external_id])
    return {
        "failed": progress.counts[ItemState.FAILED],
        "faces": faces.total(),
        "doubles": faces.total() - len(faces),
        "unequal_files": sum(len(counts) > 1 for counts in of_file.values()),
        "files_without_faces": sum(counts == {0} for counts in of_file.values()),
    }


def descendants(process_id: int) -> list[int]:
    """The processes below a process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == process_id:
                found += [int(status.parent.name), *descendants(int(status.parent.name))]
    return found


def doing(process_id: int) -> list[int]:
    """The processes that do jobs: workers, named like the one that forks them, or Ray's actors."""
    found = []
    for each in descendants(process_id):
        with contextlib.suppress(OSError):
            title = Path(f"/proc/{each}/cmdline").read_bytes()
            forked = b"facerec.cli.jobs_worker" in title and not descendants(each)
            if forked or title.startswith(b"ray::JobActor"):
                found.append(each)
    return found


def processor_seconds(process_id: int) -> float:
    """Processor time of the processes that do jobs."""
    total = 0
    for each in doing(process_id):
        with contextlib.suppress(OSError):
            times = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += int(times[11]) + int(times[12])
    return total / TICKS


if __name__ == "__main__":
    main()
