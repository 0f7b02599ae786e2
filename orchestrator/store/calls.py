"""Model calls: each recorded once, listed, and summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo import usage
from longvideo.auth import DEFAULT_TENANT
from longvideo.resources import EpisodeName, VideoName
from longvideo.usage import Call
from longvideo.v1 import types_pb2
from orchestrator.db import Engine
from orchestrator.messages import clean
from orchestrator.paging import Cursor
from orchestrator.store import events, spending
from orchestrator.store.spending import Price, Spent, Standing
from orchestrator.tables import CallRow, JobRow


class Place(NamedTuple):
    """A job, or one of its episodes (from 1)."""

    job_id: str
    episode: int | None = None


class Purpose(NamedTuple):
    """Whom and what calls were made for: a tenant, a video, and a job with its label, or none; perhaps an episode."""

    tenant: str
    video_id: str
    label: str = ""
    job_id: str | None = None
    episode: int | None = None


class Sum(NamedTuple):
    """The calls of one role, model and pool. `isolated` is the number of calls times the model's mean seconds."""

    role: str
    model: str
    pool: str
    calls: int
    failed: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    isolated: float


class Calls:
    """The model calls. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine, price: Price) -> None:
        self._engine = engine
        self.price = price

    def record(self, calls: Sequence[Call], purpose: Purpose, number: int | None = None) -> Standing | None:
        """Records calls, made in the round `number` of an episode, if that is what they were made for.

        Returns how the job stands then, if there is one and there are calls.
        """
        if not calls:
            return None
        with self._engine.write() as session:
            spent = self.put(session, calls, purpose, number)
            return events.append(session, purpose.job_id, [], spent) if purpose.job_id else None

    def record_strays(self, strays: Sequence[types_pb2.StrayCall]) -> None:
        """Records calls that could not be told to whom they were made for, each once, whoever hears of them."""
        for stray in strays:
            self.record([usage.from_proto(stray.call)], self._purpose(stray))

    def _purpose(self, stray: types_pb2.StrayCall) -> Purpose:
        """Returns what a stray call was made for. Its job may have been pruned meanwhile."""
        video_id = VideoName.parse(stray.video, "video").video_id
        if stray.episode:
            name = EpisodeName.parse(stray.episode, "episode")
            with self._engine.read() as session:
                if job := session.get(JobRow, name.job_id):
                    return Purpose(job.tenant_id, job.video_id, job.label, job.id, int(name.episode_id))
        return Purpose(stray.tenant or DEFAULT_TENANT, video_id)

    def put(
        self, session: Session | sa.Connection, calls: Sequence[Call], purpose: Purpose, number: int | None = None
    ) -> Spent:
        """Records calls in the transaction of others, and returns what they took.

        What is recorded already stays as it is, and takes nothing again.
        """
        where = {
            "tenant_id": purpose.tenant,
            "video_id": purpose.video_id,
            "label": purpose.label,
            "job_id": purpose.job_id,
            "episode": purpose.episode,
            "round": number,
        }
        insert, new = self._engine.insert_once(CallRow), []
        for call in calls:
            row = {**vars(call), **where, "model": clean(call.model), "detail": clean(call.detail)}
            done = session.execute(insert, row)
            assert isinstance(done, sa.CursorResult)
            if done.rowcount:
                new.append(call)
        return spending.spent(new, self.price)

    def page(self, place: Place, after: Cursor | None, limit: int) -> list[CallRow]:
        """Returns at most `limit` calls of a job or an episode, oldest first, from the one after a cursor."""
        query = sa.select(CallRow).where(_of(place)).order_by(CallRow.start_time, CallRow.id).limit(limit)
        if after is not None:
            query = query.where(sa.tuple_(CallRow.start_time, CallRow.id) > sa.tuple_(after.time, after.id))
        with self._engine.read() as session:
            return list(session.scalars(query))

    def of_episode(self, purpose: Purpose) -> list[CallRow]:
        """Returns all calls that were made for an episode."""
        query = sa.select(CallRow).where(CallRow.job_id == purpose.job_id, CallRow.episode == purpose.episode)
        with self._engine.read() as session:
            return list(session.scalars(query))

    def ledger(self, tenant: str | None, start: float, end: float, after: Cursor | None, limit: int) -> list[CallRow]:
        """Returns at most `limit` calls of a tenant, or for None of all, that were sent from `start` to before `end`.

        Oldest first, from the one after a cursor.
        """
        query = sa.select(CallRow).order_by(CallRow.start_time, CallRow.id).limit(limit)
        query = query.where(CallRow.start_time >= (after.time if after else start), CallRow.start_time < end)
        if tenant is not None:
            query = query.where(CallRow.tenant_id == tenant)
        if after is not None:
            query = query.where(sa.tuple_(CallRow.start_time, CallRow.id) > sa.tuple_(after.time, after.id))
        with self._engine.read() as session:
            return list(session.scalars(query))

    def sums(self, place: Place) -> list[Sum]:
        """Returns the sums over the calls of a job or an episode, by role, model and pool."""
        group = (CallRow.role, CallRow.model, CallRow.pool)
        query = (
            sa.select(
                *group,
                sa.func.count(),
                sa.func.sum(sa.case((CallRow.outcome != "ok", 1), else_=0)),
                sa.func.sum(CallRow.seconds),
                sa.func.sum(CallRow.prompt_tokens),
                sa.func.sum(CallRow.cached_tokens),
                sa.func.sum(CallRow.completion_tokens),
            )
            .where(_of(place))
            .group_by(*group)
            .order_by(*group)
        )
        with self._engine.read() as session:
            rows = session.execute(query).all()
            means = self._means(session, {row.model for row in rows})
        return [
            Sum(
                row.role,
                row.model,
                row.pool,
                calls=int(row[3]),
                failed=int(row[4]),
                seconds=float(row[5]),
                prompt_tokens=int(row[6]),
                cached_tokens=int(row[7]),
                completion_tokens=int(row[8]),
                isolated=int(row[3]) * means.get(row.model, 0.0),
            )
            for row in rows
        ]

    @staticmethod
    def _means(session: Session, models: set[str]) -> dict[str, float]:
        """Returns the mean seconds of each model's successful calls, over all jobs."""
        query = (
            sa.select(CallRow.model, sa.func.avg(CallRow.seconds))
            .where(CallRow.model.in_(models), CallRow.outcome == "ok")
            .group_by(CallRow.model)
        )
        return {model: float(mean) for model, mean in session.execute(query)}


def _of(place: Place) -> sa.ColumnElement[bool]:
    condition = CallRow.job_id == place.job_id
    return condition if place.episode is None else condition & (CallRow.episode == place.episode)
