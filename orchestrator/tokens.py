"""Tokens: making them, and telling from one who is calling.

A token reads `lv_<id>_<secret>`. The id finds it in the database; of the secret only the SHA-256 is kept, which is
enough for a secret of 256 random bits. It is shown once, when it is made, and never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, cast

from longvideo.auth import TENANT_ROLES, Caller, TenantRole
from longvideo.errors import InvalidArgument, Unauthenticated
from orchestrator.store import Tenants
from orchestrator.tables import TokenRow

KNOWN_SECONDS: Final = 5.0
"""For how long a token that was looked up is taken to be the same: a revocation works after this time."""

_TOKEN: Final = re.compile(r"lv_([0-9a-f]{16})_([0-9a-f]{64})")
_NO_DIGEST: Final = hashlib.sha256(b"").hexdigest()


def make(
    tenant: str, roles: Collection[TenantRole], *, name: str = "", expire_time: float | None = None
) -> tuple[TokenRow, str]:
    """Returns a new token as it is kept, and its text, which is not.

    Raises InvalidArgument without a role, and for a time that has passed.
    """
    if not roles:
        raise InvalidArgument(f"a token without a role can do nothing; give one of {', '.join(TENANT_ROLES)}")
    now = time.time()
    if expire_time is not None and expire_time <= now:
        raise InvalidArgument("the token would expire before it is used; give a time that lies ahead")
    token_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    row = TokenRow(
        id=token_id,
        tenant_id=tenant,
        digest=_digest(secret),
        roles=sorted(roles),
        name=name,
        create_time=now,
        expire_time=expire_time,
    )
    return row, f"lv_{token_id}_{secret}"


class _Known(NamedTuple):
    """What was found of a token, and until when, on `time.monotonic`'s clock, that counts."""

    until: float
    digest: str
    caller: Caller
    expire_time: float | None
    refusal: tuple[str, str] | None


class Authenticator:
    """Tells from a token who is calling. Threads share it.

    A call asks the database only when its token was not looked up in the last few seconds.
    """

    def __init__(self, tenants: Tenants, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tenants = tenants
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def __call__(self, text: str) -> Caller:
        """Returns who has this token. Raises Unauthenticated, in the same words for every token that never was."""
        if not text:
            raise Unauthenticated(
                "this server asks for a token; send it as `authorization: Bearer lv_…`", reason="TOKEN_MISSING"
            )
        match = _TOKEN.fullmatch(text)
        known = self._look_up(match[1]) if match else None
        secret = match[2] if match else ""
        # Takes the same time for an id that does not exist.
        if not hmac.compare_digest(_digest(secret), known.digest if known else _NO_DIGEST) or known is None:
            raise Unauthenticated("the token is not valid; ask the server's operator for one", reason="TOKEN_INVALID")
        if known.refusal is not None:
            message, reason = known.refusal
            raise Unauthenticated(message, reason=reason)
        if known.expire_time is not None and known.expire_time <= time.time():
            raise Unauthenticated(
                "the token has expired; ask the server's operator for a new one", reason="TOKEN_EXPIRED"
            )
        return known.caller

    def _look_up(self, token_id: str) -> _Known | None:
        known, now = self._known.get(token_id), self._clock()
        if known is not None and now < known.until:
            return known
        found = self._tenants.token(token_id)
        with self._lock:
            if found is None:
                self._known.pop(token_id, None)
                return None
            known = self._known[token_id] = _known(*found, now + KNOWN_SECONDS)
        return known


def _known(row: TokenRow, disabled: bool, until: float) -> _Known:
    refusal = None
    if row.revoke_time is not None:
        refusal = ("the token was revoked; ask the server's operator for a new one", "TOKEN_REVOKED")
    elif disabled:
        refusal = (f"the tenant {row.tenant_id} is disabled; ask the server's operator", "TENANT_DISABLED")
    roles = frozenset(cast(TenantRole, role) for role in row.roles)
    return _Known(until, row.digest, Caller(row.tenant_id, roles), row.expire_time, refusal)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
