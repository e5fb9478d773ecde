import contextlib
import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facerec.engine.base import Pixels
from facerec.engine.decoding import BACKGROUND, decode
from facerec.engine.image_header import MAX_SCANS, read_header
from facerec.errors import ImageTooLarge, InvalidImage

LIMIT = 100_000_000
# Four corners of unlike colours, so that every orientation shows.
CORNERS = {"nw": (250, 10, 10), "ne": (10, 250, 10), "sw": (10, 10, 250), "se": (240, 240, 240)}


def scene(width: int = 48, height: int = 32) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    half_h, half_w = height // 2, width // 2
    pixels[:half_h, :half_w] = CORNERS["nw"]
    pixels[:half_h, half_w:] = CORNERS["ne"]
    pixels[half_h:, :half_w] = CORNERS["sw"]
    pixels[half_h:, half_w:] = CORNERS["se"]
    return Image.fromarray(pixels)


def encode(image: Image.Image, name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def pixels_of(data: bytes) -> Pixels:
    picture = decode(data, max_pixels=LIMIT)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (picture.height, picture.width, 3)
    assert picture.pixels.flags.c_contiguous
    return picture.pixels


def corners(pixels: Pixels) -> list[str]:
    """Names of the colours nearest to the picture's corners, row by row."""
    height, width = pixels.shape[:2]
    spots = [(3, 3), (3, width - 4), (height - 4, 3), (height - 4, width - 4)]
    return [
        min(CORNERS, key=lambda name: float(np.abs(np.subtract(CORNERS[name], pixels[spot])).sum()))
        for spot in spots
    ]


UPRIGHT = ["nw", "ne", "sw", "se"]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_read(name: str) -> None:
    options = {"quality": 95} if name in ("JPEG", "WEBP") else {}
    pixels = pixels_of(encode(scene(), name, **options))
    assert corners(pixels) == UPRIGHT
    assert np.abs(pixels.astype(int) - np.asarray(scene())).mean() < 4
    if name not in ("JPEG", "WEBP"):
        assert np.array_equal(pixels, np.asarray(scene()))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_one_pixel_is_an_image(name: str) -> None:
    options = {"lossless": True} if name == "WEBP" else {}
    data = encode(Image.new("RGB", (1, 1), (200, 200, 200)), name, **options)
    assert np.abs(pixels_of(data).astype(int) - 200).max() <= 2


# How stored pixels have to be turned so that each Exif orientation shows the scene upright.
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(STORED[orientation](scene()), name, exif=exif)
    pixels = pixels_of(data)
    assert pixels.shape == (32, 48, 3)
    assert corners(pixels) == UPRIGHT


def test_big_endian_exif_is_read_and_an_absurd_orientation_ignored() -> None:
    plain = encode(scene(), "JPEG", quality=95)
    for value, shape in ((6, (48, 32, 3)), (99, (32, 48, 3))):
        tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HH", value, 0) + bytes(4)
        segment = b"Exif\0\0" + tiff
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
        assert pixels_of(data).shape == shape


def test_greys_palettes_and_bits_become_rgb() -> None:
    for mode in ("L", "P", "1"):
        image = scene().convert(mode)
        assert np.array_equal(pixels_of(encode(image, "PNG")), np.asarray(image.convert("RGB")))
    grey = scene().convert("L")
    assert np.abs(pixels_of(encode(grey, "JPEG")).astype(int) - np.asarray(grey)[..., None]).mean() < 3


def test_cmyk_jpeg_keeps_its_colours() -> None:
    data = encode(scene().convert("CMYK"), "JPEG", quality=95)
    assert np.abs(pixels_of(data).astype(int) - np.asarray(scene())).mean() < 6


def test_progressive_jpeg_is_read() -> None:
    assert corners(pixels_of(encode(scene(), "JPEG", progressive=True))) == UPRIGHT


def png16(samples: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], colour_type: int) -> bytes:
    """A PNG with 16-bit samples, written by hand: Pillow writes no RGB of that depth."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return (
            struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    rgb = np.asarray(scene()).astype(np.uint16) * 257
    assert np.abs(pixels_of(png16(rgb, 2)).astype(int) - np.asarray(scene())).max() <= 1
    grey = np.asarray(scene().convert("L"))
    assert np.abs(pixels_of(png16(grey.astype(np.uint16) * 257, 0)).astype(int) - grey[..., None]).max() <= 1
    tiff = encode(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF")
    assert np.abs(pixels_of(tiff).astype(int) - grey[..., None]).max() <= 1


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_on_the_background(name: str) -> None:
    image = scene().convert("RGBA")
    alpha = np.full((32, 48), 255, np.uint8)
    alpha[:16, :24] = 0
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True} if name == "WEBP" else {}
    pixels = pixels_of(encode(image, name, **options))
    assert tuple(pixels[3, 3]) == BACKGROUND
    assert tuple(pixels[3, 44]) == CORNERS["ne"]


def test_half_transparent_pixels_are_mixed() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert np.abs(pixels_of(encode(image, "PNG"))[0, 0].astype(int) - (192, 64, 64)).max() <= 1
    grey = Image.new("LA", (4, 4), (255, 0))
    assert tuple(pixels_of(encode(grey, "PNG"))[0, 0]) == BACKGROUND


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_transparent_palette_entries_show_the_background(name: str) -> None:
    image = scene().convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    index = image.getpixel((2, 2))
    pixels = pixels_of(encode(image, name, transparency=index))
    assert tuple(pixels[3, 3]) == BACKGROUND
    assert np.abs(pixels[3, 44].astype(int) - CORNERS["ne"]).max() < 8


def test_transparent_colours_of_png_show_the_background() -> None:
    pixels = pixels_of(encode(scene(), "PNG", transparency=CORNERS["nw"]))
    assert tuple(pixels[3, 3]) == BACKGROUND
    assert tuple(pixels[30, 44]) == CORNERS["se"]


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_only_the_first_frame_is_read(name: str) -> None:
    others = [Image.new("RGB", (48, 32), (0, 0, 0)) for _ in range(3)]
    options = {"lossless": True} if name == "WEBP" else {}
    data = encode(scene(), name, save_all=True, append_images=others, **options)
    assert np.array_equal(pixels_of(data), np.asarray(scene()))


def test_gif_frames_beyond_the_first_are_not_even_kept() -> None:
    data = encode(scene(), "GIF", save_all=True, append_images=[scene().rotate(angle) for angle in range(40)])
    assert len(read_header(data).body) < len(data) / 10


def test_metadata_does_not_reach_the_decoder() -> None:
    exif = Image.Exif()
    exif[270] = "a secret remark"
    for name in ("JPEG", "PNG", "TIFF"):
        data = encode(scene(), name, exif=exif)
        header = read_header(data)
        assert (header.format, header.width, header.height, header.orientation) == (name, 48, 32, 1)
        if name != "TIFF":
            assert b"a secret remark" in data
            assert b"a secret remark" not in header.body


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "no bytes"),
        (b"hello, I am a picture", "text"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\x01\0\x01\0", "icon"),
        (b"RIFF\0\0\0\0AVI LIST", "no known"),
        (b"\x00\x01\x02\x03", "no known"),
        (b"\xff\xd8\xff", "JPEG file with a broken header"),
        (b"\x89PNG\r\n\x1a\n", "PNG file with a broken header"),
        (b"GIF89a", "GIF file with a broken header"),
        (b"BM", "BMP file with a broken header"),
        (b"RIFF\0\0\0\0WEBP", "WEBP file with a broken header"),
        (b"II*\0", "TIFF file with a broken header"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, found: str) -> None:
    with pytest.raises(InvalidImage, match=found) as caught:
        decode(data, max_pixels=LIMIT)
    assert caught.value.message.startswith("Request has invalid image format")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_invalid(name: str) -> None:
    rng = np.random.default_rng(1)
    data = encode(Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)), name)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(InvalidImage, match="Request has invalid image format"):
            decode(data[: int(len(data) * share)], max_pixels=LIMIT)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damaged_files_decode_or_are_refused_in_silence(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(scene(), name)
    rng = np.random.default_rng(7)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(400):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), rng.integers(1, 6)):
                damaged[place] = rng.integers(0, 256)
            with contextlib.suppress(InvalidImage, ImageTooLarge):
                decode(bytes(damaged), max_pixels=1_000_000, needed_side=12)
                decode(bytes(damaged), max_pixels=1_000_000)
    assert [str(warning.message) for warning in warned] == []
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


def announce(name: str, width: int, height: int) -> bytes:
    """A small file whose header announces a size."""
    data = bytearray(encode(Image.new("RGB", (8, 8)), name, **({"lossless": True} if name == "WEBP" else {})))
    if name == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif name == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif name == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif name == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif name == "WEBP":
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        order = "<"
        (start,) = struct.unpack_from("<I", data, 4)
        for index in range(struct.unpack_from("<H", data, start)[0]):
            at = start + 2 + 12 * index
            tag = struct.unpack_from("<H", data, at)[0]
            if tag in (256, 257):
                struct.pack_into(f"{order}HII", data, at + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_bombs_are_refused_by_their_header(name: str) -> None:
    side = 16_000 if name == "WEBP" else 30_000
    with pytest.raises(ImageTooLarge, match=f"Image size is too large: {side}x{side}"):
        decode(announce(name, side, side), max_pixels=LIMIT)


@pytest.mark.parametrize(("width", "height"), [(65_501, 1), (1, 65_501)])
def test_a_side_may_not_be_too_long(width: int, height: int) -> None:
    with pytest.raises(ImageTooLarge, match="65500 along a side"):
        decode(announce("PNG", width, height), max_pixels=LIMIT)


def test_the_limit_is_inclusive() -> None:
    data = encode(scene(), "PNG")
    decode(data, max_pixels=48 * 32)
    with pytest.raises(ImageTooLarge):
        decode(data, max_pixels=48 * 32 - 1)


def test_sizes_of_zero_are_invalid() -> None:
    for name in ("JPEG", "PNG", "BMP", "TIFF"):
        with pytest.raises(InvalidImage):
            decode(announce(name, 0, 8), max_pixels=LIMIT)


def test_a_gif_frame_beyond_the_screen_counts() -> None:
    data = bytearray(encode(scene(), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    assert pixels_of(bytes(data)).shape == (32, 48, 3)
    at = data.index(b"\x2c", 13)
    while struct.unpack_from("<HHHH", data, at + 1) != (0, 0, 48, 32):
        at = data.index(b"\x2c", at + 1)
    struct.pack_into("<HHHH", data, at + 1, 0, 0, 60_000, 60_000)
    with pytest.raises(ImageTooLarge):
        decode(bytes(data), max_pixels=LIMIT)


def test_huge_tiles_of_tiff_are_refused() -> None:
    entries = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 8}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)
    with pytest.raises(InvalidImage):
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_compressed_tiff_is_refused_with_advice(compression: str) -> None:
    with pytest.raises(InvalidImage, match=r"compressed TIFF file; .* PNG"):
        decode(encode(scene(), "TIFF", compression=compression), max_pixels=LIMIT)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = encode(scene(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    with pytest.raises(InvalidImage):
        decode(data[:-2] + scan * 1000 + b"\xff\xd9", max_pixels=LIMIT)


@pytest.mark.parametrize("padding", [b"", b"\0"])
@pytest.mark.parametrize(("scans", "refused"), [(MAX_SCANS, False), (MAX_SCANS + 1, True)])
def test_scans_are_counted_wherever_they_lie(padding: bytes, scans: int, refused: bool) -> None:
    data = encode(scene(), "JPEG")
    at = data.rindex(b"\xff\xda")
    more = b"".join(b"\xff\xda" + bytes(2 + place % 2) for place in range(scans - 1))
    hostile = data[:at] + data[at:-2] + padding + more + b"\xff\xd9"
    if refused:
        with pytest.raises(InvalidImage, match="broken header"):
            read_header(hostile)
    else:
        assert read_header(hostile).width == 48


def test_many_threads_decode_at_once() -> None:
    data = {name: encode(scene(), name) for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")}
    serial = {name: pixels_of(one) for name, one in data.items()}
    start = threading.Barrier(6)

    def work(name: str) -> bool:
        start.wait(20)
        return all(np.array_equal(pixels_of(data[name]), serial[name]) for _ in range(50))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, data))


def smooth(width: int, height: int) -> Image.Image:
    """A picture whose red tells the column and green the row, so that a place can be read from a colour."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, 99)], axis=2).round().astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_shrunk_and_its_places_kept(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(STORED[orientation](smooth(480, 320)), "JPEG", exif=exif, quality=95)
    picture = decode(data, max_pixels=LIMIT, needed_side=100)
    assert (picture.width, picture.height) == (480, 320)
    pixels, shrink = picture.reduced(480 / 100)
    assert shrink == 4
    assert pixels.shape == (80, 120, 3)
    whole = picture.pixels
    assert whole.shape == (320, 480, 3)
    for row, column in ((10, 10), (40, 100), (79, 0)):
        place = [round(shrink * (k + 0.5) - 0.5) for k in (row, column)]
        assert np.abs(pixels[row, column].astype(int) - whole[tuple(place)]).max() <= 5


@pytest.mark.parametrize(
    ("most", "shrink"), [(0.5, 1), (1.9, 1), (2, 2), (3.9, 2), (4, 4), (7.99, 4), (100, 8)]
)
def test_a_picture_is_shrunk_no_more_than_asked(most: float, shrink: int) -> None:
    picture = decode(encode(smooth(64, 64), "JPEG"), max_pixels=LIMIT, needed_side=64)
    pixels, found = picture.reduced(most)
    assert found == shrink
    assert pixels.shape == (64 // shrink, 64 // shrink, 3)


def test_sides_that_do_not_divide_are_not_shrunk() -> None:
    picture = decode(encode(smooth(62, 60), "JPEG"), max_pixels=LIMIT, needed_side=1)
    assert picture.reduced(100)[1] == 2
    assert decode(encode(smooth(63, 64), "JPEG"), max_pixels=LIMIT, needed_side=1).reduced(100)[1] == 1


def test_other_formats_give_all_their_pixels() -> None:
    pixels, shrink = decode(encode(smooth(64, 64), "PNG"), max_pixels=LIMIT, needed_side=8).reduced(8)
    assert shrink == 1
    assert pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_greys_and_cmyk_shrink_too(mode: str) -> None:
    data = encode(smooth(64, 64).convert(mode), "JPEG", quality=95)
    picture = decode(data, max_pixels=LIMIT, needed_side=32)
    pixels, shrink = picture.reduced(2)
    assert shrink == 2
    assert np.abs(pixels.astype(int) - picture.pixels[::2, ::2]).mean() < 6


def test_a_truncated_jpeg_is_invalid_at_once_when_shrunk() -> None:
    data = encode(smooth(640, 480), "JPEG", quality=95)
    with pytest.raises(InvalidImage):
        decode(data[: len(data) // 2], max_pixels=LIMIT, needed_side=80)
    with pytest.raises(ImageTooLarge):
        decode(data, max_pixels=1000, needed_side=80)


@pytest.mark.parametrize("side", [640, 160])
def test_a_small_fault_is_forgiven_in_silence(side: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Bytes between the picture and its end, which a decoder has to skip."""
    sound = encode(smooth(640, 480), "JPEG", quality=95)
    faulty = sound[:-2] + bytes(30) + sound[-2:]
    one, other = (decode(data, max_pixels=LIMIT, needed_side=side) for data in (sound, faulty))
    assert one.reduced(640 / side)[1] == 640 // side
    assert np.array_equal(one.reduced(640 / side)[0], other.reduced(640 / side)[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_jpegs_have_the_pixels_that_pillow_gives(shared: Path, shrink: int) -> None:
    compared = 0
    for path in sorted((shared / "data" / "photos").glob("*.jpg")):
        with Image.open(path) as image:
            if image.getexif().get(274, 1) != 1 or image.width % shrink or image.height % shrink:
                continue
            image.draft(None, (image.width // shrink, image.height // shrink))
            expected = np.asarray(image)
        picture = decode(path.read_bytes(), max_pixels=LIMIT, needed_side=1 if shrink == 8 else 10**6)
        assert np.array_equal(picture.reduced(shrink)[0], expected), path.name
        compared += 1
    assert compared >= 3


def test_the_album_decodes_as_seen(shared: Path) -> None:
    photos = sorted((shared / "data" / "photos").glob("*.jpg"))
    assert len(photos) == 18
    for path in photos:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(274, 1) >= 5
        picture = decode(path.read_bytes(), max_pixels=LIMIT)
        assert (picture.width, picture.height) == ((height, width) if turned else (width, height))
