"""Where the engine's processor time goes: stage by stage, and network by network beside what is possible."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from facerec.cli.bench.multiply_adds import Shape, multiply_adds
from facerec.cli.bench.options import Sample
from facerec.cli.bench.peak import PeakKernel
from facerec.config import Settings
from facerec.engine.base import Engine, Floats, Session
from facerec.engine.packs.loading import FAKE, find_pack, load_pack
from facerec.engine.packs.networks import DETECTOR, RECOGNIZER, ServingNetworks
from facerec.engine.runtime.precision import NetworkUse
from facerec.engine.runtime.reshaping import reshape_input
from facerec.errors import PackError

Result = TypeVar("Result")
_STAGES = {DETECTOR: "detection network", RECOGNIZER: "embedding network"}
"""Stages that networks are, by their role."""
MEASURED = ("f32", "int8")
"""Precisions whose peak is measured; that of bf16 is not, so its share is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFigures:
    """What one network does for a picture, on one processor."""

    role: str
    network: str
    """Name of its file."""
    precision: str
    runs: float
    """Inputs a picture: canvases that the detector looks at, crops that the recogniser embeds."""
    multiply_adds: float
    """A picture, in millions."""
    ms: float
    """Processor time a picture, in milliseconds."""
    floor_ms: float | None
    """The same if every multiply-add took no longer than in a large matrix product of the same precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """Processor time of a picture in milliseconds, the least of a few rounds, one picture after the other."""

    stages: dict[str, float]
    networks: tuple[NetworkFigures, ...]
    peak: dict[str, float]
    """Thousand millions of multiply-adds a second that one processor reaches, by precision."""

    @property
    def floor_ms(self) -> float | None:
        """Of all networks together; None where one is not known."""
        floors = [network.floor_ms for network in self.networks]
        return None if None in floors else sum(floor for floor in floors if floor is not None)


@dataclass(slots=True)
class _Watch:
    """What a network was seen to do."""

    seconds: float = 0.0
    shapes: Counter[Shape] = field(default_factory=Counter)

    def clear(self) -> None:
        """Begin anew."""
        self.seconds = 0.0
        self.shapes.clear()


class _WatchedSession:
    """A network whose runs are timed and whose inputs are counted."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.watch = _Watch()
        self.input_names = session.input_names
        self.output_names = session.output_names
        self.input_shape = session.input_shape

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once."""
        began = time.process_time()
        outputs = self._session.run(*inputs)
        self.watch.seconds += time.process_time() - began
        self.watch.shapes[inputs[0].shape] += 1
        return outputs


class _WatchedNetworks:
    """Opens networks as the service does, and watches them."""

    def __init__(self, settings: Settings) -> None:
        self._serving = ServingNetworks(settings)
        self.opened: dict[str, tuple[NetworkUse, _WatchedSession]] = {}

    def open(self, use: NetworkUse) -> Session:
        """The network, watched."""
        session = _WatchedSession(self._serving.open(use))
        self.opened[use.role] = use, session
        return session

    def precision(self, role: str) -> str:
        """What was chosen for a network."""
        return self._serving.choices[role].precision


def measure_stages(settings: Settings, samples: Sequence[Sample], rounds: int) -> StageFigures:
    """Take the pictures through the stages one by one, on one processor; a round before the first warms up.

    Raises PackError for the pack fake, which has no networks.
    """
    if settings.model_path == FAKE:
        raise PackError("the pack fake has no networks whose time could be told; take another with --pack")
    alone = settings.model_copy(update={"threads": 1})
    networks = _WatchedNetworks(alone)
    engine = load_pack(find_pack(alone), alone, networks)
    watches = {role: session.watch for role, (_, session) in networks.opened.items()}
    best: dict[str, float] = {}
    for number in range(rounds + 1):
        for watch in watches.values():
            watch.clear()
        taken = _round(engine, samples, watches)
        if number and (not best or sum(taken.values()) < sum(best.values())):
            best = taken
    engine.close()
    peak = {name: PeakKernel(name, runtime=settings.runtime).rate() for name in MEASURED}
    return StageFigures(
        stages={name: seconds / len(samples) * 1000 for name, seconds in best.items()},
        networks=tuple(
            _network(use, session.watch, best[_STAGES[role]], networks.precision(role), len(samples), peak)
            for role, (use, session) in networks.opened.items()
            if role in _STAGES
        ),
        peak={name: rate / 1e9 for name, rate in peak.items()},
    )


def _round(engine: Engine, samples: Sequence[Sample], watches: dict[str, _Watch]) -> dict[str, float]:
    """Seconds of processor time by stage."""
    taken: defaultdict[str, float] = defaultdict(float)

    def timed(stage: str, role: str | None, work: Callable[..., Result], *arguments: object) -> Result:
        began, inside = time.process_time(), watches[role].seconds if role else 0.0
        result = work(*arguments)
        network = watches[role].seconds - inside if role else 0.0
        taken[stage] += time.process_time() - began - network
        if role:
            taken[_STAGES[role]] += network
        return result

    for sample in samples:
        picture = timed("decoding", None, engine.decode, sample.data)
        faces = timed("around the detector", DETECTOR, engine.detect, picture)
        timed("alignment", RECOGNIZER, engine.embed, picture, faces)
    return dict(taken)


def _network(
    use: NetworkUse, watch: _Watch, seconds: float, precision: str, pictures: int, peak: dict[str, float]
) -> NetworkFigures:
    """The figures of one network from what it did in a round."""
    content = _network_of(use)
    work = sum(times * multiply_adds(content, _planes(shape, use)) for shape, times in watch.shapes.items())
    runs = sum(times * shape[0] for shape, times in watch.shapes.items())
    return NetworkFigures(
        role=use.role,
        network=use.file.name,
        precision=precision,
        runs=runs / pictures,
        multiply_adds=work / pictures / 1e6,
        ms=seconds / pictures * 1000,
        floor_ms=work / pictures / peak[precision] * 1000 if precision in peak else None,
    )


def _network_of(use: NetworkUse) -> bytes:
    """The network's file with the input shape that it is opened with."""
    network = onnx.load(use.file)
    fitting = reshape_input(network, use.input_shape) if use.input_shape else network
    content: bytes = fitting.SerializeToString()
    return content


def _planes(shape: Shape, use: NetworkUse) -> Shape:
    """Shape of the network's own input, channels first, for what its session took."""
    return shape if use.pixels is None else (shape[0], shape[3], *shape[1:3])
