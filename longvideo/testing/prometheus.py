"""A server that answers Prometheus's range queries: for a name, or for the series of that name in a namespace."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Values = Callable[[float], float | None]
"""What a series was at a moment, in seconds since the epoch; None where there was nothing."""

_MOST_LOOKS = 11_000  # as the genuine one


class ScriptedPrometheus:
    """Knows the series that it is told of by `add`. `failure` is a status and a body that it answers instead."""

    def __init__(self) -> None:
        self.failure: tuple[int, str] | None = None
        self.queries: list[dict[str, str]] = []
        self._series: list[tuple[str, Mapping[str, str], Values]] = []
        outer = self

        class _Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(path.query).items()}
                status, body = outer._answer(path.path, query)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_arguments: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, values: Values, **labels: str) -> None:
        """Adds a series."""
        self._series.append((name, labels, values))

    def close(self) -> None:
        """Stops the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, query: Mapping[str, str]) -> tuple[int, str]:
        self.queries.append(dict(query))
        if self.failure is not None:
            return self.failure
        if path != "/api/v1/query_range":
            return HTTPStatus.NOT_FOUND, "404 page not found"
        start, end, step = (float(query[name]) for name in ("start", "end", "step"))
        count = int((end - start) / step) + 1
        if count > _MOST_LOOKS:
            return _refused("exceeded maximum resolution of 11,000 points per timeseries")
        found = []
        for name, labels, values in self._series:
            looks = [(at, values(at)) for at in (start + number * step for number in range(count))]
            kept = [[at, str(value)] for at, value in looks if value is not None]
            if query["query"] in {name, f'{name}{{namespace="{labels.get("namespace")}"}}'} and kept:
                found.append({"metric": dict(labels, __name__=name), "values": kept})
        return HTTPStatus.OK, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": found}})


def _refused(message: str) -> tuple[int, str]:
    return HTTPStatus.BAD_REQUEST, json.dumps({"status": "error", "errorType": "bad_data", "error": message})
