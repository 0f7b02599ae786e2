"""Events of jobs: numbered from 1 without gaps, in the transaction that makes the change they tell of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo.resources import EpisodeName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.messages import timestamp
from orchestrator.store.spending import NOTHING, Spent, Standing
from orchestrator.tables import IS_RUNNING, EpisodeRow, EventRow, JobRow

_JOBS, _EVENTS = cast(sa.Table, JobRow.__table__), cast(sa.Table, EventRow.__table__)
_RUNNING = (
    sa.select(sa.func.count())
    .where(EpisodeRow.tenant_id == _JOBS.c.tenant_id, EpisodeRow.job_id == _JOBS.c.id, IS_RUNNING)
    .correlate(_JOBS)
    .scalar_subquery()
)
_MOVE_ON = (
    sa.update(_JOBS)
    .where(_JOBS.c.id == sa.bindparam("of_job"))
    .values(
        last_position=_JOBS.c.last_position + sa.bindparam("count"),
        gpu_seconds=_JOBS.c.gpu_seconds + sa.bindparam("gpu_seconds", type_=sa.Double()),
        cost=_JOBS.c.cost + sa.bindparam("cost", type_=sa.Double()),
    )
    .returning(
        _JOBS.c.last_position,
        _JOBS.c.gpu_seconds,
        _JOBS.c.cost,
        sa.case((sa.bindparam("counted", type_=sa.Boolean()), _RUNNING), else_=0),
    )
)
_INSERT = sa.insert(_EVENTS)


def append(
    session: Session | sa.Connection,
    job_id: str,
    events: Sequence[pb.JobEvent],
    spent: Spent = NOTHING,
    *,
    counted: bool = False,
    **changes: Any,
) -> Standing:
    """Adds events to a job and what it has spent, and makes `changes` to its row in the same statement.

    Returns how it stands then; its running episodes only where they are to be `counted`.

    That statement locks the row until the transaction ends, so positions become visible in their order. A transaction
    that also changes an episode does so before: with one order everywhere, no two wait for each other.
    """
    statement = _MOVE_ON.values(changes) if changes else _MOVE_ON
    values = {"of_job": job_id, "count": len(events), "counted": counted, **spent._asdict()}
    moved = session.execute(statement, values).one_or_none()
    last, gpu_seconds, cost, running = moved or (0, *NOTHING, 0)  # a job that was deleted meanwhile
    now, rows = timestamp(time.time()), []
    for position, event in enumerate(events, start=last - len(events) + 1):
        event.position = position
        event.time.CopyFrom(now)
        rows.append(
            {
                "job_id": job_id,
                "position": position,
                "episode": int(EpisodeName.parse(event.episode).episode_id),
                "kind": event.WhichOneof("event"),
                "payload": event.SerializeToString(),
            }
        )
    if rows:
        session.execute(_INSERT, rows if len(rows) > 1 else rows[0])
    return Standing(Spent(gpu_seconds, cost), running)
