"""What vLLM would tell Prometheus, for those who look at that: every metric that our queries name, and it moves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from monitoring.foreign import VLLM

_LABELS = 'model_name="stand-in",engine="0"'


def exposition(moment: int) -> str:
    """Returns what is told at a moment: counters have counted so far, and gauges are a quarter."""
    lines = []
    for name, (kind, _) in VLLM.items():
        lines.append(f"# TYPE {name} {kind}")
        if kind == "histogram":
            lines += [f'{name}_bucket{{{_LABELS},le="{edge}"}} {moment}' for edge in ("1.0", "+Inf")]
            lines += [f"{name}_sum{{{_LABELS}}} {moment / 2}", f"{name}_count{{{_LABELS}}} {moment}"]
        else:
            lines.append(f"{name}{{{_LABELS}}} {moment if kind == 'counter' else 0.25}")
    return "\n".join([*lines, ""])


@contextmanager
def vllm() -> Iterator[str]:
    """Serves it, and yields the address."""
    moments = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            body = exposition(next(moments)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
