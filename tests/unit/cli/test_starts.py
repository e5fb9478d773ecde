"""What processes load that are started again and again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from facerec.config import read_settings
from facerec.metastore import open_metastore


def test_a_worker_loads_nothing_that_answers_requests() -> None:
    program = "import sys, facerec.cli.jobs_worker; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert loaded.isdisjoint({"fastapi", "starlette", "uvicorn", "ray", "onnx", "openvino", "alembic"})
    assert not any(name.startswith("facerec.api") for name in ended.stdout.split())


def test_a_forked_worker_has_nothing_of_ours_left_to_load(tmp_path: Path) -> None:
    open_metastore(read_settings(data_dir=tmp_path)).close()  # what makes tables is needed once
    program = """
import sys
from facerec.bootstrap import import_ahead, open_service
from facerec.config import read_settings
from facerec.domain import InlineImage
from facerec.engine.fake import draw

settings = read_settings(model_path="fake")
import_ahead(settings)
before = set(sys.modules)
with open_service(settings) as service:
    service.collections.create("guests")
    service.faces.index("guests", InlineImage(draw("ann")))
print(*(name for name in sys.modules if name not in before and name.startswith("facerec")))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "FACEREC_DATA_DIR": str(tmp_path)},
    )
    assert ended.stdout.split() == []


def test_what_is_imported_ahead_opens_nothing_and_leaves_no_threads_to_a_fork() -> None:
    program = """
import os
from pathlib import Path
from facerec.bootstrap import import_ahead
from facerec.config import read_settings

import_ahead(read_settings())
if os.fork() == 0:
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    print(*(link for link in links if "socket" in link or ".db" in link))
    os._exit(0)
os.wait()
# A library that computes had threads of its own, which it ends before a fork.
print(len(os.listdir("/proc/self/task")))
"""
    ended = subprocess.run([sys.executable, "-u", "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["1"]


def test_the_runtime_of_a_pack_is_imported_ahead_and_reports_nothing() -> None:
    program = """
import sys
from facerec.bootstrap import import_ahead
from facerec.config import read_settings

import_ahead(read_settings(runtime="openvino"))
print("openvino" in sys.modules, "openvino_telemetry" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["True", "False"]
