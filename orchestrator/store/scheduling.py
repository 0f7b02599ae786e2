"""Which episode goes next.

Interactive work goes before batch work, whoever submitted it; then the tenant with the fewest running episodes; then
the oldest. Tenants that may have no more running, or whose models' time of the day is spent, are passed over.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from orchestrator.store import limits
from orchestrator.tables import IS_PENDING, IS_RUNNING, EpisodeRow, TenantRow

# The order of a tenant's episodes, which is that of the index `episodes_due`.
_ORDER = (EpisodeRow.priority, EpisodeRow.create_time, EpisodeRow.job_id, EpisodeRow.number)


class Turn(NamedTuple):
    """A tenant that has something to do: how urgent it is, how many of its episodes run, and how many may."""

    tenant: str
    priority: int
    running: int
    limit: int | None

    @property
    def is_full(self) -> bool:
        """Whether as many episodes run as may."""
        return self.limit is not None and self.running >= self.limit


def turns(session: Session, now: float) -> list[Turn]:
    """Returns the tenants with an episode that could be taken up, in the order of their turns."""

    def first(column: sa.SQLColumnExpression[Any]) -> sa.ScalarSelect[Any]:
        query = sa.select(column).where(EpisodeRow.tenant_id == TenantRow.id, *is_due(now)).order_by(*_ORDER).limit(1)
        return query.scalar_subquery()

    running = sa.select(sa.func.count()).where(EpisodeRow.tenant_id == TenantRow.id, IS_RUNNING).scalar_subquery()
    tenants = sa.select(
        TenantRow.id,
        first(EpisodeRow.priority).label("priority"),
        running.label("running"),
        TenantRow.max_running_episodes,
        first(EpisodeRow.create_time).label("waits_since"),
    ).subquery()
    query = (
        sa.select(tenants)
        .where(tenants.c.priority.is_not(None))
        .order_by(tenants.c.priority, tenants.c.running, tenants.c.waits_since, tenants.c.id)
    )
    return [Turn(*row[:4]) for row in session.execute(query)]


def is_due(now: float) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Returns what is true of an episode that could be taken up."""
    return IS_PENDING, EpisodeRow.not_before <= now


def take(session: Session, now: float, passed_over: Collection[str], values: dict[str, Any]) -> EpisodeRow | None:
    """Changes the episode that is due most to `values` and returns it; None when nothing is due that may run."""
    for turn in turns(session, now):
        if turn.tenant in passed_over or turn.is_full:
            continue
        if turn.limit is None:
            episode = _take_of(session, turn, now, values)
        else:
            episode = _take_within_limit(session, turn, now, values)
        if episode is not None:
            return episode
    return None


def _take_within_limit(session: Session, turn: Turn, now: float, values: dict[str, Any]) -> EpisodeRow | None:
    nested = session.begin_nested()
    episode = _take_of(session, turn, now, values) if limits.may_run(session, turn.tenant) else None
    if episode is None:
        nested.rollback()  # lets go of the tenant: two that hold one each could wait for each other
    else:
        nested.commit()
    return episode


def _take_of(session: Session, turn: Turn, now: float, values: dict[str, Any]) -> EpisodeRow | None:
    chosen = (
        sa.select(EpisodeRow.job_id, EpisodeRow.number)
        .where(EpisodeRow.tenant_id == turn.tenant, EpisodeRow.priority == turn.priority, *is_due(now))
        .order_by(*_ORDER)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    taken = (
        sa.update(EpisodeRow)
        .where(sa.tuple_(EpisodeRow.job_id, EpisodeRow.number).in_(sa.select(chosen.c.job_id, chosen.c.number)))
        .values(**values)
        .returning(EpisodeRow)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(taken).one_or_none()
