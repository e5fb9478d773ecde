"""What is remembered for minutes, in Redis: shared by every process of every machine.

Every wait is bounded: a server that is away is told of within seconds. Values are sealed where embeddings are
(FACEREC_EMBEDDING_KEY). Keys begin with `facerec:`, so that others may use the same server.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, WatchError
from redis.retry import Retry

from facerec.db.sealed import ValueCipher
from facerec.errors import ConfigurationError, SessionStoreUnavailable
from facerec.sessions.base import Change, check_size
from facerec.sessions.buckets import rate_of

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""Longest time to reach the server, and for one of its answers."""

CONNECTIONS = 64
"""Most connections of a process."""

PATIENCE_SECONDS = 10.0
"""How long a change gives way to others before it is given up."""

_PREFIX = "facerec:"

# As `facerec.sessions.buckets` counts, in milliseconds of the server's clock.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = full - now - tonumber(ARGV[2])
if wait > 0.001 then
    return tostring(wait)
end
full = full + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now) + 1)
return '0'
"""


class RedisSessions:
    """A `SessionStore` in a Redis server (version 6 or newer)."""

    def __init__(self, url: str, *, cipher: ValueCipher | None = None) -> None:
        """Nothing is asked of the server yet. cipher: seals values. Raises ConfigurationError."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=ANSWER_SECONDS,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                # Once more, at once: a connection may be of the time before the server was restarted.
                retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            )
        except ValueError as error:
            raise ConfigurationError(
                "REDIS_URL can not be read; it is written redis://USER:PASSWORD@HOST:6379/0 (rediss: TLS)"
            ) from error
        self._redis = Redis(connection_pool=pool)
        self._take = self._redis.register_script(_TAKE)
        self._cipher = cipher

    def put(self, kind: str, key: str, value: bytes, *, seconds: float) -> None:
        """See `SessionStore.put`."""
        check_size(value)
        with _meant():
            self._redis.set(_named(kind, key), self._sealed(value), px=_milliseconds(seconds))

    def get(self, kind: str, key: str) -> bytes | None:
        """See `SessionStore.get`."""
        with _meant():
            return self._opened(self._redis.get(_named(kind, key)))

    def change(self, kind: str, key: str, decide: Callable[[bytes | None], Change]) -> bytes | None:
        """See `SessionStore.change`."""
        name = _named(kind, key)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with _meant(), self._redis.pipeline() as pipeline:
                pipeline.watch(name)  # type: ignore[no-untyped-call]
                decided = decide(self._opened(pipeline.get(name)))
                pipeline.multi()
                if decided.value is None:
                    pipeline.delete(name)
                else:
                    check_size(decided.value)
                    pipeline.set(name, self._sealed(decided.value), px=_milliseconds(decided.seconds))
                with contextlib.suppress(WatchError):
                    pipeline.execute()
                    return decided.value
            time.sleep(random.uniform(0, 0.005))  # noqa: S311  (so that those who meet do not meet again)
        raise SessionStoreUnavailable

    def delete(self, kind: str, key: str) -> bool:
        """See `SessionStore.delete`."""
        with _meant():
            return bool(self._redis.delete(_named(kind, key)))

    def delete_kind(self, kind: str) -> None:
        """See `SessionStore.delete_kind`."""
        with _meant():
            names: list[bytes] = []
            for name in self._redis.scan_iter(f"{_named(kind, '')}*", count=1000):
                names.append(name)
                if len(names) == 1000:
                    self._redis.unlink(*names)
                    names.clear()
            if names:
                self._redis.unlink(*names)

    def take(self, bucket: str, *, per_second: float, burst: int) -> float:
        """See `SessionStore.take`."""
        rate = rate_of(per_second, burst)
        with _meant():
            wait = self._take(keys=[_named("~rate", bucket)], args=[rate.gap * 1000, rate.room * 1000])
        return float(wait) / 1000

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        with _meant():
            self._redis.ping()

    def close(self) -> None:
        """See `SessionStore.close`."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _sealed(self, value: bytes) -> bytes:
        return value if self._cipher is None else self._cipher.seal(value)

    def _opened(self, stored: bytes | str | None) -> bytes | None:
        assert not isinstance(stored, str)  # noqa: S101  (the client decodes nothing; narrows the type)
        return stored if stored is None or self._cipher is None else self._cipher.open(stored)


@contextlib.contextmanager
def _meant() -> Iterator[None]:
    """Raise SessionStoreUnavailable where the server does not do what is asked."""
    try:
        yield
    except RedisError as error:
        raise SessionStoreUnavailable from error


def _named(kind: str, key: str) -> str:
    """The key in Redis. A kind is encoded so that neither a colon nor a pattern reads it otherwise."""
    return f"{_PREFIX}{quote(kind, safe='')}:{key}"


def _milliseconds(seconds: float) -> int:
    return max(math.ceil(seconds * 1000), 1)
