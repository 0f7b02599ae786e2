"""Spans: which are made, which are kept, and what they never hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from longvideo import addresses, errors, logs, settings, telemetry
from longvideo.errors import BadSettings
from longvideo.telemetry import sampling, spans
from longvideo.telemetry.spans import Recording

SAMPLED, NOT_SAMPLED = "01", "00"


class Sent:
    """A process whose spans are kept here when they are sent."""

    def __init__(self, ratio: float, *, content: bool = False) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampling.Share(ratio), shutdown_on_exit=False)
        self.keeper = sampling.Keeper(SimpleSpanProcessor(self.exporter))
        self.provider.add_span_processor(self.keeper)
        spans.record(Recording(self.provider.get_tracer("t"), content, logs.Veil({"hush-hush"}).hide))

    @property
    def names(self) -> list[str]:
        """The names of the spans that were sent, in their order."""
        return [span.name for span in self.exporter.get_finished_spans()]

    def attributes(self, name: str) -> dict[str, Any]:
        """Returns what a span that was sent holds."""
        (found,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return dict(found.attributes or {})


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    """No test leaves a process that records."""
    yield
    telemetry.shutdown()


def fail(name: str) -> None:
    """Makes a span that ends in an error."""
    with pytest.raises(errors.NotFound), telemetry.span(name):
        raise errors.NotFound("the sister's phone number is hush-hush", reason="GONE")


def test_nothing_is_recorded_while_it_is_off() -> None:
    """Without a collector there is no span, but a trace: one id from the outermost step on, not said to be recorded."""
    assert not telemetry.ids()
    with telemetry.span("a") as outer:
        found = telemetry.ids()
        with telemetry.span("b") as inner:
            assert telemetry.ids() == found
            assert (outer.is_recording(), inner.is_recording()) == (False, False)
        assert found.keys() == {"trace_id"}
        assert telemetry.header().startswith(f"00-{found['trace_id']}-")
        assert telemetry.header().endswith("-00")
        assert telemetry.exemplar() is None
    assert not telemetry.ids()


def test_a_share_of_the_traces_is_sent() -> None:
    """All are with a ratio of 1, none with 0, and a place in the log and in exemplars says which it is."""
    sent = Sent(1)
    with telemetry.span("a"):
        assert telemetry.exemplar() == {"trace_id": telemetry.ids()["trace_id"]}
        assert telemetry.ids().keys() == {"trace_id", "span_id"}
    assert sent.names == ["a"]
    sent = Sent(0)
    with telemetry.span("a"):
        assert telemetry.exemplar() is None
    assert sent.names == []


@pytest.mark.parametrize(("ratio", "flag", "is_sent"), [
    (0, SAMPLED, True), (0, NOT_SAMPLED, False), (1, NOT_SAMPLED, True),
])  # fmt: skip
def test_what_came_from_elsewhere(ratio: float, flag: str, is_sent: bool) -> None:
    """What is recorded elsewhere is recorded here; of the rest the own ratio decides, as it does everywhere."""
    sent = Sent(ratio)
    place = telemetry.parse(f"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-{flag}")
    with telemetry.span("a", parent=place), telemetry.span("b"):
        assert telemetry.header().startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert sent.names == (["b", "a"] if is_sent else [])


def test_errors_are_always_kept() -> None:
    """Of a trace that is not sent, all spans here are when one fails: those before, around and after it."""
    sent = Sent(0)
    with telemetry.span("episode"):
        with telemetry.span("before"):
            pass
        fail("broken")
        with telemetry.span("after"):
            pass
    with telemetry.span("another"):
        pass
    assert sent.names == ["before", "broken", "after", "episode"]
    assert {span.context.trace_flags.sampled for span in sent.exporter.get_finished_spans()} == {True}
    assert len({span.context.trace_id for span in sent.exporter.get_finished_spans()}) == 1
    assert not sent.keeper._traces


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many spans that wait, the later ones are given up; an error itself and what ends after it never is."""
    monkeypatch.setattr(sampling, "MAX_WAITING", 3)
    sent = Sent(0)
    with telemetry.span("episode"):
        for number in range(5):
            with telemetry.span(f"step {number}"):
                pass
        fail("broken")
    assert sent.names == ["step 0", "step 1", "step 2", "broken", "episode"]
    assert sent.keeper._waiting == 0


def test_giving_up_is_no_error() -> None:
    """What somebody wanted to end has not failed."""
    sent = Sent(0)
    with pytest.raises(errors.Cancelled), telemetry.span("a"):
        raise errors.Cancelled("by the caller")
    assert sent.names == []


def test_words_only_where_they_are_wanted() -> None:
    """What people and models say, errors that may quote them included, is in spans only with `trace_content`."""
    sent = Sent(1)
    fail("broken")
    with telemetry.span("a") as span:
        telemetry.add_content(span, "said", lambda: "words, hush-hush")
    (broken, _) = sent.exporter.get_finished_spans()
    assert (broken.status.description, sent.attributes("broken")) == ("GONE", {"error.type": "GONE"})
    assert sent.attributes("a") == {}
    sent = Sent(1, content=True)
    fail("broken")
    with telemetry.span("a") as span:
        telemetry.add_content(span, "said", lambda: "words, hush-hush")
    (broken, _) = sent.exporter.get_finished_spans()
    assert broken.status.description == "the sister's phone number is [hidden]"
    assert sent.attributes("a") == {"said": "words, [hidden]"}


def test_a_trace_of_its_own() -> None:
    """A span can begin another trace than the one it is made in, and is linked to it."""
    sent = Sent(1)
    with telemetry.span("submission") as here:
        telemetry.begin("episode", root=True, links=[here.get_span_context()]).end()
    (episode, submission) = sent.exporter.get_finished_spans()
    assert episode.parent is None
    assert episode.context.trace_id != submission.context.trace_id
    assert [link.context.span_id for link in episode.links] == [submission.context.span_id]


@pytest.mark.parametrize("url", ["host:4317", "http://host", "ftp://host:1", "http://h:1/path", "http://a:b@h:4317"])
def test_a_collector_is_named_by_a_url(url: str) -> None:
    """The collector is `http://host:port` or with https; a password is not shown in what is said about it."""
    with pytest.raises(BadSettings, match=r"otlp_endpoint is wrong: .*https://host:4317") as caught:
        settings.load(otlp_endpoint=url)
    assert "a:b" not in str(caught.value)
    assert addresses.collector_address("https://[::1]:4317") == ("[::1]:4317", True)


def test_headers_of_a_collector() -> None:
    """Headers are pairs; their values are secrets; and neither they nor content go to others in the open."""
    loaded = settings.load(otlp_endpoint="https://h:4317", otlp_headers="Api-Key=hush%20hush, tenant=ada,")
    assert loaded.otlp_metadata() == (("api-key", "hush hush"), ("tenant", "ada"))
    assert {"hush hush", "ada"} <= loaded.secrets()
    for wrong in ("nonsense", "a b=c", "key=", "key=\u2013"):
        with pytest.raises(BadSettings, match="otlp_headers must look like name=value"):
            settings.load(otlp_headers=wrong)
    for private in ({"otlp_headers": "key=hush-hush"}, {"trace_content": True}):
        with pytest.raises(BadSettings, match="others could read what goes to http://h:4317; use https://h:4317"):
            settings.load(otlp_endpoint="http://h:4317", **private)
        settings.load(otlp_endpoint="http://127.0.0.1:4317", **private)
        settings.load(otlp_endpoint="http://h:4317", insecure=True, **private)
    with pytest.raises(BadSettings, match="otlp_ca is set, but otlp_endpoint, http://h:4317, has no TLS"):
        settings.load(otlp_endpoint="http://h:4317", otlp_ca="/ca.pem")
