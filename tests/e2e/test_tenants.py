"""Batch jobs and deleted videos on the embedded stack, and a server that asks for tokens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from client import cli
from longvideo.testing import ScriptedModelServer
from tests.e2e.conftest import Run, flags


def test_batch_job(run: Run, talk: Path, models: ScriptedModelServer) -> None:
    """A batch job says that it is one, and is answered when somebody works on it."""
    job = run("jobs", "submit", talk, "Which number?", "--batch").out.strip().splitlines()[-1]
    assert "batch: other questions go first" in run("jobs", "show", job).out
    document = json.loads(run("jobs", "show", job, "--json").out)
    assert (document["priority"], document["tenant"], document["waiting_reason"]) == ("batch", "default", "")
    assert run("jobs", "watch", job, *flags(models)).code == 0


def test_video_is_deleted(run: Run, talk: Path, data: Path) -> None:
    """A video goes with all that is kept of it, but not while a job about it goes on; the job can be shown after."""
    name = run("videos", "add", talk).out.split("Name")[1].split()[0]
    job = run("jobs", "submit", name, "Which number?").out.strip()
    refused = run("videos", "delete", name)
    assert refused.code == 2
    assert f"{job} about {name} has not ended" in refused.err
    run("jobs", "cancel", job)
    assert run("videos", "delete", name).out == f"Deleted {name}.\n"
    assert "No videos yet" in run("videos", "list").out
    assert "cancelled" in run("jobs", "show", job).out
    assert talk.exists()
    assert not list((data / "objects" / "videos").glob("*/source"))
    assert run("videos", "delete", name).code == 2


def test_server_asks_for_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that asks for tokens lets in who has one, until it is revoked."""
    kept = {"LONGVIDEO_DATA_DIR": str(tmp_path / "data"), "LONGVIDEO_AUTH": "tokens"}
    settings = kept | {
        "LONGVIDEO_API_LISTEN": "127.0.0.1:0",
        "LONGVIDEO_ENDPOINTS": '[{"url": "http://127.0.0.1:9/v1", "roles": ["reason"]}]',
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIDEO_")}
    monkeypatch.setenv("LONGVIDEO_DATA_DIR", kept["LONGVIDEO_DATA_DIR"])
    assert cli.run(["admin", "tenant", "create", "lab"]) == 0
    assert cli.run(["admin", "token", "create", "lab"]) == 0
    token = capsys.readouterr().out.strip().splitlines()[-1]
    command = [sys.executable, "-m", "orchestrator"]
    with subprocess.Popen(command, env=environment | settings, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().rpartition(" ")[2]
            assert cli.run(["videos", "list", "--server", address]) == 2
            assert "asks for a token" in capsys.readouterr().err
            monkeypatch.setenv("LONGVIDEO_TOKEN", token)
            assert cli.run(["videos", "list", "--server", address]) == 0
            assert "No videos yet" in capsys.readouterr().out
            monkeypatch.setenv("LONGVIDEO_TOKEN", token[:-1] + ("0" if token[-1] != "0" else "1"))
            assert cli.run(["videos", "list", "--server", address]) == 2
            assert "not valid" in capsys.readouterr().err
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
