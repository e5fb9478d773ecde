"""A selfie finds the photos of its owner: in one album, in several, or in all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from facerec.db import Database
from facerec.domain import BoundingBox, DetectedFace, FaceMatch, ImageReference, QualityFilter
from facerec.engine.base import Floats
from facerec.errors import AlbumNotFound, NotFound, QuotaExceeded
from facerec.images.base import ImageLoader
from facerec.metastore import albums, collections
from facerec.metastore.albums import Album, AlbumImage
from facerec.services.access import settled
from facerec.services.engines import Engines
from facerec.services.faces import embed_largest
from facerec.services.matching import FaceMatcher
from facerec.services.retention.lifetimes import Lifetimes
from facerec.vectors.base import VectorStore

MOST_ALBUMS = 1000
"""Albums of one search."""

FACES_AN_ALBUM = 4096
"""Faces that are looked at in each: Rekognition's bound on a search."""

DEFAULT_PHOTOS = 100
MOST_PHOTOS = 4096


@dataclass(frozen=True, slots=True)
class FaceInPhoto:
    """A face of a photo that is like the one looked for; similarity 0..100."""

    face_id: str
    box: BoundingBox
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPhoto:
    """A photo that shows the person: its faces like the one looked for, the most similar first."""

    album_id: str
    image_id: str
    external_id: str | None
    image: AlbumImage | None
    """The album's row of it; None for one that a client indexed into the album's collection itself."""
    source: str | None
    faces: tuple[FaceInPhoto, ...]

    @property
    def similarity(self) -> float:
        """Of its most similar face, 0..100."""
        return self.faces[0].similarity


@dataclass(frozen=True, slots=True)
class PhotoSearch:
    """The face that was looked for, and the photos, most similar first."""

    probe: DetectedFace
    photos: tuple[FoundPhoto, ...]


@dataclass(frozen=True, slots=True)
class _Probe:
    face: DetectedFace
    embedding: Floats


class AlbumSearch:
    """Finds photos by a face. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engines: Engines,
        images: ImageLoader,
        *,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        self._database = database
        self._engines = engines
        self._images = images
        self._matcher = FaceMatcher(database, vectors, lifetimes or Lifetimes())

    def search(
        self,
        image: ImageReference,
        album_ids: Sequence[str] | None = None,
        *,
        threshold: float = 80.0,
        limit: int = DEFAULT_PHOTOS,
        reaches: Callable[[str], bool] = lambda _: True,
    ) -> PhotoSearch:
        """The photos that show the person of an image's largest face: up to `limit` (at most 4096).

        album_ids: where to look, None for all albums. threshold: least similarity 0..100. reaches: whether
        whoever asks may see a collection; albums of others are passed over, and are not found by id. Raises
        AlbumNotFound, QuotaExceeded (1000 albums), NoFaceInImage, ModelMismatch, the errors of images and
        engine, StorageError.
        """
        wanted = self._albums(album_ids, reaches)
        data = self._images.load(image)
        probes: dict[str, _Probe] = {}
        default = self._engines.default
        # Looked at even where there is no album: an image without a face is an error everywhere.
        probes[default.contract.id] = _Probe(*embed_largest(default, data, QualityFilter.NONE))
        photos: list[FoundPhoto] = []
        for album in wanted:
            photos += settled(partial(self._search, album, data, probes, threshold))
        photos.sort(key=lambda photo: (-photo.similarity, photo.album_id, photo.image_id))
        return PhotoSearch(probes[default.contract.id].face, tuple(photos[: min(limit, MOST_PHOTOS)]))

    def _albums(self, album_ids: Sequence[str] | None, reaches: Callable[[str], bool]) -> list[Album]:
        wanted: list[Album] = []
        with self._database.read() as connection:
            if album_ids is None:
                after = 0
                while len(wanted) <= MOST_ALBUMS and (
                    page := albums.list_after(connection, after, MOST_ALBUMS + 1)
                ):
                    wanted += [album for album in page if reaches(album.collection)]
                    after = page[-1].key
            else:
                names = list(dict.fromkeys(album_ids))[: MOST_ALBUMS + 1]
                wanted = [albums.find(connection, name) for name in names]
                if not all(reaches(album.collection) for album in wanted):
                    raise AlbumNotFound
        if len(wanted) > MOST_ALBUMS:
            raise QuotaExceeded(
                f"One search looks into at most {MOST_ALBUMS} albums: name those that you mean."
            )
        return wanted

    def _search(
        self, album: Album, data: bytes, probes: dict[str, _Probe], threshold: float
    ) -> list[FoundPhoto]:
        """The photos of one album; each model's embedding of the probe is made once."""
        with self._database.read() as connection:
            target = collections.look_up(connection, album.collection)
        if target is None or target.face_count == 0:
            return []
        engine = self._engines.of(target)
        probe = probes.get(target.contract_id)
        if probe is None:
            probe = probes[target.contract_id] = _Probe(*embed_largest(engine, data, QualityFilter.NONE))
        try:
            matches = self._matcher.faces(
                target, engine.calibration, probe.embedding, FACES_AN_ALBUM, threshold
            )
        except NotFound:
            return []  # deleted meanwhile
        with self._database.read() as connection:
            rows = albums.images_of(connection, album, [match.face.image_id for match in matches])
        return _grouped(album, matches, rows)


def _grouped(album: Album, matches: Sequence[FaceMatch], rows: Sequence[AlbumImage]) -> list[FoundPhoto]:
    """The matches by the photos that they are in, most similar first in each."""
    by_photo: dict[tuple[str, str | None], list[FaceMatch]] = {}
    for match in matches:
        by_photo.setdefault((match.face.image_id, match.face.external_image_id), []).append(match)
    images: dict[tuple[str | None, str], AlbumImage] = {}
    for row in rows:
        images.setdefault((row.image_id, row.external_id), row)
    found = []
    for (image_id, external_id), group in by_photo.items():
        image = images.get((image_id, external_id or ""))
        found.append(
            FoundPhoto(
                album_id=album.album_id,
                image_id=image_id,
                external_id=external_id,
                image=image,
                source=group[0].face.source if image is None else image.source,
                faces=tuple(FaceInPhoto(m.face.face_id, m.face.box, m.similarity) for m in group),
            )
        )
    return found
