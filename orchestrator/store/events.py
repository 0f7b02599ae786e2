"""Events of jobs: numbered from 1 without gaps, in the transaction that makes the change they tell of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo.resources import EpisodeName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.db import EventRow, JobRow
from orchestrator.messages import timestamp


def append(session: Session, job_id: str, events: Sequence[pb.JobEvent], **changes: Any) -> None:
    """Adds events to a job, and makes `changes` to its row in the same statement.

    That statement locks the row until the transaction ends, so positions become visible in their order. A transaction
    that also changes an episode does so before: with one order everywhere, no two wait for each other.
    """
    last = session.scalar(
        sa.update(JobRow)
        .where(JobRow.id == job_id)
        .values(last_position=JobRow.last_position + len(events), **changes)
        .returning(JobRow.last_position)
        .execution_options(synchronize_session=False)
    )
    if not events:
        return
    now, rows = timestamp(time.time()), []
    for position, event in enumerate(events, start=(last or 0) - len(events) + 1):
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
    session.execute(sa.insert(EventRow), rows)
