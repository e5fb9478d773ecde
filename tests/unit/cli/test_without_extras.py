"""What is installed with nothing but the package itself."""

from __future__ import annotations

import subprocess
import sys


def test_the_command_line_needs_no_extra() -> None:
    extras = ("psycopg", "qdrant_client", "pinecone", "matplotlib", "skimage", "onnxruntime", "faiss")
    hidden = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; import facerec.cli.commands, facerec.bootstrap", *extras],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
