"""An OTLP collector over gRPC that keeps the spans that it receives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_DEADLINE = 60.0


@dataclass(frozen=True)
class Received:
    """A span as it arrived. Ids are hexadecimal; `error` is what its status says, empty where that is no error."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    error: str
    seconds: float
    start: int


@dataclass
class Node:
    """A span with what belongs to it, in the order in which that began."""

    span: Received
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yields this one and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def outline(self, show: Callable[[Received], str], depth: int = 0) -> str:
        """Returns the tree as lines of text."""
        below = "".join(child.outline(show, depth + 1) for child in self.children)
        return f"{'  ' * depth}{show(self.span)}\n{below}"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Receives spans on this machine. `answer` can be replaced, by one that refuses or that is slow."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> None:
        self.answer: Callable[[grpc.ServicerContext], None] = lambda _: None
        self.metadata: list[dict[str, str]] = []
        self.requests: list[bytes] = []
        self._spans: list[Received] = []
        self._changed = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        where = f"127.0.0.1:{port}"
        port = (
            self._server.add_secure_port(where, credentials) if credentials else self._server.add_insecure_port(where)
        )
        self._server.start()
        self.url = f"{'https' if credentials else 'http'}://127.0.0.1:{port}"

    def Export(  # noqa: N802  # the name on the wire
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Keeps what came."""
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        self.answer(context)
        with self._changed:
            self.requests.append(request.SerializeToString())
            for resource in request.resource_spans:
                named = _values(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self._spans += [_received(str(named["service.name"]), span) for span in scope.spans]
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Received]:
        """What came so far."""
        with self._changed:
            return list(self._spans)

    def wait(self, enough: Callable[[list[Received]], Any], what: str) -> list[Received]:
        """Waits until there are enough spans, and returns all."""
        deadline = time.monotonic() + _DEADLINE
        with self._changed:
            while not enough(self._spans):
                left = deadline - time.monotonic()
                assert left > 0, f"never: {what}; there are {sorted(span.name for span in self._spans)}"
                self._changed.wait(left)
            return list(self._spans)

    def trace(self, trace: str) -> list[Node]:
        """Returns the roots of a trace: what has no parent, or one that is not there."""
        nodes = {span.id: Node(span) for span in self.spans if span.trace == trace}
        roots = []
        for node in sorted(nodes.values(), key=lambda node: node.span.start):
            above = nodes.get(node.span.parent)
            (above.children if above else roots).append(node)
        return roots

    def close(self) -> None:
        """Stops at once."""
        self._server.stop(0).wait()


def _received(service: str, span: trace_pb2.Span) -> Received:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Received(
        service,
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _values(span.attributes),
        tuple(link.trace_id.hex() for link in span.links),
        span.status.message or "error" if failed else "",
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        span.start_time_unix_nano,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
