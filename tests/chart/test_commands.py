"""The commands of the chart's containers, started for real with their variables, settings and probes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longvideo.settings import Settings
from orchestrator.wiring import migrate_database
from tests.certificates import Authority
from tests.chart.rendering import REPOSITORY, Object, of_kind, templates
from tests.parts import free_port

_DEADLINE = 90.0
PROCESSES = ["api", "worker", "beat", "caption", "qa", "offline-models"]


class Container:
    """A container of the case `offline`, on this machine: its paths lie in a folder, its ports are any free ones."""

    def __init__(self, folder: Path, component: str) -> None:
        self._folder = folder
        self._database_url = f"sqlite:///{folder}/longvideo.db"
        (self.spec,) = dict(templates("offline"))[component]["spec"]["containers"]
        self._ports = {str(port): str(free_port()) for port in (7700, 7701, 7702, 7703, 8200, 9464)}
        self._write()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIDEO_")}
        self.environment |= {each["name"]: self._here(each["value"]) for each in self.spec["env"]}
        self.environment |= {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder)}

    def _here(self, text: str) -> str:
        moved = text.replace("/etc/longvideo", f"{self._folder}/etc").replace("/tmp/longvideo", f"{self._folder}/data")
        return re.sub(r"\b(77\d\d|8200|9464)\b", lambda found: self._ports.get(found[0], found[0]), moved)

    def _write(self) -> None:
        (config,) = (each for each in of_kind("offline", "ConfigMap") if "settings.toml" in each["data"])
        (certificate,) = of_kind("offline", "Certificate")
        Authority().issue(self._folder / "etc" / "tls", *certificate["spec"]["dnsNames"])
        for name in ("settings", "secrets"):
            (self._folder / "etc" / name).mkdir(parents=True)
        (self._folder / "etc" / "settings" / "settings.toml").write_text(self._here(config["data"]["settings.toml"]))
        secrets = {
            "database_url": self._database_url,
            "broker_url": "redis://127.0.0.1:1/0",
            "s3_access_key": "access",
            "s3_secret_key": "secret-key",
        }
        for name, secret in secrets.items():
            (self._folder / "etc" / "secrets" / name).write_text(secret)

    def command(self, command: list[str]) -> list[str]:
        """Returns a command of the container as it is run here."""
        assert command[0] == "python"
        return [sys.executable, *map(self._here, command[1:])]

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Runs the container's command."""
        log = self._folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(self.spec["command"]), env=self.environment, cwd=self._folder, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def port(self, name: str) -> str | None:
        """Returns where the container's port of this name is here."""
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}
        return self._ports[str(ports[name])] if name in ports else None

    def migrate(self) -> None:
        """Makes the tables, as the hook does before."""
        migrate_database(Settings(database_url=self._database_url))

    def answers(self, probe: Object) -> bool:
        """Asks as a probe does."""
        if "httpGet" in probe:
            url = f"http://127.0.0.1:{self._ports['8200']}{probe['httpGet']['path']}"
            command = [sys.executable, "-c", f"import urllib.request; urllib.request.urlopen({url!r})"]
        else:
            command = self.command(probe["exec"]["command"])
        done = subprocess.run(command, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0


@pytest.mark.parametrize("component", PROCESSES)
def test_a_container_lives(tmp_path: Path, component: str) -> None:
    """Each process starts with the chart's command, variables and settings; its probe and Prometheus find it alive."""
    container = Container(tmp_path, component)
    container.migrate()
    with container.running() as process:
        deadline = time.monotonic() + _DEADLINE
        while not container.answers(container.spec["livenessProbe"]):
            said = (tmp_path / "log").read_text(errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
        if port := container.port("metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
                assert f'part="{component}"' in response.read().decode()


def test_migrations_migrate(tmp_path: Path) -> None:
    """The hook's command, with the one secret that it is given, makes the tables."""
    container = Container(tmp_path, "migrations")
    done = subprocess.run(
        container.command(container.spec["command"]),
        env=container.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "to the revision" in done.stdout, done.stderr


def test_a_typo_in_a_variable_stops_a_container(tmp_path: Path) -> None:
    """A variable that means nothing ends the process, so that this file would notice one in the chart."""
    container = Container(tmp_path, "caption")
    container.environment["LONGVIDEO_CAPTION_LISTENS"] = "127.0.0.1:0"
    with container.running() as process:
        assert process.wait(_DEADLINE) == 2
    assert "did you mean" in (tmp_path / "log").read_text()
