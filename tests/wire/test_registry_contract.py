"""The registry of persons over HTTP, as a client meets it: what is sent, what is answered, and the errors.

This is the specification for whoever writes a client. Pictures are drawn ones of the tests' engine: `face`
makes one of a person, every variation another picture of the same.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import running

from facerec.engine.fake import FakeFace, draw

_names = (f"person-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        running(tmp_path_factory.mktemp("data"), max_images_per_registration=5) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


@pytest.fixture
def name() -> str:
    """A person whom nobody has enrolled."""
    return next(_names)


def face(*people: str | FakeFace, variation: int = 0) -> str:
    """A picture in base64."""
    return base64.b64encode(draw(*people, variation=variation)).decode()


def registered(api: httpx.Client, name: str, count: int = 2, **more: Any) -> dict[str, Any]:
    body = {"person_id": name, "images": [face(name, variation=n) for n in range(count)], **more}
    answer = api.post("/register", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, which always has the same form."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body.keys() - {"images"} == {"code", "message", "hint", "correlation_id"}
    assert body["code"] == code
    assert body["message"]
    assert body["hint"]
    assert body["correlation_id"] == answer.headers["x-amzn-requestid"]
    return body


# --- register


def test_register_answers_the_person_and_what_became_of_each_picture(api: httpx.Client, name: str) -> None:
    body = registered(api, name, metadata={"department": "research"})
    person = body["person"]
    assert person["person_id"] == name
    assert (person["embeddings"], person["version"]) == (2, 1)
    assert person["metadata"] == {"department": "research"}
    assert len(person["qualities"]) == 2
    assert person["created_at"].endswith("Z")
    assert [image["accepted"] for image in body["images"]] == [True, True]
    assert all(image["face_id"] and image["code"] is None for image in body["images"])


def test_register_takes_what_is_good_and_says_what_is_not(api: httpx.Client, name: str) -> None:
    images = [face(name), face(FakeFace(name, blurred=True)), face(), face(name, "another")]
    answer = api.post("/register", json={"person_id": name, "images": images})
    assert answer.status_code == 201
    assert [image["code"] for image in answer.json()["images"]] == [
        None,
        "PoorQuality",
        "FaceNotDetected",
        "MultipleFaces",
    ]
    (finding,) = answer.json()["images"][1]["findings"]
    assert (finding["fault"], finding["value"], finding["bar"]) == ("BLURRED", 2.0, 30.0)
    assert finding["advice"]
    assert answer.json()["person"]["embeddings"] == 1


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        (face(), 422, "FaceNotDetected"),
        (face("ann", "bob"), 422, "MultipleFaces"),
        (face(FakeFace("ann", dim=True)), 422, "PoorQuality"),
        (base64.b64encode(b"no picture").decode(), 400, "InvalidImage"),
    ],
)
def test_register_is_an_error_where_no_picture_is_taken(
    api: httpx.Client, name: str, image: str, status: int, code: str
) -> None:
    body = refused(api.post("/register", json={"person_id": name, "images": [image]}), status, code)
    assert [one["code"] for one in body["images"]] == [code]
    refused(api.get(f"/faces/{name}"), 404, "PersonNotFound")


def test_register_refuses_pictures_of_different_people(api: httpx.Client, name: str) -> None:
    images = [face(name), face(f"{name}-not")]
    refused(api.post("/register", json={"person_id": name, "images": images}), 422, "ImagesDisagree")


def test_register_refuses_somebody_who_is_enrolled(api: httpx.Client, name: str) -> None:
    registered(api, name)
    again = {"person_id": f"{name}-again", "images": [face(name, variation=7)]}
    body = refused(api.post("/register", json=again), 409, "AlreadyEnrolled")
    assert body["images"][0]["other_person_id"] == name
    # With "review": "off" nothing is asked.
    assert api.post("/register", json={**again, "review": "off"}).status_code == 201
    same_id = {"person_id": name, "images": [face(name, variation=8)]}
    refused(api.post("/register", json=same_id), 409, "PersonExists")


def test_register_may_be_repeated(api: httpx.Client, name: str) -> None:
    first = registered(api, name)
    body = {"person_id": name, "images": [face(name, variation=n) for n in range(2)]}
    again = api.post("/register", json=body)
    assert again.status_code == 200
    assert again.json()["person"] == first["person"]


def test_register_as_a_form(api: httpx.Client, name: str) -> None:
    files = [("images", (f"{n}.png", draw(name, variation=n), "image/png")) for n in range(2)]
    data = {"person_id": name, "metadata": '{"badge": 7}', "review": "strict"}
    answer = api.post("/register", data=data, files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["person"]["metadata"] == {"badge": 7}
    assert answer.json()["person"]["embeddings"] == 2


def test_everything_is_under_api_v1_as_well(api: httpx.Client, name: str) -> None:
    answer = api.post("/api/v1/register", json={"person_id": name, "images": [face(name)]})
    assert answer.status_code == 201
    assert api.get(f"/api/v1/faces/{name}").json() == api.get(f"/faces/{name}").json()


def test_a_data_url_is_a_picture(api: httpx.Client, name: str) -> None:
    registered(api, name)
    image = f"data:image/png;base64,{face(name, variation=5)}"
    assert api.post("/verify", json={"image": image}).json()["person_id"] == name


def test_a_picture_may_lie_elsewhere(api: httpx.Client, name: str) -> None:
    """At s3://bucket/key or a web address; of hosts only that FACEREC_URL_ALLOWED_HOSTS names."""
    body = {"person_id": name, "images": ["http://127.0.0.1:9/a.jpg"]}
    refused(api.post("/register", json=body), 400, "InvalidImageUrl")
    refused(api.post("/verify", json={"image": "s3://no"}), 400, "InvalidParameter")


# --- verify and identify


def test_verify_finds_a_person(api: httpx.Client, name: str) -> None:
    registered(api, name)
    answer = api.post("/verify", json={"image": face(name, variation=9)})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["match"], body["person_id"], body["reason"]) == (True, name, None)
    assert 0.9 < body["cosine"] <= 1
    assert body["threshold"] <= body["similarity"] <= 100
    assert body["confidence"] > 99
    assert set(body["face"]) == {*("left", "top", "width", "height", "confidence", "sharpness", "brightness")}


def test_a_stranger_is_an_answer_and_no_error(api: httpx.Client, name: str) -> None:
    answer = api.post("/verify", json={"image": face(f"{name}-stranger")})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["match"], body["reason"]) == (False, "NOBODY_NEAR")
    assert [body[member] for member in ("person_id", "similarity", "cosine", "confidence", "margin")] == [
        None
    ] * 5


def test_verify_compares_with_one_person(api: httpx.Client, name: str) -> None:
    registered(api, name)
    other = registered(api, f"{name}-b")["person"]["person_id"]
    image = face(name, variation=9)
    assert api.post("/verify", json={"image": image, "person_id": name}).json()["match"] is True
    assert api.post("/verify", json={"image": image, "person_id": other}).json()["match"] is False
    refused(api.post("/verify", json={"image": image, "person_id": "nobody"}), 404, "PersonNotFound")


def test_verify_by_a_threshold_of_its_own_and_as_a_form(api: httpx.Client, name: str) -> None:
    registered(api, name)
    files = {"image": ("a.png", draw(name, variation=9), "image/png")}
    assert api.post("/verify", files=files).json()["person_id"] == name
    # As a similarity of 0 to 100, or up to 1 as a share of it.
    for threshold in ("99.999", "0.9999"):
        assert api.post("/verify", files=files, data={"threshold": threshold}).json()["match"] is False


def test_verify_needs_one_face(api: httpx.Client) -> None:
    refused(api.post("/verify", json={"image": face()}), 422, "FaceNotDetected")
    refused(api.post("/verify", json={"image": face("x", "y")}), 422, "MultipleFaces")
    refused(api.post("/verify", json={"image": "%%%"}), 400, "InvalidImage")


def test_identify_names_every_face(api: httpx.Client, name: str) -> None:
    registered(api, name)
    answer = api.post("/identify", json={"image": face(f"{name}-x", name, variation=11)})
    assert [one["person_id"] for one in answer.json()["faces"]] == [None, name]
    assert api.post("/identify", json={"image": face()}).json() == {"faces": []}
    files = {"image": ("a.png", draw(name, f"{name}-x"), "image/png")}
    assert len(api.post("/identify", files=files, data={"max_faces": "1"}).json()["faces"]) == 1


# --- look up, change, delete


def test_a_person_is_looked_up_changed_and_deleted(api: httpx.Client, name: str) -> None:
    registered(api, name)
    path = f"/faces/{name}"
    before = api.get(path).json()
    added = api.put(path, json={"images": [face(name, variation=5)], "version": before["version"]})
    assert (added.status_code, added.json()["person"]["embeddings"]) == (200, 3)
    refused(api.put(path, json={"metadata": {"a": 1}, "version": before["version"]}), 409, "VersionConflict")
    replaced = api.put(path, json={"images": [face(name, variation=6)], "replace": True}).json()["person"]
    assert replaced["embeddings"] == 1
    assert replaced["version"] > added.json()["person"]["version"]
    assert replaced["updated_at"] >= before["updated_at"]
    described = api.put(path, json={"metadata": {"a": [1, None]}}).json()["person"]
    assert described["metadata"] == {"a": [1, None]}
    deleted = api.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    refused(api.get(path), 404, "PersonNotFound")
    refused(api.delete(path), 404, "PersonNotFound")
    refused(api.put(path, json={"metadata": {}}), 404, "PersonNotFound")
    assert api.post("/verify", json={"image": face(name, variation=8)}).json()["match"] is False


def test_persons_come_in_pages(api: httpx.Client) -> None:
    for letter in "abc":
        registered(api, f"zz-{letter}", 1)
    seen: list[str] = []
    token = None
    while True:
        query = {"limit": "2", **({"next_token": token} if token else {})}
        page = api.get("/persons", params=query).json()
        assert len(page["persons"]) <= 2
        seen += [person["person_id"] for person in page["persons"]]
        if (token := page["next_token"]) is None:
            break
    assert seen == sorted(set(seen))
    assert seen[-3:] == ["zz-a", "zz-b", "zz-c"]
    refused(api.get("/persons", params={"next_token": "forged"}), 400, "InvalidPaginationToken")


# --- registration sessions


def test_a_registration_session(api: httpx.Client, name: str) -> None:
    opened = api.post("/registrations", json={"person_id": name, "metadata": {"door": 1}})
    assert opened.status_code == 201
    session = f"/registrations/{opened.json()['session_id']}"
    dark = api.post(f"{session}/frames", json={"image": face(FakeFace(name, dim=True))}).json()
    assert (dark["accepted"], dark["code"]) == (False, "PoorQuality")
    assert dark["hints"] == [{"hint": "MORE_LIGHT", "text": "More light, please."}]
    good = api.post(f"{session}/frames", json={"image": face(name)}).json()
    assert (good["accepted"], good["session"]["frames"], good["similarity"]) == (True, 1, None)
    files = {"image": ("frame.png", draw(name, variation=1), "image/png")}
    assert api.post(f"{session}/frames", files=files).json()["similarity"] > 90
    other = api.post(f"{session}/frames", json={"image": face(f"{name}-x")}).json()
    assert other["code"] == "ImagesDisagree"
    assert api.get(session).json()["frames"] == 2
    committed = api.post(f"{session}/commit")
    assert committed.json()["person"]["embeddings"] == 2
    assert api.get(f"/faces/{name}").json()["metadata"] == {"door": 1}


def test_a_registration_session_is_cancelled(api: httpx.Client, name: str) -> None:
    session_id = api.post("/registrations", json={"person_id": name}).json()["session_id"]
    refused(api.post(f"/registrations/{session_id}/commit"), 400, "InvalidParameter")
    assert api.delete(f"/registrations/{session_id}").status_code == 204
    for answer in (
        api.get(f"/registrations/{session_id}"),
        api.post(f"/registrations/{session_id}/frames", json={"image": face(name)}),
        api.post(f"/registrations/{session_id}/commit"),
        api.delete(f"/registrations/{session_id}"),
    ):
        refused(answer, 404, "SessionNotFound")


# --- what is refused before anything is looked at


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"person_id": "a b", "images": ["AAAA"]},
        {"person_id": "x" * 129, "images": ["AAAA"]},
        {"person_id": "ann", "images": []},
        {"person_id": "ann", "images": "AAAA"},
        {"person_id": "ann", "images": ["AAAA"], "review": "lenient"},
        {"person_id": "ann", "images": ["AAAA"], "metadata": [1]},
        {"person_id": "ann", "images": ["AAAA"], "unknown": 1},
        {"person_id": 7, "images": ["AAAA"]},
    ],
)
def test_requests_of_another_form_are_refused(api: httpx.Client, body: dict[str, Any]) -> None:
    error = refused(api.post("/register", json=body), 422, "InvalidRequest")
    assert "AAAA" not in error["message"]


def test_limits_are_told(api: httpx.Client, name: str) -> None:
    images = [face(name, variation=n) for n in range(6)]
    error = refused(
        api.post("/register", json={"person_id": name, "images": images}), 400, "InvalidParameter"
    )
    assert "at most 5" in error["message"]
    large = {"person_id": name, "images": [face(name)], "metadata": {"text": "x" * 3000}}
    assert "2048" in refused(api.post("/register", json=large), 400, "InvalidParameter")["message"]
    flood = b'{"image": "' + b"A" * (17 * 1024 * 1024) + b'"}'
    refused(
        api.post("/verify", content=flood, headers={"content-type": "application/json"}), 413, "ImageTooLarge"
    )
    refused(
        api.post(
            "/verify",
            content=(flood[n : n + 65536] for n in range(0, len(flood), 65536)),
            headers={"content-type": "application/json"},
        ),
        413,
        "ImageTooLarge",
    )


def test_no_json_and_no_such_place(api: httpx.Client) -> None:
    refused(
        api.post("/register", content=b"{", headers={"content-type": "application/json"}),
        422,
        "InvalidRequest",
    )
    wrong = api.post("/faces/ann")
    refused(wrong, 405, "MethodNotAllowed")
    assert wrong.headers["allow"] == "DELETE, GET, PUT"
    refused(api.get("/api/v1/faces/a%0Ab"), 422, "InvalidRequest")
    refused(api.get("/faces/ann/more"), 404, "NotFound")
    refused(
        api.post("/register", files={"images": ("a", b"")}, data={"metadata": "{"}), 400, "InvalidParameter"
    )


def test_the_description_has_every_path_with_its_errors(api: httpx.Client) -> None:
    description = api.get("/api/v1/openapi.json").json()
    wanted = {
        "/register": {"post"},
        "/verify": {"post"},
        "/identify": {"post"},
        "/persons": {"get"},
        "/faces/{person_id}": {"get", "put", "delete"},
        "/registrations": {"post"},
        "/registrations/{session_id}": {"get", "delete"},
        "/registrations/{session_id}/frames": {"post"},
        "/registrations/{session_id}/commit": {"post"},
    }
    paths = {path: set(methods) for path, methods in description["paths"].items()}
    assert {path: paths.get(path) for path in wanted} == wanted
    register = description["paths"]["/register"]["post"]
    assert set(register["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert {"201", "4XX", "5XX"} <= set(register["responses"])
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_a_service_with_keys_lets_nobody_in_without_one(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.service.keys.create("test")
        with httpx.Client(base_url=server.url) as client:
            answer = client.post("/verify", json={"image": face("ann")})
            refused(answer, 401, "MissingCredentials")
            assert client.get("/api/v1/persons").status_code == 401


def test_no_name_of_a_person_is_logged(
    api: httpx.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        registered(api, name)
        api.get(f"/faces/{name}")
        api.get(f"/api/v1/faces/{name}")
        api.delete(f"/faces/{name}")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("facerec")]
    assert any("/faces/{person_id}" in line for line in ours)
    assert not any(name in line for line in ours)
