"""The caption and question services as processes, configured by the environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from longvideo import errors, rpc
from longvideo.v1 import caption_pb2, caption_pb2_grpc, video_qa_pb2, video_qa_pb2_grpc
from tests.contract.library import VIDEO

SERVICES = [("caption_svc", "CAPTION", "CaptionService"), ("qa_svc", "QA", "VideoQAService")]


def start(name: str, data_dir: Path, *argv: str, **settings: str) -> subprocess.Popen[str]:
    """Starts a service with nothing but these settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LONGVIDEO_")}
    environment |= {f"LONGVIDEO_{key}": value for key, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", name, *argv],
        env=environment | {"LONGVIDEO_DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("name", "setting", "service"), SERVICES)
def test_a_process(tmp_path: Path, name: str, setting: str, service: str) -> None:
    """A service says where it listens, is healthy, answers, and stops when it is told to."""
    endpoints = json.dumps([{"url": "http://127.0.0.1:9/v1", "roles": ["caption", "qa"], "model": "m"}])
    settings = {f"{setting}_LISTEN": "127.0.0.1:0", "ENDPOINTS": endpoints}
    with start(name, tmp_path, **settings) as process:
        assert process.stdout is not None
        ready = process.stdout.readline().strip()
        assert ready.startswith(f"{name}: ready at 127.0.0.1:")
        with rpc.connect(ready.rpartition(" ")[2]) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            state = health.Check(health_pb2.HealthCheckRequest(service=f"longvideo.v1.{service}"), timeout=60).status
            assert state == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(errors.NotFound):
                _ask(channel, service)
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0


@pytest.mark.parametrize(("name", "setting", "service"), SERVICES)
def test_bad_settings(tmp_path: Path, name: str, setting: str, service: str) -> None:
    """A service without endpoints says so on standard error and exits with 2."""
    with start(name, tmp_path) as process:
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"{name}: No endpoint serves the role")


SECRETS = {
    "API_KEY": "hush-api-key",
    "S3_ACCESS_KEY": "hush-access",
    "S3_SECRET_KEY": "hush-secret",
    "S3_SESSION_TOKEN": "hush-session",
    "TOKEN": "lv_ada_hush-token",
    "DATABASE_URL": "postgresql://longvideo:hush-database@127.0.0.1:1/longvideo",
    "BROKER_URL": "redis://:hush-broker@127.0.0.1:1/0",
}


def test_a_process_logs_lines_without_secrets(tmp_path: Path) -> None:
    """Each line is a JSON object with the service and its call; no secret is in any, whatever comes with a call."""
    endpoints = json.dumps([{"url": "http://127.0.0.1:9/v1", "roles": ["caption"], "model": "m"}])
    with start("caption_svc", tmp_path, CAPTION_LISTEN="127.0.0.1:0", ENDPOINTS=endpoints, **SECRETS) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip().rpartition(" ")[2]
        with rpc.connect(address, token="lv_eve_hush-other") as channel, pytest.raises(errors.NotFound):
            _ask(channel, "CaptionService")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=100)
    lines = [json.loads(line) for line in err.splitlines()]

    assert {line["service"] for line in lines} == {"caption_svc"}
    (call,) = (line for line in lines if line["logger"] == "longvideo.access")
    assert (call["method"], call["code"], call["level"]) == ("CaptionSegment", "NOT_FOUND", "info")
    assert call["seconds"] >= 0
    assert "hush" not in err


@pytest.mark.parametrize(
    "argv",
    [["orchestrator"], ["client", "ask", "--help"], ["client", "videos", "list", "--server", "127.0.0.1:1"],
     ["longvideo.health", "127.0.0.1:1"], ["longvideo.settings", "--values"]],
    ids=" ".join,
)  # fmt: skip
def test_no_secret_is_shown(tmp_path: Path, argv: list[str]) -> None:
    """Neither a start that fails nor any help or error shows a secret of the settings."""
    with start(argv[0], tmp_path, *argv[1:], **SECRETS) as process:
        out, err = process.communicate(timeout=100)

    assert out + err
    assert "hush" not in out + err


def _ask(channel: grpc.Channel, service: str) -> None:
    if service == "CaptionService":
        caption = caption_pb2.CaptionSegmentRequest(video=str(VIDEO), path=[1], tree_width=2)
        caption_pb2_grpc.CaptionServiceStub(channel).CaptionSegment(caption, timeout=60)
    else:
        question = video_qa_pb2.AnswerQuestionRequest(video=str(VIDEO), path=[1, 1, 1], tree_width=2, query="?")
        video_qa_pb2_grpc.VideoQAServiceStub(channel).AnswerQuestion(question, timeout=60)
