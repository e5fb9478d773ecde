"""How much memory an engine takes: its networks, and one picture on top, as JSON in mebibytes. Linux alone.

    python benchmarks/engine/memory.py PACK IMAGES PHOTOS

Each figure is how far the process grows beyond what it held before. `loading`: the modules are imported and
the networks loaded. `image`, `photo`: the peak while the one with the most bytes is decoded and its faces are
found and embedded, when all of its kind have been seen once. `after`: what the process then holds more than
after loading, for the next pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from facerec.cli.pictures import pictures_in
from facerec.config import read_settings


def held(field: str = "VmRSS") -> float:
    """Mebibytes of memory that this process holds (VmRSS) or held at most (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise SystemExit(f"/proc/self/status has no {field}: memory can not be measured on this system")


def forget_peak() -> None:
    """Let VmHWM begin anew at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Read the command line, load an engine, look at pictures, print the figures."""
    parser = argparse.ArgumentParser(description="Measure the memory of an engine.")
    parser.add_argument("pack")
    parser.add_argument("images", type=Path)
    parser.add_argument("photos", type=Path)
    chosen = parser.parse_args()
    images = [path.read_bytes() for path in pictures_in(chosen.images)[:50]]
    photos = [path.read_bytes() for path in pictures_in(chosen.photos)]
    before = held()
    from facerec.engine.packs.loading import open_engine

    engine = open_engine(read_settings(model_path=chosen.pack))
    figures = {"pack": engine.contract.pack, "loading_mib": held() - before}

    def look(data: bytes) -> None:
        picture = engine.decode(data)
        engine.embed(picture, engine.detect(picture))

    loaded = held()
    for name, pictures in (("image_mib", images), ("photo_mib", photos)):
        for data in pictures:
            look(data)
        forget_peak()
        before = held()
        look(max(pictures, key=len))
        figures[name] = held("VmHWM") - before
        figures[f"after_{name}"] = held() - loaded
    engine.close()
    print(
        json.dumps(
            {name: round(value, 1) if isinstance(value, float) else value for name, value in figures.items()}
        )
    )


if __name__ == "__main__":
    main()
