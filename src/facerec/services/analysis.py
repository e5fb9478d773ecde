"""Use cases that store nothing: detect the faces of an image, compare those of two."""

from __future__ import annotations

from dataclasses import dataclass

from facerec.domain import DetectedFace, EmbeddingContract, ImageReference, QualityFilter
from facerec.engine.base import Engine, Floats
from facerec.errors import NoFaceInImage
from facerec.images.base import ImageLoader
from facerec.observability.steps import use_case
from facerec.services.matching import least_cosine
from facerec.services.selection import by_size, select, select_largest

MAX_TARGET_FACES = 100
"""Most faces of the target image that a source face is compared with: the largest."""


@dataclass(frozen=True, slots=True)
class ComparedFace:
    """A face of the target image: similarity 0..100 to the source face, and the cosine it comes from."""

    similarity: float
    cosine: float
    face: DetectedFace


@dataclass(frozen=True, slots=True)
class Comparison:
    """The source image's largest face; matches, most similar first; the other faces, largest box first."""

    source: DetectedFace
    matches: tuple[ComparedFace, ...]
    unmatched: tuple[DetectedFace, ...]


@dataclass(frozen=True, slots=True)
class EmbeddedFaces:
    """Faces of an image, largest box first, with their unit embeddings (dimension,), and whose these are."""

    contract: EmbeddingContract
    faces: tuple[tuple[DetectedFace, Floats], ...]


class AnalysisService:
    """Looks at images. Safe to call from many threads."""

    def __init__(self, engine: Engine, images: ImageLoader) -> None:
        self._engine = engine
        self._images = images

    @use_case("analysis.detect")
    def detect(self, image: ImageReference, attributes: frozenset[str] = frozenset()) -> list[DetectedFace]:
        """The faces of an image, largest box first, with the attributes asked for; none is no error.

        Raises the errors of images and engine.
        """
        data = self._images.load(image)
        with self._engine.turn():
            found = self._engine.detect(self._engine.decode(data), attributes)
        return [one.face for one in by_size(found)]

    @use_case("analysis.embed")
    def embed(self, image: ImageReference, *, limit: int) -> EmbeddedFaces:
        """The embeddings of an image's largest faces, at most `limit`; none is no error.

        Raises the errors of images and engine.
        """
        data = self._images.load(image)
        with self._engine.turn():
            picture = self._engine.decode(data)
            found = by_size(self._engine.detect(picture))[:limit]
            vectors = self._engine.embed(picture, found) if found else ()
        pairs = tuple((face.face, vector) for face, vector in zip(found, vectors, strict=True))
        return EmbeddedFaces(self._engine.contract, pairs)

    def liveness(self, image: ImageReference) -> list[float] | None:
        """How surely each face of an image is live, 0..100, in the order of `detect`; None where the pack
        has no such networks.

        Raises the errors of images and engine.
        """
        picture = self._engine.decode(self._images.load(image))
        return self._engine.liveness(picture, by_size(self._engine.detect(picture)))

    @use_case("analysis.compare")
    def compare(
        self,
        source: ImageReference,
        target: ImageReference,
        *,
        threshold: float = 80.0,
        quality_filter: QualityFilter = QualityFilter.NONE,
    ) -> Comparison:
        """Compare the largest face of `source` with each face of `target` that passes the filter.

        threshold: similarity 0..100, or cosine, from which a face is a match. Raises NoFaceInImage when one
        of the images has no face that passes the filter, and the errors of images and engine.
        """
        source_picture = self._engine.decode(self._images.load(source))
        target_picture = self._engine.decode(self._images.load(target))
        own = select_largest(source_picture, self._engine.detect(source_picture), quality_filter).kept
        others = select(
            target_picture, self._engine.detect(target_picture), quality_filter, MAX_TARGET_FACES
        ).kept
        if lacking := [name for name, kept in (("source", own), ("target", others)) if not kept]:
            raise NoFaceInImage(f"There are no faces in the {' and the '.join(lacking)} image.")
        probe = self._engine.embed(source_picture, [own[0].found])[0]
        cosines = self._engine.embed(target_picture, [face.found for face in others]) @ probe
        compared = [
            ComparedFace(self._engine.calibration.similarity(float(cosine)), float(cosine), face.found.face)
            for face, cosine in zip(others, cosines, strict=True)
        ]
        least = least_cosine(self._engine.calibration, threshold)
        matches = [face for face in compared if face.cosine >= least]
        return Comparison(
            source=own[0].found.face,
            matches=tuple(sorted(matches, key=lambda face: -face.cosine)),
            unmatched=tuple(face.face for face in compared if face.cosine < least),
        )
