"""What goes along with a call besides its request: which episode it is for, whose, and in which trace.

The ids are what `longvideo.logs` has bound. The trace travels as the W3C's `traceparent`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping

from longvideo import auth, logs

Metadata = Iterable[tuple[str, str | bytes]]

_EPISODE, _TENANT, _TRACE = "x-longvideo-episode", "x-longvideo-tenant", "traceparent"
_VALUE = re.compile(r"[A-Za-z0-9/_.-]{1,200}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def outgoing() -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call that is made here."""
    bound = logs.names()
    trace = bound.get("trace_id") or logs.new_trace()
    sent = {_EPISODE: bound.get("episode", ""), _TENANT: bound.get("tenant", "")}
    return (
        *((key, value) for key, value in sent.items() if _VALUE.fullmatch(value)),
        (_TRACE, f"00-{trace}-{secrets.token_hex(8)}-01"),
    )


def bind(method: str, metadata: Metadata, *, trusted: bool) -> None:
    """Binds what came with a call, and `method`, for as long as it is answered.

    Whose it is, and for which episode, is believed only where the callers are services of ours (`trusted`).
    """
    given = {key: value for key, value in metadata if isinstance(value, str)}
    logs.bind(method=method.rpartition("/")[2], trace_id=_trace(given))
    if trusted:
        tenant = _known(given, _TENANT)
        episode = _known(given, _EPISODE)
        logs.bind(tenant=tenant, **logs.names_of(episode))


def bind_caller() -> None:
    """Binds the tenant of whoever calls."""
    logs.bind(tenant=auth.current().tenant)


def _known(given: Mapping[str, str], key: str) -> str:
    value = given.get(key, "")
    return value if _VALUE.fullmatch(value) else ""


def _trace(given: Mapping[str, str]) -> str:
    found = _TRACEPARENT.fullmatch(given.get(_TRACE, ""))
    return found[1] if found else logs.new_trace()
