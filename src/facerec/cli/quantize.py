"""`facerec packs quantize`: measures what int8 needs to know of a pack's networks, and what it costs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from facerec.cli.output import AsJson, counting, note, print_json, print_table, say
from facerec.cli.pairs import PairList, read_pairs
from facerec.cli.pictures import at_once, pictures_in
from facerec.cli.precision_cost import Agreement, Verification, compare_faces, compare_verification
from facerec.config import Settings, read_settings
from facerec.engine.packs.loading import find_pack, load_pack
from facerec.engine.packs.manifest import sha256
from facerec.engine.packs.networks import FixedNetworks, RecordingNetworks
from facerec.engine.runtime.activation_ranges import ActivationRanges, ranges_file, write_ranges
from facerec.engine.runtime.precision import compare_speed
from facerec.errors import InvalidImage, InvalidParameter, PackError

FEW_FACES = 50
"""Faces under which the ranges may not be those of other pictures."""
MOST_PICTURES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the pictures showed."""

    faces: int
    unreadable: int
    """Files that are no pictures."""
    networks: RecordingNetworks


def quantize(
    name: Annotated[str, typer.Argument(help="A name of `facerec packs list`, or a pack's folder.")],
    images: Annotated[
        Path, typer.Option("--images", help="Folder of pictures with faces, such as the service will see.")
    ],
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="CSV as of `facerec eval`: refuse where int8 verifies less well."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most pictures to measure on.")] = MOST_PICTURES,
    force: Annotated[bool, typer.Option("--force", help="Write the ranges however much they cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the activation ranges that a pack's networks need to run in int8, and write them into the pack.

    Nothing is written, and the exit code is 1, where int8 loses more than is allowed: on the pairs 0.1 points
    of accuracy or 0.5 points of TAR at FAR 0.1 % beyond one standard error of the difference, and on the
    pictures a mean cosine under 0.98 or any under 0.9 between the embeddings of a face in f32 and in int8, or
    one face in twenty that is no longer found.
    """
    settings = read_settings(model_path=name)
    folder = _writable(find_pack(settings))
    listed = read_pairs(pairs) if pairs is not None else None
    pictures = _chosen(images, limit)
    seen = _measure(folder, settings, pictures)
    if seen.faces < FEW_FACES:
        note(f"Only {seen.faces} faces were found: from {FEW_FACES} on the ranges suit other pictures too.")
    made = _made(seen, len(pictures))
    agreement, verification = _costs(folder, settings, made, pictures, listed, images)
    faults = agreement.faults() + (verification.faults() if verification else [])
    if faults and not force:
        raise PackError(f"{name} is left as it is: {'; '.join(faults)} (--force writes the ranges).")
    figures = agreement.figures() | (verification.figures() if verification else {})
    speeds = {role: _speed(seen, settings, role, made[role]) for role in made}
    for role, ranges in made.items():
        complete = ActivationRanges(
            network=ranges.network, source=ranges.source, cost=figures, ranges=ranges.ranges
        )
        write_ranges(ranges_file(seen.networks.uses[role].file), complete)
    _report(seen, speeds, figures, faults, as_json=as_json)


def _writable(folder: Path) -> Path:
    """The folder, in which a file can be made; known before minutes are spent. Raises PackError."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".quantize."):
            return folder
    except OSError as error:
        raise PackError(
            f"the pack's folder {folder} can not be written ({error.strerror or error}): copy the pack to "
            "another folder, and name that one"
        ) from error


def _chosen(folder: Path, most: int) -> list[Path]:
    """At most so many pictures, from all over the folder. Raises NotFound and InvalidParameter."""
    pictures = pictures_in(folder)
    if not pictures:
        raise InvalidParameter(f"{folder} holds no pictures")
    step = max(1, -(-len(pictures) // most))
    return pictures[::step]


def _measure(folder: Path, settings: Settings, pictures: Sequence[Path]) -> Measured:
    """Find and embed the faces of all pictures, while the networks note their ranges."""
    networks = RecordingNetworks(settings)
    engine = load_pack(folder, settings, networks)
    for session in networks.sessions.values():
        session.forget()  # what a recogniser is tried out on when it is opened

    def work(path: Path) -> int | None:
        try:
            picture = engine.decode(path.read_bytes())
        except (OSError, InvalidImage):
            return None
        faces = engine.detect(picture)
        if faces:
            engine.embed(picture, faces)
        return len(faces)

    faces = unreadable = 0
    workers = settings.threads
    try:
        with counting("measuring", len(pictures)) as advance, at_once(work, pictures, workers) as jobs:
            for _, future in jobs:
                found = future.result()
                faces += found or 0
                unreadable += found is None
                advance()
    finally:
        engine.close()
    if unreadable:
        note(f"{unreadable} of {len(pictures)} files could not be read as pictures.")
    if not faces:
        raise InvalidParameter(
            f"no face was found in {len(pictures) - unreadable} pictures: the recogniser's ranges need some"
        )
    return Measured(faces=faces, unreadable=unreadable, networks=networks)


def _made(seen: Measured, pictures: int) -> dict[str, ActivationRanges]:
    """The ranges of each role's network."""
    return {
        role: ActivationRanges(
            network=sha256(seen.networks.uses[role].file),
            source=f"{pictures - seen.unreadable} pictures, {seen.faces} faces; {session.runs} runs",
            ranges=session.ranges(),
        )
        for role, session in seen.networks.sessions.items()
    }


def _costs(
    folder: Path,
    settings: Settings,
    made: dict[str, ActivationRanges],
    pictures: Sequence[Path],
    pairs: PairList | None,
    images: Path,
) -> tuple[Agreement, Verification | None]:
    """What int8 changes on the pictures, and on the pairs where there are any."""
    before = load_pack(folder, settings, FixedNetworks(settings, {}))
    try:
        ranges = {role: each.ranges for role, each in made.items()}
        after = load_pack(folder, settings, FixedNetworks(settings, ranges))
        try:
            agreement = compare_faces(before, after, pictures, settings.threads)
            if pairs is None:
                return agreement, None
            return agreement, compare_verification(before, after, pairs, images, settings.threads)
        finally:
            after.close()
    finally:
        before.close()


def _speed(seen: Measured, settings: Settings, role: str, ranges: ActivationRanges) -> tuple[float, float]:
    """Milliseconds of a run of a role's network on one processor, in f32 and in int8."""
    use = seen.networks.uses[role]
    before = FixedNetworks(settings, {}).open(use)
    after = FixedNetworks(settings, {role: ranges.ranges}).open(use)
    quick, slow = compare_speed(after, before, use)
    return slow, quick


def _report(
    seen: Measured,
    speeds: dict[str, tuple[float, float]],
    figures: dict[str, float],
    faults: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Print what was measured."""
    files = {role: str(ranges_file(seen.networks.uses[role].file)) for role in speeds}
    if as_json:
        networks = {
            role: {"File": files[role], "MillisecondsF32": before, "MillisecondsInt8": after}
            for role, (before, after) in speeds.items()
        }
        print_json({"Faces": seen.faces, "Networks": networks, "Cost": figures, "Faults": list(faults)})
        return
    print_table(
        ("network", "f32", "int8", "times as fast", "ranges"),
        [
            (
                role,
                f"{before:.2f} ms",
                f"{after:.2f} ms",
                f"{before / after:.2f}",
                os.path.basename(files[role]),
            )
            for role, (before, after) in speeds.items()
        ],
    )
    print_table(("int8 beside f32", "value"), [(name, f"{value:g}") for name, value in figures.items()])
    for fault in faults:
        note(f"All the same: {fault}.")
    say("The ranges are written. FACEREC_PRECISION=auto uses them where int8 is faster.")
