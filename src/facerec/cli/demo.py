"""`facerec demo`: the service's work from end to end, on a folder of photos or on one public-domain
portrait.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageEnhance, ImageOps

from facerec.bootstrap import Service, open_service
from facerec.cli.collections import every
from facerec.cli.drawing import PALETTE, SheetRow, Tile, face_tile, save, sheet
from facerec.cli.output import AsJson, counting, note, print_json, print_table, say
from facerec.cli.pictures import at_once, pictures_in
from facerec.config import Settings, read_settings
from facerec.domain import Face, InlineImage, LocalImage
from facerec.engine.base import Pixels
from facerec.errors import ConfigurationError, FacerecError, InvalidParameter, NoFaceInImage
from facerec.services.faces import IndexResult

COLLECTION = "demo"
GROUPING_THRESHOLD = 95.0
"""Least similarity in a folder: n faces make n²/2 pairs, so a rate of false matches that does for one search
would join strangers."""
EXIF_ORIENTATION = 0x0112
ROTATED_CLOCKWISE = 6
"""EXIF orientation of a picture that has to be turned by 90 degrees clockwise to stand upright."""


@dataclass(frozen=True, slots=True)
class Copy:
    """An altered copy of the portrait, and what the service said of it."""

    name: str
    data: bytes
    similarity: float | None
    """0..100; None where nobody was found."""
    answer: str


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of photos; without one, a public-domain portrait.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture of the result.")] = Path(
        "facerec-demo.jpg"
    ),
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Least similarity of one person; default: 80, and 95 in a folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See it work: who is in which photo of a folder, or one portrait found again in altered copies.

    Works in a temporary data folder, with the model pack in use. The only thing that stays is the picture.
    """
    with _temporary_service(read_settings()) as service:
        if folder is None:
            _find_portrait(service, output, 80.0 if threshold is None else threshold, as_json=as_json)
        else:
            strict = GROUPING_THRESHOLD if threshold is None else threshold
            _sort_photos(service, folder, output, strict, as_json=as_json)
    note(f"The result is drawn in {output}.")


@contextmanager
def _temporary_service(settings: Settings) -> Iterator[Service]:
    """A service whose data goes away with it; packs stay where they are."""
    with tempfile.TemporaryDirectory(prefix="facerec-demo-") as folder:
        models = {"packs_dir": settings.packs_folder, "compiled_dir": settings.compiled_folder}
        own = settings.model_copy(update={**models, "data_dir": Path(folder)})
        with open_service(own) as service:
            service.collections.create(COLLECTION)
            yield service


# --- one portrait -----------------------------------------------------------------------------------


def portrait() -> Image.Image:
    """The astronaut Eileen Collins, 512 x 512 (NASA, public domain), from the package scikit-image.

    Raises ConfigurationError when the package is missing.
    """
    return Image.fromarray(_sample_picture("astronaut"))


def _sample_picture(name: str) -> Pixels:
    try:
        from skimage import data
    except ImportError as error:
        raise ConfigurationError(
            "without a folder, the demo works on a portrait from the package scikit-image: "
            "pip install 'facerec[demo]', or name a folder of photos"
        ) from error
    pixels: Pixels = getattr(data, name)()
    return pixels


def _find_portrait(service: Service, output: Path, threshold: float, *, as_json: bool) -> None:
    original = portrait()
    enrolled = service.faces.index(COLLECTION, InlineImage(_jpeg(original)), external_image_id="astronaut")
    if not enrolled.indexed:
        raise NoFaceInImage("The model pack in use found no face in the portrait.")
    copies = [_looked_for(service, name, data, threshold) for name, data in _copies(original)]
    if as_json:
        print_json(
            {
                "Pack": service.engine.contract.pack,
                "Enrolled": enrolled.indexed[0].face.face_id,
                "Searched": [
                    {"Picture": c.name, "Similarity": c.similarity, "Answer": c.answer} for c in copies
                ],
            }
        )
    else:
        rows = [(copy.name, copy.answer) for copy in copies]
        print_table(
            ("picture", "who it is"), rows, title=f"One portrait enrolled with {service.engine.contract.pack}"
        )
    tiles = [
        Tile(_opened(copy.data), copy.name, copy.answer, PALETTE[0] if copy.similarity is not None else None)
        for copy in copies
    ]
    first = Tile(original, "astronaut", "enrolled", PALETTE[6])
    page = sheet(
        "facerec demo",
        f"Model pack {service.engine.contract.pack}; similarity from {threshold:g} is the same person. "
        "Photograph: NASA, public domain.",
        [SheetRow("Enrolled", (first,)), SheetRow("Searched for in the collection", tuple(tiles))],
        columns=4,
        side=220,
    )
    save(page, output)


def _copies(original: Image.Image) -> Iterator[tuple[str, bytes]]:
    """The portrait altered in the ways that pictures are in the wild, and a picture without a person."""
    yield "mirrored", _jpeg(ImageOps.mirror(original))
    yield "a third as bright", _jpeg(ImageEnhance.Brightness(original).enhance(0.33))
    yield "a third of the size", _jpeg(original.resize((171, 171), Image.Resampling.LANCZOS))
    yield "stored on its side (EXIF)", _jpeg(original.rotate(90, expand=True), orientation=ROTATED_CLOCKWISE)
    yield "JPEG quality 12", _jpeg(original, quality=12)
    yield "tilted by 15 degrees", _jpeg(original.rotate(15, Image.Resampling.BICUBIC))
    yield "without colour", _jpeg(ImageOps.grayscale(original).convert("RGB"))
    yield "a cat", _jpeg(Image.fromarray(_sample_picture("chelsea")))


def _looked_for(service: Service, name: str, data: bytes, threshold: float) -> Copy:
    try:
        found = service.faces.search_by_image(COLLECTION, InlineImage(data), threshold=threshold)
    except NoFaceInImage:
        return Copy(name, data, None, "no face")
    if not found.matches:
        return Copy(name, data, None, "nobody known")
    best = found.matches[0]
    return Copy(name, data, best.similarity, f"astronaut, {best.similarity:.1f} %")


def _jpeg(picture: Image.Image, *, quality: int = 92, orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[EXIF_ORIENTATION] = orientation
    picture.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def _opened(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


# --- a folder of photos -----------------------------------------------------------------------------


def _sort_photos(service: Service, folder: Path, output: Path, threshold: float, *, as_json: bool) -> None:
    photos = pictures_in(folder)
    if not photos:
        raise InvalidParameter(f"{folder} holds no pictures")
    if any(output.resolve() == photo.resolve() for photo in photos):
        raise InvalidParameter(f"{output} is one of the photos; choose another file for the result")
    photo_of = _index_photos(service, photos)
    faces = list(every(lambda token: service.faces.list(COLLECTION, token=token).page))
    if not faces:
        say(f"No face in the {len(photos)} photos of {folder}.")
        raise typer.Exit(1)
    people = _group(service, faces, threshold)
    returning = [group for group in people if len(group) > 1]
    places = {image_id: str(photo.relative_to(folder)) for image_id, photo in photo_of.items()}
    named = [(f"person {number}", group) for number, group in enumerate(returning, 1)]
    if as_json:
        print_json(
            {
                "Pack": service.engine.contract.pack,
                "Photos": len(photos),
                "Faces": len(faces),
                "People": [{"Person": n, "Photos": [places[f.image_id] for f in g]} for n, g in named],
                "SeenOnce": len(people) - len(returning),
            }
        )
    else:
        print_table(
            ("who", "photos", "where"),
            [(name, len(group), ", ".join(places[face.image_id] for face in group)) for name, group in named],
            title=f"{len(faces)} faces in {len(photos)} photos",
        )
        say(f"{len(returning)} people in several photos, {len(people) - len(returning)} faces seen once.")
    _draw_people(
        service, named, [g[0] for g in people if len(g) == 1], photo_of, output, len(photos), threshold
    )


def _index_photos(service: Service, photos: Sequence[Path]) -> dict[str, Path]:
    """Index all photos; which photo each image id is."""
    photo_of: dict[str, Path] = {}

    def work(numbered: tuple[int, Path]) -> IndexResult:
        number, photo = numbered
        return service.faces.index(COLLECTION, LocalImage(photo), external_image_id=str(number))

    workers = service.settings.threads + 1
    with counting("indexing", len(photos)) as advance, at_once(work, enumerate(photos), workers) as jobs:
        for (_, photo), future in jobs:
            advance()
            error = future.exception()
            if isinstance(error, FacerecError):
                note(f"{photo}: {error.message}")
                continue
            for indexed in future.result().indexed:
                photo_of[indexed.face.image_id] = photo
    return photo_of


def _group(service: Service, faces: Sequence[Face], threshold: float) -> list[list[Face]]:
    """Faces by person, the most often seen first.

    The most similar faces are joined first; two groups are joined only when at least half of the pairs
    between them are similar, so that one chance resemblance joins no strangers, and never when both hold a
    face of one photo: nobody is in a photo twice.
    """
    cosines: dict[frozenset[str], float] = {}
    for face in faces:
        for match in service.faces.search(COLLECTION, face.face_id, threshold=threshold).matches:
            cosines[frozenset((face.face_id, match.face.face_id))] = match.cosine
    group_of = {face.face_id: [face] for face in faces}
    for pair in sorted(cosines, key=lambda pair: -cosines[pair]):
        left, right = (group_of[face_id] for face_id in pair)
        if left is right or {face.image_id for face in left} & {face.image_id for face in right}:
            continue
        similar = sum(frozenset((one.face_id, other.face_id)) in cosines for one in left for other in right)
        if similar < len(left) * len(right) / 2:
            continue
        joined = left + right
        for face in joined:
            group_of[face.face_id] = joined
    groups = {id(group): group for group in group_of.values()}
    return sorted(groups.values(), key=len, reverse=True)


def _draw_people(
    service: Service,
    people: Sequence[tuple[str, list[Face]]],
    once: Sequence[Face],
    photo_of: dict[str, Path],
    output: Path,
    photos: int,
    threshold: float,
) -> None:
    side = 150
    wanted: dict[str, list[Face]] = {}
    for face in (*(face for _, group in people for face in group), *once):
        wanted.setdefault(face.image_id, []).append(face)
    crops: dict[str, Image.Image] = {}
    for image_id, faces in wanted.items():
        # One photo at a time: a folder of large photos must not lie in memory at once.
        pixels = service.engine.decode(photo_of[image_id].read_bytes()).pixels
        crops |= {face.face_id: face_tile(pixels, face.box, side) for face in faces}
    rows = [
        SheetRow(
            f"{name}: {len(group)} photos",
            tuple(
                Tile(crops[f.face_id], photo_of[f.image_id].name, "", PALETTE[number % len(PALETTE)])
                for f in group
            ),
        )
        for number, (name, group) in enumerate(people)
    ]
    if once:
        tiles = tuple(Tile(crops[face.face_id], photo_of[face.image_id].name) for face in once)
        rows.append(SheetRow(f"seen once: {len(once)} faces", tiles))
    page = sheet(
        "Who is in which photo",
        f"{photos} photos, model pack {service.engine.contract.pack}; "
        f"similarity from {threshold:g} is the same person",
        rows,
        columns=8,
        side=side,
    )
    save(page, output)
