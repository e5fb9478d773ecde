"""`facerec bench engine`: from the bytes of pictures to the embeddings of all their faces."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import typer

from facerec.cli.bench.options import Sample, read_samples
from facerec.cli.bench.peers import PeerName, open_peer
from facerec.cli.output import AsJson, note, print_json, print_table
from facerec.config import Settings, read_settings
from facerec.engine.base import Engine
from facerec.errors import InvalidImage
from facerec.services.benchmark import Turn, median_processor_ms, median_rate, median_ratio, take_turns

if TYPE_CHECKING:
    from facerec.cli.bench.stages import StageFigures

OURS = "facerec"


def bench_engine(
    images: Annotated[Path, typer.Option(help="Folder of pictures.")],
    pack: Annotated[str | None, typer.Option(help="Pack: a name or a folder; default: MODEL_PATH.")] = None,
    peer: Annotated[
        PeerName | None, typer.Option(help="Measure this beside it, taking turns, with the same networks.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds after two that warm up.")] = 5,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Pictures at work at a time; default: FACEREC_THREADS."),
    ] = None,
    peer_workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="The same of the peer, which uses all processors for one picture already."
        ),
    ] = 1,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most pictures.")] = 1000,
    passes: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Times over the pictures in a round: more where they are few."),
    ] = 1,
    stages: Annotated[
        bool, typer.Option(help="Tell also where the time goes, and what the machine could do at best.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the engine: from the bytes of pictures to embeddings of all faces, as the service does it.

    Figures are medians over the rounds; the ratio is the median of the ratios of each round.
    """
    settings = read_settings(**({"model_path": pack} if pack else {}))
    # The largest first: no processor shall idle at the end of a turn while another is at work on a large one.
    samples = sorted(read_samples(images, limit), key=lambda sample: len(sample.data), reverse=True)
    work = [sample for sample in samples for _ in range(passes)]
    at_a_time = workers or settings.threads
    with contextlib.ExitStack() as stack:
        # The peer may print what it likes; standard output is for the figures.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        opened = stack.enter_context(open_peer(peer, settings)) if peer else None
        engine = _open_engine(settings)
        stack.callback(engine.close)
        ours, its = (stack.enter_context(ThreadPoolExecutor(count)) for count in (at_a_time, peer_workers))
        contestants = {OURS: _contestant(work, ours, lambda data: _count_faces(engine, data))}
        if opened is not None:
            turn = _contestant(work, its, opened.count_faces)
            contestants[opened.name] = _with_all_threads(turn)
        note(f"{len(work)} pictures, {rounds} rounds after two that warm up")
        turns = take_turns(contestants, len(work), rounds)
        where = _measure_stages(settings, samples, rounds) if stages else None
    setting = {
        "pack": engine.contract.pack,
        "images": len(samples),
        "passes": passes,
        "rounds": rounds,
        "threads": settings.threads,
        "workers": at_a_time,
    }
    figures = _figures(turns[OURS], turns[opened.name] if opened else None, passes)
    if as_json:
        beside = {"peer": opened.name, "peer_workers": peer_workers} if opened else {}
        print_json({**setting, **beside, **figures, **(_stage_figures(where) if where else {})})
    else:
        _print(setting, figures, turns)
        if where:
            _print_stages(where)


def _open_engine(settings: Settings) -> Engine:
    # The runtimes take a second to load; a command with a mistaken option should not.
    from facerec.engine.packs.loading import open_engine

    return open_engine(settings)


def _contestant(
    work: Sequence[Sample], pool: ThreadPoolExecutor, count_faces: Callable[[bytes], int]
) -> Callable[[], int]:
    """What looks at all pictures, in the threads of a pool, and gives the number of faces.

    The threads stay from turn to turn as a service's do: new ones fetch their memory anew.
    """

    def one(sample: Sample) -> int:
        try:
            return count_faces(sample.data)
        except InvalidImage as error:
            raise InvalidImage(f"{sample.name}: {error.message}") from error

    return lambda: sum(pool.map(one, work))


def _with_all_threads(turn: Callable[[], int]) -> Callable[[], int]:
    """A peer's turn, with OpenCV's threads as a peer finds them: our engine keeps OpenCV to one."""

    def every() -> int:
        ours = cv2.getNumThreads()
        cv2.setNumThreads(-1)  # as many as there are processors
        try:
            return turn()
        finally:
            cv2.setNumThreads(ours)

    return every


def _count_faces(engine: Engine, data: bytes) -> int:
    """Faces that the engine finds and embeds in a picture."""
    picture = engine.decode(data)
    return len(engine.embed(picture, engine.detect(picture)))


def _figures(ours: Sequence[Turn], peers: Sequence[Turn] | None, passes: int) -> dict[str, object]:
    """Medians, faces of the pictures, and the figures of each round."""
    figures: dict[str, object] = {
        "images_per_second": round(median_rate(ours), 2),
        "processor_ms": round(median_processor_ms(ours), 3),
        "faces": ours[-1].result // passes,
    }
    by_round: list[dict[str, float]] = [{"images_per_second": round(turn.rate, 2)} for turn in ours]
    if peers is not None:
        figures |= {
            "peer_images_per_second": round(median_rate(peers), 2),
            "peer_processor_ms": round(median_processor_ms(peers), 3),
            "peer_faces": peers[-1].result // passes,
            "ratio": round(median_ratio(ours, peers), 3),
        }
        for row, turn, other in zip(by_round, ours, peers, strict=True):
            row["peer_images_per_second"] = round(other.rate, 2)
            row["ratio"] = round(turn.rate / other.rate, 3)
    return {**figures, "by_round": by_round}


def _print(setting: dict[str, object], figures: dict[str, object], turns: dict[str, list[Turn]]) -> None:
    rows = [(name, median_rate(own), median_processor_ms(own), own[-1].result) for name, own in turns.items()]
    title = ", ".join(f"{name} {value}" for name, value in setting.items())
    print_table(("", "images/s", "ms of processor time", "faces"), rows, title=title)
    if "ratio" in figures:
        typer.echo(f"{OURS} is {figures['ratio']:.2f} times as fast.")


def _measure_stages(settings: Settings, samples: Sequence[Sample], rounds: int) -> StageFigures:
    # As with the engine: the runtimes take a second to load.
    from facerec.cli.bench.stages import measure_stages

    note("stage by stage, on one processor")
    return measure_stages(settings, samples, rounds)


def _stage_figures(where: StageFigures) -> dict[str, object]:
    """Stages, networks and the share of the networks' floor in all of the engine's time."""
    total = sum(where.stages.values())
    return {
        "stages": {name: round(ms, 3) for name, ms in where.stages.items()},
        "networks": [_rounded(asdict(network)) for network in where.networks],
        "peak": {name: round(rate, 1) for name, rate in where.peak.items()},
        "floor_ms": None if where.floor_ms is None else round(where.floor_ms, 3),
        "share_of_floor": None if where.floor_ms is None else round(where.floor_ms / total, 3),
    }


def _rounded(figures: dict[str, object]) -> dict[str, object]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


def _print_stages(where: StageFigures) -> None:
    total = sum(where.stages.values())
    print_table(
        ("stage", "ms of processor time", "share"),
        [(name, ms, f"{ms / total:.0%}") for name, ms in where.stages.items()],
        title=f"one picture on one processor: {total:.2f} ms",
    )
    columns = (
        "network",
        "precision",
        "runs a picture",
        "million multiply-adds",
        "ms",
        "ms at the machine's peak",
    )
    rows = [
        (one.network, one.precision, one.runs, one.multiply_adds, one.ms, one.floor_ms)
        for one in where.networks
    ]
    peak = ", ".join(f"{name} {rate:.0f}" for name, rate in where.peak.items())
    print_table(columns, rows, title=f"thousand million multiply-adds a second of one processor: {peak}")
