import io
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from facerec.domain import ALL_ATTRIBUTES, AgeRange, Attributes, EmbeddingContract, Gender
from facerec.engine.base import Detections, Engine, Floats, FoundFace, LandmarkLayout, Picture, Pixels
from facerec.engine.calibration import Knots
from facerec.engine.pipeline import Limits, PackEngine, Parts
from facerec.errors import Cancelled, FacerecError, InvalidImage, InvalidVideo, Overloaded
from facerec.observability import RequestContext, request_context

WAIT = 20
LIMITS = Limits(
    max_pixels=10_000, max_faces=5, max_batch=4, max_queue=3, max_decoded_bytes=1 << 20, workers=2
)
PICTURE = Picture(np.zeros((50, 100, 3), np.uint8))


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (10, 10)).save(stream, "PNG")
    return stream.getvalue()


def points_in(boxes: Floats) -> Floats:
    """Five landmarks spread over each box."""
    shares = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]])
    corners, extent = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    return np.asarray(corners + shares * extent, np.float32)


@dataclass
class Boxes:
    """A detector that finds given boxes; can be held at work."""

    boxes: Floats
    landmarks: Floats | None = None
    scores: Floats | None = None
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def detect(self, image: Pixels) -> Detections:
        self.entered.release()
        assert self.open.wait(WAIT)
        scores = np.full(len(self.boxes), 0.9, np.float32) if self.scores is None else self.scores
        return Detections(self.boxes, scores, self.landmarks)


class Corners:
    """A landmarker that spreads its points over the box."""

    layout = LandmarkLayout.FIVE

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        return points_in(boxes)


class Cutter:
    """An aligner whose crop tells the face's first landmark."""

    size = 4

    def align(self, image: Pixels, landmarks: Floats) -> Pixels:
        crops = np.zeros((len(landmarks), 4, 4, 3), np.uint8)
        crops[:, 0, 0, :2] = landmarks[:, 0]
        return crops


@dataclass
class Reader:
    """A recogniser whose embedding tells the crop's first pixel."""

    dimension: int = 3
    seen: list[int] = field(default_factory=list)

    def embed(self, crops: Pixels) -> Floats:
        self.seen.append(len(crops))
        return crops[:, 0, 0].astype(np.float32)


@dataclass
class Judge:
    """An attribute model that says the same of every face."""

    says: Attributes
    provides: frozenset[str]
    asked: int = 0

    def describe(self, image: Pixels, boxes: Floats, landmarks: Floats) -> list[Attributes]:
        self.asked += 1
        return [self.says] * len(boxes)


class Dense:
    """A dense landmarker with a chin, and a nose that the five points have already."""

    names: Mapping[str, int] = MappingProxyType({"nose": 0, "chinBottom": 1})

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        return np.stack([boxes[:, :2], boxes[:, 2:]], axis=1)


def floats(*rows: tuple[float, ...]) -> Floats:
    return np.array(rows, np.float32)


BOXES = floats((10, 10, 20, 20), (30, 5, 70, 45), (80, 10, 95, 30))


def parts(detector: Boxes | None = None, **others: object) -> Parts:
    usual = Parts(
        contract=EmbeddingContract(id="c", pack="p", model_version="1", dimension=3),
        calibration=Knots(((-1.0, 0.0), (1.0, 100.0))),
        detector=detector or Boxes(BOXES),
        detection_side=640,
        landmarker=Corners(),
        aligner=Cutter(),
        recognizer=Reader(),
        centre=None,
    )
    return replace(usual, **others)  # type: ignore[arg-type]  # fields by name


@contextmanager
def engine(of: Parts | None = None, limits: Limits = LIMITS) -> Iterator[PackEngine]:
    one = PackEngine(of or parts(), limits)
    try:
        yield one
    finally:
        one.close()


def test_faces_come_largest_first_as_ratios() -> None:
    with engine() as one:
        faces = one.detect(PICTURE)
    assert [tuple(face.box.tolist()) for face in faces] == [
        (30, 5, 70, 45),
        (80, 10, 95, 30),
        (10, 10, 20, 20),
    ]
    first = faces[0].face
    assert (first.box.left, first.box.top, first.box.width, first.box.height) == pytest.approx(
        (0.3, 0.1, 0.4, 0.8)
    )
    assert first.confidence == pytest.approx(90)
    assert first.landmarks[0].type == "eyeLeft"
    assert (first.landmarks[0].x, first.landmarks[0].y) == pytest.approx((0.42, 0.34))
    assert np.array_equal(faces[0].landmarks, points_in(BOXES)[1])


def test_no_more_than_the_largest_faces_are_kept() -> None:
    with engine(limits=replace(LIMITS, max_faces=2)) as one:
        assert [face.box[0] for face in one.detect(PICTURE)] == [30, 80]


def test_no_face_is_an_empty_list() -> None:
    with engine(parts(Boxes(np.empty((0, 4), np.float32)))) as one:
        assert one.detect(PICTURE, ALL_ATTRIBUTES) == []
        assert one.embed(PICTURE, []).shape == (0, 3)


def test_degenerate_faces_are_left_out() -> None:
    nan = float("nan")
    boxes = floats(
        (10, 10, 20, 20), (5, 5, 5, 9), (9, 9, 3, 3), (nan, 0, 1, 1), (30, 5, 70, 45), (1, 1, 9, 9)
    )
    landmarks = points_in(np.nan_to_num(boxes))
    landmarks[4] = nan
    landmarks[5] = 3
    with engine(parts(Boxes(boxes, landmarks), landmarker=None)) as one:
        (face,) = one.detect(PICTURE)
    assert tuple(face.box.tolist()) == (10, 10, 20, 20)


def test_scores_beyond_one_stay_percentages() -> None:
    with engine(parts(Boxes(BOXES, scores=np.array([1.2, -0.1, 0.5], np.float32)))) as one:
        assert sorted(face.face.confidence for face in one.detect(PICTURE)) == [0, 50, 100]


def test_only_the_given_faces_are_embedded_in_their_order() -> None:
    reader = Reader()
    with engine(parts(recognizer=reader)) as one:
        large, middle, _ = one.detect(PICTURE)
        vectors = one.embed(PICTURE, [middle, large])
    assert reader.seen == [2]
    expected = np.array([[84, 16, 0], [42, 17, 0]], float)
    assert np.allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert vectors.dtype == np.float32


def test_faces_of_several_callers_share_runs_where_that_is_asked_for() -> None:
    reader = Reader()
    with engine(parts(recognizer=reader, shares_runs=True)) as one:
        faces = one.detect(PICTURE)
        starts = threading.Barrier(4)

        def call(face: FoundFace) -> Floats:
            starts.wait(WAIT)
            return one.embed(PICTURE, [face, *faces])

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(call, [*faces, faces[0]]))
        alone = one.embed(PICTURE, faces)
    assert sum(reader.seen) == 4 * 4 + 3
    assert max(reader.seen) <= LIMITS.max_batch
    for answer, own in zip(answers, [*alone, alone[0]], strict=True):
        assert np.allclose(answer, [own, *alone])


def test_the_centre_is_subtracted_before_normalising() -> None:
    with engine(parts(centre=np.array([42, 0, 0], np.float32))) as one:
        vector = one.embed(PICTURE, one.detect(PICTURE)[:1])[0]
    assert np.allclose(vector, [0, 1, 0], atol=1e-6)


def test_an_embedding_without_direction_is_an_error_and_no_nan() -> None:
    with engine(parts(centre=np.array([42, 17, 0], np.float32))) as one:
        large = one.detect(PICTURE)[:1]
        with pytest.raises(FacerecError, match="no direction"):
            one.embed(PICTURE, large)


def test_attributes_are_judged_only_when_asked_for() -> None:
    gender = Judge(Attributes(gender=Gender("Male", 90)), frozenset({"gender"}))
    age = Judge(Attributes(age_range=AgeRange(20, 30)), frozenset({"age_range"}))
    with engine(parts(attribute_models=(gender, age))) as one:
        assert one.attributes == {"gender", "age_range"}
        assert one.detect(PICTURE)[0].face.attributes == Attributes()
        assert (gender.asked, age.asked) == (0, 0)
        assert one.detect(PICTURE, frozenset({"age_range", "smile"}))[0].face.attributes == age.says
        assert (gender.asked, age.asked) == (0, 1)
        both = one.detect(PICTURE, ALL_ATTRIBUTES)[0].face.attributes
        assert both == Attributes(gender=Gender("Male", 90), age_range=AgeRange(20, 30))


def test_dense_points_come_with_all_attributes_and_do_not_replace_the_five() -> None:
    with engine(parts(dense_landmarker=Dense())) as one:
        assert len(one.detect(PICTURE)[0].face.landmarks) == 5
        points = {point.type: point for point in one.detect(PICTURE, ALL_ATTRIBUTES)[0].face.landmarks}
    assert len(points) == 6
    assert (points["chinBottom"].x, points["chinBottom"].y) == pytest.approx((0.7, 0.9))
    assert points["nose"].x == pytest.approx(0.5)


def hold(one: Engine, detector: Boxes, calls: int) -> list[threading.Thread]:
    """Threads at work in `detect` until the detector is opened."""
    detector.open.clear()
    threads = [threading.Thread(target=one.detect, args=(PICTURE,)) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for _ in range(min(calls, LIMITS.workers)):
        assert detector.entered.acquire(timeout=WAIT)
    return threads


def release(detector: Boxes, threads: list[threading.Thread]) -> None:
    detector.open.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()


def test_no_more_than_the_workers_detect_at_a_time() -> None:
    detector = Boxes(BOXES)
    with engine(parts(detector)) as one:
        threads = hold(one, detector, 6)
        assert not detector.entered.acquire(blocking=False)
        release(detector, threads)


def test_a_turn_waits_for_a_worker_once() -> None:
    detector = Boxes(BOXES)
    with engine(parts(detector), replace(LIMITS, workers=1)) as one, ThreadPoolExecutor(1) as pool:
        with one.turn():
            faces = one.detect(one.decode(png()))
            assert detector.entered.acquire(timeout=WAIT)
            other = pool.submit(one.detect, PICTURE)
            assert not detector.entered.acquire(timeout=0.1)
            assert len(one.embed(PICTURE, faces)) == len(faces)
        assert len(other.result(WAIT)) == len(faces)


def test_a_turn_that_fails_leaves_its_worker_to_others() -> None:
    with engine(limits=replace(LIMITS, workers=1)) as one, ThreadPoolExecutor(1) as pool:
        with pytest.raises(InvalidImage), one.turn():
            one.decode(png()[:60])
        assert one.detect(PICTURE)
        assert pool.submit(one.detect, PICTURE).result(WAIT)


def test_turns_wait_for_shared_runs_without_a_worker() -> None:
    with engine(parts(shares_runs=True), replace(LIMITS, workers=1)) as one:

        def call(_: int) -> int:
            with one.turn():
                return len(one.embed(PICTURE, one.detect(PICTURE)))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(call, range(4), timeout=WAIT)) == [len(BOXES)] * 4


def test_a_turn_waits_for_room_without_a_worker() -> None:
    limits = replace(LIMITS, workers=1, max_decoded_bytes=599)
    with engine(limits=limits) as one, ThreadPoolExecutor(2) as pool:
        first = one.decode(png())  # 300 bytes of pixels

        def look() -> Picture:
            with one.turn():
                one.detect(PICTURE)
                return one.decode(png())

        waits = pool.submit(look)
        with pytest.raises(TimeoutError):
            waits.result(0.2)
        assert pool.submit(one.detect, PICTURE).result(WAIT)
        del first
        assert waits.result(WAIT).width == 10


def test_an_image_too_many_is_refused_at_once_and_work_in_hand_goes_on() -> None:
    detector = Boxes(BOXES)
    with engine(parts(detector), replace(LIMITS, max_queue=2)) as one:
        faces = one.detect(PICTURE)
        assert detector.entered.acquire(timeout=WAIT)
        threads = hold(one, detector, 2)
        with pytest.raises(Overloaded):
            one.decode(png())
        finishing = threading.Thread(target=one.embed, args=(PICTURE, faces))
        finishing.start()
        release(detector, [*threads, finishing])
        assert one.decode(png()).width == 10


def test_a_caller_that_has_gone_gets_no_work_done() -> None:
    reader, detector = Reader(), Boxes(BOXES)
    gone = RequestContext()
    gone.caller_gone.set()
    with engine(parts(detector, recognizer=reader)) as one:
        faces = one.detect(PICTURE)
        with request_context(gone):
            for call in (
                lambda: one.decode(png()),
                lambda: one.detect(PICTURE),
                lambda: one.embed(PICTURE, faces),
            ):
                with pytest.raises(Cancelled):
                    call()
    assert reader.seen == []


def test_a_picture_waits_until_there_is_room_for_its_pixels() -> None:
    with engine(limits=replace(LIMITS, max_decoded_bytes=599)) as one:
        first = one.decode(png())  # 300 bytes of pixels
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(one.decode, png())
            with pytest.raises(TimeoutError):
                second.result(0.3)
            del first
            assert second.result(WAIT).width == 10


def test_a_damaged_image_gives_its_room_back() -> None:
    with engine(limits=replace(LIMITS, max_decoded_bytes=1)) as one, ThreadPoolExecutor(1) as pool:
        with pytest.raises(InvalidImage):
            pool.submit(one.decode, png()[:60]).result(WAIT)
        assert one.decode(png()).width == 10


def test_images_are_refused_as_the_decoder_says() -> None:
    with engine() as one, pytest.raises(InvalidImage):
        one.decode(b"text")


@pytest.mark.parametrize("shares_runs", [False, True])
def test_a_closed_engine_refuses_and_leaves_no_thread(shares_runs: bool) -> None:
    before = set(threading.enumerate())
    one = PackEngine(parts(shares_runs=shares_runs), LIMITS)
    faces = one.detect(PICTURE)
    one.embed(PICTURE, faces)
    one.close()
    one.close()
    for call in (lambda: one.decode(png()), lambda: one.detect(PICTURE), lambda: one.embed(PICTURE, faces)):
        with pytest.raises(FacerecError, match="closed"):
            call()
    assert set(threading.enumerate()) == before


def test_a_frame_of_a_video_waits_for_room_and_is_not_refused() -> None:
    with engine(limits=replace(LIMITS, max_queue=1, max_decoded_bytes=1000)) as one:
        assert one.frame(lambda: None, 900) is None, "the video has ended: its room is given back"
        kept = [one.frame(lambda: Picture(np.zeros((10, 10, 3), np.uint8)), 900)]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(one.frame, lambda: PICTURE, 900)
            assert not waiting.done()
            kept.clear()
            assert waiting.result(WAIT) is PICTURE


def test_a_frame_that_can_not_be_decoded_gives_its_room_back() -> None:
    def broken() -> Picture:
        raise InvalidVideo

    with engine(limits=replace(LIMITS, max_decoded_bytes=1000)) as one:
        for _ in range(3):
            with pytest.raises(InvalidVideo):
                one.frame(broken, 900)
