"""Images, collections and faces over REST: what is sent, what is answered, and the errors."""

from __future__ import annotations

import base64
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from wire_server import Running, inline, running

from facerec.access import KeyKind, Scope
from facerec.engine.fake import draw
from facerec.services.keys import KeyLimits

BUCKET = "photos"
_names = (f"collection-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        folder = tmp_path_factory.mktemp("service")
        with running(folder, s3_endpoint_url=s3_url, s3_region="us-east-1", s3_bucket=BUCKET) as server:
            yield server


@pytest.fixture(scope="module")
def api(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=30) as client:
        yield client


@pytest.fixture
def name(api: httpx.Client) -> str:
    """A new collection."""
    name = next(_names)
    assert api.post("/collections", json={"collection_id": name}).status_code == 201
    return name


@pytest.fixture(scope="module")
def bucket(server: Running, s3_url: str) -> Any:
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    return s3


def picture(*people: str, variation: int = 0) -> dict[str, tuple[str, bytes, str]]:
    """The file of a form."""
    return {"file": ("a.png", draw(*people, variation=variation), "image/png")}


def encoded(*people: str, variation: int = 0) -> str:
    return base64.b64encode(draw(*people, variation=variation)).decode()


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, which always has the same form."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body.keys() == {"code", "message", "hint", "correlation_id"}
    assert body["code"] == code
    assert body["message"]
    assert body["hint"]
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    return body


def matched(answer: httpx.Response) -> list[str | None]:
    """External ids of a search's matches."""
    assert answer.status_code == 200, answer.text
    return [match["face"]["external_image_id"] for match in answer.json()["matches"]]


# --- images


def test_faces_are_detected_in_a_file_and_in_base64(api: httpx.Client) -> None:
    sent = api.post("/detect-faces", files=picture("ann", "bob"))
    assert sent.status_code == 200, sent.text
    faces = sent.json()["faces"]
    assert len(faces) == 2
    assert faces[0]["width"] * faces[0]["height"] >= faces[1]["width"] * faces[1]["height"]
    assert 0 <= faces[0]["left"] <= 1
    assert 0 <= faces[0]["sharpness"] <= 100
    assert set(faces[0]["pose"]) == {"roll", "yaw", "pitch"}
    assert "eyeLeft" in {landmark["type"] for landmark in faces[0]["landmarks"]}
    assert api.post("/detect-faces", json={"image": encoded("ann", "bob")}).json() == sent.json()
    assert api.post("/detect-faces", json={"image": encoded()}).json() == {"faces": []}


def test_attributes_are_judged_where_they_are_asked_for(api: httpx.Client) -> None:
    plain = api.post("/detect-faces", files=picture("ann")).json()["faces"][0]["attributes"]
    judged = api.post("/detect-faces", files=picture("ann"), data={"attributes": "true"})
    assert set(plain.values()) == {None}
    told = judged.json()["faces"][0]["attributes"]
    assert told["age_low"] < told["age_high"]
    assert told["gender"]["value"] in ("Female", "Male")


def test_two_images_are_compared(api: httpx.Client) -> None:
    files = {"source": picture("ann")["file"], "target": picture("bob", "ann", variation=3)["file"]}
    body = api.post("/compare-faces", files=files).json()
    (match,) = body["matches"]
    assert match["similarity"] > 80
    assert 0.5 < match["cosine"] <= 1
    assert len(body["unmatched"]) == 1
    share = api.post("/compare-faces", files=files, data={"similarity_threshold": "0.8"}).json()
    assert share == api.post("/compare-faces", files=files, data={"similarity_threshold": "80"}).json()
    assert len(share["unmatched"]) == 1  # not as a similarity of 0.8, which everybody has
    strict = api.post("/compare-faces", files=files, data={"similarity_threshold": "0.9999"}).json()
    assert strict["matches"] == []
    assert len(strict["unmatched"]) == 2


def test_a_comparison_says_which_image_shows_no_face(api: httpx.Client) -> None:
    ann, empty = picture("ann")["file"], picture()["file"]
    for source, target, lacking in ((empty, ann, "source"), (ann, empty, "target")):
        answer = api.post("/compare-faces", files={"source": source, "target": target})
        refused(answer, 422, "FaceNotDetected")
        assert answer.json()["message"] == f"There are no faces in the {lacking} image."


# --- collections


def test_a_collection_is_made_listed_described_and_deleted(api: httpx.Client, server: Running) -> None:
    made = api.post("/collections", json={"collection_id": "guests", "tags": {"event": "wedding"}})
    assert made.status_code == 201
    assert made.json() == api.get("/collections/guests").json()
    assert (made.json()["faces"], made.json()["users"]) == (0, 0)
    assert "guests" in server.client().list_collections()["CollectionIds"]
    refused(api.post("/collections", json={"collection_id": "guests"}), 409, "AlreadyExists")
    api.post("/collections", json={"collection_id": "staff"})
    listed: list[str] = []
    token: str | None = None
    while True:
        page = api.get("/collections", params={"limit": "1", **({"next_token": token} if token else {})})
        listed += [each["collection_id"] for each in page.json()["collections"]]
        if (token := page.json()["next_token"]) is None:
            break
    assert {"guests", "staff"} <= set(listed)
    assert len(listed) == len(set(listed))
    assert api.delete("/collections/guests").status_code == 204
    refused(api.get("/collections/guests"), 404, "NotFound")
    refused(api.delete("/collections/guests"), 404, "NotFound")


# --- index and search, as a form


def test_faces_are_indexed_and_found(api: httpx.Client, name: str) -> None:
    indexed = api.post(
        f"/collections/{name}/index-faces", files=picture("ann"), data={"external_image_id": "ann.jpg"}
    )
    assert indexed.status_code == 200, indexed.text
    (record,) = indexed.json()["faces"]
    assert record["face"]["external_image_id"] == "ann.jpg"
    assert record["face"]["image_id"] == indexed.json()["image_id"]
    again = api.post(
        f"/collections/{name}/index-faces",
        json={"image": encoded("ann"), "external_image_id": "ann.jpg"},
    )
    assert again.json()["faces"][0]["face"] == record["face"]
    api.post(f"/collections/{name}/index-faces", files=picture("bob"), data={"external_image_id": "bob"})
    found = api.post(
        f"/collections/{name}/search-faces",
        files=picture("ann", variation=4),
        data={"similarity_threshold": "80.0", "max_faces": "10"},
    )
    assert matched(found) == ["ann.jpg"]
    match = found.json()["matches"][0]
    assert match["similarity"] > 80
    assert 0.5 < match["cosine"] <= 1
    assert found.json()["searched_face"]["width"] > 0
    everybody = api.post(
        f"/collections/{name}/search-faces",
        files=picture("ann", variation=4),
        data={"similarity_threshold": "0", "max_faces": "10"},
    )
    assert matched(everybody)[0] == "ann.jpg"
    assert matched(everybody)[0:1] != matched(everybody)[1:2]


def test_a_threshold_up_to_1_is_a_share(api: httpx.Client, name: str) -> None:
    path = f"/collections/{name}/search-faces"
    api.post(f"/collections/{name}/index-faces", files=picture("ann"), data={"external_image_id": "ann"})
    sent = {"image": encoded("ann", variation=4)}
    similarity = api.post(path, json=sent).json()["matches"][0]["similarity"]
    near, beyond = (similarity - 0.01) / 100, (similarity + 0.01) / 100
    assert matched(api.post(path, json={**sent, "similarity_threshold": near})) == ["ann"]
    assert matched(api.post(path, json={**sent, "similarity_threshold": min(beyond, 1)})) == []


def test_limits_of_indexing(api: httpx.Client, name: str) -> None:
    path = f"/collections/{name}/index-faces"
    body = api.post(path, files=picture("ann", "bob"), data={"max_faces": "1"}).json()
    assert len(body["faces"]) == 1
    assert body["unindexed"][0]["reasons"] == ["EXCEEDS_MAX_FACES"]
    ended = api.post(path, files=picture("cid"), data={"expires_in": "3600"}).json()
    assert ended["faces"][0]["face"]["expires_at"] > ended["faces"][0]["face"]["stored_at"]
    assert api.post(path, files=picture()).json()["faces"] == []


def test_every_face_of_a_photo_is_searched_in_one_call(api: httpx.Client, name: str) -> None:
    for person in ("ann", "bob"):
        api.post(
            f"/collections/{name}/index-faces", files=picture(person), data={"external_image_id": person}
        )
    sent = api.post(f"/collections/{name}/search-all-faces", files=picture("bob", "eve", "ann", variation=2))
    assert sent.status_code == 200, sent.text
    found = [[match["face"]["external_image_id"] for match in one["matches"]] for one in sent.json()["faces"]]
    assert sorted(found) == [[], ["ann"], ["bob"]]
    some = api.post(
        f"/collections/{name}/search-all-faces",
        files=picture("bob", "eve", "ann", variation=2),
        data={"max_searched": "2", "max_faces": "1"},
    )
    assert len(some.json()["faces"]) == 2
    assert api.post(f"/collections/{name}/search-all-faces", files=picture()).json() == {"faces": []}


def test_an_embedding_is_searched_where_it_is_of_the_collections_model(api: httpx.Client, name: str) -> None:
    api.post(f"/collections/{name}/index-faces", files=picture("ann"), data={"external_image_id": "ann"})
    made = api.post("/embed-faces", files=picture("ann", "bob", variation=5)).json()
    assert made["contract_id"] == api.get(f"/collections/{name}").json()["contract_id"]
    path = f"/collections/{name}/search-by-embedding"
    found = []
    for face in made["faces"]:
        assert sum(number**2 for number in face["embedding"]) == pytest.approx(1, abs=1e-3)
        longer = [7 * number for number in face["embedding"]]
        answer = api.post(path, json={"embedding": longer, "contract_id": made["contract_id"]})
        found.append(matched(answer))
    assert sorted(found) == [[], ["ann"]]
    vector = made["faces"][0]["embedding"]
    refused(api.post(path, json={"embedding": vector, "contract_id": "other"}), 409, "ModelError")
    for wrong in (vector[1:], [0.0] * len(vector)):
        sent = {"embedding": wrong, "contract_id": made["contract_id"]}
        refused(api.post(path, json=sent), 400, "InvalidParameter")


def test_faces_are_listed_looked_up_searched_and_deleted(api: httpx.Client, name: str) -> None:
    ids = [
        api.post(f"/collections/{name}/index-faces", files=picture("ann", variation=number)).json()["faces"][
            0
        ]["face"]["face_id"]
        for number in range(3)
    ]
    first = api.get(f"/collections/{name}/faces", params={"limit": "2"}).json()
    rest = api.get(f"/collections/{name}/faces", params={"next_token": first["next_token"]}).json()
    assert [face["face_id"] for face in first["faces"] + rest["faces"]] == ids
    assert rest["next_token"] is None
    assert api.get(f"/collections/{name}/faces/{ids[0]}").json() == first["faces"][0]
    near = api.post(f"/collections/{name}/faces/{ids[0]}/search", json={}).json()
    assert sorted(match["face"]["face_id"] for match in near["matches"]) == sorted(ids[1:])
    assert near["searched_face"] is None
    gone = api.post(f"/collections/{name}/delete-faces", json={"face_ids": [ids[0], ids[0][::-1]]})
    refused(gone, 422, "InvalidRequest")
    unknown = "00000000-0000-0000-0000-000000000000"
    deleted = api.post(f"/collections/{name}/delete-faces", json={"face_ids": [ids[0], unknown]}).json()
    assert deleted["deleted"] == [ids[0]]
    assert deleted["failures"] == [{"face_id": unknown, "reasons": ["FACE_NOT_FOUND"]}]
    refused(api.get(f"/collections/{name}/faces/{ids[0]}"), 404, "FaceNotFound")
    refused(api.post(f"/collections/{name}/faces/{unknown}/search", json={}), 404, "FaceNotFound")
    forged = api.get(f"/collections/{name}/faces", params={"next_token": "forged"})
    refused(forged, 400, "InvalidPaginationToken")


def test_what_one_door_stores_the_other_finds(api: httpx.Client, server: Running, name: str) -> None:
    client = server.client()
    client.index_faces(CollectionId=name, Image=inline(draw("ann")), ExternalImageId="by-aws")
    assert matched(api.post(f"/collections/{name}/search-faces", files=picture("ann", variation=1))) == [
        "by-aws"
    ]
    api.post(f"/collections/{name}/index-faces", files=picture("bob"), data={"external_image_id": "by-rest"})
    found = client.search_faces_by_image(CollectionId=name, Image=inline(draw("bob", variation=1)))
    assert [match["Face"]["ExternalImageId"] for match in found["FaceMatches"]] == ["by-rest"]


# --- images in S3


def test_an_image_in_s3_is_indexed_and_matched(api: httpx.Client, bucket: Any, name: str) -> None:
    bucket.put_object(Bucket=BUCKET, Key="wedding/ann 1.png", Body=draw("ann", "bob"))
    bucket.put_object(Bucket=BUCKET, Key="selfie.png", Body=draw("ann", variation=3))
    sent = {"bucket": BUCKET, "key": "wedding/ann 1.png", "collection_id": name, "max_faces": 5}
    indexed = api.post("/face-recognition/index", json=sent)
    assert indexed.status_code == 200, indexed.text
    assert len(indexed.json()["faces"]) == 2
    face = indexed.json()["faces"][0]["face"]
    assert face["source"] == f"s3://{BUCKET}/wedding/ann 1.png"
    assert face["external_image_id"].startswith("wedding:ann_1.png")
    assert api.post("/face-recognition/index", json=sent).json() == indexed.json()
    # The bucket is that of AWS_S3_BUCKET where none is named.
    match = {"key": "selfie.png", "collection_id": name, "threshold": 80}
    found = api.post("/face-recognition/match", json=match)
    assert matched(found) == [face["external_image_id"]]
    assert found.json()["indexed"] is None
    assert matched(api.post("/face-recognition/match", json={**match, "threshold": 0.9999})) == []


def test_the_face_of_a_match_is_stored_where_it_is_asked_for(
    api: httpx.Client, bucket: Any, name: str
) -> None:
    bucket.put_object(Bucket=BUCKET, Key="group.png", Body=draw("ann", "bob"))
    bucket.put_object(Bucket=BUCKET, Key="later.png", Body=draw("ann", variation=3))
    first = api.post(
        "/face-recognition/match", json={"key": "group.png", "collection_id": name, "index": True}
    )
    assert matched(first) == []
    (stored,) = first.json()["indexed"]["faces"]
    assert stored["face"]["left"] == first.json()["searched_face"]["left"]
    other = next(_names)
    api.post("/collections", json={"collection_id": other})
    second = api.post(
        "/face-recognition/match",
        json={
            "key": "later.png",
            "collection_id": name,
            "index": True,
            "index_collection_id": other,
            "external_image_id": "kept",
        },
    )
    assert [match["face"]["face_id"] for match in second.json()["matches"]] == [stored["face"]["face_id"]]
    assert api.get(f"/collections/{name}").json()["faces"] == 1
    assert [face["external_image_id"] for face in api.get(f"/collections/{other}/faces").json()["faces"]] == [
        "kept"
    ]


def test_what_is_not_in_s3(api: httpx.Client, bucket: Any, name: str) -> None:
    missing = {"key": "none.png", "collection_id": name}
    refused(api.post("/face-recognition/index", json=missing), 400, "InvalidS3Object")
    refused(api.post("/face-recognition/match", json={**missing, "bucket": "a/b"}), 400, "InvalidParameter")
    refused(api.post("/face-recognition/match", json={"key": "selfie.png"}), 422, "InvalidRequest")
    image = {"image": f"s3://{BUCKET}/none.png"}
    refused(api.post("/detect-faces", json=image), 400, "InvalidS3Object")


# --- what is wrong


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://localhost:8000/a.jpg",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a.jpg",
        "http://10.0.0.1/a.jpg",
        "http://user:secret@example.com/a.jpg",
    ],
)
def test_no_address_leads_behind_the_service(api: httpx.Client, url: str) -> None:
    refused(api.post("/detect-faces", json={"image": url}), 400, "InvalidImageUrl")


def test_images_that_are_none(api: httpx.Client, name: str) -> None:
    path = f"/collections/{name}/index-faces"
    refused(api.post(path, json={"image": "%%%"}), 400, "InvalidImage")
    refused(api.post(path, json={"image": base64.b64encode(b"text").decode()}), 400, "InvalidImage")
    refused(api.post(path, files={"file": ("a.png", b"text", "image/png")}), 400, "InvalidImage")
    refused(api.post(path, files={"file": ("a.png", b"", "image/png")}), 422, "InvalidRequest")
    refused(api.post(path, json={"image": "s3://"}), 400, "InvalidParameter")
    refused(api.post(path, json={"image": "file:///etc/passwd"}), 400, "InvalidImage")
    too_large = base64.b64encode(bytes(5 * 1024 * 1024 + 1)).decode()
    refused(api.post(path, json={"image": too_large}), 413, "ImageTooLarge")
    refused(api.post(f"/collections/{name}/search-faces", files=picture()), 422, "FaceNotDetected")


def test_requests_that_are_not_as_described(api: httpx.Client, name: str) -> None:
    path = f"/collections/{name}/index-faces"
    image = encoded("ann")
    bodies: list[Any] = [
        {},
        {"image": image, "colour": "red"},
        {"image": image, "max_faces": 0},
        {"image": image, "max_faces": "5"},
        {"image": image, "external_image_id": "a/b"},
        {"image": image, "expires_in": -1},
        {"image": 7},
        [],
    ]
    for body in bodies:
        refused(api.post(path, json=body), 422, "InvalidRequest")
    for extra in ({"max_faces": "many"}, {"max_faces": "{"}):
        assert api.post(path, files=picture("ann"), data=extra).status_code in (400, 422)
    refused(api.post("/collections/a b/index-faces", json={"image": image}), 422, "InvalidRequest")
    refused(api.post("/collections/none/index-faces", json={"image": image}), 404, "NotFound")
    kinds = {"content-type": "application/json"}
    refused(api.post(path, content=b"{", headers=kinds), 422, "InvalidRequest")
    refused(api.post(path, content=b"\xff\xfe", headers=kinds), 422, "InvalidRequest")
    refused(api.post(path, content=image, headers={"content-type": "text/plain"}), 422, "InvalidRequest")
    broken = {"content-type": "multipart/form-data; boundary=x"}
    for content in (b"--x\r\nnothing", b"", b"--y\r\n\r\n--y--"):
        assert api.post(path, content=content, headers=broken).status_code in (400, 422)
    no_boundary = api.post(path, content=b"abc", headers={"content-type": "multipart/form-data"})
    refused(no_boundary, 400, "InvalidRequest")
    refused(api.get(path), 405, "MethodNotAllowed")
    refused(api.get("/nowhere"), 404, "NotFound")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(api: httpx.Client, name: str) -> None:
    path = f"/collections/{name}/index-faces"
    huge = bytes(16 * 1024 * 1024 + 1)
    kinds = {"content-type": "application/json"}
    refused(api.post(path, content=huge, headers=kinds), 413, "ImageTooLarge")

    def pieces() -> Iterator[bytes]:
        for _ in range(17):
            yield bytes(1024 * 1024)

    refused(api.post(path, content=pieces(), headers=kinds), 413, "ImageTooLarge")


# --- who asks, and how a request is found again


def test_a_clients_own_correlation_id_is_kept(api: httpx.Client) -> None:
    for header in ("X-Correlation-ID", "X-Request-ID"):
        answer = api.get("/collections/none", headers={header: "order-17:retry.2"})
        assert answer.headers["x-correlation-id"] == "order-17:retry.2"
        assert answer.json()["correlation_id"] == "order-17:retry.2"
    for forged in ("a b", "a\tb", "x" * 129, "é"):
        answer = api.get("/collections", headers={b"X-Correlation-ID": forged.encode("latin-1")})
        assert answer.headers["x-correlation-id"] not in (forged, "")


def test_a_key_needs_the_scope_and_the_collection(server: Running, tmp_path: Any) -> None:
    with running(tmp_path) as service:
        keys = {
            scope: service.service.keys.create(kind=KeyKind.API, limits=KeyLimits(scope=scope)).secret
            for scope in Scope
        }
        limits = KeyLimits(scope=Scope.WRITE, collections=("mine*",))
        limited = service.service.keys.create(kind=KeyKind.API, limits=limits).secret

        def ask(key: str, method: str, path: str, **what: Any) -> int:
            return httpx.request(
                method, f"{service.url}/api/v1{path}", headers={"X-API-Key": key}, **what
            ).status_code

        image = {"image": encoded("ann")}
        for collection in ("mine-1", "yours"):
            sent = {"collection_id": collection}
            assert ask(keys[Scope.WRITE], "POST", "/collections", json=sent) == 403
            assert ask(keys[Scope.ADMIN], "POST", "/collections", json=sent) == 201
        assert ask(keys[Scope.READ], "POST", "/collections/yours/index-faces", json=image) == 403
        assert ask(keys[Scope.WRITE], "POST", "/collections/yours/index-faces", json=image) == 200
        for route in ("search-faces", "search-all-faces"):
            assert ask(keys[Scope.READ], "POST", f"/collections/yours/{route}", json=image) == 200
        for route in ("/detect-faces", "/embed-faces"):
            assert ask(keys[Scope.READ], "POST", route, json=image) == 200
        assert ask(keys[Scope.WRITE], "DELETE", "/collections/yours") == 403

        assert ask(limited, "POST", "/collections/mine-1/index-faces", json=image) == 200
        assert ask(limited, "POST", "/collections/yours/index-faces", json=image) == 403
        assert ask(limited, "POST", "/collections/none/search-faces", json=image) == 403
        assert ask(limited, "POST", "/detect-faces", json=image) == 200
        in_s3 = {"bucket": "photos", "key": "a.jpg"}
        yours, mine = {**in_s3, "collection_id": "yours"}, {**in_s3, "collection_id": "mine-1"}
        assert ask(limited, "POST", "/face-recognition/index", json=yours) == 403
        assert ask(limited, "POST", "/face-recognition/match", json=yours) == 403
        stored = {**mine, "index": True, "index_collection_id": "yours"}
        assert ask(limited, "POST", "/face-recognition/match", json=stored) == 403
        assert ask(keys[Scope.READ], "POST", "/face-recognition/match", json={**mine, "index": True}) == 403
        listed = httpx.get(f"{service.url}/api/v1/collections", headers={"X-API-Key": limited}).json()
        assert [each["collection_id"] for each in listed["collections"]] == ["mine-1"]
        assert ask("", "GET", "/collections") == 401


def test_nothing_of_a_picture_or_a_name_is_logged(
    api: httpx.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="facerec"):
        image = encoded("ann")
        api.post(f"/collections/{name}/index-faces", json={"image": image, "external_image_id": "ann-smith"})
        api.post(f"/collections/{name}/index-faces", json={"image": image, "colour": "ann-smith"})
    assert caplog.records
    assert "ann-smith" not in caplog.text
    assert image[:40] not in caplog.text
