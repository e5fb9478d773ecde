"""The middleware between a scripted connection and an application, without a network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from facerec.api.middleware import RequestMiddleware
from facerec.errors import Cancelled
from facerec.observability import current_request

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
DISCONNECT: Message = {"type": "http.disconnect"}


def body(content: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


async def converse(
    application: Application, incoming: list[Message | float], *, body_seconds: float = 60
) -> list[Message]:
    """What is sent back for these messages; a number is a pause, and after the last the client waits."""
    sent: list[Message] = []
    script = iter(incoming)

    async def receive() -> Message:
        for step in script:
            if isinstance(step, dict):
                return step
            assert isinstance(step, float)
            await asyncio.sleep(step)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    def too_slow(request_id: str) -> Response:
        return PlainTextResponse(request_id, status_code=408)

    middleware = RequestMiddleware(
        application, body_seconds=body_seconds, request_seconds=60, too_slow=too_slow
    )
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [],
        "client": ("10.0.0.1", 5),
    }
    await asyncio.wait_for(middleware(scope, receive, send), 30)
    return sent


async def read_all(receive: Receive) -> bytes:
    content = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        content += message["body"]
        if not message["more_body"]:
            return bytes(content)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(await read_all(receive))(scope, receive, send)


def headers_of(sent: list[Message]) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}


def test_answers_carry_the_id_of_their_request_and_safe_headers() -> None:
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_request().request_id)
        await echo(scope, receive, send)

    sent = asyncio.run(converse(application, [body(b"ab", more=True), body(b"c")]))
    assert [message.get("body") for message in sent[1:]] == [b"abc"]
    headers = headers_of(sent)
    assert headers["x-amzn-requestid"] == seen[0]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_an_answer_keeps_the_headers_it_chose_itself() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        response = PlainTextResponse("", headers={"Cache-Control": "max-age=60", "x-amzn-RequestId": "own"})
        await response(scope, receive, send)

    headers = headers_of(asyncio.run(converse(application, [body(b"")])))
    assert (headers["cache-control"], headers["x-amzn-requestid"]) == ("max-age=60", "own")


def test_work_for_a_client_that_went_is_cancelled() -> None:
    """The use case, in its thread, finds out at its next check."""
    outcome: list[object] = []

    def work() -> None:
        context = current_request()
        context.check()
        assert context.caller_gone.wait(30)
        try:
            context.check()
        except Cancelled as error:
            outcome.append(error)

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        await read_all(receive)
        await asyncio.to_thread(work)
        assert await receive() == DISCONNECT

    asyncio.run(converse(application, [body(b"x"), 0.01, DISCONNECT]))
    assert len(outcome) == 1


def test_a_body_cut_off_is_never_taken_for_a_whole_one() -> None:
    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        with pytest.raises(ConnectionError):
            await read_all(receive)
        assert current_request().caller_gone.is_set()

    assert asyncio.run(converse(application, [body(b"ab", more=True), DISCONNECT])) == []


@pytest.mark.parametrize("pace", [60.0, 0.02])
def test_a_body_late_as_a_whole_is_answered_once_with_the_reason(pace: float) -> None:
    """Whether it stops or trickles; and whatever the application then makes of the lost connection."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await echo(scope, receive, send)
        except ConnectionError:
            await PlainTextResponse("lost", status_code=500)(scope, receive, send)

    trickle: list[Message | float] = []
    for _ in range(1000):
        trickle += [body(b"x", more=True), pace]
    sent = asyncio.run(converse(application, trickle, body_seconds=0.2))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 408
    assert headers_of(sent)["connection"] == "close"


def test_the_log_has_a_line_without_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="facerec.access"):
        asyncio.run(converse(echo, [body(b"Anna's face")]))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("10.0.0.1 POST '/' - 200 11 bytes")
    assert "Anna" not in line


def test_a_hostile_operation_name_can_not_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)

    async def run() -> None:
        middleware = RequestMiddleware(
            application, body_seconds=60, request_seconds=60, too_slow=lambda _: Response(status_code=408)
        )

        async def receive() -> Message:
            return body(b"")

        async def send(_message: Message) -> None:
            return None

        headers = [(b"x-amz-target", b"Rekognition.\xe9\x1b[31m" + b"x" * 1000)]
        await middleware(
            {"type": "http", "method": "POST", "path": "/\n\r", "headers": headers}, receive, send
        )

    with caplog.at_level(logging.INFO, logger="facerec.access"):
        asyncio.run(run())
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 400
