"""What several processes have counted in the files of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from facerec.observability.exposition import FOLDER_VARIABLE, Together

COUNT = """
from facerec.observability import metrics
metrics.faces_embedded.inc(3)
"""


def test_a_process_that_just_begins_to_count_is_passed_over(tmp_path: Path) -> None:
    environment = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COUNT], env=environment, check=True)
    (tmp_path / "counter_1.db").touch()
    samples = [sample for family in Together(folder=tmp_path).collect() for sample in family.samples]
    assert sum(sample.value for sample in samples if sample.name == "facerec_faces_embedded_total") == 6
