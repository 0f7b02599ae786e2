"""Who is calling. The server's interceptor in `longvideo.rpc` sets it; everybody below asks `current`."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass
from typing import Final, Literal

TenantRole = Literal["read", "submit", "admin"]
TENANT_ROLES: Final[tuple[TenantRole, ...]] = ("read", "submit", "admin")

DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True)
class Caller:
    """A tenant, and what the caller may do in its name."""

    tenant: str
    roles: frozenset[TenantRole]


LOCAL: Final = Caller(DEFAULT_TENANT, frozenset(TENANT_ROLES))
"""Everybody who reaches a server that asks for no tokens: such a server listens on loopback only."""

CALLER: Final = contextvars.ContextVar("caller", default=LOCAL)


def current() -> Caller:
    """Returns who made the call that this thread answers."""
    return CALLER.get()
