"""Images of an album as they lie at their sources: fetched for whoever looks at them, and not kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from facerec.db import Database
from facerec.engine.image_header import read_header
from facerec.errors import NotFound
from facerec.images.base import ImageLoader
from facerec.metastore import albums
from facerec.services.albums.sources import reference_of


@dataclass(frozen=True, slots=True)
class Original:
    """An encoded image."""

    data: bytes = field(repr=False)
    format: str
    """"JPEG", "PNG", "WEBP", "GIF", "BMP" or "TIFF", by its own first bytes."""


class AlbumOriginals:
    """Fetches images of albums. Safe to call from many threads."""

    def __init__(self, database: Database, images: ImageLoader) -> None:
        """images: checks where an image may come from, and how large it may be."""
        self._database = database
        self._images = images

    def load(self, album_id: str, number: int) -> Original:
        """The image of that place in an album.

        Raises AlbumNotFound; NotFound for a place that has none, and for an image that came with a request;
        InvalidImage for what is no image any more; and what the loader raises.
        """
        with self._database.read() as connection:
            album = albums.find(connection, album_id)
            image = albums.image(connection, album.key, number)
        if image is None:
            raise NotFound(f"The album {album_id} has no image {number}.")
        reference = reference_of(image)
        if reference is None:
            raise NotFound(f"Image {number} came with a request, and was not kept.")
        data = self._images.load(reference)
        return Original(data, read_header(data).format)
