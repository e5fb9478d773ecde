"""The notice that a spot instance of EC2 gets two minutes before it is taken away.

The instance's metadata service tells it, at an address that only the instance reaches; each question needs a
token (IMDSv2).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import urllib3

METADATA_URL = "http://169.254.169.254"

POLL_SECONDS = 5.0
"""Between two looks, as AWS recommends."""

TIMEOUT_SECONDS = 1.0

TOKEN_SECONDS = 6 * 3600
"""How long a token is asked for; an answer 401 has another one asked for."""

MOST_SILENCES = 3
"""Answers missing from the start after which it is no instance of EC2."""

_log = logging.getLogger(__name__)


class SpotNotice:
    """Looks for the notice in a thread, and tells once it is there."""

    def __init__(
        self, tell: Callable[[], None], *, url: str | None = None, poll_seconds: float = POLL_SECONDS
    ) -> None:
        """tell: called once, when the machine is to be taken away. url: of the metadata service; None: EC2's
        own, and where that never answers, no more is asked.
        """
        self._tell = tell
        self._url = (url or METADATA_URL).rstrip("/")
        self._patient = url is not None
        self._poll_seconds = poll_seconds
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=TIMEOUT_SECONDS), retries=False, maxsize=1
        )
        self._token: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facerec-spot", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        self._thread.join()
        self._pool.clear()

    def _run(self) -> None:
        silences, known = 0, False
        while not self._closing.is_set():
            try:
                if self._is_there():
                    _log.warning("This spot instance is about to be taken away: no more jobs are begun.")
                    self._tell()
                    return
                silences, known = 0, True
            except urllib3.exceptions.HTTPError:
                silences += 1
                if not known and not self._patient and silences >= MOST_SILENCES:
                    _log.debug("no instance of EC2: no notice is looked for")
                    return
            self._closing.wait(self._poll_seconds)

    def _is_there(self) -> bool:
        """Whether the instance has got the notice. Raises HTTPError where the service is silent."""
        if self._token is None:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            answer = self._pool.request("PUT", f"{self._url}/latest/api/token", headers=headers)
            if answer.status != 200:
                raise urllib3.exceptions.HTTPError("no token")
            self._token = answer.data.decode("ascii", "replace").strip()
        answer = self._pool.request(
            "GET",
            f"{self._url}/latest/meta-data/spot/instance-action",
            headers={"X-aws-ec2-metadata-token": self._token},
        )
        if answer.status == 401:
            self._token = None
        return answer.status == 200
