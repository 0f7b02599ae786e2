"""A scripted orchestrator on loopback, and a command line that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client import cli
from tests.contract.client.fake_orchestrator import FakeOrchestrator
from tests.media import make_video


@dataclass(frozen=True)
class Ran:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def orchestrator(tmp_path: Path) -> Iterator[FakeOrchestrator]:
    """A running orchestrator that answers from a script; `address` says where."""
    fake = FakeOrchestrator(tmp_path / "uploads")
    server = fake.serve()
    fake.address = server.address
    yield fake
    server.stop(grace=0)


@pytest.fixture
def run(orchestrator: FakeOrchestrator, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the scripted orchestrator."""

    def run_command(*argv: str | Path) -> Ran:
        capsys.readouterr()
        code = cli.run([*map(str, argv), "--server", orchestrator.address])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run_command


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real video file."""
    return make_video(tmp_path_factory.mktemp("talk") / "talk.mp4", seconds=0.5)
