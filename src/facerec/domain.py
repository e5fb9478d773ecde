"""The values that the rooms exchange: frozen, and knowing nothing of models, databases or the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Generic, NewType, TypeVar

T = TypeVar("T")

CollectionKey = NewType("CollectionKey", int)
"""Database key of a collection. Never reused: a deleted collection's index is never taken for a new one's."""

RowKey = NewType("RowKey", int)
"""Database key of a face or of a user. Never reused."""


FOREVER = 2**40
"""As a time to live in seconds, or as an end in seconds since the epoch: never (the year 36812)."""


HIDDEN = "~"
"""What the name of a collection begins with that nobody finds: the twin of another, with the same faces in
the embeddings of another model. No client can give such a name."""


class QualityFilter(StrEnum):
    """How strictly faces of low quality are left out (Rekognition's `QualityFilter`)."""

    NONE = "NONE"
    AUTO = "AUTO"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class Reason(StrEnum):
    """Why a face was not indexed or not searched (Rekognition's `Reason`, `UnsearchedFaceReason`)."""

    FACE_NOT_LARGEST = "FACE_NOT_LARGEST"
    EXCEEDS_MAX_FACES = "EXCEEDS_MAX_FACES"
    EXTREME_POSE = "EXTREME_POSE"
    LOW_BRIGHTNESS = "LOW_BRIGHTNESS"
    LOW_SHARPNESS = "LOW_SHARPNESS"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    SMALL_BOUNDING_BOX = "SMALL_BOUNDING_BOX"
    LOW_FACE_QUALITY = "LOW_FACE_QUALITY"


def similarity_of(threshold: float) -> float:
    """The similarity 0..100 that a person means by a threshold: up to 1 it is a share, 0.8 for 80."""
    return round(threshold * 100.0, 6) if threshold <= 1.0 else threshold


class Review(StrEnum):
    """How strictly the pictures that a person is enrolled from are looked at."""

    OFF = "off"
    """A face is enough, the largest one."""
    STANDARD = "standard"
    STRICT = "strict"


class LivenessPolicy(StrEnum):
    """What the registry does about faces that may be prints or screens."""

    OFF = "off"
    REPORT = "report"
    """The score is a part of the answer."""
    REQUIRE = "require"
    """A face below the threshold is refused, too."""
    ACTIVE = "active"
    """The score is a part of the answer, and a request needs a liveness session that has succeeded."""


class Fault(StrEnum):
    """What is wrong with a picture that a person is to be enrolled from."""

    TOO_SMALL = "TOO_SMALL"
    CUT_OFF = "CUT_OFF"
    BLURRED = "BLURRED"
    TOO_DARK = "TOO_DARK"
    TOO_BRIGHT = "TOO_BRIGHT"
    LOW_CONTRAST = "LOW_CONTRAST"
    UNEVEN_LIGHT = "UNEVEN_LIGHT"
    TURNED_ASIDE = "TURNED_ASIDE"
    TURNED_UP_OR_DOWN = "TURNED_UP_OR_DOWN"
    TILTED = "TILTED"
    ON_ITS_SIDE = "ON_ITS_SIDE"
    EYES_COVERED = "EYES_COVERED"
    MOUTH_COVERED = "MOUTH_COVERED"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    LOW_SCORE = "LOW_SCORE"


class AssociationFailure(StrEnum):
    """Why a face was not associated with, disassociated from, or deleted because of, a user."""

    FACE_NOT_FOUND = "FACE_NOT_FOUND"
    ASSOCIATED_TO_A_DIFFERENT_USER = "ASSOCIATED_TO_A_DIFFERENT_USER"
    LOW_MATCH_CONFIDENCE = "LOW_MATCH_CONFIDENCE"
    ASSOCIATED_TO_AN_EXISTING_USER = "ASSOCIATED_TO_AN_EXISTING_USER"


class UserStatus(StrEnum):
    """State of a user's aggregate vector. Aggregation happens in the change itself: CREATED or ACTIVE."""

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"


class EntityKind(StrEnum):
    """What a vector stands for: one face, or the aggregate of a user's faces."""

    FACE = "face"
    USER = "user"


# --- where an image comes from ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InlineImage:
    """The encoded bytes of an image, sent with the request."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class S3Image:
    """An object in S3; `version` None means the newest."""

    bucket: str
    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class LocalImage:
    """A file of the machine the service runs on: for the command line alone, never from a request."""

    path: Path


@dataclass(frozen=True, slots=True)
class UrlImage:
    """An image behind a web address, http(s)."""

    url: str


ImageReference = InlineImage | S3Image | LocalImage | UrlImage


VideoReference = S3Image | LocalImage | UrlImage
"""Where a video lies; it is not sent with a request to the Rekognition door."""


# --- what is known of a video ----------------------------------------------------------------------


class VideoOperation(StrEnum):
    """What a video job looks for. The value is what Rekognition calls it in a notification (`API`)."""

    FACE_DETECTION = "StartFaceDetection"
    FACE_SEARCH = "StartFaceSearch"


class VideoState(StrEnum):
    """How a video job stands (Rekognition's `VideoJobStatus`)."""

    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoWish:
    """What is asked of a video."""

    operation: VideoOperation
    video: VideoReference
    collection: str | None = None
    """Where faces are searched; None in a detection."""
    threshold: float = 80.0
    """Least similarity 0..100 of a match."""
    all_attributes: bool = False
    job_tag: str | None = None
    topic: str | None = None
    """ARN of the SNS topic that is told of the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMetadata:
    """What a video is, as its container tells. width, height: of its upright frames, in pixels."""

    codec: str
    """FFmpeg's name of the decoder, such as h264."""
    duration_millis: int
    """0 where the container does not tell."""
    format: str
    frame_rate: float
    """Frames a second; 0.0 where the container does not tell."""
    width: int
    height: int
    full_range: bool
    """Whether luminance is 0 to 255, and not 16 to 235."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoJob:
    """A video that is, or was, looked at. Times in seconds since the epoch."""

    job_id: str
    wish: VideoWish
    state: VideoState
    message: str | None
    """Why it failed, or what was wrong with the video all the same."""
    created_at: float
    updated_at: float
    """When it was last heard of."""
    finished_at: float | None
    attempts: int
    """Times that it was begun."""
    progress_ms: int
    """How far it was looked at, in milliseconds of the video."""
    metadata: VideoMetadata | None
    """None until it was opened."""
    entries: int
    """Faces in the result: one for each face of each frame that was looked at."""


# --- what an engine sees in an image ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundingBox:
    """A face's box as ratios of the upright image's width and height; below 0 or above 1 beyond its edge."""

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Share of the image that the box covers."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Landmark:
    """A named point (Rekognition's `LandmarkType`), x and y as ratios of the upright image's size."""

    type: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Head pose in degrees, -180..180.

    roll: positive = the head is tilted clockwise in the image. yaw: positive = the face looks to the image's
    right. pitch: positive = the face looks up.
    """

    roll: float
    yaw: float
    pitch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Brightness and sharpness of a face, each 0..100, independent of the face's size in the image."""

    brightness: float
    sharpness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """How a picture of a face does as a portrait, beside its pose and `Quality` (see `engine.portrait`)."""

    inside: float
    """Share of the face's box that lies within the image, 0..1."""
    contrast: float
    """Spread of light and dark over the face, 0..100; fog and flat overexposure leave little."""
    evenness: float
    """Lightness of the darker half of the face in per cent of the lighter one's."""
    eyes_covered: float
    """How much darker the eyes are than the skin below them, 0..100: high behind dark glasses."""
    mouth_covered: float
    """How far the colour around the mouth is from that of the brow, in per cent of how far that is from grey:
    high behind a mask or a scarf."""
    upright: float = 100.0
    """How much surer, in points of 100, the detector is of the face as it is than of the best of its quarter
    turns. Below 0: the picture lies on its side or upside down, and landmarks can not be trusted."""
    score: float | None = None
    """What the pack's quality network says, 0..100; None without one."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A yes or no about a face, with the confidence 0..100 in that answer."""

    value: bool
    confidence: float


@dataclass(frozen=True, slots=True)
class Gender:
    """Gender presentation, "Male" or "Female", with the confidence 0..100."""

    value: str
    confidence: float


@dataclass(frozen=True, slots=True)
class AgeRange:
    """Estimated age in years, low to high."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a pack's attribute models say of a face. What no model of the pack judges stays None."""

    age_range: AgeRange | None = None
    gender: Gender | None = None
    smile: Judgement | None = None
    eyes_open: Judgement | None = None
    mouth_open: Judgement | None = None


ALL_ATTRIBUTES = frozenset(field.name for field in fields(Attributes))
"""What can be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedFace:
    """A face found in an image. `confidence` is 0..100."""

    box: BoundingBox
    confidence: float
    landmarks: tuple[Landmark, ...]
    pose: Pose
    quality: Quality
    attributes: Attributes = field(default_factory=Attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingContract:
    """What makes two embeddings comparable.

    id: hash of model, weights digest, preprocessing and dimension. model_version: the `FaceModelVersion` that
    clients see, digits and dots. dimension: length of an embedding.
    """

    id: str
    pack: str
    model_version: str
    dimension: int


# --- what is stored --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of faces and users of one embedding contract."""

    key: CollectionKey
    name: str
    contract_id: str
    model_version: str
    dimension: int
    created_at: float
    """Seconds since the epoch."""
    face_count: int
    user_count: int
    change_number: int
    """Number of the last change to the collection; 0 for none."""
    twin: CollectionKey | None = None
    """The collection, which nobody finds by name, that has the same faces in another model's embeddings."""
    face_ttl: int | None = None
    """Seconds that a face without an end of its own is kept; None: the service's default; see `FOREVER`."""

    @property
    def hidden(self) -> bool:
        """Whether it is the twin of another."""
        return self.name.startswith(HIDDEN)

    @property
    def identity(self) -> str:
        """What tells it from another one of the same name, before and after; a switch of models keeps it."""
        return f"{self.created_at!r}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedEmbedding:
    """A unit vector as int8: `codes[i] * scale` approximates component i (`facerec.vectors.quantization`)."""

    codes: bytes
    """One signed byte a component."""
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face of a collection."""

    key: RowKey
    face_id: str
    """A UUID, lower case."""
    image_id: str
    """A UUID derived from the image's bytes."""
    external_image_id: str | None
    box: BoundingBox
    confidence: float
    model_version: str
    user_id: str | None
    source: str | None = None
    """Where the image lies (s3://bucket/key), where the request that stored the face named it."""
    stored_at: int = 0
    """Seconds since the epoch."""
    expires_at: int | None = None
    """The face's own end, in seconds since the epoch; None: by its collection's time to live."""
    quality: int | None = None
    """How good the picture was that a person was enrolled from, 0..100; None: it was not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFace:
    """A face about to be stored."""

    face_id: str
    image_id: str
    external_image_id: str | None
    box: BoundingBox
    confidence: float
    embedding: QuantizedEmbedding
    source: str | None = None
    """Where the image lies, as in `Face`."""
    stored_at: int | None = None
    """Seconds since the epoch; None: the moment in which it is written."""
    expires_at: int | None = None
    """As in `Face`."""
    quality: int | None = None
    """As in `Face`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user (a person) of a collection; `face_count` faces make up its aggregate vector."""

    key: RowKey
    user_id: str
    status: UserStatus
    face_count: int
    metadata: str | None = None
    """What an application keeps with the person: a JSON object; None: nothing."""
    created_at: float | None = None
    """Seconds since the epoch, as `updated_at`; None for users made before this was kept."""
    updated_at: float | None = None
    version: int = 0
    """Rises with every change of its faces or metadata; 0 without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorChanges:
    """Changes of a collection's vectors for an index, in columns: first the removals, then N vectors put."""

    number: int
    """Change number that the index has reached with the last batch of the stream that this is one of."""
    removed: Sequence[RowKey] = ()
    """Rows whose vectors are gone."""
    keys: Sequence[RowKey] = ()
    """Rows of the vectors put, (N,); each comes once in a stream."""
    scales: Sequence[float] = ()
    """(N,), as in `QuantizedEmbedding`."""
    codes: Sequence[bytes] = ()
    """(N,), as in `QuantizedEmbedding`."""


class MigrationObstacle(StrEnum):
    """Why a face could not be given an embedding of another model."""

    NO_REFERENCE = "NO_REFERENCE"
    """Nothing says where its image lies."""
    IMAGE_MISSING = "IMAGE_MISSING"
    """There is no image where it should lie, or it may not be read."""
    IMAGE_UNREADABLE = "IMAGE_UNREADABLE"
    """What lies there is no image, or too large a one."""
    IMAGE_CHANGED = "IMAGE_CHANGED"
    """The image has other bytes than the one that the face was indexed from."""
    FACE_NOT_FOUND = "FACE_NOT_FOUND"
    """The new model's detector finds no face where the old one's did."""
    FACE_AMBIGUOUS = "FACE_AMBIGUOUS"
    """It finds several there, and none of them is clearly the one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What both models answered to the same searches, as counts of searches."""

    same_best: int = 0
    """Both name the same face (or user) first."""
    other_best: int = 0
    """They name different ones first."""
    old_alone: int = 0
    """The old model alone names any."""
    new_alone: int = 0
    neither: int = 0
    difference: float = 0.0
    """Sum over `same_best` of the new model's similarity less the old one's, in points of 100."""
    distance: float = 0.0
    """Sum over `same_best` of the size of that difference."""

    @property
    def searches(self) -> int:
        """All that were compared."""
        return self.same_best + self.other_best + self.old_alone + self.new_alone + self.neither


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMigration:
    """A collection on its way to another model, or arrived there while the old embeddings are kept.

    old, new: the collections of both models. old_pack, new_pack: as in MODEL_PATH. images: where the images
    lie, as it was said. started_at, finished_at: seconds since the epoch; finished_at None while the old
    model answers. share: of the searches that the new model answers, 0 to 1.
    """

    old: CollectionKey
    new: CollectionKey
    old_pack: str
    new_pack: str
    images: str
    started_at: float
    finished_at: float | None
    share: float
    agreement: Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """A step of changes for an index that is built in steps, each of a state of the database of its own."""

    number: int
    """Change number that an index at `after` reaches by this page."""
    newest: int
    """Number of the collection's last change when the page was read; the page is the last one if it is
    `number`."""
    removed: Sequence[RowKey] = ()
    """Rows whose vectors are gone, to be taken out before the others are put in."""
    keys: Sequence[RowKey] = ()
    """Rows of the vectors put, (N,)."""
    embeddings: Sequence[QuantizedEmbedding] = ()
    """(N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexScope:
    """A collection's vectors of one kind and contract in a vector store outside the database."""

    token: str
    """Never used twice, so that whoever still writes into an abandoned scope disturbs no other."""
    collection: CollectionKey
    kind: EntityKind
    dimension: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCondition:
    """How a vector store outside the database fares, as last looked."""

    name: str
    reachable: bool
    changes_behind: int
    """Changes that the database has and the store has not, of all collections together."""
    seconds_behind: float
    """Since when; 0.0 where it is up to date."""
    trouble: str | None
    """What went wrong when it was asked last; None while it answers."""


# --- what is answered ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VectorHit:
    """A stored vector near a probe: its row and the cosine, -1..1."""

    key: RowKey
    cosine: float


@dataclass(frozen=True, slots=True)
class FaceMatch:
    """A stored face similar to a probe: calibrated similarity 0..100 and the cosine it comes from."""

    similarity: float
    cosine: float
    face: Face


@dataclass(frozen=True, slots=True)
class UserMatch:
    """A user similar to a probe: calibrated similarity 0..100 and the cosine it comes from."""

    similarity: float
    cosine: float
    user: User


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing, and the token for the next one (None after the last)."""

    items: tuple[T, ...]
    next_token: str | None
