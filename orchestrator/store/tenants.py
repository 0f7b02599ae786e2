"""Tenants and their tokens."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from longvideo.errors import AlreadyExists, InvalidArgument, NotFound
from orchestrator.db import Engine
from orchestrator.tables import TenantRow, TokenRow

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

LIMITS: Final = ("max_running_episodes", "max_open_episodes", "max_stored_bytes", "max_daily_model_seconds")
"""What a tenant can be limited to."""


class Tenants:
    """The tenants. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, tenant: str, display_name: str = "", limits: Mapping[str, float | None] | None = None) -> None:
        """Makes a tenant. Raises InvalidArgument for what cannot be an id, and AlreadyExists."""
        if not _ID.fullmatch(tenant):
            raise InvalidArgument(
                f"the tenant {tenant[:80]!r} cannot be called so; give 1 to 63 of a-z, 0-9 and -, not - first",
                field="tenant",
            )
        row = {"id": tenant, "display_name": display_name, "create_time": time.time(), **(limits or {})}
        try:
            with self._engine.write() as session:
                session.execute(sa.insert(TenantRow).values(row))
        except IntegrityError:
            raise AlreadyExists(f"there is a tenant {tenant} already", tenant=tenant) from None

    def get(self, tenant: str) -> TenantRow:
        """Returns a tenant. Raises NotFound."""
        with self._engine.read() as session:
            row = session.get(TenantRow, tenant)
        if row is None:
            raise _no_tenant(tenant)
        return row

    def all(self) -> list[TenantRow]:
        """Returns all tenants, by id."""
        with self._engine.read() as session:
            return list(session.scalars(sa.select(TenantRow).order_by(TenantRow.id)))

    def change(self, tenant: str, changes: Mapping[str, Any]) -> None:
        """Changes columns of a tenant. Raises NotFound."""
        with self._engine.write() as session:
            if session.get(TenantRow, tenant, with_for_update=True) is None:
                raise _no_tenant(tenant)
            if changes:
                session.execute(sa.update(TenantRow).where(TenantRow.id == tenant).values(**changes))

    def add_token(self, token: TokenRow) -> None:
        """Keeps a new token. Raises NotFound without its tenant."""
        self.get(token.tenant_id)
        with self._engine.write() as session:
            session.add(token)

    def token(self, token_id: str) -> tuple[TokenRow, bool] | None:
        """Returns a token, and whether its tenant is disabled; None when there is no such token."""
        query = (
            sa.select(TokenRow, TenantRow.disable_time)
            .join(TenantRow, TenantRow.id == TokenRow.tenant_id)
            .where(TokenRow.id == token_id)
        )
        with self._engine.read() as session:
            found = session.execute(query).one_or_none()
        return None if found is None else (found[0], found[1] is not None)

    def tokens(self, tenant: str = "") -> list[TokenRow]:
        """Returns the tokens of a tenant, or of all, oldest first."""
        query = sa.select(TokenRow).order_by(TokenRow.tenant_id, TokenRow.create_time, TokenRow.id)
        if tenant:
            query = query.where(TokenRow.tenant_id == tenant)
        with self._engine.read() as session:
            return list(session.scalars(query))

    def revoke(self, token_id: str) -> None:
        """Makes a token useless; one that was revoked stays so. Raises NotFound."""
        revoked = sa.func.coalesce(TokenRow.revoke_time, time.time())
        with self._engine.write() as session:
            query = sa.update(TokenRow).where(TokenRow.id == token_id).values(revoke_time=revoked)
            if session.scalar(query.returning(TokenRow.id)) is None:
                raise NotFound(f"there is no token {token_id}; `longvideo admin token list` shows them", token=token_id)


def _no_tenant(tenant: str) -> NotFound:
    return NotFound(f"there is no tenant {tenant[:80]}; `longvideo admin tenant list` shows them", tenant=tenant[:80])
