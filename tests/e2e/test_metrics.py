"""What every process of a cluster tells Prometheus, after episodes in which much went wrong."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import words
from longvideo.declared import DECLARED, Part
from longvideo.errors import NotFound
from longvideo.testing import Reply
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from monitoring.__main__ import FILES, made
from tests.e2e import stand_in
from tests.e2e.cluster import Cluster, Models, eventually
from tests.media import make_video
from tests.parts import Moto, Postgres, Redis, free_port
from tests.parts.prometheus import Prometheus, Target, has_prometheus, needs_prometheus

CUT = Reply(body=b"{" + b" " * 100, cut_after=20)
FAULTS: dict[str, dict[int, Reply | str]] = {
    "reason": {1: Reply.error(500), 3: "I have no idea.", 5: Reply("half a th", finish_reason="abort"), 6: CUT},
    "caption": {1: CUT, 2: Reply.error(503), 4: "<caption></caption>", 6: Reply("half", finish_reason="abort")},
    "qa": {1: Reply.html(502), 2: "<answer></answer>"},
}
"""What the models say instead, by the number of the call of a role."""
QUESTIONS = ("Which number?", "Which colour?")
GPU_HOUR = 7.2


@dataclass
class FaultyModels(Models):
    """Models of which some calls go wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__()
        self.server.handler = self._answer_or_fail

    def _answer_or_fail(self, request: dict[str, Any]) -> Reply | str:
        content = request["messages"][-1]["content"]
        if isinstance(content, str):
            role = "reason"
            # What was sent back is no round.
            sent = [message for message in request["messages"] if message["content"] != "I have no idea."]
            request = {**request, "messages": sent}
        else:
            role = "qa" if any(part.get("text", "").startswith("Question:") for part in content) else "caption"
        with self.lock:
            self.counts[role] += 1
            number = self.counts[role]
        return FAULTS[role].get(number) or self._answer(request)


Samples = dict[str, dict[tuple[str, ...], float]]


def scrape(address: str) -> tuple[str, Samples]:
    """Returns what a process tells, as it stands there, and by name and by the values of the labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as response:
        text = response.read().decode()
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        order = (*DECLARED[family.name].labels, "le") if family.name in DECLARED else ()
        for sample in family.samples:
            labels = tuple(sample.labels[label] for label in order if label in sample.labels)
            samples.setdefault(sample.name, {})[labels] = sample.value
    return text, samples


def counted(samples: Samples, name: str, **counts: float) -> bool:
    """Tells whether a metric of one label has counted this, and nothing else."""
    return {labels[0]: value for labels, value in samples[name].items() if value} == counts


@dataclass
class Run:
    """A cluster in which a job has ended, where its processes tell their metrics, and its ledger."""

    models: FaultyModels
    job: pb.Job
    video: str
    addresses: dict[Part, str]
    ledger: list[pb.LedgerEntry]
    stub: OrchestratorServiceStub
    prometheus: Prometheus | None

    def told(self, part: Part) -> Samples:
        """Returns what the process of a part tells."""
        return scrape(self.addresses[part])[1]

    def until(self, part: Part, condition: Callable[[Samples], bool], what: str) -> Samples:
        """Waits until a process tells something, and returns all that it tells."""
        return eventually(lambda: condition(told := self.told(part)) and told, what)

    def collected(self) -> Prometheus:
        """Returns Prometheus once it knows all there is to know."""
        assert self.prometheus is not None
        self.prometheus.until('sum(longvideo_episodes_total{ending="answered"}) == 2')
        self.prometheus.collect()
        return self.prometheus


def targets(addresses: dict[Part, str], vllm: str) -> list[Target]:
    """Returns what the chart lets Prometheus find: our processes, a model's pod, and another that still loads."""
    ours = [Target(address, {"namespace": "longvideo", "part": part}) for part, address in addresses.items()]
    model = {"namespace": "longvideo", "model": "scripted", "pool": "default", "gpus": "2"}
    loading = Target(f"127.0.0.1:{free_port()}", model, answers=False)
    return [*ours, Target(vllm, model), loading]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, migrated: str, redis: Redis, moto: Moto
) -> Iterator[Run]:
    """A run with faults."""
    models = FaultyModels()
    book = tmp_path_factory.mktemp("prices") / "prices.json"
    price = {"pool": "default", "gpu_hour": GPU_HOUR, "valid_from": "2020-01-01", "source": "made up"}
    book.write_text(json.dumps({"currency": "EUR", "prices": [price]}))
    prometheus = Prometheus(FILES / "rules.yaml") if has_prometheus() else None
    cluster = Cluster(
        tmp_path_factory.mktemp("metrics"),
        models,
        price_book=str(book),
        otlp_endpoint=f"http://127.0.0.1:{free_port()}",  # where nobody is, which nobody minds
        prometheus_url=f"http://{prometheus.address}" if prometheus is not None else "",
        database_url=postgres.url(postgres.create(migrated)),
        broker_url=redis.create(),
        object_store=moto.object_store(moto.make_bucket("metrics")),
    )
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(models.server.close)
        cleanup.callback(cluster.close)
        cluster.start()
        cluster.workers("worker")
        parts: dict[str, Part] = {"orchestrator": "api", "caption_svc": "caption", "qa_svc": "qa"}
        addresses: dict[Part, str] = {}
        for process in cluster.processes:
            told = process.ready("metrics are served at").rpartition("http://")[2]
            addresses[parts.get(process.name, process.name)] = told.partition("/metrics")[0]  # type: ignore[index]
        if prometheus is not None:
            prometheus.targets = targets(addresses, cleanup.enter_context(stand_in.vllm()))
            cleanup.enter_context(prometheus).collect()
        for number in (1, 2):  # a rate is seen from the second on
            with pytest.raises(NotFound):
                cluster.get(pb.Job(name="jobs/nothing"))
            if prometheus is not None:
                prometheus.until(f'longvideo_rpcs_total{{code="NOT_FOUND"}} == {number}')
        video = cluster.add(make_video(tmp_path_factory.mktemp("film") / "film.mp4", seconds=8, fps=10))
        job = cluster.finish(cluster.submit(video, *QUESTIONS))
        assert job.state == pb.Job.STATE_SUCCEEDED, [episode.error for episode in job.episodes]
        ledger = [entry for page in cluster.stub.ExportUsage(pb.ExportUsageRequest()) for entry in page.entries]
        yield Run(models, job, video, addresses, ledger, cluster.stub, prometheus)


def test_every_process_tells_its_metrics(run: Run) -> None:
    """Each process answers with all metrics declared for it, and with nothing of what belongs to a tenant."""
    assert set(run.addresses) == {"api", "worker", "beat", "caption", "qa"}
    for part, address in run.addresses.items():
        text, _ = scrape(address)
        told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE longvideo_")}
        assert told == {declared.name for declared in DECLARED.values() if part in declared.parts}
        for secret in (run.video.removeprefix("videos/"), run.job.name.removeprefix("jobs/"), *QUESTIONS):
            assert secret not in text


def test_ledger_metrics_and_models_agree(run: Run) -> None:
    """The ledger, the metrics of all processes and the models' own counts are the same, for calls and for tokens."""
    server = run.models.server
    calls, tokens, images = Counter[tuple[str, ...]](), Counter[str](), 0.0
    for part in ("worker", "caption", "qa"):
        told = run.told(part)  # type: ignore[arg-type]
        for (role, _, _, outcome), count in told["longvideo_model_calls_total"].items():
            calls[role, outcome] += int(count)
        for labels, count in told["longvideo_model_tokens_total"].items():
            tokens[labels[3]] += int(count)
        images += sum(told["longvideo_model_images_total"].values())
        seconds = sum(told["longvideo_model_call_seconds_sum"].values())
        own = [
            entry.call for entry in run.ledger if words.role(entry.call.role) == {"worker": "reason"}.get(part, part)
        ]
        assert seconds == pytest.approx(sum(call.duration.ToNanoseconds() / 1e9 for call in own), rel=1e-6)
        gpu_seconds = sum(told["longvideo_model_gpu_seconds_total"].values())
        assert gpu_seconds == pytest.approx(sum(_gpu_seconds(call) for call in own), rel=1e-6)
        assert {labels[3] for labels in told["longvideo_model_cost_total"]} == {"EUR"}
        cost = sum(told["longvideo_model_cost_total"].values())
        # These calls take a millisecond, and moments since 1970 are exact to a quarter of a microsecond.
        assert cost == pytest.approx(gpu_seconds / 3600 * GPU_HOUR, rel=1e-3)
    kept = [entry.call for entry in run.ledger]
    assert run.job.spending.gpu_seconds == pytest.approx(sum(map(_gpu_seconds, kept)), rel=1e-6)
    assert run.job.spending.cost == pytest.approx(run.job.spending.gpu_seconds / 3600 * GPU_HOUR, rel=1e-3)
    assert calls == Counter((words.role(call.role), words.outcome(call.outcome)) for call in kept)
    assert calls.total() == len(kept) == len(server.requests) == run.models.counts.total()
    assert calls["reason", "invalid"] == calls["qa", "invalid"] == calls["caption", "invalid"] == 1
    assert (calls["reason", "error"], calls["caption", "error"], calls["qa", "error"]) == (3, 3, 1)
    assert tokens["prompt"] == sum(call.prompt_token_count for call in kept)
    assert tokens["prompt"] == sum(usage["prompt_tokens"] for usage in server.usages)
    assert tokens["completion"] == sum(call.completion_token_count for call in kept)
    assert tokens["completion"] == sum(usage["completion_tokens"] for usage in server.usages)
    assert tokens["cached"] == sum(call.cached_token_count for call in kept)
    assert tokens["cached"] == sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in server.usages)
    assert images == sum(call.image_count for call in kept)


def _gpu_seconds(call: types_pb2.ModelCall) -> float:
    return call.duration.ToNanoseconds() / 1e9 * call.gpu_count


def test_episodes_are_counted(run: Run) -> None:
    """The worker counts the episodes with their rounds, and the API sees nothing left to do."""
    worker = run.until("worker", lambda told: counted(told, "longvideo_episodes_total", answered=2), "two answers")
    assert counted(worker, "longvideo_episode_rounds_sum", answered=6)
    assert counted(worker, "longvideo_episode_seconds_count", answered=2)
    assert counted(worker, "longvideo_episode_wait_seconds_count", interactive=2)
    assert counted(worker, "longvideo_episode_actions_total", medium=2, video_qa=2, answer=2)
    assert counted(worker, "longvideo_episode_coverage_ratio_count", opened=2, low=2, inspected=2)
    inspected = worker["longvideo_episode_coverage_ratio_sum"][("inspected",)]
    assert 0 < inspected == sum(episode.coverage.inspected_fraction for episode in run.job.episodes)
    assert set(worker["longvideo_model_calls_in_flight"].values()) == {0.0}
    (labels,) = worker["longvideo_model_endpoint_healthy"]
    assert labels == ("reason", "default", run.models.server.url)

    def idle(told: Samples) -> bool:
        nothing = {("interactive",): 0.0, ("batch",): 0.0}
        return told.get("longvideo_episodes_waiting") == told.get("longvideo_episodes_running") == nothing

    run.until("api", idle, "the API knows that nothing is left")


def test_the_services_are_counted(run: Run) -> None:
    """Calls of services, captions, frames and what videos were read by are counted where they happen."""
    caption = run.told("caption")
    asked = sum(caption["longvideo_captions_total"].values())
    made = {labels: count for labels, count in caption["longvideo_captions_total"].items() if labels[1] == "made"}
    assert made == {("high", "made"): 4.0, ("medium", "made"): 1.0, ("low", "made"): 0.0}
    (saved,) = caption["longvideo_caption_saved_gpu_seconds_total"].values()
    assert saved > 0
    service = "longvideo.v1.CaptionService"
    rpcs = run.until(
        "caption",
        lambda told: told["longvideo_rpcs_total"].get((service, "CaptionSegment", "OK")) == asked,
        "all captions are counted",
    )
    assert rpcs["longvideo_rpc_seconds_count"][service, "CaptionSegment"] == asked
    run.until("caption", lambda told: told["longvideo_rpcs_in_flight"] == {(service,): 0.0}, "no call is under way")
    for told in (caption, run.told("qa")):
        assert told["longvideo_frames_total"][("read",)] > 0
        assert told["longvideo_media_tasks_total"]["frames", "ok"] > 0
        assert told["longvideo_media_read_bytes_total"][("frames",)] > 0
    api = run.told("api")
    assert api["longvideo_media_tasks_total"] == {("index", "ok"): 1.0, ("frames", "ok"): 0.0}
    assert api["longvideo_rpcs_total"]["longvideo.v1.OrchestratorService", "SubmitJob", "OK"] == 1
    run.until("beat", lambda told: any(told.get("longvideo_beat_messages_total", {}).values()), "beat sends")


@needs_prometheus
def test_ledger_prometheus_and_models_agree(run: Run) -> None:
    """What Prometheus has collected is what the ledger holds and the models counted: calls, tokens and seconds."""
    prometheus, server = run.collected(), run.models.server
    kept = [entry.call for entry in run.ledger]
    counts = {
        (dict(labels)["role"], dict(labels)["outcome"]): count
        for labels, count in prometheus.query("sum by (role, outcome) (longvideo_model_calls_total) > 0").items()
    }
    assert counts == Counter((words.role(call.role), words.outcome(call.outcome)) for call in kept)
    assert sum(counts.values()) == len(server.requests)
    tokens = prometheus.query("sum by (kind) (longvideo_model_tokens_total)")
    assert {dict(labels)["kind"]: count for labels, count in tokens.items()} == {
        "prompt": sum(usage["prompt_tokens"] for usage in server.usages),
        "cached": sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in server.usages),
        "completion": sum(usage["completion_tokens"] for usage in server.usages),
    }
    assert prometheus.value('sum(longvideo_model_tokens_total{kind="prompt"})') == sum(
        call.prompt_token_count for call in kept
    )
    seconds = sum(call.duration.ToNanoseconds() / 1e9 for call in kept)
    assert prometheus.value("sum(longvideo_model_call_seconds_sum)") == pytest.approx(seconds, rel=0.01)
    assert prometheus.value("sum(longvideo_model_gpu_seconds_total)") == pytest.approx(2 * seconds, rel=0.01)
    assert prometheus.value("sum(longvideo_model_cost_total)") == pytest.approx(2 * seconds / 3600 * GPU_HOUR, rel=0.01)


@needs_prometheus
def test_rules_record_what_there_is(run: Run) -> None:
    """The rules count a model's replicas and GPUs, with the one that still loads, and what all of them cost."""
    prometheus = run.collected()
    for name, value in {
        "longvideo:model_replicas:count": 2,
        "longvideo:model_replicas_ready:count": 1,
        "longvideo:model_gpus:sum": 4,
        "longvideo:model_gpus_busy:sum": 2,
        "longvideo:model_gpus:cost_per_hour": 4 * GPU_HOUR,
    }.items():
        prometheus.until(f'{name}{{model="scripted",pool="default"}} == {value}')
    prometheus.until("longvideo:episode_errors:ratio_rate5m")
    assert prometheus.value("longvideo:episode_errors:ratio_rate5m") == 0
    assert prometheus.query('ALERTS{alertstate="firing"}') == {}


@needs_prometheus
def test_latencies_lead_to_traces(run: Run) -> None:
    """Prometheus is given a trace with the latencies of calls, of models' calls and of episodes."""
    prometheus = run.collected()
    for histogram in ("longvideo_model_call_seconds", "longvideo_rpc_seconds", "longvideo_episode_seconds"):
        exemplars = prometheus.exemplars(f"{histogram}_bucket")
        assert exemplars, histogram
        assert all(len(bytes.fromhex(exemplar["trace_id"])) == 16 for exemplar in exemplars), histogram


@needs_prometheus
def test_a_report_of_cost_knows_what_was_provided(run: Run) -> None:
    """The server learns from Prometheus what GPUs there were in the last second, used or not, and what they cost."""
    run.collected().until('longvideo:model_replicas:count{model="scripted"} offset 2s == 2')
    request = pb.GetCostReportRequest(tenant="-")
    request.end_time.GetCurrentTime()
    request.start_time.FromNanoseconds(request.end_time.ToNanoseconds() - 10**9)
    (provided,) = run.stub.GetCostReport(request, timeout=60).provided
    assert (provided.model, provided.pool) == ("scripted", "default")
    # Prometheus has milliseconds.
    assert provided.provided.gpu_seconds == pytest.approx(4, rel=0.01)
    assert provided.provided.cost == pytest.approx(4 * GPU_HOUR / 3600, rel=0.01)
    assert provided.used.gpu_seconds + provided.idle.gpu_seconds == pytest.approx(4, rel=0.01)


@needs_prometheus
@pytest.mark.parametrize("board", [name for name in made() if name.endswith(".json")])
def test_every_panel_shows_something(run: Run, board: str) -> None:
    """Each query of each dashboard, asked of a real Prometheus after a real run, gives a number."""
    prometheus = run.collected()
    chosen = {"$__rate_interval": "5m", "$__range:1m": "5m:1s", "$__range": "5m", "$namespace": "longvideo"}
    chosen |= {"$pool": ".*", "$model": ".*"}
    empty = []
    for panel in json.loads(made()[board])["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in chosen.items():
                query = query.replace(variable, value)
            if not prometheus.query(query):
                empty.append((panel["title"], query))
    assert empty == []
