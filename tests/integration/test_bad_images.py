"""Images as the world sends them: what can not be used is refused by name, and nothing changes."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from serving import Server, serving
from talking import COLLECTION, faces_of, index, post, target

from facerec.engine.fake import draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import ImageTypeDef

pytest_plugins = ["server_fixtures"]

FORMAT, LARGE, INVALID = "InvalidImageFormatException", "ImageTooLargeException", "ValidationException"


@pytest.fixture(scope="module")
def image_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("images") / "data") as server:
        index(server, "somebody")
        yield server
        assert server.process.poll() is None, server.output


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@cache
def bad_images() -> dict[str, tuple[bytes, str]]:
    picture = Image.open(io.BytesIO(draw("anna")))
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    return {
        "empty": (b"", INVALID),
        "5 MiB and a byte": (jpeg + bytes(5 * 1024 * 1024 + 1 - len(jpeg)), INVALID),
        "text": (b"This is no picture, whatever its name may be.jpg", FORMAT),
        "HTML": (b"<!DOCTYPE html><html><body>404</body></html>", FORMAT),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', FORMAT),
        "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", FORMAT),
        "zeros": (bytes(5000), FORMAT),
        "JPEG cut off in its head": (jpeg[:100], FORMAT),
        "JPEG cut off in its pixels": (jpeg[: len(jpeg) // 2], FORMAT),
        "JPEG without its last bytes": (jpeg[:-40], FORMAT),
        "PNG cut off in its head": (png[:20], FORMAT),
        "PNG cut off in its pixels": (png[: len(png) // 2], FORMAT),
        "claims 30000 x 30000": (png_claiming(30_000, 30_000), LARGE),
        "claims 2 billion x 1": (png_claiming(2**31 - 1, 1), LARGE),
        "claims 0 x 0": (png_claiming(0, 0), FORMAT),
        "decompression bomb": (encoded(Image.new("1", (16_000, 16_000)), "PNG"), LARGE),
    }


@pytest.mark.parametrize("name", bad_images())
@pytest.mark.parametrize("operation", ["IndexFaces", "SearchFacesByImage", "DetectFaces"])
def test_images_that_can_not_be_used(image_server: Server, name: str, operation: str) -> None:
    data, code = bad_images()[name]
    before = faces_of(image_server)
    parameters: dict[str, object] = {"Image": {"Bytes": base64.b64encode(data).decode()}}
    if operation != "DetectFaces":
        parameters["CollectionId"] = COLLECTION
    status, answer = post(image_server, json.dumps(parameters).encode(), target(operation))
    assert (status, answer["__type"]) == (400, code), answer
    assert faces_of(image_server) == before


@pytest.mark.parametrize("side", [1, 2, 79])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_tiny_images_of_every_mode_have_no_face(image_server: Server, mode: str, side: int) -> None:
    client = image_server.client()
    image: ImageTypeDef = {"Bytes": encoded(Image.new(mode, (side, side)), "PNG")}
    before = faces_of(image_server)
    assert client.detect_faces(Image=image)["FaceDetails"] == []
    assert client.index_faces(CollectionId=COLLECTION, Image=image)["FaceRecords"] == []
    with pytest.raises(client.exceptions.InvalidParameterException, match="There are no faces in the image"):
        client.search_faces_by_image(CollectionId=COLLECTION, Image=image)
    assert faces_of(image_server) == before
    client.close()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_taken_with_the_camera_turned(image_server: Server, orientation: int) -> None:
    """The face is found, and its box refers to the upright picture."""
    upright = Image.open(io.BytesIO(draw("somebody", size=(400, 300))))
    undo: dict[int, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    client = image_server.client()
    turned = client.detect_faces(Image={"Bytes": encoded(stored, "JPEG", quality=95, exif=exif)})
    straight = client.detect_faces(Image={"Bytes": encoded(upright, "PNG")})
    assert turned.get("OrientationCorrection") is None
    (face,), (expected,) = turned["FaceDetails"], straight["FaceDetails"]
    for side in ("Left", "Top", "Width", "Height"):
        assert face["BoundingBox"][side] == pytest.approx(expected["BoundingBox"][side], abs=0.02)
    client.close()


def real_variants(photo: Path) -> dict[str, bytes]:
    """One photo of a face in the ways photos are stored."""
    image = Image.open(photo).convert("RGB")
    grey = image.convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes((value, value)) for value in grey.tobytes()))
    clear = image.copy()
    clear.putalpha(255)
    return {
        "JPEG": encoded(image, "JPEG", quality=90),
        "progressive JPEG": encoded(image, "JPEG", progressive=True),
        "CMYK JPEG": encoded(image.convert("CMYK"), "JPEG"),
        "greyscale JPEG": encoded(grey, "JPEG"),
        "16-bit PNG": encoded(deep, "PNG"),
        "PNG with alpha": encoded(clear, "PNG"),
        "palette PNG": encoded(image.quantize(256), "PNG"),
        "animated GIF": encoded(image, "GIF", save_all=True, append_images=[image, image]),
        "animated PNG": encoded(image, "PNG", save_all=True, append_images=[image.rotate(90)]),
    }


@pytest.mark.slow
def test_a_real_face_in_every_way_photos_are_stored(shared: Path, real_server: Server) -> None:
    client = real_server.client()
    client.create_collection(CollectionId="variants")
    photo = shared / "data" / "lfw" / "images" / "Amber_Tamblyn_0001.jpg"
    client.index_faces(
        CollectionId="variants", Image={"Bytes": photo.read_bytes()}, ExternalImageId="amber", MaxFaces=1
    )
    similarities: dict[str, float] = {}
    for name, data in real_variants(photo).items():
        found = client.search_faces_by_image(CollectionId="variants", Image={"Bytes": data})
        similarities[name] = found["FaceMatches"][0]["Similarity"] if found["FaceMatches"] else 0.0
    assert min(similarities.values()) > 95, similarities
    client.delete_collection(CollectionId="variants")
    client.close()
