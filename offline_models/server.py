"""The HTTP server: enough of the OpenAI chat API for the services to talk to, answered by the offline models."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import sys
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import prometheus_client as prometheus

from offline_models import captioner, qa, reasoner
from offline_models.messages import MAX_BODY_BYTES, ChatRequest, Picture, Refused, Turn, count_tokens, parse_request
from offline_models.reading import Reader

CONTEXT_LENGTHS = {captioner.MODEL: 65536, qa.MODEL: 65536, reasoner.MODEL: 32768}
# What a chat template spends on each turn.
TOKENS_PER_TURN = 4
MAX_PREFIXES = 4096
_ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 405: "MethodNotAllowedError", 411: "BadRequestError"}


class PrefixCache:
    """Remembers the beginnings of recent conversations, as a model server keeps their computed state.

    A beginning is a whole number of turns' parts. The least recently used is forgotten first.
    """

    def __init__(self, size: int = MAX_PREFIXES) -> None:
        self._size = size
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def tokens(self, model: str, turns: tuple[Turn, ...]) -> tuple[int, int]:
        """Returns how many tokens the turns count, and how many of those were remembered; remembers all of them."""
        total = cached = 0
        digest = model
        with self._lock:
            unbroken = True
            for turn in turns:
                total += TOKENS_PER_TURN
                for part in turn.parts:
                    data = part.data if isinstance(part, Picture) else part.encode()
                    digest = hashlib.sha256(f"{digest}\n{turn.role}\n".encode() + data).hexdigest()
                    total += part.tokens if isinstance(part, Picture) else count_tokens(part)
                    unbroken = unbroken and digest in self._seen
                    cached = total if unbroken else cached
                    self._seen[digest] = None
                    self._seen.move_to_end(digest)
            while len(self._seen) > self._size:
                self._seen.popitem(last=False)
        return total, cached


class Metrics:
    """What the server counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.calls = prometheus.Counter(
            "offline_model_calls", "Chat completions asked for.", ["model", "outcome"], registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "offline_model_call_seconds",
            "Seconds from a request's last byte to its answer.",
            ["model"],
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
            registry=self.registry,
        )
        self.tokens = prometheus.Counter(
            "offline_model_tokens", "Tokens of answered calls.", ["model", "kind"], registry=self.registry
        )
        self.frames = prometheus.Counter(
            "offline_model_frames", "Frames given, by what became of them.", ["outcome"], registry=self.registry
        )

    def count_frames(self, outcome: str, number: int) -> None:
        """Counts frames that were `read`, `reused` or `skipped`."""
        self.frames.labels(outcome).inc(number)


@dataclass(frozen=True)
class Answered:
    """A finished completion."""

    text: str
    finish_reason: str
    completion_tokens: int


def finish(text: str, request: ChatRequest) -> Answered:
    """Ends a text as the request wants it: at the first stop string, or at the token limit. Raises Refused."""
    if request.pattern is not None and request.pattern.fullmatch(text) is None:
        raise Refused(400, "This model cannot answer in the form of structured_outputs.regex.", "structured_outputs")
    if request.choices and text not in request.choices:
        raise Refused(400, "This model cannot answer with one of structured_outputs.choice.", "structured_outputs")
    found = [(text.find(stop), stop) for stop in request.stop if stop in text]
    if found:
        place, stop = min(found)
        text = text[: place + len(stop)] if request.include_stop else text[:place]
    tokens = count_tokens(text)
    if request.max_tokens is None or tokens <= request.max_tokens:
        return Answered(text, "stop", tokens)
    end, count = 0, 0
    while count <= request.max_tokens:
        end = text.find(" ", end + 1) if text.find(" ", end + 1) > 0 else len(text)
        count = count_tokens(text[:end])
    return Answered(text[: max(0, text.rfind(" ", 0, end))], "length", request.max_tokens)


def _reason(request: ChatRequest) -> str:
    """Returns the reasoner's reply; where the wanted form admits no tool call, its answer."""
    text = reasoner.reply(request.turns)
    if request.pattern is not None and request.pattern.fullmatch(text) is None:
        return reasoner.reply(request.turns, conclude=True)
    return text


class Models:
    """The three models behind one door: takes a request's body, gives a response's body."""

    def __init__(self, reader: Reader | None = None) -> None:
        self.metrics = Metrics()
        self.reader = reader or Reader(count=self.metrics.count_frames)
        self._prefixes = PrefixCache()
        self._models: dict[str, Callable[[ChatRequest], str]] = {
            captioner.MODEL: lambda request: captioner.caption(request.turns, self.reader),
            qa.MODEL: lambda request: qa.answer(request.turns, self.reader),
            reasoner.MODEL: _reason,
        }

    def complete(self, body: bytes) -> dict[str, Any]:
        """Answers a request for a chat completion. Raises Refused."""
        started = time.perf_counter()
        model = ""
        try:
            request = parse_request(body)
            if request.model not in self._models:
                names = ", ".join(self._models)
                raise Refused(404, f"The model {request.model!r} does not exist; there are {names}.", "model")
            model = request.model
            response = self._complete(request)
        except Refused as refused:
            self.metrics.calls.labels(model, f"refused_{refused.status}").inc()
            raise
        self.metrics.calls.labels(model, "answered").inc()
        self.metrics.seconds.labels(model).observe(time.perf_counter() - started)
        return response

    def _complete(self, request: ChatRequest) -> dict[str, Any]:
        model = request.model
        prompt, cached = self._prefixes.tokens(model, request.turns)
        if prompt > CONTEXT_LENGTHS[model]:
            raise Refused(
                400,
                f"This model's maximum context length is {CONTEXT_LENGTHS[model]} tokens; the messages have {prompt}.",
                "messages",
            )
        answered = finish(self._models[model](request), request)
        for kind, number in (("prompt", prompt), ("cached", cached), ("completion", answered.completion_tokens)):
            self.metrics.tokens.labels(model, kind).inc(number)
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answered.text},
                    "finish_reason": answered.finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": answered.completion_tokens,
                "total_tokens": prompt + answered.completion_tokens,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }


def _model_list() -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 0, "owned_by": "longvideo", "max_model_len": length}
            for name, length in CONTEXT_LENGTHS.items()
        ],
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "longvideo-offline-models"
    # An idle or stalled connection is let go after this many seconds.
    timeout = 120
    # A response is small and complete: waiting to fill a packet only delays it.
    disable_nagle_algorithm = True
    server: _HTTPServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            self._send(200, _model_list())
        elif path == "/health":
            self._send(200, {"status": "ok"})
        elif path == "/metrics":
            exposition = prometheus.generate_latest(self.server.models.metrics.registry)
            self._send_bytes(200, exposition, prometheus.CONTENT_TYPE_LATEST)
        else:
            self._refuse(Refused(404, f"There is nothing at {path}."))

    def do_POST(self) -> None:
        try:
            body = self._body()
            if self.path.partition("?")[0] != "/v1/chat/completions":
                raise Refused(404, f"There is nothing to POST to at {self.path}.")
            self._send(200, self.server.models.complete(body))
        except Refused as refused:
            self._refuse(refused)
        except (CancelledError, RuntimeError):
            if not self.server.closing.is_set():
                raise
            self._refuse(Refused(503, "The server is shutting down."))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise Refused(411, "The request needs a Content-Length.")
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            raise Refused(413, f"The body has {length} bytes; at most {MAX_BODY_BYTES} are read.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            raise Refused(400, "The body ended early.")
        return body

    def _refuse(self, refused: Refused) -> None:
        kind = _ERROR_TYPES.get(refused.status, "InternalServerError" if refused.status >= 500 else "BadRequestError")
        error = {"message": refused.message, "type": kind, "param": refused.param, "code": refused.status}
        self._send(refused.status, {"error": error})

    def _send(self, status: int, document: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(document, ensure_ascii=False).encode(), "application/json")

    def _send_bytes(self, status: int, body: bytes, content_type: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            # The caller has gone; there is nobody to tell.
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Says nothing: /metrics counts the calls."""


class _HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Four high-level captions and their retries may well connect at one moment.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], models: Models) -> None:
        self.models = models
        self.closing = threading.Event()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Lets a broken connection pass in silence; prints anything else, which is a bug."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class OfflineServer:
    """A running server. `url` is the address of its API and ends in /v1."""

    def __init__(self, server: _HTTPServer) -> None:
        host, port = str(server.server_address[0]), server.server_address[1]
        self.url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="offline-models", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops accepting requests and gives up those in flight. May be called again."""
        if self._server.closing.is_set():
            return
        self._server.closing.set()
        self._server.models.reader.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)

    def wait(self) -> None:
        """Returns when the server has been closed."""
        self._thread.join()


def serve(address: str = "127.0.0.1", port: int = 0, reader: Reader | None = None) -> OfflineServer:
    """Starts the server in threads of its own and returns at once.

    `port` 0 takes any free one. Raises OSError when the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server_class = type("_Server", (_HTTPServer,), {"address_family": family})
    return OfflineServer(server_class((address, port), Models(reader)))
