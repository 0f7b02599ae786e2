"""Reports of cost, over real gRPC: the bases, what is grouped, what is not known, and what reconciles."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp

from client import cli, cost_tables
from client.screen import Screen
from longvideo import errors
from longvideo.prices import Alone, Price, PriceBook
from longvideo.testing import ScriptedPrometheus
from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator.api.costs import MAX_REPORTS
from orchestrator.costs.replicas import SERIES
from orchestrator.store.calls import Purpose
from orchestrator.tables import CallRow
from tests.contract.orchestrator_world import World, film

REPOSITORY = Path(__file__).parents[2]
START = datetime(2026, 3, 2, 10, tzinfo=UTC).timestamp()
END = START + 120
VIDEO = "ab" * 32
BOOK = PriceBook("EUR", [Price("h800", 3.60, datetime(2026, 1, 1, tzinfo=UTC).timestamp(), "an example, not a price")])


def call(start: float, seconds: float, role: Any = "caption", **changes: Any) -> Call:
    """Returns a call to one of two models: one that sees, on two GPUs, and one that reasons, on one."""
    model, gpus = ("longvideor1", 1) if role == "reason" else ("vision", 2)
    plain: dict[str, Any] = {"outcome": "ok", "prompt_tokens": 1000, "completion_tokens": 100, **changes}
    return Call(role, model, f"http://{model}/v1", plain.pop("pool", "h800"), gpus, START + start, seconds, **plain)


# The worked example of docs/costs.md.
OF_ANN = (call(0, 8), call(4, 8), call(12, 2, "reason"), call(20, 6))
OF_BOB = (call(30, 4, outcome="error"), call(36, 6, attempt=2), call(42, 3, "reason"))


@pytest.fixture
def prometheus() -> Iterator[ScriptedPrometheus]:
    """A Prometheus that knows two replicas of one model and one of the other, from before the period to after it."""
    server = ScriptedPrometheus()
    server.add(SERIES, lambda at: 2, model="vision", pool="h800", gpus="2")
    server.add(SERIES, lambda at: 1, model="longvideor1", pool="h800", gpus="1")
    yield server
    server.close()


@pytest.fixture
def world(tmp_path: Path, prometheus: ScriptedPrometheus) -> Iterator[World]:
    """An orchestrator with a price book, and a ledger of two tenants."""
    made = World(tmp_path / "world", work=False, book=BOOK, prometheus_url=prometheus.url)
    made.database.tenants.create("bob")
    made.database.calls.record(OF_ANN, Purpose("default", VIDEO, "boats"))
    made.database.calls.record(OF_BOB, Purpose("bob", VIDEO, "birds"))
    yield made
    made.close()


def report(world: World, *group_by: str, start: float = START, end: float = END, tenant: str = "-") -> pb.CostReport:
    """Returns a report of the period."""
    request = pb.GetCostReportRequest(
        start_time=_stamp(start),
        end_time=_stamp(end),
        tenant=tenant,
        group_by=[pb.CostDimension.Value(f"COST_DIMENSION_{name.upper()}") for name in group_by],
    )
    return world.stub.GetCostReport(request, timeout=30)


def _stamp(at: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(at * 1e6))
    return stamp


def spent(spending: pb.Spending) -> tuple[float, float | None]:
    """Returns GPU-seconds, and thousandths of what they cost: the example's GPU-second costs one."""
    cost = round(spending.cost * 1000, 6) if spending.HasField("cost") else None
    return round(spending.gpu_seconds, 6), cost


def reasons(found: pb.CostReport) -> set[str]:
    """Returns why something is not known."""
    return {note.reason for note in found.notes}


def test_three_bases(world: World) -> None:
    """The bases stand side by side: alone time, the share of the servers, the share of what was provided."""
    found = report(world)
    total = found.total
    assert (found.currency, total.call_count, total.model_duration.ToSeconds()) == ("EUR", 7, 37)
    assert total.isolated_duration.ToSeconds() == 5 * 6 + 2 * 2.5
    assert spent(total.isolated) == (65, 65)
    assert spent(total.attributed) == (61, 61)
    assert spent(total.allocated) == (69, 69)
    assert spent(total.idle) == (531, 531)
    assert (spent(total.wasted), total.wasted_call_count, total.retry_count) == ((8, 8), 1, 1)
    alone = {types_pb2.Role.Name(each.role): each for each in found.alone_times}
    assert {role: (each.mean_duration.ToMilliseconds(), each.call_count) for role, each in alone.items()} == {
        "ROLE_CAPTION": (6000, 2),
        "ROLE_REASON": (2500, 2),
    }
    assert [(each.outcome, each.call_count, spent(each.spending)) for each in found.wasted] == [
        (types_pb2.ModelCall.OUTCOME_ERROR, 1, (8, 8))
    ]


def test_it_reconciles_to_the_bill(world: World) -> None:
    """What was used and what stood idle is what was provided: replicas times GPUs times the price of the period."""
    bill = {each.model: each for each in report(world).provided}
    assert {model: spent(each.provided) for model, each in bill.items()} == {
        "vision": (480, 480),
        "longvideor1": (120, 120),
    }
    assert {model: spent(each.used) for model, each in bill.items()} == {"vision": (64, 64), "longvideor1": (5, 5)}
    assert {model: spent(each.idle) for model, each in bill.items()} == {
        "vision": (416, 416),
        "longvideor1": (115, 115),
    }


def test_parts_add_up(world: World) -> None:
    """However a report is grouped, its rows add up to its total, and the reports of two times to that of both."""
    whole = report(world).total
    for dimensions in (["tenant"], ["role", "model"], ["label", "day", "video"], ["job", "episode", "round", "pool"]):
        rows = report(world, *dimensions).rows
        for basis in ("isolated", "attributed", "allocated", "idle", "wasted"):
            parts = [getattr(row, basis) for row in rows]
            assert sum(part.cost for part in parts) == pytest.approx(getattr(whole, basis).cost), dimensions
        assert sum(row.call_count for row in rows) == whole.call_count
    halves = [report(world, start=START, end=START + 38).total, report(world, start=START + 38, end=END).total]
    for basis in ("attributed", "allocated", "wasted"):
        assert sum(getattr(half, basis).cost for half in halves) == pytest.approx(getattr(whole, basis).cost)
    assert [half.call_count for half in halves] == [6, 1]
    assert [half.prompt_token_count for half in halves] == [6000, 1000]


def test_rows_are_named(world: World) -> None:
    """A row says what it is about in the fields that it was grouped by, and only there; the dearest comes first."""
    rows = report(world, "tenant", "role").rows
    assert [(row.tenant, types_pb2.Role.Name(row.role), spent(row.attributed)[0]) for row in rows] == [
        ("default", "ROLE_CAPTION", 36),
        ("bob", "ROLE_CAPTION", 20),
        ("bob", "ROLE_REASON", 3),
        ("default", "ROLE_REASON", 2),
    ]
    assert {(row.model, row.pool, row.day, row.label, row.video) for row in rows} == {("", "", "", "", "")}
    (row,) = report(world, "day", "video", "pool", "label", tenant="bob").rows
    assert (row.day, row.video, row.pool, row.label) == ("2026-03-02", f"videos/{VIDEO}", "h800", "birds")


def test_others_have_their_share(world: World) -> None:
    """Calls that are not asked for count where calls share a server, and the bill is told to nobody but admins."""
    world.database.calls.record([call(20, 6)], Purpose("bob", VIDEO))
    found = report(world, tenant="")
    assert spent(found.total.attributed) == (12 + 12 + 2 + 6, 32)
    assert not found.provided


def test_without_prices(world: World) -> None:
    """Without a price GPU-seconds are known and costs are not, and a note says why."""
    world.database.calls.record([call(50, 1, pool="a800")], Purpose("bob", VIDEO))
    found = report(world, "pool")
    assert spent(found.total.attributed) == (63, None)
    assert {row.pool: spent(row.attributed) for row in found.rows} == {"h800": (61, 61), "a800": (2, None)}
    assert {row.pool: row.HasField("allocated") for row in found.rows} == {"h800": True, "a800": False}
    assert reasons(found) == {"NO_PRICE", "NOT_PROVIDED"}
    before = report(world, end=START + 10, start=datetime(2025, 12, 31, tzinfo=UTC).timestamp())
    assert before.total.attributed.HasField("cost")


def test_without_a_book_or_prometheus(tmp_path: Path) -> None:
    """A server without price book and Prometheus reports GPU-seconds on the first two bases, and says what lacks."""
    made = World(tmp_path / "plain", work=False)
    made.database.calls.record(OF_ANN, Purpose("default", VIDEO))
    found = report(made, tenant="")
    assert (found.currency, spent(found.total.attributed), spent(found.total.isolated)) == ("", (38, None), (38, None))
    assert not found.total.HasField("allocated")
    assert not found.total.HasField("idle")
    assert reasons(found) == {"NO_PRICE_BOOK", "NO_PROMETHEUS"}
    made.close()


def test_nobody_was_alone(world: World) -> None:
    """Where no call was alone the isolated basis is not known, and a note names the model."""
    found = report(world, end=START + 14)
    assert not found.total.HasField("isolated")
    assert not found.total.HasField("isolated_duration")
    (note,) = (note for note in found.notes if note.reason == "NEVER_ALONE")
    assert "vision as caption in h800" in note.message


@pytest.mark.parametrize(
    "failure", [(500, "no"), (200, "[]"), (200, '{"status": "success"}'), (400, '{"status": "error", "error": "bad"}')]
)
def test_prometheus_fails(world: World, prometheus: ScriptedPrometheus, failure: tuple[int, str]) -> None:
    """A Prometheus that does not answer as it should takes the allocated basis away, and nothing else."""
    prometheus.failure = failure
    found = report(world)
    assert spent(found.total.attributed) == (61, 61)
    assert not found.total.HasField("allocated")
    assert reasons(found) == {"PROMETHEUS_UNAVAILABLE"}


def test_models_that_prometheus_does_not_know(tmp_path: Path) -> None:
    """A Prometheus without any replicas provides nothing, and a note says of what."""
    empty = ScriptedPrometheus()
    made = World(tmp_path / "unseen", work=False, book=BOOK, prometheus_url=empty.url)
    made.database.calls.record(OF_ANN, Purpose("default", VIDEO))
    found = report(made)
    assert not found.total.HasField("allocated")
    (note,) = found.notes
    assert note.reason == "NOT_PROVIDED"
    assert "longvideor1 in h800, vision in h800" in note.message
    made.close()
    empty.close()


def test_other_namespaces_are_not_ours(tmp_path: Path, prometheus: ScriptedPrometheus) -> None:
    """Where the models' namespace is known, replicas of the same models elsewhere are in no bill."""
    for namespace, count in (("video", 1), ("other", 3)):
        prometheus.add(SERIES, lambda at, count=count: count, namespace=namespace, model="m", pool="h800", gpus="2")  # type: ignore[misc]
    made = World(tmp_path / "named", work=False, book=BOOK, prometheus_url=prometheus.url, prometheus_namespace="video")
    (bill,) = report(made).provided
    assert (bill.model, spent(bill.provided)) == ("m", (240, 240))
    made.close()


def test_nothing_lacks_where_no_gpu_was_used(tmp_path: Path) -> None:
    """Models without GPUs have nothing that could have a price, so nobody is told that there is none."""
    made = World(tmp_path / "light", work=False)
    made.database.calls.record([replace(each, gpus=0) for each in OF_ANN], Purpose("default", VIDEO))
    found = report(made, tenant="")
    assert (spent(found.total.attributed), reasons(found)) == ((0, None), set())
    assert spent(found.total.allocated) == (0, None)
    made.close()


def test_replicas_come_and_go(world: World, prometheus: ScriptedPrometheus) -> None:
    """Each minute has the replicas of its look; time with calls and no replica is told, and in no bill."""
    prometheus.add(SERIES, lambda at: 1 if at < START + 60 else None, model="other", pool="h800", gpus="4")
    other = {"role": "qa", "model": "other", "endpoint": "http://other/v1", "pool": "h800", "gpus": 4}
    made = [Call(**other, start_time=START + at, seconds=10, outcome="ok") for at in (50, 55)]  # type: ignore[arg-type]
    world.database.calls.record(made, Purpose("bob", VIDEO))
    found = report(world, "model")
    (bill,) = (each for each in found.provided if each.model == "other")
    assert (spent(bill.provided), spent(bill.used), spent(bill.idle)) == ((240, 240), (40, 40), (200, 200))
    (note,) = (note for note in found.notes if note.reason == "REPLICAS_MISSING")
    assert note.message.startswith("For 5 s there were calls of other in h800")


def test_long_times_are_asked_for_in_parts(world: World, prometheus: ScriptedPrometheus) -> None:
    """A month is looked at minute by minute, in as many queries as Prometheus needs; a century less closely."""
    found = report(world, end=START + 30 * 86400)
    assert {query["step"] for query in prometheus.queries} == {"60"}
    assert len(prometheus.queries) == 5
    assert sum(each.provided.gpu_seconds for each in found.provided) == pytest.approx(5 * 30 * 86400)
    prometheus.queries.clear()
    found = report(world, end=START + 40 * 365 * 86400)
    assert len(prometheus.queries) == 5
    assert sum(each.provided.gpu_seconds for each in found.provided) == pytest.approx(5 * 40 * 365 * 86400)


def test_questions(tmp_path: Path) -> None:
    """Questions count where they ended, in every row that they are not divided by; savings know the captions."""
    made = World(tmp_path / "asked")
    video = made.add(film(tmp_path)).name
    first = made.finish(made.submit(video))
    second = made.finish(made.submit(video, "What number is it?", "And now?", label="more"))
    request = pb.GetCostReportRequest(group_by=[pb.COST_DIMENSION_LABEL, pb.COST_DIMENSION_ROLE])
    found = made.stub.GetCostReport(request, timeout=30)
    assert (found.total.question_count, found.total.answered_count, found.total.judged_count) == (3, 3, 0)
    counts = {(row.label, types_pb2.Role.Name(row.role)): row.question_count for row in found.rows}
    assert counts["", "ROLE_REASON"] == 1
    assert counts["more", "ROLE_REASON"] == counts["more", "ROLE_QA"] == 2
    # Four high captions and one medium one, made for the first question and there for the others.
    assert found.savings.caption_cache.count == 2 * 5
    assert found.savings.early_halting.count == 64 - 5
    (row,) = made.stub.GetCostReport(
        pb.GetCostReportRequest(job=second.name, group_by=[pb.COST_DIMENSION_JOB]), timeout=30
    ).rows
    assert (row.job, row.question_count) == (second.name, 2)
    episodes = made.stub.GetCostReport(
        pb.GetCostReportRequest(
            job=first.name, group_by=[pb.COST_DIMENSION_EPISODE, pb.COST_DIMENSION_ROUND, pb.COST_DIMENSION_ROLE]
        ),
        timeout=30,
    ).rows
    assert {(row.episode, row.round) for row in episodes} == {(f"{first.name}/episodes/1", n) for n in range(4)}
    made.close()


def test_what_was_saved(tmp_path: Path) -> None:
    """Captions and prompt tokens that were not needed are told with what such ones took when they were."""
    made = World(tmp_path / "saving", book=BOOK)
    video = made.add(film(tmp_path)).name
    made.finish(made.submit(video))
    made.finish(made.submit(video))
    with made.database.engine.write() as session:
        session.execute(sa.delete(CallRow))
    read = call(0, 8, prompt_tokens=1000, prefill_seconds=2)
    kept = call(10, 4, prompt_tokens=1000, cached_tokens=600, prefill_seconds=0.8)
    made.database.calls.record([read, kept], Purpose("default", VIDEO))
    found = report(made, tenant="", end=time.time() + 60)
    assert (found.total.question_count, found.savings.caption_cache.count) == (2, 5)
    # A caption had 6 s of two GPUs on the mean; 1,400 prompt tokens were read in 2.8 s.
    assert spent(found.savings.caption_cache.spending) == (60, 60)
    assert found.savings.caption_cache.model_duration.ToSeconds() == 30
    assert found.savings.early_halting.count == 64 - 5
    assert spent(found.savings.early_halting.spending) == (59 * 12, 59 * 12)
    assert found.savings.prefix_cache.count == 600
    assert spent(found.savings.prefix_cache.spending) == (2.4, 2.4)
    assert found.savings.prefix_cache.model_duration.ToMilliseconds() == 1200
    made.close()


def test_what_savings_rest_on(world: World) -> None:
    """Where no server tells how long it read, and no caption was made, savings are counts alone, and notes say why."""
    cached = call(50, 1, "reason", cached_tokens=900)
    world.database.calls.record([cached], Purpose("bob", VIDEO))
    found = report(world)
    assert found.savings.prefix_cache.count == 900
    assert not found.savings.prefix_cache.HasField("spending")
    assert not found.savings.prefix_cache.HasField("model_duration")
    (note,) = found.notes
    assert (note.reason, "longvideor1 in h800" in note.message) == ("NO_PREFILL_TIME", True)


def test_alone_as_the_price_book_says(tmp_path: Path) -> None:
    """Seconds that somebody measured and wrote into the price book stand for those of the ledger."""
    alone = [Alone("caption", "vision", "h800", 5.0, "measured"), Alone("reason", "longvideor1", "h800", 2.0, "too")]
    prices = PriceBook("EUR", [Price("h800", 3.60, 0.0, "an example, not a price")], alone)
    made = World(tmp_path / "measured", work=False, book=prices)
    made.database.calls.record(OF_ANN, Purpose("default", VIDEO))
    found = report(made, tenant="", end=START + 14)
    assert spent(found.total.isolated) == (2 * 5 * 2 + 2, 22)
    assert {(each.mean_duration.ToSeconds(), each.call_count) for each in found.alone_times} == {(5, 0), (2, 0)}
    made.close()


def test_too_many_reports(world: World) -> None:
    """More reports than there are places for are told when to come again; the next one finds a place."""
    for _ in range(MAX_REPORTS):
        assert world.servicer._reports.acquire(blocking=False)
    with pytest.raises(errors.ResourceExhausted, match="2 reports are being made already") as caught:
        report(world)
    assert (caught.value.reason, caught.value.retry_after) == ("TOO_MANY_REPORTS", 10.0)
    for _ in range(MAX_REPORTS):
        world.servicer._reports.release()
    assert report(world).total.call_count == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group_by": [0]}, "group_by\\[0\\] is 0; give one of COST_DIMENSION_TENANT"),
        ({"group_by": [99]}, "group_by\\[0\\] is 99"),
        ({"group_by": [1, 1]}, "group_by has tenant twice"),
        ({"job": "j"}, "job is 'j'; it must look like jobs/"),
        ({"job": "jobs/none", "tenant": "-"}, "tenant and job are both given"),
        ({"start_time": {"seconds": 20}, "end_time": {"seconds": 10}}, "which is after the end of the range"),
        ({"end_time": {"nanos": -1}}, "end_time has 0 seconds and -1 nanos"),
    ],
)
def test_wrong_requests(world: World, fields: dict[str, Any], message: str) -> None:
    """What cannot be reported on is refused, with the field, its value and the fix."""
    with pytest.raises(errors.InvalidArgument, match=message):
        world.stub.GetCostReport(pb.GetCostReportRequest(**fields))


def test_too_many_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that would not fit into a message is refused, with what to do about it."""
    monkeypatch.setattr("orchestrator.costs.cells.MAX_ROWS", 1)
    with pytest.raises(errors.InvalidArgument, match="group_by gives more than 1 rows; group by less"):
        report(world, "tenant")
    assert len(report(world, "video").rows) == 1


def costs(world: World, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs the command about the example's two minutes, and returns what it wrote."""
    capsys.readouterr()
    period = ("--since", "2026-03-02T10:00Z", "--until", "2026-03-02T10:02Z", "--tenant", "-")
    assert cli.run(["costs", *period, "--server", world.server.address, *arguments]) == 0
    return capsys.readouterr().out


def test_the_page_shows_what_the_command_writes(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/costs.md is what `longvideo costs` writes about it, line for line."""
    page = (REPOSITORY / "docs" / "costs.md").read_text("utf-8")
    shown = page.partition("```console\n")[2].partition("```")[0].splitlines()[1:]
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        written = costs(world, capsys).rstrip().splitlines()
    time.tzset()
    assert [line.rstrip() for line in written] == shown


def test_every_number_for_programs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """As CSV and as JSON there is a row for each group, with all three bases."""
    rows = list(csv.DictReader(costs(world, capsys, "--by", "tenant", "--csv").splitlines()))
    assert [row["tenant"] for row in rows] == ["default", "bob"]
    assert [float(row["attributed_cost"]) for row in rows] == pytest.approx([0.038, 0.023])
    found = json.loads(costs(world, capsys, "--by", "tenant", "--json"))
    assert [row["tenant"] for row in found["rows"]] == ["default", "bob"]
    assert found["currency"] == "EUR"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "role,colour"], "--by is 'role,colour'; give some of tenant, job, video, label, role"),
        (["--json", "--csv"], "Give --json or --csv, not both"),
        (["--job", "jobs/x"], "Give --job or --tenant, not both"),
    ],
)
def test_wrong_options(world: World, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """What the command cannot do is refused before anything is asked."""
    assert cli.run(["costs", "--tenant", "-", "--server", world.server.address, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_narrow_terminal_shows_what_matters_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 80 columns no word is broken: the bases stay, and numbers that matter less are left out."""
    monkeypatch.setenv("COLUMNS", "80")
    stream = _Narrow()
    cost_tables.show(Screen(stream), report(world, "role", "model", "pool"), ["role", "model", "pool"])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    head = next(line for line in lines if line.startswith("role"))
    assert {"role", "model", "pool", "isolated", "attributed", "allocated"} <= set(head.split())
    assert "alone" not in head
    assert any(line.split()[:3] == ["reason", "longvideor1", "h800"] for line in lines)


class _Narrow(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_empty_ledger(tmp_path: Path) -> None:
    """Where nothing was ever called, the report is of nothing."""
    made = World(tmp_path / "empty", work=False)
    found = made.stub.GetCostReport(pb.GetCostReportRequest(group_by=[pb.COST_DIMENSION_DAY]))
    assert (found.total.call_count, list(found.rows)) == (0, [])
    made.close()
