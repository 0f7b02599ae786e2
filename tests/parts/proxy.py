"""A proxy between an S3 server and its clients that delays, breaks and cuts answers."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What the proxy does with a request, given its method and path: "pass", a status, "cut" (only half of the body comes
# back), "drop" (hangs up at once), "half" (hangs up when half of the request has come) or "forget" (hangs up after the
# server has done it).
Mood = Callable[[str, str], str]


class Proxy:
    """Passes requests on to a server, and treats each as `mood` says. Counts them."""

    def __init__(self, endpoint: str, mood: Mood = lambda method, path: "pass", delay: float = 0.0) -> None:
        self.mood = mood
        self.delay = delay
        self.requests: list[tuple[str, str]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._host = endpoint.removeprefix("http://")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815  # the base class says so

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stops the proxy."""
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        with self._lock:
            self.requests.append((request.command, request.path))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay)
            self._answer(request, self.mood(request.command, request.path))
        finally:
            with self._lock:
                self._at_once -= 1

    def _answer(self, request: BaseHTTPRequestHandler, mood: str) -> None:
        length = int(request.headers.get("content-length", 0))
        body = request.rfile.read(length // 2 if mood == "half" else length)
        if mood in {"drop", "half"}:
            request.close_connection = True
            return
        if mood.isdigit():
            request.send_response(int(mood))
            request.send_header("content-length", "0")
            request.end_headers()
            return
        onward = http.client.HTTPConnection(self._host, timeout=30)
        # The host is part of the signature.
        onward.request(request.command, request.path, body or None, dict(request.headers))
        answer = onward.getresponse()
        data = answer.read()
        onward.close()
        if mood == "forget":
            request.close_connection = True
            return
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "date", "server"}:
                request.send_header(name, value)
        said = answer.headers["content-length"] if request.command == "HEAD" else str(len(data))
        request.send_header("content-length", said or "0")
        request.end_headers()
        request.wfile.write(data[: len(data) // 2] if mood == "cut" else data)
        if mood == "cut":
            request.close_connection = True
