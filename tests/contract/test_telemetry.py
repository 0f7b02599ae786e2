"""Sending spans to a collector that is well, and to one that is not; and what points from metrics to traces."""

from __future__ import annotations

import logging
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from longvideo import errors, metrics_server, settings, telemetry, tls
from longvideo.metrics import RPC_SECONDS
from longvideo.settings import Settings
from longvideo.v1 import orchestrator_pb2 as pb
from tests.certificates import Authority
from tests.contract.database import add_video
from tests.contract.library import VIDEO
from tests.contract.orchestrator_world import World
from tests.parts import free_port
from tests.parts.otlp import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    made = Collector()
    yield made
    telemetry.shutdown()
    made.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged."""
    caplog.set_level(logging.INFO)
    return caplog


def told(said: pytest.LogCaptureFixture) -> list[str]:
    """Returns what was logged about telemetry, by us or by the SDK."""
    ours = ("longvideo.telemetry", "opentelemetry")
    return [f"{each.levelname} {each.getMessage()}" for each in said.records if each.name.startswith(ours)]


def configure(url: str, **options: Any) -> Settings:
    """Makes this process send spans there."""
    configured = settings.load(otlp_endpoint=url, **options)
    telemetry.configure(configured, "test")
    return configured


def some(count: int) -> None:
    """Makes spans."""
    for _ in range(count):
        with telemetry.span("step"):
            pass


def test_spans_arrive_by_tls_with_their_headers(tmp_path: Path) -> None:
    """A collector with TLS that wants a certificate and a key gets both, and knows who sends."""
    authority = Authority()
    server, own = authority.issue(tmp_path / "server"), authority.issue(tmp_path / "own", setting="otlp")
    collector = Collector(tls.server_credentials(server))
    files = {"otlp_ca": own.ca, "otlp_cert": own.cert, "otlp_key": own.key}
    configure(collector.url.replace("127.0.0.1", "localhost"), otlp_headers="api-key=hush%20hush", **files)
    some(1)
    telemetry.shutdown()

    assert [(span.service, span.name) for span in collector.spans] == [("test", "step")]
    assert collector.metadata[0]["api-key"] == "hush hush"
    for part in (b"service.instance.id", b"service.version", b"service.namespace", b"host.name"):
        assert part in collector.requests[0]
    with pytest.raises(errors.BadSettings, match="otlp_ca"):
        configure("https://localhost:4317", otlp_ca=tmp_path / "nowhere.pem")
    collector.close()


def test_a_collector_that_refuses_is_told_of_once(
    collector: Collector, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals are one line, however many there are, and so is the end of them, with how many spans were lost."""
    monkeypatch.setattr("longvideo.telemetry.configuration.EVERY_SECONDS", 0.01)

    def refuse(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no such key")

    collector.answer = refuse
    configure(collector.url)
    for _ in range(3):
        seen = len(collector.metadata)
        some(1)
        collector_asked(collector, seen)
    collector.answer = lambda _: None
    some(1)
    collector.wait(lambda spans: spans, "a span that is taken")
    telemetry.shutdown()
    address = collector.url.removeprefix("http://")
    assert told(said) == [
        f"WARNING traces cannot be sent to {address} and are lost until it takes them: PERMISSION_DENIED: no such key",
        f"INFO traces are sent to {address} again; 3 spans were lost",
    ]


def collector_asked(collector: Collector, seen: int) -> None:
    """Waits until the collector has been asked more often than this."""
    waiting = threading.Event()
    while len(collector.metadata) <= seen:
        waiting.wait(0.01)


def test_a_collector_that_hangs_holds_nobody_up(collector: Collector, said: pytest.LogCaptureFixture) -> None:
    """While nothing is taken, spans beyond the bound are lost; and a process ends though it is still held."""
    held = threading.Event()
    collector.answer = lambda _: held.wait(60)
    configure(collector.url)
    some(20_000)
    telemetry.shutdown()

    assert not held.is_set()
    assert not telemetry.is_on()
    assert len(told(said)) == 1
    held.set()


@pytest.mark.parametrize("how", ["off", "well", "away", "hanging"])
def test_answers_do_not_depend_on_it(
    how: str, collector: Collector, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of the spans, a question gets the same answer; while they are off, no header is new."""
    held = threading.Event()
    collector.answer = (lambda _: held.wait(60)) if how == "hanging" else collector.answer
    if how != "off":
        configure(f"http://127.0.0.1:{free_port()}" if how == "away" else collector.url)
    world = World(tmp_path / "world")
    try:
        add_video(world.database)
        done = world.finish(world.submit(str(VIDEO)))
        headers = [{name.lower() for name in sent} for sent in world.reasoner.headers]
    finally:
        world.close()
    telemetry.shutdown()
    held.set()

    assert (done.state, done.episodes[0].answer) == (pb.Job.STATE_SUCCEEDED, "B")
    assert len(headers) == 3
    assert all(("traceparent" in sent) == (how != "off") for sent in headers)
    assert len(told(said)) == (how in {"away", "hanging"})
    if how == "well":
        assert "invoke_agent longvideo" in {span.name for span in collector.spans}
    if how == "off":
        assert collector.metadata == []


def damaged(_: tuple[int, ...]) -> str:
    """Fails as captions of a damaged video do."""
    raise errors.BadMedia("it is damaged", reason="MEDIA_DAMAGED")


def test_errors_are_sent_whatever_the_share(collector: Collector, tmp_path: Path) -> None:
    """Of traces that are not sent, an episode that failed is, as a whole; one that went well is not."""
    configure(collector.url, trace_sample_ratio=0)
    world = World(tmp_path / "world")
    try:
        add_video(world.database)
        assert world.finish(world.submit(str(VIDEO))).state == pb.Job.STATE_SUCCEEDED
        telemetry.shutdown()
        assert collector.spans == []
        configure(collector.url, trace_sample_ratio=0)
        world.services.made.clear()
        world.services.caption = damaged
        failed = world.finish(world.submit(str(VIDEO)))
    finally:
        world.close()
        telemetry.shutdown()
    spans = {span.name: span for span in collector.spans}
    assert failed.episodes[0].error.reason == spans["invoke_agent longvideo"].error == "MEDIA_DAMAGED"
    assert spans["longvideo.v1.CaptionService/CaptionSegment"].error
    assert "opening" in spans


def test_content_only_where_it_is_wanted(collector: Collector, tmp_path: Path) -> None:
    """With `trace_content`, questions, conversations, what tools were given and gave, and answers are in the spans."""
    configure(collector.url, trace_content=True)
    world = World(tmp_path / "world")
    try:
        add_video(world.database)
        world.finish(world.submit(str(VIDEO), "What is on the table?"))
    finally:
        world.close()
        telemetry.shutdown()
    spans = collector.spans
    (agent,) = [span.attributes for span in spans if span.name == "invoke_agent longvideo"]
    assert (agent["longvideo.question"], agent["longvideo.answer"]) == ("What is on the table?", "B")
    chats = [span.attributes for span in spans if "gen_ai.input.messages" in span.attributes]
    assert "What is on the table?" in chats[0]["gen_ai.input.messages"]
    assert "that settles it" in chats[2]["gen_ai.output.messages"]
    asked = [span.attributes for span in spans if span.name == "execute_tool video_qa"]
    assert asked[0]["gen_ai.tool.call.arguments"] == '{"segment": [2, 4, 1], "query": "What number is it?"}'
    assert asked[0]["gen_ai.tool.call.result"]


def test_exemplars_point_to_traces(collector: Collector) -> None:
    """Who scrapes as OpenMetrics finds the trace of a measurement in its bucket; other scrapers find no exemplar."""
    configured = configure(collector.url, metrics_listen="127.0.0.1:0")
    address = metrics_server.serve(configured, "api")
    with telemetry.span("a call"):
        trace = telemetry.ids()["trace_id"]
        RPC_SECONDS.labels("longvideo.v1.OrchestratorService", "GetJob").observe(0.3, telemetry.exemplar())

    def scraped(accept: str) -> tuple[str, str]:
        request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.headers["content-type"], response.read().decode()

    kind, text = scraped("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    found = {
        (sample.labels["le"], sample.exemplar.labels["trace_id"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None and family.name == "longvideo_rpc_seconds"
    }
    assert ("0.5", trace) in found
    kind, text = scraped("text/plain;version=0.0.4")
    assert kind.startswith("text/plain")
    assert trace not in text
