"""`facerec check`: what is installed, what will run, and whether it works."""

from __future__ import annotations

import importlib.metadata
import io
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from facerec.cli.demo import portrait
from facerec.cli.output import AsJson, print_json, print_table, say
from facerec.config import Settings, read_settings
from facerec.engine.base import Engine
from facerec.engine.runtime.graphics_card import CARD_RUNTIMES, card_name
from facerec.errors import ConfigurationError, FacerecError, InvalidImage

PACKAGES = (
    "facerec",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "llvmlite",
    "numpy",
    "opencv-python-headless",
    "pillow",
)
CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Instructions that the runtimes use where they are there: x86-64's, and Arm's."""
ROUNDS = 10
LEAST_FREE = 1 << 30
"""Bytes of free disk under which we warn: a million faces and their index take about as much."""
GIBIBYTE = 1 << 30


def check(
    image: Annotated[
        Path | None, typer.Argument(help="A picture with a face, to time the engine on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation: versions, processor, model pack, speed, data folder."""
    settings = read_settings()
    faults: list[str] = []
    facts = {
        **_versions(),
        **_processor(settings),
        **_disk(settings, faults),
        **_engine(settings, image, faults),
    }
    if as_json:
        print_json({**facts, "faults": faults})
    else:
        print_table(("", "facerec check"), list(facts.items()))
        for fault in faults:
            say(f"FAULT: {fault}")
        if not faults:
            say("All is well.")
    if faults:
        raise typer.Exit(1)


def _versions() -> dict[str, object]:
    facts: dict[str, object] = {"python": f"{platform.python_version()} on {platform.platform()}"}
    for package in PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def _processor(settings: Settings) -> dict[str, object]:
    """The processor's model and the instructions that matter, where the system tells them (Linux)."""
    # Imported here: it loads what reads networks, which takes a while.
    from facerec.engine.runtime.processor import processor_instructions

    model, flags = platform.processor() or platform.machine(), processor_instructions()
    try:
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == "model name"), model)
    except OSError:
        pass
    return {
        "processor": model,
        "instructions": ", ".join(name for name in CPU_FEATURES if name in flags) or "unknown",
        "threads": settings.threads,
        "runtime": _runtime(settings.runtime),
    }


def _runtime(wanted: str) -> str:
    """What runs the networks, and on which card. What is missing for it is told where the pack is opened."""
    # Imported here: it takes half a second that other commands need not wait for.
    from facerec.engine.runtime.session import choose_runtime

    try:
        chosen = choose_runtime(wanted)
        return f"{chosen} on {card_name()}" if chosen in CARD_RUNTIMES else f"{chosen} on the processor"
    except ConfigurationError:
        return f"{wanted}, which can not be used"


def _disk(settings: Settings, faults: list[str]) -> dict[str, object]:
    folder = settings.data_dir.resolve()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            state = "writable" if folder.exists() else "will be created"
    except OSError as error:
        state = "not writable"
        faults.append(f"the data folder {folder} can not be written: {error.strerror}")
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE:
        faults.append(f"only {free / GIBIBYTE:.2f} GiB are free for the data folder {folder}")
    return {"data folder": f"{folder} ({state})", "free disk": f"{free / GIBIBYTE:.1f} GiB"}


def _engine(settings: Settings, image: Path | None, faults: list[str]) -> dict[str, object]:
    """Open the pack in use, and time it."""
    facts: dict[str, object] = {"model pack": settings.model_path}
    try:
        # Imported here: it loads the runtimes, whose absence is one of the things to report.
        from facerec.engine.packs.loading import open_engine
        from facerec.engine.packs.networks import ServingNetworks

        networks = ServingNetworks(settings)
        began = time.perf_counter()
        engine = open_engine(settings, networks)
    except FacerecError as error:
        faults.append(f"the model pack {settings.model_path} can not be used: {error.message}")
        return facts
    try:
        facts["model pack"] = f"{engine.contract.pack} (face model {engine.contract.model_version})"
        facts["embedding"] = f"{engine.contract.dimension} numbers, contract {engine.contract.id[:16]}"
        facts["attributes"] = ", ".join(sorted(engine.attributes)) or "none"
        facts["liveness"] = "yes" if engine.judges_liveness else "no networks (facerec packs add minifasnet)"
        for role, choice in networks.choices.items():
            facts[role] = f"{choice.network} in {choice.precision} ({choice.reason})"
        facts["opened in"] = f"{time.perf_counter() - began:.2f} s"
        facts |= _timings(engine, image, faults)
    except FacerecError as error:
        faults.append(f"the model pack {settings.model_path} does not work: {error.message}")
    finally:
        engine.close()
    return facts


def _timings(engine: Engine, image: Path | None, faults: list[str]) -> dict[str, object]:
    data, name = _sample(image)
    picture = engine.decode(data)
    found = engine.detect(picture)
    facts: dict[str, object] = {
        "sample": f"{name}, {picture.width} x {picture.height}, faces: {len(found)}",
        "decode": _milliseconds(lambda: engine.decode(data)),
        "detect": _milliseconds(lambda: engine.detect(picture)),
    }
    if found:
        facts["embed a face"] = _milliseconds(lambda: engine.embed(picture, found[:1]))
        length = float(np.linalg.norm(engine.embed(picture, found[:1])[0]))
        if not abs(length - 1) < 1e-3:
            faults.append(
                f"an embedding has length {length:.4f}; it should be 1: the runtime computes wrongly"
            )
    elif image is None and name != "noise":
        faults.append("no face was found in the sample portrait: the detector or the runtime does not work")
    return facts


def _milliseconds(work: Callable[[], object]) -> str:
    """Median time of a few runs, after one that warms up."""
    work()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return f"{np.median(times) * 1000:.1f} ms"


def _sample(image: Path | None) -> tuple[bytes, str]:
    """The given picture; else the portrait of the extra `demo`; else noise, which times detection alone."""
    if image is not None:
        try:
            return image.read_bytes(), str(image)
        except OSError as error:
            raise InvalidImage(f"{image} can not be read: {error.strerror}") from error
    buffer = io.BytesIO()
    try:
        picture, name = portrait(), "portrait of the extra facerec[demo]"
    except ConfigurationError:
        noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
        picture, name = Image.fromarray(noise), "noise"
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue(), name
