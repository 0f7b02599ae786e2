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
from orchestrator.store.spending import NOTHING, Spent
from orchestrator.tables import EventRow, JobRow

_JOBS, _EVENTS = cast(sa.Table, JobRow.__table__), cast(sa.Table, EventRow.__table__)
_MOVE_ON = (
    sa.update(_JOBS)
    .where(_JOBS.c.id == sa.bindparam("of_job"))
    .values(
        last_position=_JOBS.c.last_position + sa.bindparam("count"),
        gpu_seconds=_JOBS.c.gpu_seconds + sa.bindparam("gpu_seconds", type_=sa.Double()),
        cost=_JOBS.c.cost + sa.bindparam("cost", type_=sa.Double()),
    )
    .returning(_JOBS.c.last_position, _JOBS.c.gpu_seconds, _JOBS.c.cost)
)
_INSERT = sa.insert(_EVENTS)


def append(
    session: Session | sa.Connection,
    job_id: str,
    events: Sequence[pb.JobEvent],
    spent: Spent = NOTHING,
    **changes: Any,
) -> Spent:
    """Adds events to a job and what it has spent, and makes `changes` to its row in the same statement.

    Returns what it has spent in all.

    That statement locks the row until the transaction ends, so positions become visible in their order. A transaction
    that also changes an episode does so before: with one order everywhere, no two wait for each other.
    """
    statement = _MOVE_ON.values(changes) if changes else _MOVE_ON
    moved = session.execute(statement, {"of_job": job_id, "count": len(events), **spent._asdict()})
    last, *total = moved.one_or_none() or (0, *NOTHING)  # a job that was deleted meanwhile
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
    return Spent(*total)
