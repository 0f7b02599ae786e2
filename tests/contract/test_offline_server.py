"""The offline models' server over HTTP: statuses, usage, caching, stopping."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from offline_models.server import OfflineServer, serve
from tests.unit.offline_models.drawing import draw
from tests.unit.offline_models.world import World

OPENING = [
    {"role": turn.role, "content": turn.text}
    for turn in World({(2,): 'The screen reads, at 200.0 s: "The Harbour".'}).opening("Who is the harbour master?")
]


@pytest.fixture(scope="module")
def server() -> Iterator[OfflineServer]:
    """A server for all tests of this module."""
    running = serve()
    yield running
    running.close()


def _address(server: OfflineServer) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def _send(server: OfflineServer, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*_address(server), timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    kind = response.headers.get_content_type()
    return response.status, json.loads(data) if kind == "application/json" else data.decode()


def _ask(server: OfflineServer, **fields: Any) -> tuple[int, Any]:
    body = {"model": "offline-reasoner", "messages": OPENING, **fields}
    return _send(server, "POST", "/v1/chat/completions", json.dumps(body).encode())


def test_models_are_listed_with_owner_and_length(server: OfflineServer) -> None:
    """GET /v1/models names the three models, who owns them and how much they take."""
    status, listed = _send(server, "GET", "/v1/models")
    assert status == 200
    assert {model["id"] for model in listed["data"]} == {"offline-captioner", "offline-qa", "offline-reasoner"}
    assert all(model["owned_by"] == "longvideo" and model["max_model_len"] >= 32768 for model in listed["data"])


def test_health(server: OfflineServer) -> None:
    """GET /health answers 200."""
    assert _send(server, "GET", "/health")[0] == 200


def test_a_completion_has_text_usage_and_reason(server: OfflineServer) -> None:
    """A chat completion has the shape of the OpenAI API, and the same question the same answer."""
    status, first = _ask(server)
    assert status == 200
    assert first["choices"][0]["finish_reason"] == "stop"
    text = first["choices"][0]["message"]["content"]
    assert re.fullmatch(r"<think>.+</think>\n<tool>get_caption\(\(2,\d\)\)</tool>", text)
    usage = first["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert _ask(server)[1]["choices"][0]["message"]["content"] == text


def test_earlier_turns_are_served_from_the_prefix_cache(server: OfflineServer) -> None:
    """A conversation that grows at its end finds its beginning cached; one that begins otherwise does not."""
    beginning = [{"role": "user", "content": "Question: What is a prefix?"}]
    first = _ask(server, messages=beginning)[1]["usage"]
    grown = _ask(server, messages=[*beginning, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}])
    other = _ask(server, messages=[{"role": "user", "content": "Q"}, *beginning])[1]["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert grown[1]["usage"]["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"]
    assert other["prompt_tokens_details"]["cached_tokens"] == 0


def test_stop_strings_end_the_text(server: OfflineServer) -> None:
    """The text ends before a stop string, or with it if that is asked for."""
    without = _ask(server, stop=["</tool>", "</answer>"])[1]["choices"][0]
    within = _ask(server, stop=["</tool>"], include_stop_str_in_output=True)[1]["choices"][0]
    assert without["message"]["content"].endswith("))")
    assert within["message"]["content"] == without["message"]["content"] + "</tool>"
    assert without["finish_reason"] == "stop"


def test_the_token_limit_cuts_the_text(server: OfflineServer) -> None:
    """At the limit the text is cut, and the reason is length."""
    answer = _ask(server, max_tokens=5)[1]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] <= 5


def test_structured_outputs_are_kept_or_refused(server: OfflineServer) -> None:
    """A pattern that the reply matches is fine, one without tool calls gets an answer, an impossible one 400."""
    fine = r"<think>[^<]{1,4000}</think>\n<tool>get_caption\(\([1-4],[1-4](,[1-4])?\)\)</tool>"
    assert _ask(server, structured_outputs={"regex": fine})[0] == 200
    answer_only = _ask(server, structured_outputs={"regex": r"<think>[^<]+</think>\n<answer>[^<]+</answer>"})[1]
    assert "cannot be determined" in answer_only["choices"][0]["message"]["content"]
    status, refused = _ask(server, structured_outputs={"regex": r"\d+"})
    assert (status, refused["error"]["param"]) == (400, "structured_outputs")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", json.dumps({"model": "gpt", "messages": OPENING}).encode(), 404),
        ("POST", "/v1/completions", b"{}", 404),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_errors_have_the_openai_shape(
    server: OfflineServer, method: str, path: str, body: bytes | None, status: int
) -> None:
    """An error has the status that fits, and a body that says what is wrong."""
    got, refused = _send(server, method, path, body)
    assert got == status
    assert refused["error"]["code"] == status
    assert refused["error"]["message"]


def test_a_prompt_longer_than_the_context_is_refused(server: OfflineServer) -> None:
    """A prompt that does not fit gets 400 and both lengths."""
    status, refused = _ask(server, messages=[{"role": "user", "content": "word " * 40_000}])
    assert status == 400
    assert "maximum context length is 32768" in refused["error"]["message"]


def test_a_body_beyond_the_bound_is_refused_unread(server: OfflineServer) -> None:
    """A body said to be larger than the bound is refused before it is sent, and the connection is closed."""
    with socket.create_connection(_address(server), timeout=10) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        answer = raw.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_caller_that_hangs_up_harms_nobody(server: OfflineServer) -> None:
    """A connection that ends in the middle of a request leaves the server answering others."""
    for rest in (b"{", b""):
        with socket.create_connection(_address(server), timeout=10) as raw:
            raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + rest)
    assert _ask(server)[0] == 200


def test_frames_are_captioned_and_asked_about_at_one_time(server: OfflineServer) -> None:
    """Several callers at once get captions and clip answers of the frames they sent; metrics count all of it."""
    url = "data:image/jpeg;base64," + base64.b64encode(draw([(80, 60, 64, "Gate: B17")], 512).data).decode()
    parts = [{"type": "text", "text": "[4.00s]"}, {"type": "image_url", "image_url": {"url": url}}]
    asked = [*parts, {"type": "text", "text": "Question: Which gate is it?"}]
    requests = [("offline-captioner", parts), ("offline-qa", asked)] * 3
    with ThreadPoolExecutor(len(requests)) as callers:
        answers = list(
            callers.map(
                lambda one: _ask(server, model=one[0], messages=[{"role": "user", "content": one[1]}]), requests
            )
        )
    assert all(status == 200 for status, _ in answers)
    assert all("B17" in answer["choices"][0]["message"]["content"] for _, answer in answers)
    assert answers[0][1]["usage"]["prompt_tokens"] >= 16 * 9
    metrics = _send(server, "GET", "/metrics")[1]
    assert 'offline_model_calls_total{model="offline-captioner",outcome="answered"} 3.0' in metrics
    assert 'offline_model_frames_total{outcome="reused"}' in metrics


def test_closing_frees_the_port_and_may_be_repeated() -> None:
    """After close nothing answers any more; closing again does nothing."""
    running = serve()
    address = _address(running)
    running.close()
    running.close()
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(address, timeout=1)


def test_it_runs_as_a_command_until_interrupted() -> None:
    """`python -m offline_models` prints where it serves, and ends with code 0 on SIGINT."""
    command = [sys.executable, "-m", "offline_models", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        killer = threading.Timer(60, process.kill)
        killer.start()
        line = process.stdout.readline()
        assert re.search(r"http://127\.0\.0\.1:\d+/v1", line)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        killer.cancel()


def test_a_taken_port_is_reported() -> None:
    """A port in use ends the command with code 2 and a sentence."""
    running = serve()
    port = str(_address(running)[1])
    done = subprocess.run(
        [sys.executable, "-m", "offline_models", "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    running.close()
    assert done.returncode == 2
    assert "cannot listen" in done.stderr
