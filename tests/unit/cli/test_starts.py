"""What processes load that are started again and again."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_loads_nothing_that_answers_requests() -> None:
    program = "import sys, facerec.cli.jobs_worker; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert loaded.isdisjoint({"fastapi", "starlette", "uvicorn", "ray", "onnx", "openvino", "alembic"})
    assert not any(name.startswith("facerec.api") for name in ended.stdout.split())
