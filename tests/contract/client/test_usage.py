"""`longvideo usage`, against a scripted orchestrator."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from client import ledger
from longvideo.errors import Unavailable
from longvideo.usage import Call, to_proto
from longvideo.v1 import orchestrator_pb2 as pb
from tests.contract.client.conftest import Run
from tests.contract.client.fake_orchestrator import FakeOrchestrator

START = 1_800_000_000.25
GOOD = Call("caption", "m", "http://x/v1", "h800", 2, START, 7.5, "ok", 100, 40, 10, 16, id="c1", decode_seconds=0.5)
BAD = Call(
    "reason", "m", "http://x/v1", "", 0, START + 1, 0.5, "error", attempt=2, detail='said "no",\nthen ü', id="c2"
)


@pytest.fixture
def ledgered(orchestrator: FakeOrchestrator) -> FakeOrchestrator:
    """An orchestrator with two calls, which come in two messages."""
    good = pb.LedgerEntry(
        call=to_proto(GOOD), tenant="t", job="jobs/j", episode=1, round=2, video="videos/v", label="l"
    )
    bad = pb.LedgerEntry(call=to_proto(BAD), tenant="t", video="videos/v")
    orchestrator.ledger = [pb.ExportUsageResponse(entries=[entry]) for entry in (good, bad)]
    return orchestrator


def check(rows: list[dict[str, Any]]) -> None:
    """Checks the rows, of which each value is what it is in JSON."""
    good, bad = rows
    assert list(good) == list(bad) == list(ledger.COLUMNS)
    assert good | {"time": ""} == {
        "time": "",
        "tenant": "t",
        "job": "jobs/j",
        "episode": 1,
        "round": 2,
        "video": "videos/v",
        "label": "l",
        "role": "caption",
        "model": "m",
        "endpoint": "http://x/v1",
        "pool": "h800",
        "gpus": 2,
        "attempt": 1,
        "outcome": "ok",
        "seconds": 7.5,
        "queue_seconds": None,
        "prefill_seconds": None,
        "decode_seconds": 0.5,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 10,
        "images": 16,
        "detail": None,
        "call": "c1",
    }
    assert (bad["job"], bad["episode"], bad["outcome"], bad["attempt"]) == (None, None, "error", 2)
    assert bad["detail"] == BAD.detail


def test_json_lines(run: Run, ledgered: FakeOrchestrator) -> None:
    """Every call is one JSON object on a line of the standard output."""
    ran = run("usage", "export", "--format", "jsonl")
    assert (ran.code, ran.err) == (0, "2 calls written.\n")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    check(rows)
    assert rows[0]["time"] == "2027-01-15T08:00:00.250000+00:00"


def test_csv(run: Run, ledgered: FakeOrchestrator) -> None:
    """Every call is a line of a table that CSV readers read."""
    rows = list(csv.DictReader(io.StringIO(run("usage", "export", "--format", "csv").out, newline="")))
    for row in rows:
        for name, kind in ledger.COLUMNS.items():
            text = row[name]
            row[name] = None if not text and name != "pool" else text if kind is datetime else kind(text)  # type: ignore[assignment]
    check(rows)


def test_parquet(run: Run, ledgered: FakeOrchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call is a row of a Parquet file, whose columns have types, in groups of bounded size."""
    path = tmp_path / "calls.parquet"
    monkeypatch.setattr(ledger, "_GROUP", 1)
    ran = run("usage", "export", "--format", "parquet", "-o", path)
    assert (ran.code, ran.out, [each.name for each in tmp_path.glob("calls*")]) == (0, "", ["calls.parquet"])
    file = pyarrow.parquet.ParquetFile(path)
    assert file.num_row_groups == 2
    rows = file.read().to_pylist()
    check(rows)
    assert rows[0]["time"] == datetime.fromtimestamp(START, UTC)
    assert str(file.schema_arrow.field("gpus").type) == "int64"


@pytest.mark.parametrize("format_", ["csv", "parquet", "jsonl"])
def test_nothing_to_export(run: Run, tmp_path: Path, format_: str) -> None:
    """Where there are no calls there is a file without rows."""
    path = tmp_path / "calls"
    assert run("usage", "export", "--format", format_, "--output", path).err == "0 calls written.\n"
    if format_ == "parquet":
        assert pyarrow.parquet.read_table(path).num_rows == 0
    else:
        assert path.read_text("utf-8").splitlines() == ([",".join(ledger.COLUMNS)] if format_ == "csv" else [])


def test_parquet_needs_pyarrow(
    run: Run, orchestrator: FakeOrchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow the command says what to install, and asks the server nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = run("usage", "export", "--format", "parquet", "-o", tmp_path / "calls.parquet")
    assert ran.code == 2
    assert "pip install 'longvideo[parquet]'" in ran.err
    assert not orchestrator.requests
    assert list(tmp_path.glob("calls*")) == []


def test_broken_off(run: Run, ledgered: FakeOrchestrator, tmp_path: Path) -> None:
    """An export that fails leaves no file, and the one that was there as it was."""
    path = tmp_path / "calls.csv"
    path.write_text("old", "utf-8")
    ledgered.fail["ExportUsage"] = Unavailable("the server is stopping")
    ran = run("usage", "export", "--format", "csv", "-o", path)
    assert (ran.code, "the server is stopping" in ran.err) == (2, True)
    assert (path.read_text("utf-8"), [each.name for each in tmp_path.glob("calls*")]) == ("old", ["calls.csv"])
    assert "cannot be written" in run("usage", "export", "--format", "csv", "-o", tmp_path / "no" / "calls").err


def test_range_and_tenant(run: Run, ledgered: FakeOrchestrator) -> None:
    """The times and the tenant are sent as they were given; what is no time is refused with what one looks like."""
    times = ("--since", "2027-01-15T08:00Z", "--until", "2027-01-16T00:00:00.5+00:00")
    run("usage", "export", "--format", "csv", *times, "--tenant", "-")
    request = next(each for each in ledgered.requests if isinstance(each, pb.ExportUsageRequest))
    assert (request.start_time.ToJsonString(), request.tenant) == ("2027-01-15T08:00:00Z", "-")
    assert request.end_time.ToJsonString() == "2027-01-16T00:00:00.500Z"
    ran = run("usage", "export", "--format", "csv", "--since", "soon")
    assert ran.code == 2
    assert "--since is 'soon'; give a day such as 2026-03-01" in ran.err
