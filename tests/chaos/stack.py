"""The stack that faults are done to: real servers, real processes, and a model server for each that calls models."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from longvideo import rpc
from longvideo.settings import Settings
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from orchestrator import tokens
from orchestrator.store import Database
from orchestrator.wiring import migrate_database
from tests.chaos.models import Brain, ModelServer
from tests.chaos.processes import Process
from tests.parts import KEYS, Moto, Postgres, Proxy, Redis, free_port

DISK_MEBIBYTES = 320


class Stack:
    """Everything, on free loopback ports. `timing` holds the settings that make hours into seconds."""

    def __init__(
        self, directory: Path, brain: Brain, timing: dict[str, str], tenants: Sequence[str], *, workers: int = 3
    ) -> None:
        self.directory = directory
        self._cleanup = contextlib.ExitStack()
        self.postgres, self.redis, self.moto = Postgres(), Redis(), Moto()
        self.disk: Path | None = None
        self.models: list[ModelServer] = []
        self._brain, self._timing = brain, timing
        with contextlib.ExitStack() as undo:  # if it cannot be started as a whole
            undo.callback(self.close)
            self._start_servers()
            self._tokens = self._make_tenants(tenants)
            self.processes = self._make_processes(workers)
            for process in self.processes:
                process.start()
                self._cleanup.callback(process.stop)
            undo.pop_all()

    def _start_servers(self) -> None:
        for server in (self.postgres, self.redis, self.moto):
            self._cleanup.callback(server.close)
            server.start()
        self.disk = _small_disk(self.postgres, self._cleanup)
        self.bucket = self.moto.make_bucket("films")
        self.proxy = Proxy(self.moto.endpoint)
        self._cleanup.callback(self.proxy.close)
        self.database_url = self.postgres.url(self.postgres.create())
        migrate_database(Settings(database_url=self.database_url))

    def _make_tenants(self, names: Sequence[str]) -> dict[str, str]:
        """Makes tenants, and returns the token of each."""
        made = {}
        with contextlib.closing(Database(self.database_url)) as database:
            for name in names:
                database.tenants.create(name)
                row, made[name] = tokens.make(name, ["read", "submit"])
                database.tenants.add_token(row)
        return made

    def _make_processes(self, workers: int) -> list[Process]:
        ports = {name: free_port() for name in ("api-1", "api-2", "caption-1", "caption-2", "qa-1")}
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        common = {
            "data_dir": str(self.directory / "data"),
            "object_store": self.moto.object_store(self.bucket, "lv", self.proxy.endpoint),
            "s3_access_key": KEYS[0],
            "s3_secret_key": KEYS[1],
            "database_url": self.database_url,
            "broker_url": self.redis.url,
            "auth": "tokens",
            "qa_address": self.addresses["qa-1"],
            "caption_address": self.addresses["caption-1"],
            **self._timing,
        }
        made = []
        for number in (1, 2):
            own = {"api_listen": self.addresses[f"api-{number}"], "endpoints": self._endpoints("api", "reason")}
            made.append(Process(f"api-{number}", ["orchestrator"], common | own, self.directory))
            own = {"caption_listen": self.addresses[f"caption-{number}"]}
            own["endpoints"] = self._endpoints(f"caption-{number}", "caption")
            made.append(Process(f"caption-{number}", ["caption_svc"], common | own, self.directory))
        own = {"qa_listen": self.addresses["qa-1"], "endpoints": self._endpoints("qa-1", "qa")}
        made.append(Process("qa-1", ["qa_svc"], common | own, self.directory))
        celery = ["celery", "-A", "orchestrator.celery_app"]
        for number in range(1, workers + 1):
            name = f"worker-{number}"
            own = {"endpoints": self._endpoints(name, "reason", "reason")}
            own["caption_address"] = self.addresses[f"caption-{number % 2 + 1}"]
            command = [*celery, "worker", "--pool", "threads", "--loglevel", "WARNING", "-n", f"{name}@localhost"]
            made.append(Process(name, command, common | own, self.directory))
        schedule = ["--schedule", str(self.directory / "beat-schedule"), "--pidfile", ""]
        own = {"endpoints": self._endpoints("beat", "reason")}
        made.append(
            Process("beat", [*celery, "beat", "--loglevel", "WARNING", *schedule], common | own, self.directory)
        )
        return made

    def _endpoints(self, caller: str, *roles: str) -> str:
        """Returns the setting `endpoints` of a process, with model servers of its own."""
        listed = []
        for role in roles:
            server = ModelServer(self._brain, caller)
            self._cleanup.callback(server.close)
            self.models.append(server)
            listed.append({"url": server.url, "roles": [role], "model": "scripted", "pool": "h800", "gpus": 2})
        return json.dumps(listed)

    def named(self, start: str) -> list[Process]:
        """Returns the processes whose name starts so."""
        return [process for process in self.processes if process.name.startswith(start)]

    def connect(self, number: int, tenant: str) -> tuple[grpc.Channel, Any]:
        """Returns a tenant's channel to one of the two API processes, and a stub."""
        channel = rpc.connect(self.addresses[f"api-{number % 2 + 1}"], token=self._tokens[tenant])
        return channel, OrchestratorServiceStub(channel)

    def stop_processes(self) -> dict[str, int]:
        """Stops longvideo's processes in good order, and returns their exit codes."""
        return {process.name: process.stop() for process in self.processes}

    def close(self) -> None:
        """Stops everything."""
        self._cleanup.close()


def _small_disk(postgres: Postgres, cleanup: contextlib.ExitStack) -> Path | None:
    """Moves the data of PostgreSQL to a small disk, which only root can make, and returns where it is."""
    data, aside = postgres.directory / "data", postgres.directory / "aside"
    postgres.stop()
    with (data / "postgresql.conf").open("a") as file:
        file.write("\nmax_wal_size = 64MB\nmin_wal_size = 32MB\n")
    data.rename(aside)
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m", "longvideo-chaos", str(data)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    if mounted:
        cleanup.callback(subprocess.run, ["umount", "--lazy", str(data)], check=False)
        subprocess.run(["cp", "-a", f"{aside}/.", str(data)], check=True)
        shutil.rmtree(aside)
    else:
        data.rmdir()
        aside.rename(data)
    postgres.start()
    return data if mounted else None
