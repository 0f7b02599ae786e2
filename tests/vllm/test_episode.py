"""A whole episode on genuine vLLM servers: the command, every service, and models that speak nonsense within bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.model_server import Served
from tests.media import make_video

pytestmark = pytest.mark.vllm

ROUNDS = 4


def test_an_episode_runs_on_vllm(tmp_path: Path, text_server: Served, vl_server: Served) -> None:
    """Random models that are held to the protocol navigate a video: every reply is legal, and the last one answers."""
    video = make_video(tmp_path / "film.mp4", seconds=40, fps=10)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "client", "ask", str(video), "What number is shown?", "--json"),
            *("--data-dir", str(tmp_path / "data"), "--max-rounds", str(ROUNDS)),
            *("--reason-url", text_server.url, "--caption-url", vl_server.url, "--qa-url", vl_server.url),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = {row["role"]: row for row in document["usage"]}

    assert document["ending"] == "answered"
    assert 1 <= len(document["rounds"]) <= ROUNDS
    assert all(not step["corrections"] for step in document["rounds"])
    assert rows["reason"]["calls"] == len(document["rounds"])
    assert rows["caption"]["calls"] >= 4
    assert all(row["failed_calls"] == 0 and row["prompt_tokens"] > 0 for row in rows.values())
