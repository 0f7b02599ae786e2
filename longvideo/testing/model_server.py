"""An OpenAI-compatible model server on loopback whose answers are a function.

    def handler(request: dict[str, Any]) -> Reply | str:
        return "<answer>42</answer>"

    with ScriptedModelServer(handler) as server:
        client = ModelClient("reason", [Endpoint(url=server.url, roles={"reason"})])

It checks what vLLM checks (the key, the model's name, the length), cuts at stop strings, counts tokens, remembers
prompts as a prefix cache does, and says how long it took as vLLM does with `--enable-per-request-metrics`. A `Reply`
can also be a status, HTML, a delay, silence, or a connection cut half-way.
"""

from __future__ import annotations

import http.server
import json
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from longvideo.testing.prompt_tokens import CacheOfPrefixes, prompt_tokens, text_pieces

FOREVER = 3600.0
"""Seconds of silence that no test outlives."""


@dataclass(frozen=True)
class Reply:
    """How the server answers one request.

    `text` and `finish_reason` make a completion; `body` replaces it byte for byte. `delay` is how many seconds pass
    first. `cut_after` cuts the connection after so many bytes of the body, or before the status line when it is
    negative; `hang_up` closes it after the whole body without saying so, as vLLM does after a 500. `drip` sends the
    body byte by byte with so many seconds between.
    """

    text: str = ""
    finish_reason: str = "stop"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    delay: float = 0.0
    cut_after: int | None = None
    hang_up: bool = False
    drip: float = 0.0

    @classmethod
    def error(cls, status: int, message: str = "scripted", **headers: str) -> Reply:
        """Returns an error in OpenAI's shape. A header's name has `_` for `-`."""
        body = {"error": {"message": message, "type": "ScriptedError", "param": None, "code": status}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status=status, headers=named, body=json.dumps(body).encode())

    @classmethod
    def html(cls, status: int = 200) -> Reply:
        """Returns a web page, as something that is not a model server answers."""
        return cls(status=status, content_type="text/html; charset=utf-8", body=b"<!doctype html><h1>Welcome</h1>")

    @classmethod
    def silence(cls, seconds: float = FOREVER) -> Reply:
        """Returns an answer that does not come for so long."""
        return cls(delay=seconds)

    @classmethod
    def cut(cls, after: int = 20) -> Reply:
        """Returns an answer whose connection is cut after so many bytes of the body; before the headers for -1."""
        return cls(text="an answer that will be cut", cut_after=after)


Handler = Callable[[dict[str, Any]], "Reply | str"]


class ScriptedModelServer:
    """A model server; see the module. Every attribute may be changed while it runs.

    `requests` holds the body of every chat completion asked for, `headers` their headers, in the order of arrival, and
    `usages` what was counted for those that it completed;
    `probes` counts `GET /v1/models`; `disconnects` the clients that left before their answer; `busiest` how many
    completions were under way at one time at most; `connections` how many were made.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        models: tuple[str, ...] = ("scripted",),
        owned_by: str = "vllm",
        max_model_len: int = 32768,
        api_key: str | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Starts the server on `port` of 127.0.0.1, any free one for 0; with `tls`, it speaks https."""
        self.handler = handler
        self.models = models
        self.owned_by = owned_by
        self.max_model_len = max_model_len
        self.api_key = api_key
        self.models_reply: Reply | None = None
        """What `GET /v1/models` answers instead of the list."""
        self.tells_times = True
        """Whether answers hold `metrics`."""
        self.usages: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.probes = 0
        self.disconnects = 0
        self.busiest = 0
        self.connections = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.cache = CacheOfPrefixes()
        self._under_way = 0
        self._http = _Server(("127.0.0.1", port), _Connection)
        self._http.owner = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Returns the port that the server listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Returns the URL to give to an `Endpoint`."""
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        """Stops listening, and ends every silence and every connection."""
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()

    def __enter__(self) -> ScriptedModelServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def list_models(self) -> Reply:
        """Returns the answer to `GET /v1/models`, in vLLM's shape."""
        with self.lock:
            self.probes += 1
        if self.models_reply is not None:
            return self.models_reply
        entries = [
            {"id": name, "object": "model", "owned_by": self.owned_by, "max_model_len": self.max_model_len}
            for name in self.models
        ]
        return Reply(body=json.dumps({"object": "list", "data": entries}).encode())

    def chat(self, request: dict[str, Any], headers: dict[str, str]) -> Reply:
        """Returns the answer to `POST /v1/chat/completions`, asking the handler when the request is right."""
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            self._under_way += 1
            self.busiest = max(self.busiest, self._under_way)
        if request.get("model") not in self.models:
            return Reply.error(404, f"The model `{request.get('model')}` does not exist.")
        tokens = prompt_tokens(request["messages"])
        if len(tokens) >= self.max_model_len:
            text = f"maximum context length is {self.max_model_len} tokens, but the prompt has {len(tokens)}"
            return Reply.error(400, text)
        scripted = self.handler(request)
        reply = Reply(scripted) if isinstance(scripted, str) else scripted
        return reply if reply.body is not None else self._completed(reply, request, tokens)

    def chat_ended(self, headers: dict[str, str], *, sent: bool) -> None:  # noqa: ARG002  # for those who build on it
        """Notes that the answer to a request with these headers was sent as a whole, or could not be."""
        with self.lock:
            self._under_way -= 1

    def _completed(self, reply: Reply, request: dict[str, Any], tokens: list[int]) -> Reply:
        room = self.max_model_len - len(tokens)
        text, finish_reason, count = _cut(reply.text, reply.finish_reason, request, room)
        usage = {
            "prompt_tokens": len(tokens),
            "completion_tokens": count,
            "total_tokens": len(tokens) + count,
            "prompt_tokens_details": {"cached_tokens": self.cache.count_and_add(tokens)},
        }
        with self.lock:
            self.usages.append(usage)
        message = {"role": "assistant", "content": text}
        body: dict[str, Any] = {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": usage,
        }
        if self.tells_times:
            # Made up, but such that a longer prompt and a longer answer take longer.
            body["metrics"] = {
                "time_to_first_token_ms": 10.0 + len(tokens) / 8,
                "generation_time_ms": count * 4.0,
                "queue_time_ms": 0.5,
                "mean_itl_ms": 4.0,
                "tokens_per_second": 250.0,
            }
        return replace(reply, body=json.dumps(body).encode())


def _cut(text: str, finish_reason: str, request: dict[str, Any], room: int) -> tuple[str, str, int]:
    """Returns what is left of a text after the stop strings and the limits, why it ends, and its tokens."""
    constraint = request.get("structured_outputs") or {}
    if "regex" in constraint and not re.fullmatch(constraint["regex"], text):
        raise AssertionError(f"the scripted text {text!r} does not match the regex {constraint['regex']!r}")
    stops = request.get("stop") or []
    ends = [(at, stop) for stop in ([stops] if isinstance(stops, str) else stops) if (at := text.find(stop)) >= 0]
    if ends:
        at, stop = min(ends)
        text = text[: at + (len(stop) if request.get("include_stop_str_in_output") else 0)]
    pieces = text_pieces(text)
    limit = min(request.get("max_tokens") or room, room)
    if len(pieces) > limit:
        return "".join(pieces[:limit]), "length", limit
    return text, finish_reason, len(pieces)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # hundreds of threads may come at one time
    owner: ScriptedModelServer

    def __init__(self, address: tuple[str, int], handler: type[_Connection]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        self.owner.connections += 1
        return connection, address

    def hang_up(self) -> None:
        for connection in list(self._open):
            _shut(connection)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a client that leaves is part of what is tested."""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was first


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the head and the body are two writes: the second would wait 40 ms
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        if self.path == "/health":
            self._send(Reply(body=b"", content_type="text/plain"))
        elif self.path == "/v1/models":
            self._send(self._checked() or owner.list_models())
        else:
            self._send(Reply(status=404, body=b'{"detail":"Not Found"}'))

    def do_POST(self) -> None:
        owner = self.server.owner
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != "/v1/chat/completions":
            self._send(Reply(status=404, body=b'{"detail":"Not Found"}'))
            return
        if refusal := self._checked():
            self._send(refusal)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = False
        try:
            try:
                reply = owner.chat(json.loads(data), headers)
            except AssertionError as error:
                reply = Reply.error(500, f"the test's own handler failed: {error}")
            sent = self._send(reply)
        finally:
            owner.chat_ended(headers, sent=sent)

    def _checked(self) -> Reply | None:
        key = self.server.owner.api_key
        if key is None or self.headers.get("authorization") == f"Bearer {key}":
            return None
        return Reply.error(401, f"Unauthorized: {self.headers.get('authorization', 'no key')}")

    def _send(self, reply: Reply) -> bool:
        """Sends an answer, and tells whether all of it was sent."""
        body = reply.body or b""
        if not self._wait(reply.delay):
            return False
        if reply.cut_after is not None and reply.cut_after < 0:
            self._hang_up()
            return False
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.cut_after is not None:
            self.wfile.write(body[: reply.cut_after])
            self._hang_up()
        elif reply.drip:
            for byte in body:
                if not self._wait(reply.drip):
                    return False
                self.wfile.write(bytes((byte,)))
        else:
            self.wfile.write(body)
        if reply.hang_up:
            self._hang_up()
        return reply.cut_after is None

    def _wait(self, seconds: float) -> bool:
        """Waits. Returns false when the client has left or the server stops, as a real one notices it too."""
        owner, end = self.server.owner, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if owner.stopping.is_set():
                self._hang_up()
                return False
            readable, _, _ = select.select([self.connection], [], [], min(0.02, left))
            # A client sends nothing while it waits, so what can be read is the end.
            if readable and not self.connection.recv(1):
                with owner.lock:
                    owner.disconnects += 1
                self._hang_up()
                return False
        return True

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        _shut(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing: a test reads `requests`."""
