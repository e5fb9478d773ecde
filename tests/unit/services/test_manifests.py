from __future__ import annotations

import io
import json
import tracemalloc
from typing import BinaryIO, cast

import pytest

from facerec.errors import InvalidParameter
from facerec.metastore.albums import NewEntry
from facerec.services.albums.manifests import LONGEST_LINE, ManifestKind, kind_of, read_manifest


def read(text: str | bytes, kind: ManifestKind, template: str | None = None) -> list[NewEntry]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_manifest(io.BytesIO(data), kind, template=template))


def told(entries: list[NewEntry]) -> list[tuple[int, str]]:
    """Number and source, or reason, of each."""
    return [(each.number, each.image.source if each.image else each.reason or "") for each in entries]


def test_csv_by_bucket_and_key_or_by_address() -> None:
    entries = read("external_id,bucket,key\nann,abc,a b.jpg\n,abc,c.jpg\n", ManifestKind.CSV)
    assert told(entries) == [(2, "s3://abc/a b.jpg"), (3, "s3://abc/c.jpg")]
    assert [each.image.external_id for each in entries if each.image] == ["ann", "c.jpg"]
    assert told(read('url\n"https://host/a,b.jpg"\n', ManifestKind.CSV)) == [(2, "https://host/a,b.jpg")]


def test_a_byte_order_mark_other_line_ends_and_blank_lines_are_read() -> None:
    text = b"\xef\xbb\xbfsource,external_id\r\n\r\ns3://abc/a.jpg,x\r\n  \r\ns3://abc/b.jpg,y"
    assert told(read(text, ManifestKind.CSV)) == [(3, "s3://abc/a.jpg"), (5, "s3://abc/b.jpg")]


def test_each_broken_line_is_told_with_its_number_and_the_others_are_read() -> None:
    lines = [
        b"source,external_id",
        b"s3://abc/1.jpg,a",
        b"s3://abc/2.jpg",
        b"photo.jpg,b",
        b"s3://abc/3.jpg,not an id",
        b"s3://abc/\xff.jpg,c",
        b"s3://abc/\0.jpg,d",
        b"s3://abc/" + b"x" * 3 * LONGEST_LINE + b",e",
        b'"s3://abc/4.jpg,f',
        b"s3://abc/5.jpg,g",
    ]
    entries = read(b"\n".join(lines), ManifestKind.CSV)
    assert [each.number for each in entries] == list(range(2, 11))
    assert [each.number for each in entries if each.image] == [2, 10]
    reasons = {each.number: each.reason or "" for each in entries if each.image is None}
    assert "1 values for 2 columns" in reasons[3]
    assert "no UTF-8" in reasons[6]
    assert "NUL" in reasons[7]
    assert "more than" in reasons[8]
    assert "no CSV" in reasons[9]


def test_json_lines_of_every_form() -> None:
    lines = [
        '{"source-ref": "s3://abc/1.jpg", "faces": {"count": 2}}',
        '{"bucket": "abc", "key": "2.jpg", "version": "v", "external_id": "two"}',
        '{"url": "http://host/3.jpg"}',
        "[1]",
        "{broken",
        '{"source": 5}',
        "{}",
    ]
    entries = read("\n".join(lines), ManifestKind.JSON_LINES)
    assert told(entries)[:3] == [(1, "s3://abc/1.jpg"), (2, "s3://abc/2.jpg"), (3, "http://host/3.jpg")]
    assert all(each.reason for each in entries[3:])
    assert entries[1].image is not None
    assert (entries[1].image.version, entries[1].image.external_id) == ("v", "two")


@pytest.mark.parametrize("indent", [None, 2])
def test_an_export_of_list_faces_names_each_image_once(indent: int | None) -> None:
    names = ["a.jpg", "a.jpg", None, "b:c.jpg"]
    faces = [{"FaceId": "1", "ImageId": "i", "ExternalImageId": name} if name else {} for name in names]
    answer = json.dumps({"Faces": faces, "FaceModelVersion": "6.0"}, indent=indent)
    entries = read(f"{answer}\n{answer}", ManifestKind.LIST_FACES, "s3://abc/old/{external_id}")
    assert told(entries)[:3] == [
        (1, "s3://abc/old/a.jpg"),
        (3, "The face has no ExternalImageId."),
        (4, "s3://abc/old/b:c.jpg"),
    ]
    assert [each.image.external_id for each in entries if each.image] == ["a.jpg", "b:c.jpg"] * 2


@pytest.mark.parametrize(
    ("data", "kind", "template"),
    [
        (b"", ManifestKind.CSV, None),
        (b"\xff\n", ManifestKind.CSV, None),
        (b"s3://abc/a.jpg,x\n", ManifestKind.CSV, None),
        (b'{"Faces": [', ManifestKind.LIST_FACES, "s3://abc/{external_id}"),
        (b"no json", ManifestKind.LIST_FACES, "s3://abc/{external_id}"),
        (b"{}", ManifestKind.LIST_FACES, None),
        (b"{}", ManifestKind.LIST_FACES, "s3://abc/a.jpg"),
        (b"{}", ManifestKind.LIST_FACES, "s3://abc/{bucket}"),
        (b"{}", ManifestKind.LIST_FACES, "/abc/{external_id}"),
        (b"{}", ManifestKind.LIST_FACES, "s3://abc/{external_id"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, kind: ManifestKind, template: str | None) -> None:
    with pytest.raises(InvalidParameter):
        read(data, kind, template)


def test_the_name_tells_the_kind() -> None:
    kinds = [kind_of(name) for name in ("a.csv", "a.JSONL", "a.ndjson", "output.manifest", "faces.json")]
    assert kinds == [ManifestKind.CSV, *[ManifestKind.JSON_LINES] * 3, ManifestKind.LIST_FACES]
    with pytest.raises(InvalidParameter):
        kind_of("a.xlsx")


class Endless(io.RawIOBase):
    """A line that does not end, as long as it may be read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        size = min(len(buffer), self.left)
        buffer[:size] = b"x" * size
        self.left -= size
        return size


def test_a_gigantic_line_is_never_in_memory() -> None:
    file = cast(BinaryIO, io.BufferedReader(Endless(50_000_000)))
    tracemalloc.start()
    (entry,) = read_manifest(file, ManifestKind.JSON_LINES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "more than" in (entry.reason or "")
    assert peak < 1_000_000
