"""The trace of a question, through every process of a cluster, as a collector receives it."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster, Models, eventually
from tests.media import make_video
from tests.parts import KEYS, Moto, Postgres, Redis
from tests.parts.otlp import Collector, Node, Received

API, CAPTIONS, QA = (f"longvideo.v1.{name}Service" for name in ("Orchestrator", "Caption", "VideoQA"))
SECRETS = ("hush-model", "hush-collector", KEYS[1])

_CAPTION = f"""\
{CAPTIONS}/CaptionSegment [worker client]
  {CAPTIONS}/CaptionSegment [caption_svc server]
    read frames [caption_svc internal]
    chat scripted [caption_svc client]
"""
_ANSWER = f"""\
{QA}/AnswerQuestion [worker client]
  {QA}/AnswerQuestion [qa_svc server]
    read frames [qa_svc internal]
    chat scripted [qa_svc client]
"""


def indented(text: str, depth: int) -> str:
    """Returns a tree as it stands below others."""
    return "".join(f"{'  ' * depth}{line}\n" for line in text.splitlines())


TREE = f"""\
{API}/SubmitJob [client client]
  {API}/SubmitJob [orchestrator server]
    invoke_agent longvideo [worker internal]
      opening [worker internal]
{indented(_CAPTION, 4) * 4}\
      round [worker internal]
        chat scripted [worker client]
        execute_tool get_caption [worker internal]
{indented(_CAPTION, 5)}\
      round [worker internal]
        chat scripted [worker client]
        execute_tool video_qa [worker internal]
{indented(_ANSWER, 5)}\
      round [worker internal]
        chat scripted [worker client]
"""


@dataclass
class Traced:
    """A cluster that sends its spans to a collector."""

    cluster: Cluster
    collector: Collector
    film: Path

    def spans(self, name: str, enough: int = 1) -> list[Received]:
        """Waits for so many spans of a name, and returns them."""

        def found(spans: list[Received]) -> list[Received]:
            return [span for span in spans if span.name == name]

        return found(self.collector.wait(lambda spans: len(found(spans)) >= enough, f"{enough} {name}"))


@pytest.fixture(scope="module")
def traced(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, migrated: str, redis: Redis, moto: Moto
) -> Iterator[Traced]:
    """A cluster with one worker, and a film."""
    models, collector = Models(), Collector()
    made = Cluster(
        tmp_path_factory.mktemp("traces"),
        models,
        database_url=postgres.url(postgres.create(migrated)),
        broker_url=redis.create(),
        object_store=moto.object_store(moto.make_bucket("traces")),
        otlp_endpoint=collector.url,
        otlp_headers="authorization=hush-collector",
        api_key="hush-model",
    )
    try:
        made.start()
        made.workers("first")
        yield Traced(made, collector, make_video(tmp_path_factory.mktemp("film") / "film.mp4", seconds=8, fps=10))
    finally:
        made.close()
        collector.close()
        models.server.close()


def outline(node: Node) -> str:
    """Returns a tree of spans as text."""
    return node.outline(lambda span: f"{span.name} [{span.service} {span.kind}]")


@pytest.fixture(scope="module")
def trace(traced: Traced) -> Node:
    """The whole trace of one question, asked by the command that a user types."""
    address = f"https://{traced.cluster.address}"
    command = traced.cluster.run("client", "client", "ask", str(traced.film), "Which number?", "--server", address)
    assert command.popen.wait(60) == 0, command.said()
    traced.spans("invoke_agent longvideo")
    (root,) = traced.spans("longvideo ask")
    traced.spans(f"{API}/WatchJob", 2)
    traced.spans(f"{CAPTIONS}/CaptionSegment", 10)
    traced.spans("chat scripted", 9)
    (tree,) = eventually(lambda: len(found := traced.collector.trace(root.trace)) == 1 and found, "one tree")
    return tree


def test_the_tree_of_an_episode(trace: Node) -> None:
    """One trace goes from the command through the API, the database, the worker and the services to the models."""
    assert (trace.span.name, trace.span.service, trace.span.kind) == ("longvideo ask", "client", "client")
    (submission,) = [child for child in trace.children if child.span.name == f"{API}/SubmitJob"]
    assert outline(submission) == TREE
    assert {child.span.name.rpartition("/")[2] for child in trace.children} >= {"CreateVideo", "WatchJob", "GetEpisode"}
    assert not [node.span for node in trace.walk() if node.span.error]


def test_what_the_spans_say(trace: Node, traced: Traced) -> None:
    """The agent, its tools and the models' calls are described as OpenTelemetry's conventions have it."""
    spans = [node.span for node in trace.walk()]
    (agent,) = [span.attributes for span in spans if span.name == "invoke_agent longvideo"]
    assert agent["gen_ai.operation.name"] == "invoke_agent"
    assert agent["longvideo.ending"] == "answered"
    assert agent["longvideo.finished_rounds"] == 0
    episode = agent["gen_ai.conversation.id"]
    tools = [span.attributes for span in spans if span.name.startswith("execute_tool")]
    assert [(tool["gen_ai.tool.name"], tool["longvideo.segment"]) for tool in tools] == [
        ("get_caption", "2,4"),
        ("video_qa", "2,4,1"),
    ]
    chats = [span for span in spans if span.name == "chat scripted"]
    (usage,) = {
        (
            chat.attributes["gen_ai.request.model"],
            chat.attributes["gen_ai.response.model"],
            chat.attributes["longvideo.pool"],
        )
        for chat in chats
    }
    assert usage == ("scripted", "scripted", "default")
    assert all(chat.attributes["gen_ai.usage.input_tokens"] > 0 for chat in chats)
    served = [span for span in spans if span.name == f"{CAPTIONS}/CaptionSegment" and span.kind == "server"]
    assert {span.attributes["longvideo.episode"] for span in served} == {episode}
    assert {span.attributes["rpc.response.status_code"] for span in served} == {"OK"}
    assert all(span.attributes["longvideo.bytes_read"] > 0 for span in spans if span.name == "read frames")


def test_model_servers_are_told(trace: Node, traced: Traced) -> None:
    """Each request to a model server bears the id of its span, and the id that the ledger knows it by."""
    sent = {}
    for headers in traced.cluster.models.server.headers:
        told = {name.lower(): value for name, value in headers.items()}
        sent[told["x-request-id"]] = told["traceparent"]
    chats = {node.span.attributes["longvideo.call"]: node.span for node in trace.walk() if "chat" in node.span.name}
    assert len(chats) == 9
    for call, span in chats.items():
        place, _, flags = sent[call].rpartition("-")
        assert (place, int(flags, 16) & 1) == (f"00-{span.trace}-{span.id}", 1)


def test_exemplars_lead_to_the_trace(trace: Node, traced: Traced) -> None:
    """What the worker tells of episodes and of model calls points to the trace, for who scrapes as OpenMetrics."""
    (worker,) = [process for process in traced.cluster.processes if process.name == "first"]
    address = worker.ready("metrics are served at").rpartition("http://")[2].partition("/metrics")[0]
    request = urllib.request.Request(
        f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    for name in ("longvideo_episode_seconds", "longvideo_model_call_seconds"):
        (family,) = [family for family in families if family.name == name]
        points = {sample.exemplar.labels["trace_id"] for sample in family.samples if sample.exemplar}
        assert trace.span.trace in points


def test_no_secret_and_no_word_is_sent(trace: Node, traced: Traced) -> None:
    """What the collector received holds no secret, and nothing of what people and models said."""
    assert trace.children
    received = b"".join(traced.collector.requests)
    for secret in (*SECRETS, "Which number?", "It is 42.", "A grid of cells", "that is it"):
        assert secret.encode() not in received
    assert {metadata["authorization"] for metadata in traced.collector.metadata} == {"hush-collector"}


def test_the_log_has_the_same_trace(trace: Node, traced: Traced) -> None:
    """The lines that all processes log about the episode bear the id of the trace."""
    for name in ("orchestrator", "caption_svc", "qa_svc", "first"):
        (process,) = [process for process in traced.cluster.processes if process.name == name]
        eventually(
            lambda process=process: f'"trace_id": "{trace.span.trace}"' in process.said(), f"{name} logs the trace"
        )


def test_another_worker_goes_on_in_the_same_trace(traced: Traced, trace: Node) -> None:
    """Of an episode that a worker hands over, both have their part in one trace, and both are sent."""
    cluster = traced.cluster
    video = cluster.add(traced.film)
    gate = cluster.models.hold("Who goes on?", 1)
    job = cluster.submit(video, "Who goes on?")
    eventually(lambda: 1 in [number for number, _ in cluster.models.asked("Who goes on?")], "the second round")
    (first,) = [process for process in cluster.processes if process.name == "first"]
    first.send(signal.SIGTERM)
    first.ready("told to stop")
    gate.set()
    assert first.popen.wait(60) == 0
    cluster.workers("second")
    cluster.finish(job)
    agents = [
        span
        for span in traced.spans("invoke_agent longvideo", 3)
        if span.attributes["gen_ai.conversation.id"] == f"{job.name}/episodes/1"
    ]
    assert [span.attributes["longvideo.finished_rounds"] for span in agents] == [0, 2]
    assert len({(span.trace, span.parent) for span in agents}) == 1
    assert agents[0].trace != trace.span.trace


def test_many_questions_have_traces_of_their_own(traced: Traced, trace: Node) -> None:
    """Each of several questions has a trace, which is linked to that of their submission and back."""
    cluster = traced.cluster
    cluster.workers("second")
    assert trace.children
    job = cluster.finish(cluster.submit(cluster.add(traced.film), "One?", "Two?"))
    begun = traced.spans("submit episode", 2)
    assert {span.attributes["gen_ai.conversation.id"] for span in begun} == {each.name for each in job.episodes}
    assert len({span.trace for span in begun}) == 2
    submissions = [span for span in traced.spans(f"{API}/SubmitJob", 2) if span.links]
    (submission,) = submissions
    assert set(submission.links) == {span.trace for span in begun}
    assert {span.links for span in begun} == {(submission.trace,)}
    for span in begun:
        (root,) = eventually(
            lambda span=span: [root for root in traced.collector.trace(span.trace) if "invoke_agent" in outline(root)],
            "the episode's own trace",
        )
        assert root.span.name == "submit episode"
        assert [child.span.name for child in root.children] == ["invoke_agent longvideo"]
