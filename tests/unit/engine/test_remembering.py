"""Results of images are kept for a bounded time, and forgotten with the faces of the image."""

from __future__ import annotations

from facerec.engine.fake import FakeEngine, draw
from facerec.engine.image_ids import image_id_of
from facerec.engine.remembering import RememberingEngine


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def look(engine: RememberingEngine, data: bytes) -> None:
    picture = engine.decode(data)
    engine.embed(picture, engine.detect(picture))


def test_an_image_is_forgotten_after_its_time_however_often_it_is_sent() -> None:
    clock = Clock()
    engine = RememberingEngine(FakeEngine(), max_bytes=1 << 20, max_seconds=60, clock=clock)
    for _ in range(3):
        look(engine, draw("ann"))
        clock.now += 29
    assert (engine.counts.images, engine.counts.hits) == (1, 2)
    look(engine, draw("ann"))  # 87 seconds after the first
    assert engine.counts.hits == 2
    assert engine.counts.images == 1


def test_what_is_old_goes_without_being_asked_for() -> None:
    clock = Clock()
    engine = RememberingEngine(FakeEngine(), max_bytes=1 << 20, max_seconds=60, clock=clock)
    look(engine, draw("ann"))
    clock.now += 30
    look(engine, draw("ben"))
    clock.now += 30
    engine.forget_old()
    assert engine.counts.images == 1
    clock.now += 30
    engine.forget_old()
    assert (engine.counts.images, engine.counts.nbytes) == (0, 0)


def test_an_image_is_forgotten_by_its_id() -> None:
    engine = RememberingEngine(FakeEngine(), max_bytes=1 << 20)
    look(engine, draw("ann"))
    look(engine, draw("ben"))
    engine.forget([image_id_of(draw("ann")), image_id_of(draw("nobody"))])
    assert engine.counts.images == 1
    look(engine, draw("ben"))
    assert engine.counts.hits == 1


def test_frames_pass_and_are_not_remembered() -> None:
    engine = RememberingEngine(FakeEngine(), max_bytes=1 << 20)
    frame = engine.frame(lambda: FakeEngine().decode(draw("ann")), 1000)
    assert frame is not None
    faces = engine.detect(frame)
    assert len(faces) == len(engine.embed(frame, faces)) == 1
    assert (frame.width, frame.height, *frame.pixels.shape, frame.reduced(2)[1]) == (640, 480, 480, 640, 3, 1)
    assert engine.counts.images == 0
    assert engine.frame(lambda: None, 1000) is None
