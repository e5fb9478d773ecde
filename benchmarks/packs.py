"""The packs that are measured, made of the networks that lie beside the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

DETECTOR = "scrfd_500m_bnkps.onnx"
RECOGNIZER = "mobilefacenet_128d.onnx"

SMALL = Path(__file__).with_name("small_pack.toml")


def small_pack(models: Path, folder: Path) -> Path:
    """SCRFD-500M and MobileFaceNet, the networks of a phone. Raises SystemExit where one is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DETECTOR, RECOGNIZER):
        if not (models / name).is_file():
            raise SystemExit(f"{models / name} is not there; with PACK=FOLDER a pack of your own is measured")
        shutil.copyfile(models / name, folder / name)
    shutil.copyfile(SMALL, folder / "pack.toml")
    return folder


def large_pack(models: Path, folder: Path, images: Path) -> Path:
    """SCRFD-2.5G and a random IResNet-50, as large as large packs are, with the activation ranges that int8
    takes, measured on pictures. Made once; it takes about a minute.
    """
    if not (folder / "pack.toml").is_file():
        script = Path(__file__).with_name("engine") / "random_networks.py"
        subprocess.run([sys.executable, script, models, folder], check=True)
        facerec = (sys.executable, "-c", "from facerec.cli import main; main()")
        quantize = ("packs", "quantize", folder, "--images", images, "--limit", "60")
        subprocess.run([*facerec, *quantize], check=True)
    return folder
