"""How fast a film is looked through as a job: StartFaceDetection and StartFaceSearch, as JSON.

    python benchmarks/video/film.py PACK FILM IMAGES

One job at a time in one process, of a film on this machine, from the job's beginning to its result in the
database; the search knows the people of some pictures of IMAGES.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.domain import InlineImage, LocalImage, VideoOperation, VideoState, VideoWish

KNOWN = 50
"""Pictures whose people the collection knows."""
COLLECTION = "known"


def main() -> None:
    """Read the command line, measure, print the figures."""
    parser = argparse.ArgumentParser(description="How fast a film is looked through.")
    parser.add_argument("pack")
    parser.add_argument("film", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MODEL_PATH": chosen.pack, "FACEREC_DATA_DIR": folder}
        settings = read_settings()
        with open_service(settings) as service:
            service.collections.create(COLLECTION)
            for picture in sorted(chosen.images.glob("*.jpg"))[:KNOWN]:
                service.faces.index(COLLECTION, InlineImage(picture.read_bytes()))
            runs = [run(service, chosen.film, operation, chosen.rounds) for operation in VideoOperation]
            pack = service.engine.contract.pack
    print(json.dumps({"pack": pack, "looks_a_second": settings.video_fps, "runs": runs}))


def run(service: Service, film: Path, operation: VideoOperation, rounds: int) -> dict[str, Any]:
    """The median of some rounds after one that warms up."""
    collection = COLLECTION if operation is VideoOperation.FACE_SEARCH else None
    wish = VideoWish(operation=operation, video=LocalImage(film), collection=collection)
    seconds, processor = [], []
    for _ in range(rounds + 1):
        job_id = service.videos.start(wish)
        (job,) = service.jobs.lease(service.videos.job_kinds, 1, seconds=3600)
        began, used = time.perf_counter(), time.process_time()
        service.video_work.do(job, lambda: None)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
        service.jobs.done([job])
    video = service.videos.find(job_id)
    if video.state is not VideoState.SUCCEEDED or video.metadata is None:
        raise SystemExit(f"the film was not looked through: {video.message}")
    film_seconds = video.progress_ms / 1000
    looks = film_seconds * read_settings().video_fps
    return {
        "operation": operation.name,
        "film_seconds": film_seconds,
        "width": video.metadata.width,
        "height": video.metadata.height,
        "faces": video.entries,
        "film_seconds_a_second": film_seconds / statistics.median(seconds[1:]),
        "processor_ms_a_look": statistics.median(processor[1:]) / looks * 1000,
        "processor_ms_a_film_second": statistics.median(processor[1:]) / film_seconds * 1000,
    }


if __name__ == "__main__":
    main()
