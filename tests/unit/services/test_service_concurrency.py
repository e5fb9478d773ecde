"""Many threads, and two services on one database, at once: the counts, ids and aggregates stay right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from service_house import House, open_house, picture

from facerec.domain import EntityKind
from facerec.errors import Conflict, NotFound
from facerec.metastore import changes, collections, faces, users
from facerec.vectors.quantization import dequantize, dequantize_batch

THREADS = 8


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        opened.collections.create("album")
        yield opened


def together(work: Callable[[int], object]) -> list[object]:
    """Run `work(0..7)` in threads that start at one moment; their results, or the first error."""
    barrier = threading.Barrier(THREADS)

    def start(number: int) -> object:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


def assert_consistent(house: House) -> None:
    """The counts equal the rows, no id is there twice, and every aggregate is the mean of its faces."""
    with house.database.read() as connection:
        collection = collections.find(connection, "album")
        rows = [face for _, face in faces.list_after(connection, collection, 0, 100_000)]
        people = users.list_after(connection, collection, "", 100_000)
        assert collection.face_count == len(rows) == len({face.face_id for face in rows})
        assert collection.user_count == len(people)
        for user in people:
            keys = faces.keys_of_user(connection, user.key)
            assert user.face_count == len(keys)
            aggregate = changes.embeddings(connection, EntityKind.USER, [user.key]).get(user.key)
            assert (aggregate is None) == (not keys)
            if aggregate is not None:
                stored = changes.embeddings(connection, EntityKind.FACE, keys)
                mean = dequantize_batch([stored[key] for key in keys]).mean(axis=0)
                assert float(dequantize(aggregate) @ (mean / np.linalg.norm(mean))) > 0.999


def test_the_same_image_indexed_at_once_is_stored_once(house: House) -> None:
    results = together(
        lambda _: house.faces.index("album", picture("ann", "bob", "eve"), external_image_id="1").indexed
    )
    assert all(result == results[0] for result in results)
    assert house.collections.describe("album").face_count == 3
    assert_consistent(house)


def test_two_services_on_one_database_store_an_image_once(house: House, tmp_path: Path) -> None:
    with open_house(tmp_path) as second:
        both: Sequence[House] = (house, second)

        def work(number: int) -> object:
            service = both[number % 2]
            stored = service.faces.index("album", picture("ann"), external_image_id="1").indexed
            own = service.faces.index("album", picture(f"p{number}"), external_image_id="1").indexed
            seen = {
                m.face.face_id for m in service.faces.search_by_image("album", picture(f"p{number}")).matches
            }
            assert own[0].face.face_id in seen
            return stored

        results = together(work)
        assert all(result == results[0] for result in results)
        # What one has stored the other finds.
        for number in range(THREADS):
            for service in both:
                assert len(service.faces.search_by_image("album", picture(f"p{number}")).matches) == 1
    assert house.collections.describe("album").face_count == 1 + THREADS
    assert_consistent(house)


def test_without_external_id_every_call_stores_its_own_faces(house: House) -> None:
    together(lambda _: house.faces.index("album", picture("ann", "bob")))
    assert house.collections.describe("album").face_count == 2 * THREADS
    assert_consistent(house)


def test_a_user_is_made_once(house: House) -> None:
    def work(_: int) -> object:
        try:
            house.people.create("album", "ann")
        except Conflict:
            return "refused"
        return "made"

    assert sorted(map(str, together(work))) == ["made"] + ["refused"] * (THREADS - 1)
    assert_consistent(house)


def test_a_token_used_at_once_has_one_effect(house: House) -> None:
    together(lambda _: house.people.create("album", "ann", client_token="t"))
    (face,) = (r.face.face_id for r in house.faces.index("album", picture("ann")).indexed)
    answers = together(lambda _: house.people.associate("album", "ann", [face], client_token="t"))
    assert all(answer == answers[0] for answer in answers)
    assert house.people.associate("album", "ann", [face], client_token="t").changed == (face,)
    assert_consistent(house)


def test_a_face_goes_to_one_of_many_users(house: House) -> None:
    (face,) = (r.face.face_id for r in house.faces.index("album", picture("ann")).indexed)
    for number in range(THREADS):
        house.people.create("album", f"user{number}")
    together(lambda number: house.people.associate("album", f"user{number}", [face]))
    holders = [user.user_id for user in house.people.list("album").items if user.face_count]
    (listed,) = house.faces.list("album").page.items
    assert holders == [listed.user_id]
    assert_consistent(house)


def test_everything_at_once_leaves_everything_consistent(house: House) -> None:
    for number in range(3):
        house.people.create("album", f"user{number}")

    def work(seed: int) -> None:
        dice = random.Random(seed)
        own: list[str] = []
        for step in range(9):
            image = picture(f"p{dice.randrange(5)}", f"q{dice.randrange(5)}", variation=dice.randrange(4))
            indexed = house.faces.index("album", image, external_image_id=str(dice.randrange(2)))
            own += [record.face.face_id for record in indexed.indexed]
            user = f"user{dice.randrange(3)}"
            sample = dice.sample(own, min(len(own), 4))
            try:
                house.people.associate("album", user, sample, threshold=0)
                house.people.disassociate("album", user, sample[:2])
                house.faces.delete("album", sample)
                house.people.search_by_image("album", image, threshold=0)
                if step % 4 == 3:
                    house.people.delete("album", user)
                    house.people.create("album", user)
            except (NotFound, Conflict):
                continue  # another thread has just deleted, or made, the same user

    together(work)
    assert_consistent(house)
    # And the index that was searched meanwhile equals the database.
    found = house.faces.search_by_image("album", picture("p0"), threshold=0, limit=4096)
    assert len(found.matches) == house.collections.describe("album").face_count


def test_a_collection_deleted_meanwhile_takes_no_faces(house: House) -> None:
    def work(number: int) -> None:
        if number == 0:
            house.collections.delete("album")
            return
        try:
            house.faces.index("album", picture(f"p{number}"))
        except NotFound:
            return

    together(work)
    house.collections.finish_deletions()
    with house.database.read() as connection:
        assert connection.exec_driver_sql("select count(*) from faces").scalar() == 0
