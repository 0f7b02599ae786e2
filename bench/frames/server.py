"""A real S3 server on loopback, and in front of it something that counts, and adds the latency of a network."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEYS = ("bench", "bench-secret", "")


@contextlib.contextmanager
def rclone(root: Path) -> Iterator[str]:
    """Runs `rclone serve s3` over a directory whose subdirectories are the buckets. Gives `host:port`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    address = f"127.0.0.1:{port}"
    command = shutil.which("rclone", path=sysconfig.get_path("scripts")) or "rclone"
    # It forgets a file's ETag with its directory's listing, and would then read the whole file for a new one.
    options = ["--addr", address, "--auth-key", ",".join(KEYS[:2]), "--config", "", "--dir-cache-time", "24h"]
    arguments = [command, "serve", "s3", str(root), *options]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as server:  # noqa: S603  # as asked
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                    break
                time.sleep(0.05)
            yield address
        finally:
            server.terminate()


class Counter:
    """Passes requests on, each after a delay. Says how many there were, and how many bytes went back."""

    def __init__(self, address: str, delay: float) -> None:
        self.requests = 0
        self.sent = 0
        lock = threading.Lock()
        counter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                time.sleep(delay)
                onward = http.client.HTTPConnection(address)
                body = self.rfile.read(int(self.headers.get("content-length", 0))) or None
                onward.request(self.command, self.path, body, dict(self.headers))
                answer = onward.getresponse()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in {"date", "server", "connection"}:
                        self.send_header(name, value)
                self.end_headers()
                sent = 0
                while part := answer.read(1 << 18):
                    self.wfile.write(part)
                    sent += len(part)
                onward.close()
                with lock:
                    counter.requests += 1
                    counter.sent += sent

            do_GET = do_HEAD = do_PUT = handle_any  # noqa: N815  # the base class says so

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self) -> tuple[int, float]:
        """Returns the requests and megabytes since it was last called."""
        requests, sent = self.requests, self.sent
        self.requests = self.sent = 0
        return requests, sent / 1e6

    def close(self) -> None:
        """Stops counting."""
        self._server.shutdown()
        self._server.server_close()
