"""`longvideo cluster doctor` and `warm` where there are only a process's settings, as in a pod, on real stores."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import cli
from longvideo import rpc
from longvideo.testing import Reply, ScriptedModelServer
from longvideo.v1 import caption_pb2, video_qa_pb2
from offline_models.server import serve
from tests.parts import KEYS, Moto, free_port

INSIDE = ("settings", "dns", "database", "broker", "storage", "services", "answers")
_SERVICES = {
    "caption_address": caption_pb2.DESCRIPTOR.services_by_name["CaptionService"].full_name,
    "qa_address": video_qa_pb2.DESCRIPTOR.services_by_name["VideoQAService"].full_name,
}

_ONE_ROLE = json.dumps([{"url": "http://127.0.0.1:9/v1", "model": "m", "roles": ["qa"]}])

Setting = Callable[..., None]


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    """The offline models."""
    server = serve()
    yield server.url
    server.close()


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Changes settings."""

    def change(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"LONGVIDEO_{name.upper()}", value)

    return change


@pytest.fixture
def pod(setting: Setting, models: str, postgres_url: str, redis_url: str, moto: Moto, tmp_path: Path) -> Iterator[None]:
    """The settings of a process in a release where all is well."""
    servers = [rpc.serve([(name, _nothing, None)]) for name in _SERVICES.values()]
    roles = {"reason": "offline-reasoner", "caption": "offline-captioner", "qa": "offline-qa"}
    setting(
        data_dir=str(tmp_path),
        database_url=postgres_url,
        broker_url=redis_url,
        object_store=moto.object_store(_bucket(moto), tmp_path.name),
        s3_access_key=KEYS[0],
        s3_secret_key=KEYS[1],
        endpoints=json.dumps([{"url": models, "model": model, "roles": [role]} for role, model in roles.items()]),
        **{name: server.address for name, server in zip(_SERVICES, servers, strict=True)},
    )
    yield
    for server in servers:
        server.stop(grace=0)


def _nothing(_servicer: object, _server: object) -> None:
    """Serves no method: only health is asked for."""


def _bucket(moto: Moto) -> str:
    try:
        return moto.make_bucket("doctor")
    except Exception:  # noqa: BLE001  # it is there already
        return "doctor"


def findings(capsys: pytest.CaptureFixture[str], *checks: str) -> list[dict[str, str]]:
    """Returns what the doctor finds with the settings."""
    words = [word for check in checks or INSIDE for word in ("--only", check)]
    capsys.readouterr()
    code = cli.run(["cluster", "doctor", "--json", *words])
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)["findings"]
    assert code == (1 if any(each["state"] == "failed" for each in found) else 0)
    return found


@pytest.mark.usefixtures("pod")
def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """With everything in place nothing is wrong: stores, services, and an answer of each model to a real request."""
    found = findings(capsys)
    assert {each["state"] for each in found} == {"ok"}
    assert {each["check"] for each in found} == set(INSIDE) - {"settings"}
    answers = {each["said"].split()[0]: each["said"] for each in found if each["check"] == "answers"}
    assert "LONGVIDEO 4217" in answers["caption"]
    assert "LONGVIDEO 4217" in answers["qa"]


@pytest.mark.parametrize(
    ("values", "check", "said", "fix"),
    [
        (
            {"database_url": "postgresql://me:hidden@127.0.0.1:9/none"},
            "database",
            "127.0.0.1:9",
            "networkPolicy.database",
        ),
        ({"database_url": "postgresql://me@db.invalid/none"}, "dns", "db.invalid (database) is no name", "kube-dns"),
        (
            {"broker_url": "redis://:hidden@127.0.0.1:9/0"},
            "broker",
            "127.0.0.1:9 does not answer",
            "networkPolicy.broker",
        ),
        ({"broker_url": "memory://"}, "broker", "broker_url is not set", "secret"),
        ({"qa_address": "127.0.0.1:9"}, "services", "VideoQAService at 127.0.0.1:9", "networkPolicy"),
        ({"endpoints": _ONE_ROLE}, "answers", "no endpoint has the role reason", "give the role to a model"),
        ({"cache_byte": "7"}, "settings", "LONGVIDEO_CACHE_BYTES", ""),
    ],
)
@pytest.mark.usefixtures("pod")
def test_each_fault_has_its_fix(
    setting: Setting, capsys: pytest.CaptureFixture[str], values: dict[str, str], check: str, said: str, fix: str
) -> None:
    """What a setting names and does not answer is found by its own check, with what mends it, and without secrets."""
    setting(**values)
    found = [each for each in findings(capsys, check) if each["state"] == "failed"]
    assert found
    assert all(said in each["said"] and fix in each["fix"] for each in found[:1]), found
    assert "hidden" not in str(found)


@pytest.mark.usefixtures("pod")
def test_a_database_without_tables(
    setting: Setting, empty_postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that nobody has migrated is told with the command that does."""
    setting(database_url=empty_postgres_url)
    (found,) = findings(capsys, "database")
    assert "has no tables" in found["said"]
    assert "longvideo admin migrate" in found["said"]


@pytest.mark.usefixtures("pod")
def test_a_bucket_that_is_not_there(setting: Setting, moto: Moto, capsys: pytest.CaptureFixture[str]) -> None:
    """A bucket that nobody has made is told with where to look."""
    setting(object_store=moto.object_store("nobody-made-it", "prod"))
    (found,) = findings(capsys, "storage")
    assert found["state"] == "failed"
    assert "nobody-made-it" in found["said"]
    assert "objectStore.url" in found["fix"]


@pytest.mark.usefixtures("pod")
def test_models_that_answer_nonsense(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    """A model whose answers an episode could not use has failed, and so has one that does not answer."""
    replies: dict[str, Reply | str] = {"m": "Hello!"}
    with ScriptedModelServer(lambda _: replies["m"], models=("m",), owned_by="somebody") as server:
        endpoint = {"url": server.url, "model": "m", "roles": ["reason"]}
        setting(endpoints=json.dumps([endpoint]))
        said = [each["said"] for each in findings(capsys, "answers") if "reason by m" in each["said"]]
        assert "answered what cannot be used" in said[0]
        replies["m"] = Reply.error(503, "overloaded")
        said = [each["said"] for each in findings(capsys, "answers") if "reason by m" in each["said"]]
        assert "503" in said[0]
    setting(endpoints=json.dumps([{**endpoint, "url": f"http://127.0.0.1:{free_port()}/v1"}]))
    found = next(each for each in findings(capsys, "answers") if "reason by m" in each["said"])
    assert "cannot be reached" in found["said"]
    assert "longvideo cluster status" in found["fix"]


def test_warm_asks_until_each_answers(
    setting: Setting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a pod a model that is still loading is asked again until it answers; a model that nobody has is told."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where no kubeconfig is
    replies = [Reply.error(503, "loading"), "<think>x</think><answer>4217</answer>"]
    with ScriptedModelServer(lambda _: replies.pop(0), models=("m",), owned_by="somebody") as server:
        setting(endpoints=json.dumps([{"url": server.url, "model": "m", "roles": ["reason"]}]), data_dir=str(tmp_path))
        assert cli.run(["cluster", "warm", "--timeout", "30"]) == 0
        assert "Ready     reason by m" in capsys.readouterr().out
        assert replies == []
        assert cli.run(["cluster", "warm", "other"]) == 2
        assert "they have: m" in capsys.readouterr().err


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where KServe's client is not installed, one line says which extra brings it."""
    monkeypatch.setitem(sys.modules, "kserve", None)
    assert cli.run(["cluster", "status"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'longvideo[cluster]'" in err
    assert len(err.splitlines()) == 1
