"""Finding stored faces again in their images, and embedding them with another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from facerec.domain import Face, ImageReference, MigrationObstacle, QuantizedEmbedding, RowKey
from facerec.engine.base import Engine
from facerec.engine.image_ids import image_id_of
from facerec.errors import ImageTooLarge, InvalidImage, InvalidImageUrl, InvalidS3Object
from facerec.images.base import ImageLoader
from facerec.services.twins import embed_again


class ImagePlaces(Protocol):
    """Knows where the images lie that faces were indexed from. Called from one thread at a time."""

    def find(self, face: Face) -> ImageReference | None:
        """Where the face's image should be; None where nothing says it."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of looking for faces: their new embeddings, or why there are none; by their keys."""

    embedded: Mapping[RowKey, QuantizedEmbedding] = field(default_factory=dict)
    failed: Mapping[RowKey, MigrationObstacle] = field(default_factory=dict)


def of_one_image(faces: Sequence[Face]) -> list[list[Face]]:
    """The faces, those of one and the same image together; in the order of their first ones."""
    images: dict[str, list[Face]] = {}
    for face in faces:
        images.setdefault(face.image_id, []).append(face)
    return list(images.values())


class FaceFinder:
    """Embeds faces of stored images with one engine. Safe to call from many threads."""

    def __init__(self, engine: Engine, images: ImageLoader, *, accept_changed: bool = False) -> None:
        """accept_changed: an image with other bytes than the indexed one is looked at all the same."""
        self._engine = engine
        self._images = images
        self._accept_changed = accept_changed

    def look(self, faces: Sequence[Face], place: ImageReference | None) -> Looked:
        """Find faces of one image, which should lie at `place`, in their stored boxes.

        Raises StorageError, PackError and Overloaded; what is wrong with an image is told face by face.
        """
        if place is None:
            return _all_failed(faces, MigrationObstacle.NO_REFERENCE)
        try:
            data = self._images.load(place)
        except (InvalidS3Object, InvalidImageUrl, InvalidImage):
            return _all_failed(faces, MigrationObstacle.IMAGE_MISSING)
        except ImageTooLarge:
            return _all_failed(faces, MigrationObstacle.IMAGE_UNREADABLE)
        if not self._accept_changed and image_id_of(data) != faces[0].image_id:
            return _all_failed(faces, MigrationObstacle.IMAGE_CHANGED)
        try:
            outcome = embed_again(self._engine, data, {face.key: face.box for face in faces})
        except (InvalidImage, ImageTooLarge):
            return _all_failed(faces, MigrationObstacle.IMAGE_UNREADABLE)
        return Looked(
            {key: found for key, found in outcome.items() if isinstance(found, QuantizedEmbedding)},
            {key: found for key, found in outcome.items() if isinstance(found, MigrationObstacle)},
        )


def _all_failed(faces: Sequence[Face], reason: MigrationObstacle) -> Looked:
    return Looked(failed=dict.fromkeys([face.key for face in faces], reason))
