"""The packs that are measured, made of the networks that lie beside the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from facerec.engine.runtime.activation_ranges import SUFFIX

DETECTOR = "scrfd_500m_bnkps.onnx"
RECOGNIZER = "mobilefacenet_128d.onnx"

LIVENESS = (("minifasnet_v2_2.7_80x80.onnx", 2.7), ("minifasnet_v1se_4.0_80x80.onnx", 4.0))
"""Networks, and how many times a face's box is grown for each."""

SMALL = Path(__file__).with_name("small_pack.toml")

TRIES = 3
"""Times that the large pack's ranges are measured before it is given up."""


def small_pack(models: Path, folder: Path) -> Path:
    """SCRFD-500M and MobileFaceNet, the networks of a phone. Raises SystemExit where one is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DETECTOR, RECOGNIZER):
        if not (models / name).is_file():
            raise SystemExit(f"{models / name} is not there; with PACK=FOLDER a pack of your own is measured")
        shutil.copyfile(models / name, folder / name)
    shutil.copyfile(SMALL, folder / "pack.toml")
    return folder


def liveness_pack(models: Path, small: Path, folder: Path) -> Path | None:
    """The small pack with MiniFASNet's pair of liveness networks; None where these are not there."""
    if not all((models / name).is_file() for name, _ in LIVENESS):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for file in small.iterdir():
        shutil.copyfile(file, folder / file.name)
    with (folder / "pack.toml").open("a") as manifest:
        for name, scale in LIVENESS:
            shutil.copyfile(models / name, folder / name)
            manifest.write(f'\n[[liveness]]\nkind = "minifasnet"\nfile = "{name}"\nscale = {scale}\n')
    return folder


def large_pack(models: Path, folder: Path, images: Path) -> Path:
    """SCRFD-2.5G and a random IResNet-50, as large as large packs are, with the activation ranges that int8
    takes, measured on pictures. Made once; it takes about a minute.

    Raises SystemExit where int8 is refused each time: OpenVINO compiles this network wrongly now and then,
    which another process does not repeat.
    """
    if not (folder / "pack.toml").is_file():
        script = Path(__file__).with_name("engine") / "random_networks.py"
        subprocess.run([sys.executable, script, models, folder], check=True)
    if not any(folder.glob(f"*{SUFFIX}")):
        facerec = (sys.executable, "-c", "from facerec.cli import main; main()")
        quantize = ("packs", "quantize", folder, "--images", images, "--limit", "60")
        if not any(subprocess.run([*facerec, *quantize], check=False).returncode == 0 for _ in range(TRIES)):
            raise SystemExit(f"{folder} can not be made: `facerec packs quantize` refuses it")
    return folder
