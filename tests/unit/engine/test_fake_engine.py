import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from facerec.engine.base import Engine, Floats
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.errors import Cancelled, FacerecError, ImageTooLarge, InvalidImage
from facerec.observability import RequestContext, request_context


def embeddings(engine: Engine, data: bytes) -> Floats:
    picture = engine.decode(data)
    return engine.embed(picture, engine.detect(picture))


def test_faces_come_in_the_order_drawn_and_largest_first() -> None:
    engine = FakeEngine()
    picture = engine.decode(draw("ann", "bob", "cem"))
    faces = engine.detect(picture)
    assert len(faces) == 3
    areas = [found.face.box.area for found in faces]
    assert areas == sorted(areas, reverse=True)
    found = engine.embed(picture, faces)
    for row, name in enumerate(("ann", "bob", "cem")):
        assert found[row] @ embeddings(engine, draw(name))[0] > 0.9


def test_an_empty_picture_has_no_face() -> None:
    engine = FakeEngine()
    picture = engine.decode(draw())
    assert engine.detect(picture) == []
    assert engine.embed(picture, []).shape == (0, 128)


def test_identities_are_kept_apart_and_variations_together() -> None:
    engine = FakeEngine()
    people = [embeddings(engine, draw(f"person {i}"))[0] for i in range(30)]
    assert np.allclose(np.linalg.norm(people, axis=1), 1, atol=1e-5)
    assert max(abs(float(a @ b)) for a, b in combinations(people, 2)) < 0.45
    pictures = [draw("ann", variation=i) for i in range(20)]
    assert len(set(pictures)) == 20
    same = [embeddings(engine, data)[0] for data in pictures]
    assert min(float(a @ b) for a, b in combinations(same, 2)) > 0.9
    assert not np.array_equal(same[0], same[1])


def test_drawing_and_embedding_are_repeatable() -> None:
    assert draw("ann", variation=3) == draw("ann", variation=3)
    assert np.array_equal(embeddings(FakeEngine(), draw("ann")), embeddings(FakeEngine(), draw("ann")))


def test_another_model_version_is_another_contract() -> None:
    one, other = FakeEngine(), FakeEngine(model_version="2.0")
    assert one.contract.id != other.contract.id
    assert abs(float(embeddings(one, draw("ann"))[0] @ embeddings(other, draw("ann"))[0])) < 0.45


def test_a_hundred_faces_fit_and_the_limit_holds() -> None:
    data = draw(*(f"p{i}" for i in range(120)), size=(1600, 1200))
    engine = FakeEngine()
    picture = engine.decode(data)
    faces = engine.detect(picture)
    assert len(faces) == 100
    assert engine.embed(picture, faces).shape == (100, 128)


def test_faults_are_reported() -> None:
    engine = FakeEngine()
    data = draw(
        "good",
        FakeFace("dim", dim=True),
        FakeFace("blurred", blurred=True),
        FakeFace("turned", turned=True),
        FakeFace("uncertain", uncertain=True),
        FakeFace("small", small=True),
    )
    good, dim, blurred, turned, uncertain, small = (f.face for f in engine.detect(engine.decode(data)))
    assert good.quality.brightness > 50 > dim.quality.brightness
    assert good.quality.sharpness > 50 > blurred.quality.sharpness
    assert turned.pose.yaw == 80
    assert good.confidence > 90 > uncertain.confidence
    assert small.box.width * 640 == pytest.approx(24)
    (dark,) = engine.detect(engine.decode(draw("ann", dim=True)))
    assert dark.face.quality.brightness < 10


def test_attributes_are_given_when_asked_for() -> None:
    engine = FakeEngine()
    picture = engine.decode(draw("ann"))
    (plain,) = engine.detect(picture)
    assert plain.face.attributes.gender is None
    assert plain.face.attributes.age_range is None
    (full,) = engine.detect(picture, frozenset({"gender", "age_range", "smile"}))
    assert full.face.attributes.gender is not None
    assert full.face.attributes.age_range is not None
    assert full.face.attributes.smile is None


def test_landmarks_lie_in_the_box() -> None:
    engine = FakeEngine()
    (found,) = engine.detect(engine.decode(draw("ann")))
    box = found.face.box
    assert [point.type for point in found.face.landmarks] == [
        "eyeLeft",
        "eyeRight",
        "nose",
        "mouthLeft",
        "mouthRight",
    ]
    for point in found.face.landmarks:
        assert box.left < point.x < box.left + box.width
        assert box.top < point.y < box.top + box.height


def test_jpeg_and_scaling_keep_the_faces() -> None:
    engine = FakeEngine()
    assert embeddings(engine, draw("ann", encoding="JPEG"))[0] @ embeddings(engine, draw("ann"))[0] > 0.9
    image = Image.open(io.BytesIO(draw("ann", size=(1000, 800)))).resize((500, 400))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    assert embeddings(engine, stream.getvalue())[0] @ embeddings(engine, draw("ann"))[0] > 0.9


def test_errors_are_those_of_an_engine() -> None:
    engine = FakeEngine(max_pixels=1000)
    with pytest.raises(InvalidImage):
        engine.decode(b"hello")
    with pytest.raises(ImageTooLarge):
        engine.decode(draw())
    gone = RequestContext()
    gone.caller_gone.set()
    with request_context(gone), pytest.raises(Cancelled):
        engine.decode(draw())
    engine.close()
    with pytest.raises(FacerecError, match="closed"):
        engine.decode(draw())


def test_faces_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        draw(*"abcdefghij", size=(40, 40))


@pytest.mark.parametrize("encoding", ["PNG", "JPEG"])
def test_liveness_tells_who_was_drawn_as_spoofed(encoding: str) -> None:
    engine = FakeEngine()
    picture = engine.decode(draw("ann", FakeFace("bob", spoofed=True), "cem", encoding=encoding))
    assert engine.liveness(picture, engine.detect(picture)) == [95.0, 5.0, 95.0]
