"""The supervisor of `facerec serve --workers N`: starts the processes that answer, hands them connections.

It accepts every connection itself and gives it to the worker that has the fewest. Of workers that accept from
one socket, or each from one of its own (SO_REUSEPORT), one of two often gets 12 of 16 connections, while the
processors of the other idle. A worker that dies takes its own connections with it, and no others.

The first worker starts alone: what is done once at a start (tables, the conversion of the default pack, what
is left of deleted collections) it has done when the others begin.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from facerec.api.link import CLOSED, LEAVING, READY, SupervisorEnd
from facerec.api.server import BACKLOG, PATIENCE_SECONDS
from facerec.cli import from_terminal
from facerec.cli.orders import order
from facerec.config import Settings
from facerec.errors import FacerecError
from facerec.observability.exposition import forget_process

MOST_FAILURES = 5
"""Deaths at start in a row, while no worker answers, after which the supervisor gives up."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Before another worker is started for one that died at start: doubled from death to death. For one that has
answered another is started at once: starting takes its time anyway."""

_ACCEPTED_AT_ONCE = 64
_REST_SECONDS = 0.1
"""Before another attempt to accept or hand over a connection."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class _Worker:
    """A process that answers, or will."""

    number: int
    process: asyncio.subprocess.Process
    end: SupervisorEnd
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    """Told to stop: it gets no connection, and its end is no surprise."""
    connections: int = 0
    """How many it has."""
    last_given: int = 0
    """Which of all connections it was given last."""

    @property
    def answers(self) -> bool:
        """Whether it takes connections."""
        return self.ready.is_set() and not self.leaving

    def __str__(self) -> str:
        return f"worker-{self.number} (process {self.process.pid})"


class _Door:
    """Accepts connections while a worker answers; while none does they wait in the system's queue."""

    def __init__(self, listening: socket.socket, workers: Callable[[], list[_Worker]]) -> None:
        """listening: bound. workers: those that take connections now."""
        listening.setblocking(False)
        self._listening = listening
        self._workers = workers
        self._open = False
        self._closed = False
        self._given = 0
        self._held: socket.socket | None = None
        """A connection that no worker has taken yet."""

    def open(self) -> None:
        """Accept from now on."""
        if not self._open and not self._closed:
            self._open = True
            self._listening.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(self._listening, self._accept)
            self._accept()

    def close(self) -> None:
        """Hand over the connections that wait, and refuse all others."""
        if self._open:
            self._accept()
        self._closed = True
        self._pause()
        self._listening.close()
        if self._held is not None:
            self._held.close()

    def _accept(self) -> None:
        """Hand over some of the connections that wait."""
        for _ in range(_ACCEPTED_AT_ONCE):
            if not self._workers():
                self._pause()
                return
            if self._held is None:
                self._held = self._next()
            if self._held is None:
                return
            if not self._give(self._held):
                self._rest()
                return
            self._held.close()
            self._held = None

    def _next(self) -> socket.socket | None:
        """A connection that waits to be accepted."""
        try:
            return self._listening.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:  # no descriptors or memory: it would fail again at once
            _log.warning("No connection can be accepted: %s", error)
            self._rest()
            return None

    def _give(self, connection: socket.socket) -> bool:
        """Hand a connection to the worker that has the fewest; of equals, to the one that waits longest.

        False where none takes it: all are too busy, or have died just now.
        """
        for worker in sorted(self._workers(), key=lambda each: (each.connections, each.last_given)):
            if worker.end.hand(connection):
                self._given += 1
                worker.connections += 1
                worker.last_given = self._given
                return True
        return False

    def _pause(self) -> None:
        """Let new connections wait."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._listening)

    def _rest(self) -> None:
        """Let new connections wait for a moment."""
        self._pause()
        asyncio.get_running_loop().call_later(_REST_SECONDS, self.open)


class Supervisor:
    """Runs the workers of one service until it is told to stop (SIGTERM, SIGINT).

    SIGHUP has the settings read anew, and the workers replaced one after the other by new ones.
    """

    def __init__(
        self,
        listening: socket.socket,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        greet: Callable[[str], None],
        counts: Path,
    ) -> None:
        """listening: bound. reread: reads the settings again. greet: told, once, the model pack's name.

        counts: folder in which the workers count.
        """
        self._counts = counts
        self._from_terminal = from_terminal()
        self._door = _Door(listening, self._answering)
        self._settings = settings
        self._reread = reread
        self._greet = greet
        self._greeted = False
        self._workers: dict[int, _Worker] = {}
        """The worker of each number; one that has been replaced is in `_living` alone."""
        self._living: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._killed = False
        self._reloading = False
        self._draining = False

    def run(self) -> int:
        """The exit code: 0 after an orderly end, 1 where workers did not end, or the first one did not start.

        Raises FacerecError when workers die at start again and again.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[int] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reload)
        self._begin(self._keep(1))
        try:
            code = await self._outcome
        finally:
            for task in self._tasks:
                task.cancel()
            await self._end()
        return 1 if self._killed else code

    # --- signals

    def _told_to_stop(self) -> None:
        """Stop, after the time for load balancers to look away; told again, do not wait, and then kill."""
        if self._outcome.done():
            self._kill()
        elif self._draining or not self._settings.drain_seconds or not self._greeted:
            self._outcome.set_result(0)
        else:
            self._draining = True
            for worker in self._answering():
                worker.end.drain()
            asyncio.get_running_loop().call_later(self._settings.drain_seconds, self._finish, 0)

    def _told_to_reload(self) -> None:
        # A terminal that is closed sends this signal too.
        if self._from_terminal:
            self._told_to_stop()
        elif self._reloading or not self._greeted or self._outcome.done():
            _log.warning("A reload is under way, or the start or the end: SIGHUP is ignored.")
        else:
            self._reloading = True
            self._begin(self._reload())

    # --- workers

    async def _keep(self, number: int) -> None:
        """Have a worker of that number answer: whenever it ends, start another one."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            worker = self._workers.get(number)
            if worker is None:
                worker = await self._start(number, self._settings)
                if number in self._workers:  # by a reload, meanwhile
                    self._let_go(worker)
                    continue
                self._workers[number] = worker
            await worker.process.wait()
            if self._workers[number] is not worker:  # it has been replaced
                continue
            del self._workers[number]
            if worker.leaving:
                continue
            if worker.ready.is_set():
                _log.error("%s %s; another one is started.", worker, _how_it_ended(worker))
                pause = FIRST_PAUSE_SECONDS
            elif self._is_hopeless(worker):
                return
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _is_hopeless(self, worker: _Worker) -> bool:
        """Count a worker that died at start; whether that is the end of all."""
        self._failures += 1
        code = worker.process.returncode or 0
        if not self._greeted and code > 0:
            self._finish(code)  # it has said why, and would say the same again
            return True
        _log.error("%s %s while it started (%d in a row).", worker, _how_it_ended(worker), self._failures)
        if self._failures < MOST_FAILURES or self._answering():
            return False
        self._fail(
            FacerecError(
                f"The workers died at start {self._failures} times in a row, and none is left that answers; "
                f"the last one {_how_it_ended(worker)}. Its lines above say more; SIGKILL without any is how "
                "a system ends processes when memory runs out."
            )
        )
        return True

    async def _start(self, number: int, settings: Settings) -> _Worker:
        """Start a worker; it is not ready yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *_command(theirs.fileno(), number),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl+C is the supervisor's
            )
        worker = _Worker(number=number, process=process, end=SupervisorEnd(ours))
        self._living.add(worker)
        self._begin(self._see_off(worker))
        asyncio.get_running_loop().add_reader(worker.end, self._hear, worker)
        assert process.stdin is not None  # noqa: S101 - narrows the type
        process.stdin.write(order(settings))
        process.stdin.close()
        return worker

    def _hear(self, worker: _Worker) -> None:
        """Take in what a worker says."""
        for message, value in worker.end.messages():
            if message == CLOSED:
                worker.connections -= 1
            elif message == LEAVING:
                self._let_go(worker)
            elif message == READY:
                worker.ready.set()
                if self._draining:
                    worker.end.drain()
                self._failures = 0
                self._welcome(value)
        if worker.end.ended:
            asyncio.get_running_loop().remove_reader(worker.end)

    def _welcome(self, pack: str) -> None:
        """A worker has become ready: open the door; after the very first one start the others."""
        self._door.open()
        if self._greeted:
            return
        self._greeted = True
        self._greet(pack)
        for number in range(2, self._settings.workers + 1):
            self._begin(self._keep(number))

    def _let_go(self, worker: _Worker) -> None:
        """Tell a worker to finish what it has, and end."""
        worker.leaving = True
        if worker.ready.is_set():
            worker.end.stop()
        elif worker.process.returncode is None:
            worker.process.terminate()

    async def _see_off(self, worker: _Worker) -> None:
        """Let go of what is held of a worker, once its process has ended."""
        await worker.process.wait()
        asyncio.get_running_loop().remove_reader(worker.end)
        worker.end.close()
        forget_process(self._counts, worker.process.pid)
        self._living.discard(worker)

    async def _reload(self) -> None:
        """Replace each worker by one with the settings as they are now, which answers before the old ends."""
        try:
            # What the address and the number of processes are was settled at the start.
            fixed = {name: getattr(self._settings, name) for name in ("host", "port", "workers")}
            settings = self._reread().model_copy(update=fixed)
            _log.info("The workers are replaced by new ones.")
            for number in sorted(self._workers):
                new = await self._start(number, settings)
                if not await self._became_ready(new):
                    _log.error(
                        "%s %s while it started: the reload ends here, the older workers go on.",
                        new,
                        _how_it_ended(new),
                    )
                    return
                self._settings = settings
                old = self._workers.get(number)
                self._workers[number] = new
                if old is not None:
                    self._let_go(old)
            _log.info("All workers have been replaced.")
        except FacerecError as error:
            _log.error("The settings can not be read, the workers go on as they are: %s", error.message)
        finally:
            self._reloading = False

    async def _became_ready(self, worker: _Worker) -> bool:
        """Wait until a worker answers, or has ended."""
        ready = asyncio.ensure_future(worker.ready.wait())
        ended = asyncio.ensure_future(worker.process.wait())
        await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        for each in (ready, ended):
            each.cancel()
        return worker.ready.is_set()

    def _answering(self) -> list[_Worker]:
        """The workers that take connections."""
        return [worker for worker in self._workers.values() if worker.answers]

    # --- the end

    async def _end(self) -> None:
        """Have all workers finish what they have; kill those that take longer than they may."""
        self._door.close()
        for worker in self._living:
            self._let_go(worker)
        endings = [asyncio.ensure_future(worker.process.wait()) for worker in self._living]
        if endings:
            _, late = await asyncio.wait(endings, timeout=PATIENCE_SECONDS)
            if late:
                self._kill()
                await asyncio.wait(late)

    def _kill(self) -> None:
        """End the workers that have not ended yet."""
        for worker in self._living:
            if worker.process.returncode is None:
                _log.error("%s is killed with the requests at work.", worker)
                worker.process.kill()
                self._killed = True

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside the rest; what goes wrong in it ends the service."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _finish(self, code: int) -> None:
        if not self._outcome.done():
            self._outcome.set_result(code)

    def _fail(self, error: BaseException) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)


def _command(descriptor: int, number: int) -> list[str]:
    """The command line of a worker, given the descriptor of its end of the link, and its number."""
    # -P: nothing in the working folder is taken for a module.
    return [sys.executable, "-P", "-m", "facerec.cli.worker", str(descriptor), str(number)]


def _how_it_ended(worker: _Worker) -> str:
    code = worker.process.returncode or 0
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
