"""Registration sessions behave alike over every session store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.domain import InlineImage, Review
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.errors import (
    AlreadyEnrolled,
    Conflict,
    ImagesDisagree,
    InvalidParameter,
    MultipleFaces,
    NoFaceInImage,
    PersonExists,
    PersonNotFound,
    PoorQuality,
    QuotaExceeded,
    SessionNotFound,
    SessionStoreUnavailable,
)
from facerec.services.registry.guidance import Hint
from facerec.services.registry.sessions import RegistrationSessions
from redis_server import RedisServer


@pytest.fixture(scope="module", params=["database", "Redis"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings: dict[str, object] = {"data_dir": tmp_path_factory.mktemp("data")}
    if request.param == "Redis":
        settings["redis_url"] = request.getfixturevalue("redis_server").url
    with open_service(read_settings(**settings), engine=FakeEngine()) as opened:
        yield opened


def frame(*faces: str | FakeFace, variation: int = 0) -> InlineImage:
    return InlineImage(draw(*faces, variation=variation))


def test_frames_become_a_person(service: Service) -> None:
    sessions = service.registrations
    session = sessions.open("ann", metadata={"door": 3})
    first = sessions.add(session.session_id, frame("ann"))
    assert (first.refusal, first.similarity, len(first.session.frames)) == (None, None, 1)
    second = sessions.add(session.session_id, frame("ann", variation=1))
    assert second.similarity is not None
    assert second.similarity > 90
    assert sessions.get(session.session_id).frames == second.session.frames
    enrolment = sessions.commit(session.session_id)
    assert enrolment.person is not None
    assert (enrolment.person.embeddings, enrolment.person.metadata) == (2, {"door": 3})
    # The answer may have been lost on the way.
    assert sessions.commit(session.session_id).person == enrolment.person
    with pytest.raises(Conflict):
        sessions.add(session.session_id, frame("ann", variation=2))
    assert service.registry.verify(frame("ann", variation=9)).person_id == "ann"


def test_a_frame_is_told_what_is_wrong_at_once(service: Service) -> None:
    sessions = service.registrations
    session_id = sessions.open("bob").session_id

    def told(image: InlineImage) -> tuple[type | None, tuple[Hint, ...]]:
        feedback = sessions.add(session_id, image)
        return type(feedback.refusal) if feedback.refusal else None, feedback.hints

    assert told(frame(FakeFace("bob", dim=True))) == (PoorQuality, (Hint.MORE_LIGHT,))
    assert told(frame(FakeFace("bob", blurred=True))) == (PoorQuality, (Hint.HOLD_STILL,))
    assert told(frame(FakeFace("bob", turned=True))) == (PoorQuality, (Hint.TURN_RIGHT,))
    assert told(frame()) == (NoFaceInImage, (Hint.INTO_THE_FRAME,))
    assert told(frame("bob", "eve")) == (MultipleFaces, (Hint.ONE_PERSON_ALONE,))
    assert told(frame("bob")) == (None, (Hint.TURN_LEFT,))
    assert told(frame("eve"))[0] is ImagesDisagree
    told(frame("bob", variation=1))
    assert told(frame("bob", variation=2)) == (None, (Hint.ENOUGH,))
    # The same frame once more is no other frame.
    told(frame("bob", variation=2))
    assert len(sessions.get(session_id).frames) == 3
    sessions.cancel(session_id)


def test_a_session_is_full_and_empty_ones_are_not_committed(service: Service) -> None:
    sessions = service.registrations
    session_id = sessions.open("cleo").session_id
    with pytest.raises(InvalidParameter, match="No frame"):
        sessions.commit(session_id)
    for variation in range(service.settings.max_images_per_registration):
        sessions.add(session_id, frame("cleo", variation=variation))
    with pytest.raises(QuotaExceeded):
        sessions.add(session_id, frame("cleo", variation=99))
    sessions.cancel(session_id)
    for call in (sessions.get, sessions.cancel, sessions.commit):
        with pytest.raises(SessionNotFound):
            call(session_id)
    with pytest.raises(SessionNotFound):
        sessions.add(session_id, frame("cleo"))


def test_who_is_there_already(service: Service) -> None:
    sessions = service.registrations
    service.registry.register("dora", [frame("dora")])
    with pytest.raises(PersonExists):
        sessions.open("dora")
    with pytest.raises(PersonNotFound):
        sessions.open("nobody", adds=True)
    session_id = sessions.open("dora", adds=True).session_id
    sessions.add(session_id, frame("dora", variation=1))
    added = sessions.commit(session_id).person
    assert added is not None
    assert added.embeddings == 2
    other = sessions.open("impostor").session_id
    sessions.add(other, frame("dora", variation=2))
    refused = sessions.commit(other)
    assert refused.person is None
    assert isinstance(refused.images[0].refusal, AlreadyEnrolled)
    sessions.cancel(other)


def test_strictness_is_the_sessions_own(service: Service) -> None:
    session = service.registrations.open("fay", review=Review.OFF)
    assert service.registrations.add(session.session_id, frame(FakeFace("fay", dim=True))).refusal is None
    service.registrations.cancel(session.session_id)


def test_a_session_expires(service: Service) -> None:

    sessions = RegistrationSessions(service.registry, service.sessions, seconds=0.2)
    session_id = sessions.open("gus").session_id
    time.sleep(0.3)
    with pytest.raises(SessionNotFound):
        sessions.add(session_id, frame("gus"))


def test_redis_killed_in_mid_session_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    server = RedisServer()
    with contextlib.ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        settings = read_settings(data_dir=tmp_path, redis_url=server.url)
        service = stack.enter_context(open_service(settings, engine=FakeEngine()))
        sessions = service.registrations
        session_id = sessions.open("ann").session_id
        sessions.add(session_id, frame("ann"))
        server.kill()
        with pytest.raises(SessionStoreUnavailable, match="try your call again"):
            sessions.add(session_id, frame("ann", variation=1))
        with pytest.raises(SessionStoreUnavailable):
            sessions.commit(session_id)
        server.start()
        assert len(sessions.get(session_id).frames) == 1
        sessions.add(session_id, frame("ann", variation=1))
        person = sessions.commit(session_id).person
        assert person is not None
        assert person.embeddings == 2
