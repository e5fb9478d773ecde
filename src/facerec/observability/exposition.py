"""Tells what was counted, of this process or of several that share an address.

Those count in files of one folder, which the process that starts them names in the environment variable
PROMETHEUS_MULTIPROC_DIR; whichever of them is asked tells of all.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import facerec
from facerec.errors import ConfigurationError
from facerec.observability.metrics import REGISTRY

CONTENT_TYPE = CONTENT_TYPE_LATEST
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder of several processes' counts; prometheus_client reads it when it is imported."""


def exposition(*collectors: Collector) -> bytes:
    """Everything in Prometheus' text format: what was counted, the processes, and what `collectors` tell."""
    return prometheus_client.generate_latest(Together(*collectors))


class Together(Collector):
    """What was counted by this process and those that it shares an address with, the processes themselves,
    and what other collectors tell.
    """

    def __init__(self, *others: Collector, folder: Path | None = None) -> None:
        """folder: of the counts of several processes; default: the environment's, if there is one."""
        self._folder = folder or _folder()
        self._others = others

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        if self._folder is None:
            yield from REGISTRY.collect()
        else:
            # A process that begins to count makes its file empty first, and an empty one can not be read.
            counts = [str(path) for path in self._folder.glob("*.db") if _size(path)]
            yield from MultiProcessCollector.merge(counts)  # type: ignore[no-untyped-call]
        yield from Processes(self._folder).collect()
        for other in self._others:
            yield from other.collect()


def _size(path: Path) -> int:
    """Bytes of a file; 0 where it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Processes(Collector):
    """Memory, processor time and descriptors of the processes that answer."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """The families of prometheus_client's own collector, each sample with the name of its process."""
        families: dict[str, Metric] = {}
        for name, pid in self._living():
            for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                joined = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type, family.unit)
                )
                for sample in family.samples:
                    joined.add_sample(sample.name, {**sample.labels, "process": name}, sample.value)
        return families.values()

    def _living(self) -> Iterator[tuple[str, int]]:
        if self._folder is None:
            yield _own.name, os.getpid()
            return
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(OSError, ValueError):
                yield path.stem, int(path.read_text())


@dataclass(slots=True)
class _Own:
    name: str = "facerec"


_own = _Own()
_SUFFIX = ".process"
_MEMORY = Path("/dev/shm")  # noqa: S108  (a folder of its own is made there, under a name that nobody has)


@contextlib.contextmanager
def counting_together(name: str) -> Iterator[Path]:
    """Have the processes that this one starts count in a folder, which is gone at the end.

    name: of this process among them; it counts nothing itself.

    The folder lies in memory where the system has a place for that: the files are mapped, and on a disk that
    is full the first touch of a new page ends a process (SIGBUS).
    """
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(
        prefix="facerec-metrics-", dir=memory, ignore_cleanup_errors=True
    ) as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            name_process(name)
            yield Path(folder)
        finally:
            del os.environ[FOLDER_VARIABLE]


def process_name() -> str:
    """What this process is called; see `name_process`."""
    return _own.name


def name_process(name: str) -> None:
    """Say what this process is called among those that it counts with."""
    _own.name = name
    folder = _folder()
    if folder is not None:
        (folder / f"{name}{_SUFFIX}").write_text(str(os.getpid()))


def forget_process(folder: Path, pid: int) -> None:
    """A process has ended: what it had counted stays, what it was at the moment goes."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError, ValueError):
            if int(path.read_text()) == pid:
                path.unlink()


class BuildInfo(Collector):
    """Which program this is: a gauge that is 1, with what it is as labels."""

    def __init__(self, about: Mapping[str, str]) -> None:
        """about: labels beside the versions."""
        self._labels = {"version": facerec.__version__, "python": platform.python_version(), **about}

    def collect(self) -> Iterable[Metric]:
        """The one family."""
        family = GaugeMetricFamily(
            "facerec_build_info",
            "Which program, model pack and stores this is; always 1.",
            labels=list(self._labels),
        )
        family.add_metric(list(self._labels.values()), 1)
        yield family


@contextlib.contextmanager
def telling(host: str, port: int, *collectors: Collector) -> Iterator[int]:
    """Tell everything to whoever asks at an address of its own, in a thread; gives the port.

    port: 0 takes a free one.

    Raises ConfigurationError when the address can not be had.
    """
    try:
        server, thread = prometheus_client.start_http_server(
            port,
            host,
            registry=Together(*collectors),
        )
    except OSError as error:
        raise ConfigurationError(
            f"Metrics can not be told on {host} port {port} (FACEREC_METRICS_PORT): {error.strerror}."
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _folder() -> Path | None:
    name = os.environ.get(FOLDER_VARIABLE)
    return Path(name) if name else None
