"""What can be added to any pack by name: networks beside those that recognise, which no embedding depends on.

An addition is a file `liveness.toml` in the pack's folder, with the networks that it names: the pack's own
manifest is left as it is, so that a pack which is built or inferred can have one too.
"""

from __future__ import annotations

from dataclasses import dataclass

from facerec.engine.packs.registry import Licence, PinnedFile, Source
from facerec.errors import NotFound

FILE_NAME = "liveness.toml"

MINIFASNET = "https://github.com/yakhyo/face-anti-spoofing/releases/download/weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAddition:
    """Liveness networks that can be added to a pack by name: each file, and its scale."""

    name: str
    summary: str
    licence: Licence
    networks: tuple[tuple[Source, float], ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """What to download."""
        return tuple(source for source, _ in self.networks)

    @property
    def files(self) -> tuple[PinnedFile, ...]:
        """Files that come into the pack's folder."""
        return tuple(source.file for source in self.sources)

    @property
    def download_size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)


def _minifasnet(name: str, digest: str, size: int) -> Source:
    return Source(PinnedFile(name, digest, size), f"{MINIFASNET}/{name}", archive=False)


KNOWN_ADDITIONS = (
    KnownAddition(
        name="minifasnet",
        summary="MiniFASNetV2 and V1SE of Silent-Face: passive liveness",
        licence=Licence(
            name="Apache-2.0",
            address="https://github.com/minivision-ai/Silent-Face-Anti-Spoofing",
            commercial_use=True,
        ),
        networks=(
            (
                _minifasnet(
                    "MiniFASNetV2.onnx",
                    "b32929adc2d9c34b9486f8c4c7bc97c1b69bc0ea9befefc380e4faae4e463907",
                    1_743_581,
                ),
                2.7,
            ),
            (
                _minifasnet(
                    "MiniFASNetV1SE.onnx",
                    "ebab7f90c7833fbccd46d3a555410e78d969db5438e169b6524be444862b3676",
                    1_742_335,
                ),
                4.0,
            ),
        ),
    ),
)


def known_addition(name: str) -> KnownAddition:
    """The addition of that name. Raises NotFound that lists the names there are."""
    for addition in KNOWN_ADDITIONS:
        if addition.name == name:
            return addition
    names = ", ".join(addition.name for addition in KNOWN_ADDITIONS)
    raise NotFound(f"there is no addition named {name!r}; there are {names}")


def addition_text(addition: KnownAddition) -> str:
    """The file that names an addition's networks."""
    tables = [
        f'[[liveness]]\nkind = "minifasnet"\nfile = "{source.file.name}"\n'
        f'sha256 = "{source.file.sha256}"\nscale = {scale}\n'
        for source, scale in addition.networks
    ]
    licence = addition.licence
    return f"# {addition.summary}. Licence: {licence.name} ({licence.address})\n" + "\n".join(tables)
