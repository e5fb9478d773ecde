"""What the parts of `facerec bench` take: pictures in memory, and lists of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facerec.cli.pictures import pictures_in
from facerec.errors import InvalidImage, InvalidParameter

MOST_BYTES = 2 << 30
"""Most bytes of pictures that are held in memory."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture file in memory."""

    name: str
    data: bytes


def read_samples(folder: Path, limit: int) -> list[Sample]:
    """The first `limit` pictures of a folder and the folders in it.

    Raises NotFound for what is no folder, InvalidParameter for one without pictures or with more than 2 GiB
    of them, InvalidImage for a file that can not be read.
    """
    samples: list[Sample] = []
    total = 0
    for path in pictures_in(folder)[:limit]:
        try:
            samples.append(Sample(str(path), path.read_bytes()))
        except OSError as error:
            raise InvalidImage(f"{path} can not be read: {error.strerror}") from error
        total += len(samples[-1].data)
        if total > MOST_BYTES:
            raise InvalidParameter(
                f"the pictures of {folder} have more than {MOST_BYTES >> 30} GiB; take fewer with --limit"
            )
    if not samples:
        raise InvalidParameter(f"{folder} holds no pictures")
    return samples


def numbers(text: str, option: str, least: int, most: int) -> list[int]:
    """Whole numbers within bounds, separated by commas or spaces. Raises InvalidParameter."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and least <= int(word) <= most for word in words):
        raise InvalidParameter(
            f"{option} is {text!r}; it takes numbers from {least} to {most}, such as {least},{2 * least}"
        )
    return [int(word) for word in words]
