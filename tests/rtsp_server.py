"""A real RTSP server for the tests: GStreamer's, which the machine's own Python runs.

As a program (`python3 rtsp_server.py FILM PORT`) it serves an MP4 with H.264 at rtsp://127.0.0.1:PORT/film,
and prints the port; port 0 stands for any.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's packages of Python are for Debian's Python."""
PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good"


def missing() -> str | None:
    """Why there is no server to be had, None where there is one."""
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([SYSTEM_PYTHON, __file__], capture_output=True, check=False).returncode == 0:
            return None
    return f"GStreamer's RTSP server is not installed (Debian: apt-get install {PACKAGES})"


@contextlib.contextmanager
def rtsp_server(film: Path, port: int = 0) -> Iterator[int]:
    """Serve a film from its beginning to whoever comes first; its port."""
    command = [SYSTEM_PYTHON, __file__, str(film), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def main(arguments: list[str]) -> None:
    """The server itself; without arguments it ends once all that it needs was found."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    if not all(Gst.ElementFactory.find(name) for name in ("qtdemux", "rtph264pay")):
        sys.exit("gstreamer1.0-plugins-good is missing")
    if not arguments:
        return
    film, port = arguments
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    media = GstRtspServer.RTSPMediaFactory(shared=True)
    payload = "rtph264pay name=pay0 pt=96 config-interval=-1"
    media.set_launch(f'( filesrc location="{film}" ! qtdemux ! {payload} )')
    server.get_mount_points().add_factory("/film", media)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1:])
