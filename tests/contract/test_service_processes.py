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


def start(name: str, data_dir: Path, **settings: str) -> subprocess.Popen[str]:
    """Starts a service with nothing but these settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LONGVIDEO_")}
    environment |= {f"LONGVIDEO_{key}": value for key, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", name],
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


def _ask(channel: grpc.Channel, service: str) -> None:
    if service == "CaptionService":
        caption = caption_pb2.CaptionSegmentRequest(video=str(VIDEO), path=[1], tree_width=2)
        caption_pb2_grpc.CaptionServiceStub(channel).CaptionSegment(caption, timeout=60)
    else:
        question = video_qa_pb2.AnswerQuestionRequest(video=str(VIDEO), path=[1, 1, 1], tree_width=2, query="?")
        video_qa_pb2_grpc.VideoQAServiceStub(channel).AnswerQuestion(question, timeout=60)
