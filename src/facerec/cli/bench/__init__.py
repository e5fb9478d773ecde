"""`facerec bench`: how fast it is on this machine, beside others that do the same work in the same run."""

from __future__ import annotations

import typer

from facerec.cli.bench.engine import bench_engine
from facerec.cli.bench.search import bench_search
from facerec.cli.bench.service import bench_service

bench_app = typer.Typer(help="Measure the speed on this machine.", no_args_is_help=True)
bench_app.command("engine")(bench_engine)
bench_app.command("search")(bench_search)
bench_app.command("service")(bench_service)
