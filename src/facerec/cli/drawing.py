"""Draws results: boxes and landmarks on a picture, and sheets of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from facerec.domain import BoundingBox, DetectedFace
from facerec.engine.base import Pixels
from facerec.errors import InvalidParameter

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
)
"""Okabe and Ito's colours, which people with any colour vision can tell apart."""
BACKGROUND: Colour = (247, 247, 245)
INK: Colour = (34, 34, 34)
PALE_INK: Colour = (110, 110, 110)
OVERSAMPLING = 2
"""Shapes are drawn this much larger and scaled down, which makes smooth edges."""
SMOOTH_BELOW = 4_000_000
"""Pixels of a picture from which shapes are drawn as they are: its lines are thick, and memory is dear."""
QUALITY = 92


@dataclass(frozen=True, slots=True)
class Mark:
    """A face to mark in a picture."""

    face: DetectedFace
    label: str
    colour: Colour = PALETTE[0]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A picture in a sheet, with a line under it and a paler one under that."""

    picture: Image.Image
    caption: str
    detail: str = ""
    colour: Colour | None = None
    """Frame; None for none."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of tiles (wrapped where it is long) under a heading."""

    heading: str
    tiles: tuple[Tile, ...]


def mark_faces(pixels: Pixels, marks: Sequence[Mark]) -> Image.Image:
    """A copy of the picture (height, width, 3) RGB with each face's box, landmarks and label."""
    picture = Image.fromarray(pixels)
    width, height = picture.size
    scale = OVERSAMPLING if width * height < SMOOTH_BELOW else 1
    layer = Image.new("RGBA", (width * scale, height * scale), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for mark in marks:
        box = mark.face.box
        left, top = box.left * width * scale, box.top * height * scale
        right, bottom = left + box.width * width * scale, top + box.height * height * scale
        stroke = max(2 * scale, round(min(min(layer.size) / 250, (right - left) / 25)))
        radius = min(right - left, bottom - top) * 0.06
        # A dark rim makes the colour readable on any ground.
        rim = max(1, stroke // 3)
        draw.rounded_rectangle(
            (left - rim, top - rim, right + rim, bottom + rim),
            radius + rim,
            outline=(0, 0, 0, 150),
            width=stroke + 2 * rim,
        )
        draw.rounded_rectangle((left, top, right, bottom), radius, outline=(*mark.colour, 255), width=stroke)
        dot = max(1.5 * scale, (right - left) / 60)
        for landmark in mark.face.landmarks:
            x, y = landmark.x * width * scale, landmark.y * height * scale
            draw.ellipse((x - dot - rim, y - dot - rim, x + dot + rim, y + dot + rim), fill=(0, 0, 0, 150))
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=(*mark.colour, 255))
    for mark in marks:
        _label(draw, mark, layer.size, scale)
    layer = layer.resize((width, height), Image.Resampling.LANCZOS)
    picture.paste(layer, mask=layer)
    return picture


def face_tile(pixels: Pixels, box: BoundingBox, side: int = 160) -> Image.Image:
    """The face's surroundings, half as large again as its box, as a square picture of `side` pixels."""
    height, width = pixels.shape[:2]
    centre_x, centre_y = (box.left + box.width / 2) * width, (box.top + box.height / 2) * height
    half = max(box.width * width, box.height * height) * 0.75
    region = tuple(
        round(edge) for edge in (centre_x - half, centre_y - half, centre_x + half, centre_y + half)
    )
    return Image.fromarray(pixels).crop(region).resize((side, side), Image.Resampling.LANCZOS)


def sheet(title: str, subtitle: str, rows: Sequence[SheetRow], *, columns: int, side: int) -> Image.Image:
    """Rows of square tiles of `side` pixels under headings, `columns` tiles wide."""
    gap, caption_height, heading_height, margin = 16, 44, 40, 32
    title_height = 84
    width = 2 * margin + columns * side + (columns - 1) * gap
    lines = [max(1, -(-len(row.tiles) // columns)) for row in rows]
    height = title_height + margin
    height += sum(heading_height + count * (side + caption_height + gap) for count in lines)
    page = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((margin, 24), title, INK, _font(26))
    draw.text((margin, 58), subtitle, PALE_INK, _font(15))
    top = title_height
    for row, count in zip(rows, lines, strict=True):
        draw.text((margin, top + 10), row.heading, INK, _font(18))
        top += heading_height
        for index, tile in enumerate(row.tiles):
            x = margin + (index % columns) * (side + gap)
            y = top + (index // columns) * (side + caption_height + gap)
            picture = ImageOps.pad(tile.picture.convert("RGB"), (side, side), color=(228, 228, 225))
            page.paste(picture, (x, y))
            if tile.colour:
                draw.rectangle((x - 3, y - 3, x + side + 2, y + side + 2), outline=tile.colour, width=3)
            draw.text((x, y + side + 5), _fitting(tile.caption, 15, side), INK, _font(15))
            draw.text((x, y + side + 24), _fitting(tile.detail, 13, side), PALE_INK, _font(13))
        top += count * (side + caption_height + gap)
    return page


def save(picture: Image.Image, target: Path, *, inputs: Sequence[Path] = ()) -> None:
    """Write the picture in the format that the file's name says; never over one of the inputs.

    Raises InvalidParameter for an input as target, an unknown format, or a place that cannot be written.
    """
    if any(target.resolve() == path.resolve() for path in inputs):
        raise InvalidParameter(f"{target} is the picture that was read; choose another file for the drawing")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, quality=QUALITY)
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"the picture can not be written to {target}: {error}") from error


def _label(draw: ImageDraw.ImageDraw, mark: Mark, size: tuple[int, int], scale: int) -> None:
    """A plate with the face's label above its box, or inside where there is no room above."""
    box = mark.face.box
    left, top = box.left * size[0], box.top * size[1]
    text_size = round(min(max(box.width * size[0] / 7, 11 * scale), min(size) / 16))
    font = _font(text_size)
    _, _, text_width, text_height = draw.textbbox((0, 0), mark.label, font)
    padding = text_size * 0.3
    plate_height = text_height + 2 * padding
    x = min(max(0, left), max(0, size[0] - text_width - 2 * padding))
    gap = text_size * 0.3
    y = top - plate_height - gap if top - plate_height - gap >= 0 else max(0, top) + gap
    draw.rounded_rectangle(
        (x, y, x + text_width + 2 * padding, y + plate_height), padding, fill=(*mark.colour, 235)
    )
    brightness = sum(weight * part for weight, part in zip((0.299, 0.587, 0.114), mark.colour, strict=True))
    draw.text(
        (x + padding, y + padding * 0.8),
        mark.label,
        (0, 0, 0, 255) if brightness > 120 else (255, 255, 255, 255),
        font,
    )


def _fitting(text: str, size: int, width: int) -> str:
    """The text, its middle left out where it is wider than `width` pixels."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and font.getlength(f"{text[: keep // 2]}…{text[-(keep // 2) :]}") > width:
        keep -= 1
    return f"{text[: keep // 2]}…{text[-(keep // 2) :]}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that drawings look the same on every machine."""
    return ImageFont.load_default(size)
