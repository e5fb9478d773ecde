"""The whole engine on real weights and real pictures."""

import csv
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from facerec.config import read_settings
from facerec.domain import QualityFilter, Reason
from facerec.engine.base import Engine, Floats, FoundFace, Picture, Pixels
from facerec.engine.packs.loading import load_pack
from facerec.engine.quality import rejections
from facerec.errors import InvalidImage


@pytest.fixture(scope="module")
def engine(scrfd_pack: Path) -> Iterator[Engine]:
    one = load_pack(scrfd_pack, read_settings(detection_sizes=(640,), threads=2))
    yield one
    one.close()


@pytest.fixture(scope="module")
def lfw(shared: Path) -> list[Path]:
    return sorted((shared / "data" / "lfw" / "images").glob("*.jpg"))


def centred(picture: Picture, faces: list[FoundFace]) -> FoundFace:
    """The face nearest to the picture's centre: the one that an LFW picture is about."""
    middle = np.array([picture.width, picture.height]) / 2
    return min(faces, key=lambda found: float(np.abs((found.box[:2] + found.box[2:]) / 2 - middle).sum()))


def embed(engine: Engine, data: bytes) -> Floats:
    picture = engine.decode(data)
    (vector,) = engine.embed(picture, [centred(picture, engine.detect(picture))])
    return np.asarray(vector)


def test_pairs_of_lfw_are_told_apart(engine: Engine, shared: Path) -> None:
    folder = shared / "data" / "lfw"
    with (folder / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[::12]
    right = 0
    for row in rows:
        one, other = (
            embed(engine, (folder / "images" / row[key]).read_bytes()) for key in ("image_a", "image_b")
        )
        right += (engine.calibration.similarity(float(one @ other)) >= 80) == (row["same_person"] == "1")
    assert len(rows) == 100
    assert right >= 97


def test_concurrent_calls_give_the_serial_results(engine: Engine, lfw: list[Path]) -> None:
    data = [path.read_bytes() for path in lfw[:48]]
    serial = [embed(engine, one) for one in data]
    start = threading.Barrier(8)

    def work(share: int) -> list[tuple[int, Floats]]:
        start.wait(60)
        return [(index, embed(engine, data[index])) for index in range(share, len(data), 8)]

    with ThreadPoolExecutor(8) as pool:
        found = [one for answers in pool.map(work, range(8)) for one in answers]
    assert len(found) == len(data)
    for index, vector in found:
        assert vector @ serial[index] > 0.99999


def test_a_truncated_image_among_good_ones_fails_alone(engine: Engine, lfw: list[Path]) -> None:
    data = [path.read_bytes() for path in lfw[:8]]
    data[3] = data[3][: len(data[3]) // 2]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(embed, engine, one) for one in data]
    for index, future in enumerate(futures):
        if index == 3:
            with pytest.raises(InvalidImage):
                future.result()
        else:
            assert np.linalg.norm(future.result()) == pytest.approx(1, abs=1e-5)


def test_a_photo_of_several_gives_each_face(engine: Engine, shared: Path) -> None:
    photo = (shared / "data" / "photos" / "000_5.jpg").read_bytes()
    picture = engine.decode(photo)
    faces = engine.detect(picture)
    vectors = engine.embed(picture, faces)
    assert vectors.shape == (5, 128)
    alone = engine.embed(picture, [faces[2]])[0]
    assert alone @ vectors[2] > 0.99999
    with (shared / "data" / "photos" / "photos.csv").open(newline="") as stream:
        noses = next(csv.DictReader(stream))["noses_xy"].split()
    for nose in noses:
        x, y = (float(value) for value in nose.split(","))
        inside = [
            found for found in faces if (found.box[:2] < (x, y)).all() and (found.box[2:] > (x, y)).all()
        ]
        assert len(inside) == 1
        assert np.abs(inside[0].landmarks[2] - (x, y)).max() < 8
    areas = [found.face.box.area for found in faces]
    assert areas == sorted(areas, reverse=True)


def test_shrinking_large_photos_changes_little(engine: Engine, shared: Path) -> None:
    photos = [shared / "data" / "photos" / f"{name}.jpg" for name in ("001_A", "002_A", "004_A", "006_A")]
    vectors = []
    for path in photos:
        picture = engine.decode(path.read_bytes())
        (found,) = engine.detect(picture)
        (vector,) = engine.embed(picture, [found])
        assert picture.reduced(4)[1] > 1
        whole = Picture(picture.pixels)
        (same,) = engine.detect(whole)
        assert np.abs(same.box - found.box).max() < 0.05 * float((found.box[2:] - found.box[:2]).max())
        assert found.face.quality.brightness == pytest.approx(same.face.quality.brightness, abs=3)
        assert found.face.quality.sharpness == pytest.approx(same.face.quality.sharpness, abs=8)
        assert vector @ engine.embed(whole, [same])[0] > 0.95
        vectors.append(vector)
    assert min(float(one @ other) for one, other in pairwise(vectors)) > 0.45


def test_small_faces_of_a_large_photo_are_seen_closer_and_it_is_decoded_but_twice(
    engine: Engine, shared: Path
) -> None:
    """A photograph of eight, enlarged, with one of them enlarged again so that it is large at first sight."""
    photo = cv2.imread(str(shared / "data" / "photos" / "016_8.jpg"))
    assert photo is not None
    large = cv2.resize(photo, (4800, 3200), interpolation=cv2.INTER_CUBIC)
    large[:1600, :1600] = cv2.resize(photo[260:330, 230:300], (1600, 1600), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", large)[1].tobytes()
    picture = engine.decode(data)
    faces = engine.detect(picture)
    assert len(faces) >= 7
    shrinks = [face.shrink for face in faces]
    assert set(shrinks) == {1, 4}
    assert shrinks[0] == 4
    together = engine.embed(picture, faces)
    alone = np.concatenate([engine.embed(engine.decode(data), [face]) for face in faces[:3]])
    assert (together[:3] * alone).sum(axis=1).min() > 0.9999


def test_closing_leaves_no_thread_of_ours(scrfd_pack: Path, lfw: list[Path]) -> None:
    before = {thread.name for thread in threading.enumerate()}
    one = load_pack(scrfd_pack, read_settings(threads=2))
    embed(one, lfw[0].read_bytes())
    one.close()
    assert {thread.name for thread in threading.enumerate()} == before


def test_auto_keeps_lfw_and_its_faces_are_mostly_frontal(engine: Engine, lfw: list[Path]) -> None:
    kept = frontal = total = 0
    for path in lfw[::8]:
        picture = engine.decode(path.read_bytes())
        face = centred(picture, engine.detect(picture)).face
        total += 1
        kept += not rejections(face, QualityFilter.AUTO, picture)
        frontal += abs(face.pose.yaw) < 25
        assert abs(face.pose.roll) < 45
    assert kept >= 0.99 * total
    assert frontal >= 0.7 * total


def changed(engine: Engine, picture: Picture, pixels: Pixels) -> FoundFace:
    """The face of the original picture, judged as it looks in the changed one of the same size."""
    other = Picture(np.ascontiguousarray(pixels))
    return centred(other, engine.detect(other))


def test_a_mirrored_picture_turns_yaw_and_roll_and_not_pitch(engine: Engine, lfw: list[Path]) -> None:
    ahead: list[tuple[float, float, float]] = []
    mirrored: list[tuple[float, float, float]] = []
    for path in lfw[:40:2]:
        picture = engine.decode(path.read_bytes())
        for found, poses in (
            (centred(picture, engine.detect(picture)), ahead),
            (changed(engine, picture, picture.pixels[:, ::-1]), mirrored),
        ):
            pose = found.face.pose
            poses.append((pose.roll, pose.yaw, pose.pitch))
    difference = np.array(mirrored) - np.array(ahead) * (-1, -1, 1)
    assert np.abs(np.median(difference, axis=0)).max() < 2
    assert np.abs(difference).mean() < 4
    assert np.abs(np.array(ahead)[:, 1]).max() > 15


def test_a_turned_picture_rolls_its_faces(engine: Engine, lfw: list[Path]) -> None:
    picture = engine.decode(lfw[0].read_bytes())
    upright = centred(picture, engine.detect(picture)).face.pose.roll
    middle = (picture.width / 2, picture.height / 2)
    for angle in (-20, 20):
        # OpenCV counts angles against the clock.
        turn = cv2.getRotationMatrix2D(middle, -angle, 1)
        pixels = np.asarray(cv2.warpAffine(picture.pixels, turn, (picture.width, picture.height)), np.uint8)
        assert changed(engine, picture, pixels).face.pose.roll - upright == pytest.approx(angle, abs=5)


def test_blur_and_darkness_show_in_the_quality(engine: Engine, lfw: list[Path]) -> None:
    for path in lfw[:12]:
        picture = engine.decode(path.read_bytes())
        sharpness = [centred(picture, engine.detect(picture)).face.quality.sharpness]
        for sigma in (1, 2, 3):
            blurred = np.asarray(cv2.GaussianBlur(picture.pixels, (0, 0), sigma), np.uint8)
            sharpness.append(changed(engine, picture, blurred).face.quality.sharpness)
        assert all(after < before for before, after in pairwise(sharpness))
        dark = (picture.pixels * 0.3).astype(np.uint8)
        plain = centred(picture, engine.detect(picture)).face.quality.brightness
        assert changed(engine, picture, dark).face.quality.brightness < plain - 10


def test_a_hopeless_picture_is_rejected(engine: Engine, lfw: list[Path]) -> None:
    picture = engine.decode(lfw[0].read_bytes())
    tiny = cv2.resize(picture.pixels, (60, 60), interpolation=cv2.INTER_AREA)
    small = Picture(np.asarray(tiny, np.uint8))
    (face,) = engine.detect(small)
    assert Reason.SMALL_BOUNDING_BOX in rejections(face.face, QualityFilter.AUTO, small)
