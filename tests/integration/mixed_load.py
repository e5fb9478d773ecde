"""Callers of every kind of operation at once, each of which knows what it must be answered.

A caller has people of its own. It remembers what was acknowledged of them, so every search and listing has
one right answer: an older one is a stale read, whichever process gives it.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ResponseStreamingError,
)
from crowd import Crowd
from serving import Server

from facerec.engine.fake import draw

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

COLLECTION = "everyone"
PEOPLE = 6
VARIATIONS = 5
SIZE = (160, 120)
PATIENCE_SECONDS = 60.0


class StaleRead(AssertionError):
    """An answer that misses what was acknowledged, or tells what was taken back."""


class MixedLoad(Crowd):
    """Callers at work until they are told to stop; what they met."""

    def __init__(self, servers: Sequence[Server], *, callers: int, workers_die: bool = False) -> None:
        """servers: of one database. workers_die: a call that is cut off is made again."""
        super().__init__()
        self.servers = servers
        self.workers_die = workers_die
        self.callers = [Caller(self, number) for number in range(callers)]

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Have the callers work while something else is done; raises the first error that one of them met."""
        client = self.servers[0].client()
        client.create_collection(CollectionId=COLLECTION)
        client.close()
        with self.at_work([caller.run for caller in self.callers]):
            meanwhile()

    def expected(self) -> dict[str, str]:
        """Face ids of the collection that everyone shares, by external image id."""
        return {image: face for caller in self.callers for image, face in caller.all_faces().items()}


class Caller:
    """One of the callers: its people, and what it knows of them."""

    def __init__(self, load: MixedLoad, number: int) -> None:
        self._load = load
        self._number = number
        self._chance = random.Random(number)
        self._people = [f"caller{number}.person{person}" for person in range(PEOPLE)]
        self._faces: dict[str, dict[int, str]] = {person: {} for person in self._people}
        """Face ids by variation."""
        self._users: dict[str, set[str]] = {}
        """Faces of the people who are users."""
        self._own: set[str] | None = None
        """People in the collection of this caller alone, None while there is none."""
        # Two connections to each server: of two workers each has one as a rule.
        self._clients: list[RekognitionClient] = [
            server.client() for server in load.servers for _ in range(2)
        ]

    def all_faces(self) -> dict[str, str]:
        """Face ids by external image id."""
        return {
            _image_name(person, variation): face
            for person, faces in self._faces.items()
            for variation, face in faces.items()
        }

    def run(self) -> None:
        """Do one thing after the other until the load is over; then check everything once more."""
        steps = [self._index, self._index, self._delete, self._search, self._search, self._list]
        steps += [self._search_face, self._user, self._user, self._search_user, self._search_user]
        steps += [self._own_collection]
        try:
            while self._load.goes_on:
                self._chance.choice(steps)(self._chance.choice(self._people))
            for person in self._people:
                self._search(person)
                self._search_user(person)
                self._list(person)
        finally:
            for client in self._clients:
                client.close()

    # --- steps

    def _index(self, person: str) -> None:
        variation = self._chance.randrange(VARIATIONS)
        (record,) = self._ask(
            "index_faces",
            CollectionId=COLLECTION,
            Image=_image(person, variation),
            ExternalImageId=_image_name(person, variation),
        )["FaceRecords"]
        face = record["Face"]["FaceId"]
        known = self._faces[person].setdefault(variation, face)
        _check(known == face, f"an image indexed again gave the face {face} instead of {known}")

    def _delete(self, person: str) -> None:
        faces = self._faces[person]
        free = [v for v, face in faces.items() if face not in self._users.get(person, ())]
        if not free:
            return
        variation = self._chance.choice(free)
        answer = self._ask("delete_faces", CollectionId=COLLECTION, FaceIds=[faces[variation]])
        missing = [face["FaceId"] for face in answer["UnsuccessfulFaceDeletions"]]
        _check(self._repeated or not missing, f"a face could not be deleted: {answer}")
        del faces[variation]

    def _search(self, person: str) -> None:
        answer = self._ask(
            "search_faces_by_image", CollectionId=COLLECTION, Image=_image(person, VARIATIONS), MaxFaces=50
        )
        self._compare_faces(person, answer, set(self._faces[person].values()))

    def _search_face(self, person: str) -> None:
        faces = list(self._faces[person].values())
        if faces:
            face = self._chance.choice(faces)
            answer = self._ask("search_faces", CollectionId=COLLECTION, FaceId=face, MaxFaces=50)
            self._compare_faces(person, answer, {*faces} - {face})

    def _compare_faces(self, person: str, answer: Any, expected: set[str]) -> None:
        found = {match["Face"]["FaceId"] for match in answer["FaceMatches"]}
        _check(
            found == expected, f"search of {person}: {found - expected} too many, {expected - found} missing"
        )

    def _list(self, person: str) -> None:
        expected = list(self._faces[person].values())
        if expected:
            answer = self._ask("list_faces", CollectionId=COLLECTION, FaceIds=expected)
            listed = {face["FaceId"]: face.get("UserId") for face in answer["Faces"]}
            owned = self._users.get(person, set())
            right = {face: person if face in owned else None for face in expected}
            _check(listed == right, f"the faces of {person} were listed as {listed}, not {right}")

    def _user(self, person: str) -> None:
        """Make a user, give it the person's faces, or take it away with them."""
        token = str(uuid.uuid4())
        faces = list(self._faces[person].values())
        if person not in self._users:
            self._ask("create_user", CollectionId=COLLECTION, UserId=person, ClientRequestToken=token)
            self._users[person] = set()
        elif faces and self._chance.random() < 0.6:
            answer = self._ask(
                "associate_faces",
                CollectionId=COLLECTION,
                UserId=person,
                FaceIds=faces,
                ClientRequestToken=token,
            )
            given = {face["FaceId"] for face in answer["AssociatedFaces"]} | self._users[person]
            _check(given == {*faces}, f"of the faces {faces} only {given} became {person}'s: {answer}")
            self._users[person] = given
        else:
            self._ask("delete_user", CollectionId=COLLECTION, UserId=person, ClientRequestToken=token)
            del self._users[person]

    def _search_user(self, person: str) -> None:
        answer = self._ask("search_users_by_image", CollectionId=COLLECTION, Image=_image(person, VARIATIONS))
        found = [match["User"]["UserId"] for match in answer["UserMatches"]]
        expected = [person] if self._users.get(person) else []
        _check(found == expected, f"search of the user {person} found {found}, not {expected}")

    def _own_collection(self, person: str) -> None:
        """A collection of this caller alone: made, filled, searched, and deleted."""
        name = f"caller{self._number}"
        if self._own is None:
            self._ask("create_collection", CollectionId=name)
            self._own = set()
        elif person in self._own:
            self._ask("delete_collection", CollectionId=name)
            self._own = None
            return
        self._ask("index_faces", CollectionId=name, Image=_image(person, 0), ExternalImageId=person)
        self._own.add(person)
        for other in self._people:
            answer = self._ask("search_faces_by_image", CollectionId=name, Image=_image(other, 1))
            found = [match["Face"]["ExternalImageId"] for match in answer["FaceMatches"]]
            expected = [other] if other in self._own else []
            _check(found == expected, f"search of {other} in {name} found {found}, not {expected}")

    # --- calls

    def _ask(self, operation: str, **parameters: object) -> Any:
        """The answer of any of the connections; made again, where workers die, until there is one."""
        self._repeated = False
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            client = self._chance.choice(self._clients)
            began = time.monotonic()
            try:
                answer = getattr(client, operation)(**parameters)
                if operation == "index_faces" and "FaceRecords" not in answer:
                    raise ResponseStreamingError(
                        error="cut off after its head, which botocore reads as empty"
                    )
            except EndpointConnectionError:  # nobody listened
                raise
            except (ConnectionClosedError, HTTPClientError, ResponseStreamingError) as error:
                if not self._load.workers_die:
                    raise
                _check(time.monotonic() < deadline, f"no answer for {PATIENCE_SECONDS} s: {error}")
                self._load.count("cut off", time.monotonic() - began)
                self._repeated = True
            except ClientError as error:
                if not (self._repeated and _done_before(operation, error)):
                    raise
                return {}
            else:
                self._load.count(operation, time.monotonic() - began)
                return answer


def _done_before(operation: str, error: ClientError) -> bool:
    """Whether an error says that a call that was cut off had been carried out."""
    code = error.response["Error"]["Code"]
    if operation == "create_collection":
        return bool(code == "ResourceAlreadyExistsException")
    return bool(operation in ("delete_collection", "delete_user") and code == "ResourceNotFoundException")


def _check(right: bool, otherwise: str) -> None:
    if not right:
        raise StaleRead(otherwise)


def _image_name(person: str, variation: int) -> str:
    return f"{person}.{variation}"


def _image(person: str, variation: int) -> Any:
    return {"Bytes": draw(person, size=SIZE, variation=variation)}
