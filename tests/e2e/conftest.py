"""The command as a user types it: in this process where that will do, in one of its own where it matters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from client import cli
from longvideo.testing import Reply, ScriptedModelServer
from tests.media import make_video

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


@dataclass
class Script:
    """What the scripted models say. `break_after` answers every call after so many with `broken`."""

    steps: list[str] = field(
        default_factory=lambda: [
            "<think>the second part</think>\n<tool>get_caption((2,4))</tool>",
            "<think>closer</think>\n<tool>video_qa((2,4,1), Which number?)</tool>",
            "<think>that is it</think>\n<answer>It is 42.</answer>",
        ]
    )
    broken: Reply | None = None
    break_after: int = 0
    calls: int = 0

    def __call__(self, request: dict[str, Any]) -> Reply | str:
        """Answers as the role that the request is for."""
        self.calls += 1
        if self.broken is not None and self.calls > self.break_after:
            return self.broken
        messages = request["messages"]
        content = messages[-1]["content"]
        if isinstance(content, str):
            taken = sum(message["role"] == "assistant" for message in messages)
            return self.steps[min(taken, len(self.steps) - 1)]
        if any(part.get("text", "").startswith("Question:") for part in content):
            return "<reasoning>I see it.</reasoning><answer>The number 42.</answer>"
        return "<caption>A grid of cells.</caption>"


@pytest.fixture
def script() -> Script:
    """What the scripted models say."""
    return Script()


@pytest.fixture
def models(script: Script) -> Iterator[ScriptedModelServer]:
    """A model server for all three roles."""
    # Not one that binds answers to a grammar: the script may say anything.
    with ScriptedModelServer(script, owned_by="somebody") as server:
        yield server


def flags(models: ScriptedModelServer | str) -> list[str]:
    """Returns the options that point all roles at a server."""
    url = models if isinstance(models, str) else models.url
    return ["--reason-url", url, "--caption-url", url, "--qa-url", url]


Run = Callable[..., Ran]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the data directory, in this process."""
    monkeypatch.setenv("LONGVIDEO_UNAVAILABLE_PATIENCE", "0")

    def run_command(*argv: str | Path) -> Ran:
        capsys.readouterr()
        code = cli.run([*map(str, argv), "--data-dir", str(data)])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run_command


def start(*argv: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Starts a command in a process of its own."""
    environment = {**os.environ, "LONGVIDEO_UNAVAILABLE_PATIENCE": "0", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-m", "client", *map(str, argv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real video file of eight seconds."""
    return make_video(tmp_path_factory.mktemp("talk") / "talk.mp4", seconds=8, fps=10)
