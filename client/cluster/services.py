"""What the doctor sees with the settings of a process: whether all that the release works with answers from here."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import sqlalchemy as sa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client import words
from client.cluster import trial
from client.cluster.findings import Check, Finding
from longvideo import ports
from longvideo.endpoint import Endpoint
from longvideo.errors import LongVideoError
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.storage import open_store
from longvideo.usage import ROLES, Role
from orchestrator import wiring
from orchestrator.celery_app import is_in_memory, make_app
from orchestrator.health import broker_check
from orchestrator.store import Database

_SECONDS: Final = 10.0
_SKEW_SECONDS: Final = 5.0
"""How far clocks may be apart: the leases of workers are compared with times of others."""

_SERVICES: Final = {"caption_address": "longvideo.v1.CaptionService", "qa_address": "longvideo.v1.VideoQAService"}
_POLICY: Final = "networkPolicy"


def checks(settings: Settings, seconds: float) -> Mapping[str, Check]:
    """Returns all checks of what the settings name, by name. A model has so many `seconds` for an answer."""
    return {
        "dns": lambda: _names(settings),
        "database": lambda: _database(settings),
        "broker": lambda: _broker(settings),
        "storage": lambda: _storage(settings),
        "services": lambda: _services(settings),
        "answers": lambda: _answers(settings, seconds),
    }


def _names(settings: Settings) -> Iterator[Finding]:
    for host, what in sorted(_hosts(settings).items()):
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            yield Finding(
                "dns",
                "failed",
                f"{host} ({what}) is no name here: {error.strerror}",
                "check the name; where no name is found at all, see that the cluster's DNS runs (kubectl -n "
                f"kube-system get pods -l k8s-app=kube-dns) and that {_POLICY}.dns names it",
            )
        else:
            yield Finding("dns", "ok", f"{host} ({what})")


def _hosts(settings: Settings) -> dict[str, str]:
    """Returns the names that the settings hold, and what each is for."""
    store = urlsplit(settings.object_store)
    found = {
        urlsplit(settings.database_url).hostname: "database",
        urlsplit(settings.broker_url).hostname: "broker",
        urlsplit(dict(parse_qsl(store.query)).get("endpoint", "")).hostname: "storage",
        settings.caption_address.rpartition(":")[0].strip("[]"): "caption service",
        settings.qa_address.rpartition(":")[0].strip("[]"): "video question service",
    }
    found |= {urlsplit(endpoint.url).hostname: f"model {endpoint.model}".strip() for endpoint in settings.endpoints}
    return {host: what for host, what in found.items() if host}


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        with contextlib.closing(wiring.open_database(settings)) as database:
            yield Finding(
                "database", "ok", f"{database.engine.place} answers, and its tables are those of this longvideo"
            )
            yield from _database_clock(database)
    except LongVideoError as error:
        fix = f"check the secret with the database's URL, that PostgreSQL runs, and {_POLICY}.database"
        yield Finding("database", "failed", error.message, "" if "admin migrate" in error.message else fix)


def _database_clock(database: Database) -> Iterator[Finding]:
    if database.engine.is_sqlite:
        return
    with database.engine.read() as session:
        there = float(session.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
    ahead = time.time() - there
    if abs(ahead) > _SKEW_SECONDS:
        said = f"the clock here is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        yield Finding("database", "failed", said, "let NTP (chrony) set the clocks of this node and of the database's")
    else:
        yield Finding("database", "ok", "the database has the same time")


def _broker(settings: Settings) -> Iterator[Finding]:
    if is_in_memory(settings):
        yield Finding("broker", "failed", "broker_url is not set: no worker would be woken", "set the broker's secret")
        return
    address = urlsplit(settings.broker_url)
    where = f"{address.hostname}:{address.port or 6379}"
    try:
        broker_check(make_app(settings))()
    except Exception as error:  # noqa: BLE001  # Celery raises whatever the broker's client does
        fix = f"check the secret with the broker's URL, that Redis runs, and {_POLICY}.broker"
        yield Finding(
            "broker", "failed", f"the broker at {where} does not answer: {words.one_line(str(error), 200)}", fix
        )
    else:
        yield Finding("broker", "ok", f"{where} answers")


def _storage(settings: Settings) -> Iterator[Finding]:
    key, data = f"health/doctor-{secrets.token_hex(8)}", secrets.token_bytes(16)
    try:
        store = open_store(settings.data_dir, settings.object_store, settings.s3_keys())
        try:
            first, second = store.put_if_absent(key, data), store.put_if_absent(key, b"")
            same = store.get(key) == data
        finally:
            store.delete(key)
    except LongVideoError as error:
        fix = (
            "check objectStore.url and the secret with its keys, that the bucket is there and the keys may read, write "
            f"and delete in it, and {_POLICY}.objectStore"
        )
        yield Finding("storage", "failed", error.message, fix)
        return
    where = settings.object_store.partition("?")[0] or str(settings.data_dir)
    if not (first and same) or second:
        fix = "use a server that keeps what it was given and honours If-None-Match"
        yield Finding("storage", "failed", f"{where} did not keep what was written first", fix)
    else:
        yield Finding("storage", "ok", f"{where} can be written, read and deleted from")


def _services(settings: Settings) -> Iterator[Finding]:
    for setting, service in _SERVICES.items():
        address = getattr(settings, setting)
        with ports.connect(settings, setting) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # whose type knows no methods
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_SECONDS)
            except LongVideoError as error:
                fix = (
                    f"kubectl get pods, and look at its logs; certificates must be for its name; {_POLICY} must let us"
                )
                yield Finding("services", "failed", f"{service} at {address}: {error.message}", fix)
                continue
        ready = answer.status == health_pb2.HealthCheckResponse.SERVING
        said = f"{service} at {address} is {'ready' if ready else 'not ready'}"
        fix = "" if ready else "its log says what it waits for: storage or models"
        yield Finding("services", "ok" if ready else "failed", said, fix)


def _answers(settings: Settings, seconds: float) -> Iterator[Finding]:
    pack = load_pack(settings.prompt_pack)
    for role in ROLES:
        asked = [endpoint for endpoint in settings.endpoints if role in endpoint.roles]
        if not asked:
            yield Finding(
                "answers", "failed", f"no endpoint has the role {role}", "give the role to a model in the values"
            )
        for endpoint in asked:
            yield answer(endpoint, role, pack, seconds)


def answer(endpoint: Endpoint, role: Role, pack: Any, seconds: float) -> Finding:
    """Returns what came of asking one model for real."""
    who = f"{role} by {endpoint.model or 'the model'} in {endpoint.pool} at {endpoint.url}"
    start = time.monotonic()
    try:
        said = trial.ask(endpoint, role, pack, seconds)
    except LongVideoError as error:
        fix = (
            "longvideo cluster status shows whether it is ready, and its log why not; longvideo cluster warm wakes one "
            "that KEDA has scaled to zero; its key must be that of modelKeys; network policies let only the pods that "
            "use it, and helm test, reach it"
        )
        return Finding("answers", "failed", f"{who}: {error.message}", fix)
    return Finding("answers", "ok", f"{who}, {time.monotonic() - start:.1f} s: {words.one_line(said, 80)}")
