"""The commands of the chart's containers, started for real with their variables, settings and probes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from longvideo.storage.s3 import S3Store
from tests.certificates import Authority
from tests.chart.rendering import REPOSITORY, Object, of_kind, templates, values_of
from tests.parts import KEYS, Moto, free_port

_DEADLINE = 90.0
PROCESSES = ["api", "worker", "beat", "caption", "qa", "offline-models"]


SHARED = (7700, 7701, 7702, 8200)
"""The ports that others find a container at."""


@dataclass(frozen=True)
class Place:
    """What all containers of a release find here: their ports, who signs certificates, and the stores."""

    ports: Mapping[str, str]
    authority: Authority
    database_url: str
    broker_url: str = "redis://127.0.0.1:1/0"
    object_store: str = ""
    keys: tuple[str, str] = ("access", "secret-key")

    @classmethod
    def alone(cls, folder: Path) -> Place:
        """Returns a place without stores."""
        return cls(_ports(*SHARED), Authority(), f"sqlite:///{folder}/longvideo.db")


def _ports(*numbers: int) -> dict[str, str]:
    return {str(number): str(free_port()) for number in numbers}


class Container:
    """A container of the case `offline`, on this machine: its paths lie in a folder, its ports are any free ones."""

    def __init__(self, folder: Path, component: str, place: Place | None = None) -> None:
        self._folder = folder
        self._place = place or Place.alone(folder)
        (self.spec,) = dict(templates("offline"))[component]["spec"]["containers"]
        self._ports = {**self._place.ports, **_ports(7703, 9464)}
        self._write()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIDEO_")}
        self.environment |= {each["name"]: self._here(each["value"]) for each in self.spec["env"]}
        self.environment |= {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder)}

    def _here(self, text: str) -> str:
        moved = text.replace("/etc/longvideo", f"{self._folder}/etc").replace("/tmp/longvideo", f"{self._folder}/data")
        moved = re.sub(r"demo-longvideo-[a-z-]+\.video\.svc\.cluster\.local:", "localhost:", moved)
        moved = re.sub(r"\b(77\d\d|8200|9464)\b", lambda found: self._ports.get(found[0], found[0]), moved)
        return moved.replace(values_of("offline")["objectStore"]["url"], self._place.object_store)

    def _write(self) -> None:
        (config,) = (each for each in of_kind("offline", "ConfigMap") if "settings.toml" in each["data"])
        (certificate,) = of_kind("offline", "Certificate")
        self._place.authority.issue(self._folder / "etc" / "tls", *certificate["spec"]["dnsNames"])
        for name in ("settings", "secrets"):
            (self._folder / "etc" / name).mkdir(parents=True)
        (self._folder / "etc" / "settings" / "settings.toml").write_text(self._here(config["data"]["settings.toml"]))
        secrets = {
            "database_url": self._place.database_url,
            "broker_url": self._place.broker_url,
            "s3_access_key": self._place.keys[0],
            "s3_secret_key": self._place.keys[1],
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

    def run(self) -> subprocess.CompletedProcess[str]:
        """Runs the container's command to its end."""
        command = self.command(self.spec["command"])
        return subprocess.run(
            command, env=self.environment, cwd=self._folder, capture_output=True, text=True, check=False
        )

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Waits until the container is ready, lives by its own probe, and tells Prometheus what it is."""
        deadline = time.monotonic() + _DEADLINE
        for kind in ("readinessProbe", "livenessProbe"):
            while not self.answers(self.spec[kind]):
                said = (self._folder / "log").read_text(errors="replace")
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
        if port := self.port("metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
                assert f'part="{self.spec["name"]}"' in response.read().decode()

    def answers(self, probe: Object) -> bool:
        """Asks as a probe does."""
        if "httpGet" in probe:
            url = f"http://127.0.0.1:{self._ports['8200']}{probe['httpGet']['path']}"
            command = [sys.executable, "-c", f"import urllib.request; urllib.request.urlopen({url!r})"]
        else:
            command = self.command(probe["exec"]["command"])
        done = subprocess.run(command, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0


def test_migrations_migrate(tmp_path: Path) -> None:
    """The hook's command, with the one secret that it is given, makes the tables."""
    container = Container(tmp_path, "migrations")
    done = container.run()
    assert "to the revision" in done.stdout, done.stderr


@pytest.mark.timeout(300)  # eight processes start at one time
def test_a_whole_release_passes_its_own_test(
    tmp_path: Path, empty_postgres_url: str, redis_url: str, moto: Moto
) -> None:
    """All containers together, on real stores, live, are ready, tell their metrics, and pass `helm test`.

    Each process has the chart's command, variables and settings, and is asked by its own probes. The test uploads a
    film, asks about it, and gets the right answer; nothing of that is left in the storage.
    """
    store = moto.object_store(moto.make_bucket("release"), "prod")
    # As in k8s/dev, clients have an address for the storage that is none in a pod.
    place = Place(
        ports=_ports(*SHARED),
        authority=Authority(),
        database_url=empty_postgres_url,
        broker_url=redis_url,
        object_store=f"{store}&public_endpoint=http://localhost:1",
        keys=(KEYS[0], KEYS[1]),
    )
    made = {name: Container(_folder(tmp_path, name), name, place) for name in ("migrations", "test", *PROCESSES)}
    assert made["migrations"].run().returncode == 0
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(made[name].running()) for name in PROCESSES}
        for name, process in processes.items():
            made[name].wait(process)
        done = made["test"].run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok        question: a film was uploaded, asked about and answered right" in done.stdout
    for role in ("reason by offline-reasoner", "caption by offline-captioner", "qa by offline-qa"):
        assert f"ok        answers: {role}" in done.stdout
    assert list(S3Store.at(store, KEYS).list("")) == []


def _folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


def test_a_typo_in_a_variable_stops_a_container(tmp_path: Path) -> None:
    """A variable that means nothing ends the process, so that this file would notice one in the chart."""
    container = Container(tmp_path, "caption")
    container.environment["LONGVIDEO_CAPTION_LISTENS"] = "127.0.0.1:0"
    with container.running() as process:
        assert process.wait(_DEADLINE) == 2
    assert "did you mean" in (tmp_path / "log").read_text()
