"""The genuine vLLM under the suite of the client, and what only a real server can show."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from longvideo import settings, telemetry
from longvideo.errors import Cancelled, ModelRejected, ModelUnavailable
from longvideo.tokens import fit_images, image_tokens, scaled
from orchestrator.protocol import STOP, reply_pattern
from tests.contract.model_server import ModelServerSuite, Served, asked, picture, soon
from tests.parts.otlp import Collector
from tests.vllm.conftest import SLOW, TINY_RULE

if "TINY_VLLM_TEXT_URL" not in os.environ:
    pytest.skip("needs the genuine vLLM server: run `make test-vllm`", allow_module_level=True)

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]


class TestVllmVision(ModelServerSuite):
    """A vision-language model under vLLM."""

    @pytest.fixture
    def served(self, vl_server: Served) -> Served:
        """The tiny Qwen3-VL."""
        return vl_server


class TestVllmText(ModelServerSuite):
    """A language model under vLLM."""

    @pytest.fixture
    def served(self, text_server: Served) -> Served:
        """The tiny Qwen3."""
        return text_server

    def test_images_between_words(self) -> None:
        """A language model is not asked about images."""


def running(served: Served) -> float:
    """Returns how many requests the server works on, by its own metrics."""
    with urllib.request.urlopen(served.url.removesuffix("/v1") + "/metrics", timeout=10) as response:
        text = response.read().decode()
    return sum(map(float, re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.MULTILINE)))


def test_cancelling_stops_the_generation(text_server: Served) -> None:
    """Soon after a request is cancelled the server works on nothing any more."""
    client = text_server.client()
    asks = iter([False] * 3)
    with pytest.raises(Cancelled):
        client.complete(**{"deadline": soon(), **SLOW}, cancelled=lambda: next(asks, True))
    give_up = time.monotonic() + 5
    while running(text_server) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert running(text_server) == 0
    client.close()


def test_closing_stops_every_request(text_server: Served) -> None:
    """Closing a client ends the requests of all its threads."""
    client = text_server.client()
    client.describe()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(client.complete, **{"deadline": soon(), **SLOW}) for _ in range(4)]
        while running(text_server) < 4 and not any(future.done() for future in futures):
            time.sleep(0.02)
        client.close()
        assert [type(future.exception()) for future in futures] == [Cancelled] * 4


def test_the_server_tells_its_times(text_server: Served) -> None:
    """With --enable-per-request-metrics, the record of a call has what the server spent on waiting and answering."""
    client = text_server.client()
    call = client.complete(asked("Go on."), max_tokens=30, deadline=soon(), regex="[a-z]{40,}").calls[-1]
    client.close()
    assert call.queue_seconds is not None
    assert call.prefill_seconds is not None
    assert call.decode_seconds is not None
    assert min(call.queue_seconds, call.prefill_seconds, call.decode_seconds) >= 0
    assert call.prefill_seconds + call.decode_seconds > 0
    assert call.queue_seconds + call.prefill_seconds + call.decode_seconds <= call.seconds


def test_a_request_is_joined_with_its_span(text_server: Served) -> None:
    """The server's own span is in the trace that a request comes with, and names the request as the ledger does."""
    collector, client = Collector(port=int(os.environ["TINY_VLLM_OTLP_PORT"])), text_server.client()
    with telemetry.configured(settings.load(otlp_endpoint=collector.url), "test"), telemetry.span("asking"):
        call = client.complete(asked("Go on."), max_tokens=4, deadline=soon()).calls[-1]
        trace = telemetry.ids()["trace_id"]
    client.close()
    collector.wait(
        lambda spans: {"asking", "llm_request"} <= {each.name for each in spans if each.trace == trace}, "both"
    )
    (asking,) = collector.trace(trace)
    collector.close()
    assert [node.span.name for node in asking.walk()] == ["asking", "chat tiny-text", "llm_request"]
    _, chat, served = [node.span.attributes for node in asking.walk()]
    assert served["gen_ai.request.id"] == f"chatcmpl-{call.id}"
    assert call.outcome == chat["longvideo.outcome"] == "ok"
    assert (chat["longvideo.call"], chat["gen_ai.response.id"]) == (call.id, f"chatcmpl-{call.id}")
    assert (chat["gen_ai.provider.name"], chat["gen_ai.request.model"]) == ("vllm", "tiny-text")
    assert chat["gen_ai.usage.input_tokens"] == call.prompt_tokens > 0
    assert chat["longvideo.decode_seconds"] == call.decode_seconds


@pytest.mark.parametrize("width", range(3, 9))
@pytest.mark.parametrize("answer_only", [False, True])
def test_the_protocol_can_be_bound(text_server: Served, width: int, answer_only: bool) -> None:
    """The reasoner's pattern is understood for every width, and what comes out matches it."""
    client = text_server.client()
    pattern = reply_pattern(width, answer_only=answer_only)
    text = ""
    for seed in range(3):
        completion = client.complete(
            asked("Go on."), max_tokens=900, deadline=soon(), regex=pattern, stop=STOP, seed=seed
        )
        if completion.finish_reason == "stop":
            text = completion.text
            assert re.fullmatch(pattern, text)
    client.close()


@pytest.mark.parametrize("size", [(16, 16), (40, 900), (140, 79), (512, 288), (1024, 576), (1080, 1920), (1500, 1500)])
def test_image_tokens_are_exact(vl_server: Served, size: tuple[int, int]) -> None:
    """An image of any size costs what the resize rule says."""
    client = vl_server.client()
    ask = [{"type": "text", "text": "What is this?"}]
    counts = [
        client.complete([{"role": "user", "content": parts}], max_tokens=4, deadline=soon()).calls[-1].prompt_tokens
        for parts in (ask, [*ask, picture(*size, 77)])
    ]
    assert counts[1] - counts[0] == image_tokens(*size, TINY_RULE) + 2
    client.close()


def test_fitted_images_fit(vl_server: Served) -> None:
    """Sixteen frames of a phone video, scaled as `fit_images` says, stay within their budget."""
    client = vl_server.client()
    budget = 4000
    size = scaled(1080, 1920, fit_images(16, 1080, 1920, 1024, budget, rule=TINY_RULE))
    parts = [picture(*size, n) for n in range(16)]
    call = client.complete([{"role": "user", "content": parts}], max_tokens=4, deadline=soon()).calls[-1]
    assert budget * 0.8 < call.prompt_tokens < budget + 32
    client.close()


def test_the_server_survives_its_own_failure(vl_server: Served) -> None:
    """After a 500, upon which vLLM drops the connection, the attempts are recorded and the next request is answered."""
    client = vl_server.client()
    bad = {"type": "image_url", "image_url": {"url": "file:///etc/hostname"}}
    with pytest.raises((ModelUnavailable, ModelRejected)) as caught:
        client.complete([{"role": "user", "content": [bad]}], max_tokens=4, deadline=soon())
    assert {call.outcome for call in caught.value.calls} == {"error"}
    for _ in range(5):
        assert client.complete(asked("Well?"), max_tokens=4, deadline=soon()).calls[-1].outcome == "ok"
    client.close()


def test_context_length(text_server: Served, vl_server: Served) -> None:
    """The context length is the one that the server was started with."""
    for served, length in ((text_server, 16384), (vl_server, 32768)):
        client = served.client()
        assert client.describe().context_length == length
        client.close()
