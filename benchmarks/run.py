"""Measures one part after the other and keeps each measurement as a JSON file; `make bench` calls it.

    python benchmarks/run.py [PART ...] [--only NAME] [--quick] [--large]

Parts: engine, search, service, accuracy, people, liveness, clustering, jobs, video, audit; all without one. A
measurement is a command of `facerec` or a script of this folder that prints JSON. Its file in `results/` has
the figures as they were printed, the command, the machine, the versions and the commit; the next run of the
same measurement writes it anew. What is not run keeps its last file. `report.py` makes the page of results
and the pictures from the files.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from machine import REPOSITORY, commit, machine, versions
from measurements import PARTS, Inputs, Measurement, measurements
from packs import large_pack, liveness_pack, small_pack

RESULTS = REPOSITORY / "benchmarks" / "results"
WORK = REPOSITORY / "build" / "bench"
"""Where packs are made: a folder that git ignores."""
PROGRAMS = {
    "facerec": (sys.executable, "-c", "from facerec.cli import main; main()"),
    "python": (sys.executable,),
}
ENVIRONMENT = {"FACEREC_PACKS_DIR": str(WORK / "packs"), "FACEREC_RESULT_CACHE_MIB": "0"}
"""The same few pictures come again and again: nothing may remember them."""
LONGEST_SECONDS = 3600
"""How long one measurement may take."""


@dataclass(slots=True)
class Outcome:
    """What became of the measurements."""

    failed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure what the command line asks for; exit code 1 where a measurement failed."""
    chosen = _arguments()
    small = chosen.pack or small_pack(chosen.models, WORK / "small")
    inputs = Inputs(
        images=chosen.images,
        photos=chosen.photos,
        pairs=chosen.images.parent / "pairs.csv",
        small=small,
        lively=None if chosen.pack else liveness_pack(chosen.models, small, WORK / "lively"),
        film=chosen.film,
        large=None if chosen.pack else large_pack(chosen.models, WORK / "large", chosen.images),
        quick=chosen.quick,
    )
    wanted = _wanted(list(measurements(inputs)), chosen)
    RESULTS.mkdir(exist_ok=True)
    outcome = Outcome()
    for number, one in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {one.name}: {one.title}", flush=True)
        began = time.perf_counter()
        try:
            _measure(one, chosen.quick)
        except subprocess.SubprocessError as error:
            outcome.failed.append(one.name)
            print(f"    failed: {error}", file=sys.stderr)
        outcome.seconds[one.name] = time.perf_counter() - began
        print(f"    {outcome.seconds[one.name]:.0f} s", flush=True)
    if outcome.failed:
        raise SystemExit(f"failed, and kept as they were: {', '.join(outcome.failed)}")


def _wanted(known: Sequence[Measurement], chosen: argparse.Namespace) -> list[Measurement]:
    """The measurements that the command line asks for. Raises SystemExit for names that there are not."""
    names = {one.name for one in known}
    missing = [name for name in chosen.only if name not in names]
    if missing:
        raise SystemExit(
            f"no measurement is called {', '.join(missing)}; there are {', '.join(sorted(names))}"
        )
    if chosen.only:
        return [one for one in known if one.name in chosen.only]
    return [one for one in known if one.part in (chosen.parts or PARTS) and (chosen.large or not one.large)]


def _arguments() -> argparse.Namespace:
    shared = REPOSITORY.parent / "shared"
    parser = argparse.ArgumentParser(description="Measure facerec on this machine beside its peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="NAME", help="measurements by name, as the files in results/"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few rounds of little work: does it run at all"
    )
    parser.add_argument("--large", action="store_true", help="also what takes very long: 10 million faces")
    parser.add_argument("--images", type=Path, default=shared / "data/lfw/images", help="small pictures")
    parser.add_argument("--photos", type=Path, default=shared / "data/photos", help="photographs")
    film = shared / "data/video/short_hamilton_clip.mp4"
    parser.add_argument("--film", type=Path, default=film, help="film of a head that turns")
    parser.add_argument("--models", type=Path, default=shared / "models", help="folder of networks")
    parser.add_argument("--pack", type=Path, help="a pack in place of SCRFD-500M and MobileFaceNet")
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for folder, option in ((chosen.images, "IMAGES"), (chosen.photos, "PHOTOS")):
        if not folder.is_dir():
            parser.error(
                f"there is no folder {folder}. The measurements need pictures and networks, which are no "
                f"part of the project: name your own with {option}=FOLDER (and PACK=FOLDER), as in "
                "`make bench IMAGES=pictures PHOTOS=photographs PACK=pack`"
            )
    return chosen


def _measure(one: Measurement, quick: bool) -> None:
    """Run a command and keep what it printed. Raises SubprocessError where it fails; the last file stays."""
    done = subprocess.run(
        [*PROGRAMS[one.words[0]], *one.words[1:]],
        cwd=REPOSITORY,
        env={**os.environ, **ENVIRONMENT, **one.environment},
        stdout=subprocess.PIPE,
        timeout=LONGEST_SECONDS,
        check=True,
    )
    result = {
        "name": one.name,
        "part": one.part,
        "title": one.title,
        "command": _readable(one),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "quick": quick,
        "machine": machine(),
        "versions": versions(),
        "figures": json.loads(done.stdout),
    }
    path = RESULTS / f"{one.name}.json"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    fresh.replace(path)


def _readable(one: Measurement) -> str:
    """The command as one would type it in the checkout."""
    settings = [f"{name}={value}" for name, value in one.environment.items()]
    return " ".join([*settings, *map(_relative, one.words)])


def _relative(word: str) -> str:
    return os.path.relpath(word, REPOSITORY) if os.path.isabs(word) else word


if __name__ == "__main__":
    main()
