"""Users found by the mean of their faces or by the best of them: one shape of answer, two scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_house import House, open_house, picture

from facerec.domain import AssociationFailure
from facerec.services import matching


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[dict[str, House]]:
    """By the mean and by the best face, over the same faces and users."""
    with open_house(tmp_path) as average, open_house(tmp_path, matching="best") as best:
        average.collections.create("album")
        for user, people in {"mix": ["ann", "ben"], "cid": ["cid"], "dan": ["dan", "eve"]}.items():
            average.people.create("album", user)
            face_ids = [
                average.faces.index("album", picture(person)).indexed[0].face.face_id for person in people
            ]
            average.people.associate("album", user, face_ids, threshold=0)
        yield {"average": average, "best": best}


def found(
    house: House, person: str, *, threshold: float = 0, limit: int | None = None
) -> list[tuple[str, float]]:
    image = picture(person, variation=3)
    result = house.people.search_by_image("album", image, threshold=threshold, limit=limit)
    return [(match.user.user_id, match.similarity) for match in result.matches]


def test_the_best_face_of_a_user_decides(houses: dict[str, House]) -> None:
    by_mean, by_best = found(houses["average"], "ann"), found(houses["best"], "ann")
    assert by_mean[0][0] == by_best[0][0] == "mix"
    assert by_best[0][1] > by_mean[0][1] + 5
    assert by_best[0][1] > 95
    assert [user for user, _ in found(houses["best"], "eve", threshold=90)] == ["dan"]


def test_each_user_is_answered_once_and_no_more_than_asked_for(houses: dict[str, House]) -> None:
    users = [user for user, _ in found(houses["best"], "ann")]
    assert len(users) == len(set(users))
    assert len(found(houses["best"], "ann", limit=1)) == 1


def test_faces_of_nobody_in_front_hide_no_user(
    houses: dict[str, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "FACES_A_USER", 2)
    for variation in range(20):
        houses["best"].faces.index("album", picture("cid", variation=variation + 10))
    assert found(houses["best"], "cid", limit=1)[0][0] == "cid"


def test_a_stored_user_is_looked_for_by_all_its_faces_and_not_found_itself(
    houses: dict[str, House],
) -> None:
    house = houses["best"]
    house.people.create("album", "twin")
    (face,) = house.faces.index("album", picture("ben", variation=1)).indexed
    house.people.associate("album", "twin", [face.face.face_id])
    matches = house.people.search("album", user_id="mix", threshold=90).matches
    assert [match.user.user_id for match in matches] == ["twin"]
    by_face = house.people.search("album", face_id=face.face.face_id, threshold=90).matches
    assert [match.user.user_id for match in by_face] == ["twin", "mix"]


def test_a_face_is_compared_with_what_stands_for_the_user(houses: dict[str, House]) -> None:
    (face,) = houses["average"].faces.index("album", picture("ben", variation=5)).indexed
    face_ids = [face.face.face_id]
    refused = houses["average"].people.associate("album", "mix", face_ids, threshold=95)
    assert refused.failures[0].reasons == (AssociationFailure.LOW_MATCH_CONFIDENCE,)
    assert houses["best"].people.associate("album", "mix", face_ids, threshold=95).changed == tuple(face_ids)


def test_a_user_without_faces_resembles_nobody(houses: dict[str, House]) -> None:
    house = houses["best"]
    house.people.create("album", "empty")
    assert house.people.search("album", user_id="empty", threshold=0).matches == ()
