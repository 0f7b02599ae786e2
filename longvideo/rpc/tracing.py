"""What goes along with a call besides its request: which episode it is for, whose, and in which trace; and its spans.

The ids are what `longvideo.logs` has bound. The trace travels as the W3C's `traceparent`; see `longvideo.telemetry`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from opentelemetry.trace import Span, Status, StatusCode

from longvideo import auth, logs, telemetry

Metadata = Iterable[tuple[str, str | bytes]]

_EPISODE, _TENANT, _TRACE = "x-longvideo-episode", "x-longvideo-tenant", "traceparent"
_VALUE = re.compile(r"[A-Za-z0-9/_.-]{1,200}")

# What is the server's fault; that of a caller is an answer like any other.
_FAULTS = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))


def outgoing(span: Span) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call whose span this is."""
    bound = logs.names()
    sent = {_EPISODE: bound.get("episode", ""), _TENANT: bound.get("tenant", "")}
    return (
        *((key, value) for key, value in sent.items() if _VALUE.fullmatch(value)),
        (_TRACE, telemetry.header(span.get_span_context())),
    )


def bind(method: str, metadata: Metadata, *, trusted: bool) -> None:
    """Binds what came with a call, and `method`, for as long as it is answered.

    Whose it is, and for which episode, is believed only where the callers are services of ours (`trusted`).
    """
    given = _texts(metadata)
    logs.bind(method=method.rpartition("/")[2])
    if trusted:
        tenant = _known(given, _TENANT)
        episode = _known(given, _EPISODE)
        logs.bind(tenant=tenant, **logs.names_of(episode))


def bind_caller() -> None:
    """Binds the tenant of whoever calls."""
    logs.bind(tenant=auth.current().tenant)


def begin_call(method: str, address: str) -> Span:
    """Starts the span of a call that is made here; `follow` ends it."""
    host, _, port = address.rpartition(":")
    attributes = _named(method) | {"server.address": host.strip("[]"), "server.port": int(port)}
    return telemetry.begin(method.lstrip("/"), telemetry.Kind.CLIENT, attributes)


def follow(span: Span, call: Any) -> None:
    """Ends the span of a call when that ends."""

    def done(ended: Any) -> None:
        code = ended.code()
        name = code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"
        _end(span, name, is_error=name not in {"OK", "CANCELLED"})  # who gives a call up knows why
        span.end()

    if span.is_recording():
        call.add_done_callback(done)


def answering(method: str, metadata: Metadata) -> Any:
    """Makes a span of a call that is answered within, in the trace that it came in."""
    parent = telemetry.parse(_texts(metadata).get(_TRACE, ""))
    return telemetry.span(method.lstrip("/"), telemetry.Kind.SERVER, _named(method), parent=parent)


def end_answer(span: Span, code: str, reason: str) -> None:
    """Notes how a call was answered, and whose it was."""
    if span.is_recording():
        bound = logs.names()
        whose = {f"longvideo.{name}": bound[name] for name in ("tenant", "job", "episode") if name in bound}
        span.set_attributes(whose | ({"longvideo.reason": reason} if reason else {}))
        _end(span, code, is_error=code in _FAULTS)


def _end(span: Span, code: str, *, is_error: bool) -> None:
    span.set_attribute("rpc.response.status_code", code)
    if is_error:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR, code))


def _named(method: str) -> dict[str, Any]:
    return {"rpc.system.name": "grpc", "rpc.method": method.lstrip("/")}


def _texts(metadata: Metadata) -> Mapping[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}


def _known(given: Mapping[str, str], key: str) -> str:
    value = given.get(key, "")
    return value if _VALUE.fullmatch(value) else ""
