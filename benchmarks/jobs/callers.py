"""Callers of the service with signed requests: without pause, or at a rate whatever is answered."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from facerec.cli.bench.load import Client
from facerec.cli.bench.server import Address

CALLERS_AT_A_RATE = 200
"""Connections of a load at a rate: more than are ever at work, so that no request waits for its caller."""
SEED = 1
_CODE = re.compile(rb'"(?:__type|Code|code)" *: *"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: when it was due (seconds from the start), how long until its answer, and what it was."""

    at: float
    seconds: float
    code: str
    """OK, an error's code, or the kind of a broken connection."""


def signed_searches(
    address: Address, collection: str, images: Sequence[bytes], credentials: Credentials
) -> list[bytes]:
    """A SearchFacesByImage of each image, signed now: good for five minutes."""
    host, port = address
    ready = []
    for image in images:
        body = json.dumps(
            {"CollectionId": collection, "Image": {"Bytes": base64.b64encode(image).decode()}, "MaxFaces": 10}
        ).encode()
        request = AWSRequest(
            "POST",
            f"http://{host}:{port}/",
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "RekognitionService.SearchFacesByImage",
            },
            data=body,
        )
        SigV4Auth(credentials, "rekognition", "us-east-1").add_auth(request)
        headers = {**dict(request.headers.items()), "Host": f"{host}:{port}", "Content-Length": len(body)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        ready.append(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return ready


def call_without_pause(
    address: Address, requests: Sequence[bytes], clients: int, over: threading.Event
) -> list[Answered]:
    """Each client asks again as soon as it is answered, until it is over."""
    turn = itertools.count()
    began = time.perf_counter()

    def ask_on() -> list[Answered]:
        seen: list[Answered] = []
        with contextlib.closing(Client(address)) as client:
            while not over.is_set():
                at = time.perf_counter()
                code = _ask(client, requests[next(turn) % len(requests)])
                seen.append(Answered(at - began, time.perf_counter() - at, code))
        return seen

    return _together(clients, ask_on)


def call_at_rate(
    address: Address, requests: Sequence[bytes], rate: float, over: threading.Event
) -> list[Answered]:
    """Requests come at random, `rate` a second in the mean, whether or not those before are answered.

    The time of each counts from when it was due, so that a stall counts for all that came during it.
    """
    chance, lock = random.Random(SEED), threading.Lock()
    began = time.perf_counter()

    def times() -> Iterator[float]:
        due = 0.0
        while True:
            due += chance.expovariate(rate)
            yield due

    dues, turn = times(), itertools.count()

    def ask_on() -> list[Answered]:
        seen: list[Answered] = []
        with contextlib.closing(Client(address)) as client:
            while True:
                with lock:
                    at, number = next(dues), next(turn)
                if over.wait(max(began + at - time.perf_counter(), 0.0)):
                    return seen
                code = _ask(client, requests[number % len(requests)])
                seen.append(Answered(at, time.perf_counter() - began - at, code))

    return _together(CALLERS_AT_A_RATE, ask_on)


def _together(callers: int, ask_on: object) -> list[Answered]:
    assert callable(ask_on)
    with ThreadPoolExecutor(callers) as pool:
        work = [pool.submit(ask_on) for _ in range(callers)]
        seen: list[Answered] = [one for future in work for one in future.result()]
    return sorted(seen, key=lambda one: one.at)


def _ask(client: Client, request: bytes) -> str:
    """OK, or what went wrong."""
    try:
        status, body = client.ask(request)
    except OSError as error:
        return type(error).__name__
    if status == 200:
        return "OK"
    named = _CODE.search(body)
    return named[1].decode() if named else str(status)
