"""Images that come with a request: looked at in the request itself, for none is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from facerec.db import Database
from facerec.domain import InlineImage
from facerec.engine.image_ids import image_id_of
from facerec.errors import FacerecError, ImageTooLarge, InvalidImage, InvalidParameter
from facerec.metastore import albums
from facerec.metastore.albums import Album, NewImage
from facerec.metastore.items import ItemState
from facerec.observability import current_request
from facerec.services.albums.placing import PeoplePlacing
from facerec.services.albums.sources import uploaded_image
from facerec.services.faces import FaceService
from facerec.services.retention.lifetimes import Lifetimes

ONE_IMAGES_ERRORS = (InvalidImage, ImageTooLarge, InvalidParameter)
"""What is wrong with one image, and does not stop the others."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent."""

    name: str
    data: bytes = field(repr=False)
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What became of an image: its place in the album, or why it was not taken."""

    name: str
    number: int | None = None
    faces: int = 0
    refusal: FacerecError | None = None


class AlbumUploads:
    """Indexes images of a request into an album. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        faces: FaceService,
        placing: PeoplePlacing,
        *,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        """placing: is asked to look for people when images were indexed."""
        self._database = database
        self._faces = faces
        self._placing = placing
        self._clock = (lifetimes or Lifetimes()).clock

    def add(self, album_id: str, uploads: Sequence[Upload]) -> tuple[UploadResult, ...]:
        """Index images, each on its own; their faces are found when this returns.

        The same bytes under the same name are one image, however often they are sent. Raises AlbumNotFound,
        QuotaExceeded, StorageError, Overloaded: then those before are indexed, and all may be sent again.
        """
        with self._database.read() as connection:
            album = albums.find(connection, album_id)
        results = tuple(self._add(album, upload) for upload in uploads)
        self._placing.ask_at_rest(album)
        return results

    def _add(self, album: Album, upload: Upload) -> UploadResult:
        try:
            new = uploaded_image(upload.name, image_id_of(upload.data), upload.external_id)
            result = self._faces.index(
                album.collection,
                InlineImage(upload.data),
                external_image_id=new.external_id,
                identity=album.collection_identity,
            )
        except ONE_IMAGES_ERRORS as error:
            return UploadResult(upload.name, refusal=error)
        request = current_request()
        request.people.append(new.external_id)
        request.faces += [one.face.face_id for one in result.indexed]
        number = self._note(album, new, len(result.indexed), result.image_id)
        return UploadResult(upload.name, number, len(result.indexed))

    def _note(self, album: Album, new: NewImage, faces: int, image_id: str) -> int:
        """The number of the image, whose faces are stored, in the album."""
        with self._database.write() as connection:
            target = albums.find(connection, album.album_id, lock=True)
            albums.add(connection, target, [new])
            number = albums.present(connection, target, [new.digest])[new.digest]
            albums.finish(
                connection,
                target.key,
                number,
                ItemState.DONE,
                attempts=1,
                finished_at=self._clock(),
                faces=faces,
                image_id=image_id,
            )
        return number
