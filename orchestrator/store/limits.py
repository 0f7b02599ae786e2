"""What a tenant is limited to. Each check belongs in the transaction that takes what it allows.

The checks begin by locking the tenant's row, so that of two that race the second sees what the first has taken.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo.errors import ResourceExhausted
from orchestrator.tables import IS_RUNNING, CallRow, EpisodeRow, HoldingRow, JobRow, TenantRow

DAY_SECONDS: Final = 24 * 3600.0

# When to ask again for something that gets free as episodes end, which nobody can foresee.
_RETRY_SECONDS = 30.0


def lock(session: Session, tenant: str) -> TenantRow:
    """Returns a tenant's row, and keeps it until the transaction ends."""
    # Those who only refer to the row need not wait.
    query = sa.select(TenantRow).where(TenantRow.id == tenant).with_for_update(key_share=True)
    return session.scalars(query).one()


def check_job(session: Session, tenant: str, episodes: int) -> None:
    """Raises ResourceExhausted when a tenant may not submit so many more episodes now."""
    row = lock(session, tenant)
    if row.max_open_episodes is not None:
        query = sa.select(sa.func.sum(JobRow.open_count)).where(JobRow.tenant_id == tenant, JobRow.end_time.is_(None))
        _check_open(row.max_open_episodes, int(session.scalar(query) or 0), episodes)
    if row.max_daily_model_seconds is not None:
        _check_seconds(session, tenant, row.max_daily_model_seconds, time.time())


def _check_open(limit: int, used: int, asked: int) -> None:
    if used + asked <= limit:
        return
    fix = "wait until some have ended" if asked <= limit else "split the job, and submit its parts one after the other"
    error = ResourceExhausted(
        f"the tenant has {used:,} questions that have not ended, and may have {limit:,}; {asked:,} more are too many: "
        f"{fix}",
        reason="TENANT_OPEN_EPISODES",
        limit=str(limit),
        used=str(used),
        asked=str(asked),
    )
    error.retry_after = _RETRY_SECONDS if asked <= limit else None
    raise error


def _check_seconds(session: Session, tenant: str, limit: float, now: float) -> None:
    used = _seconds(session, tenant, now)
    if used < limit:
        return
    # The limit is kept again once this much of the day's beginning has gone by.
    passed = sa.func.sum(CallRow.seconds).over(order_by=(CallRow.start_time, CallRow.id))
    day = sa.select(CallRow.start_time, passed.label("passed")).where(*_in_day(tenant, now)).subquery()
    first = sa.select(sa.func.min(day.c.start_time)).where(day.c.passed > used - limit)
    oldest = session.scalar(first)
    error = ResourceExhausted(
        f"the tenant's model calls took {used:,.0f} s in the last 24 hours, and may take {limit:,.0f} s; try again "
        "later, or ask the server's operator for more",
        reason="TENANT_MODEL_SECONDS",
        limit=f"{limit:g}",
        used=f"{used:g}",
    )
    error.retry_after = max(1.0, (now if oldest is None else oldest) + DAY_SECONDS - now)
    raise error


def check_bytes(session: Session, tenant: str, video_id: str, size_bytes: int) -> None:
    """Raises ResourceExhausted when a tenant may not have a video of this size beside its others."""
    limit = lock(session, tenant).max_stored_bytes
    if limit is None:
        return
    query = sa.select(sa.func.sum(HoldingRow.size_bytes)).where(
        HoldingRow.tenant_id == tenant, HoldingRow.video_id != video_id
    )
    used = int(session.scalar(query) or 0)
    if used + size_bytes > limit:
        raise ResourceExhausted(
            f"the tenant has {used:,} bytes of videos, and may have {limit:,}; {size_bytes:,} more are too many: "
            "delete videos that are not needed any more",
            reason="TENANT_STORED_BYTES",
            limit=str(limit),
            used=str(used),
            asked=str(size_bytes),
        )


def may_run(session: Session, tenant: str) -> bool:
    """Tells whether another episode of a tenant may run beside those that do."""
    limit = lock(session, tenant).max_running_episodes
    if limit is None:
        return True
    query = sa.select(sa.func.count()).where(EpisodeRow.tenant_id == tenant, IS_RUNNING)
    return int(session.scalar(query) or 0) < limit


def spent(session: Session, now: float) -> dict[str, float]:
    """Returns the tenants whose model calls took all that they may take in a day, and that limit, in seconds."""
    limited = session.execute(
        sa.select(TenantRow.id, TenantRow.max_daily_model_seconds).where(TenantRow.max_daily_model_seconds.is_not(None))
    )
    limits = {tenant: limit for tenant, limit in limited.all() if limit is not None}
    return {tenant: limit for tenant, limit in limits.items() if _seconds(session, tenant, now) >= limit}


def _seconds(session: Session, tenant: str, now: float) -> float:
    return float(session.scalar(sa.select(sa.func.sum(CallRow.seconds)).where(*_in_day(tenant, now))) or 0.0)


def _in_day(tenant: str, now: float) -> Collection[sa.ColumnElement[bool]]:
    return CallRow.tenant_id == tenant, CallRow.start_time > now - DAY_SECONDS
