"""Giving things up: a tenant's video, and whatever is older than it needs to be.

Rows go first, in one transaction, objects after it. A video whose objects are still to go is `deleting`, so that
whoever was stopped in between leaves nothing behind that the next one cannot find.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo.errors import FailedPrecondition
from longvideo.resources import VideoName
from orchestrator.db import Engine
from orchestrator.store import limits
from orchestrator.store.videos import no_video
from orchestrator.tables import CallRow, EpisodeRow, EventRow, HoldingRow, JobRow, RoundRow, SubtitlesRow, VideoRow


class Holding(NamedTuple):
    """A video that a tenant has."""

    tenant: str
    video_id: str


class Unneeded(NamedTuple):
    """What nobody has any more: videos, and subtitles, as video and id, of videos that somebody still has."""

    videos: list[str]
    subtitles: list[tuple[str, str]]


class OldJobs(NamedTuple):
    """How many jobs have ended long ago, with how many questions, and the bytes of what happened in them."""

    jobs: int
    episodes: int
    size_bytes: int


class Retention:
    """What can go. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def give_up(self, tenant: str, video_id: str) -> Unneeded:
        """Takes a video from a tenant. Raises NotFound, and FailedPrecondition while a job about it has not ended."""
        name = VideoName(video_id)
        with self._engine.write() as session:
            limits.lock(session, tenant)
            if session.get(HoldingRow, (tenant, video_id)) is None:
                raise no_video(name)
            query = sa.select(JobRow.id).where(_unfinished(tenant, video_id)).limit(1)
            if (job := session.scalar(query)) is not None:
                raise FailedPrecondition(
                    f"jobs/{job} about {name} has not ended; wait for its end, or cancel it",
                    reason="VIDEO_IN_USE",
                    name=str(name),
                    job=f"jobs/{job}",
                )
            return _drop(session, [Holding(tenant, video_id)])

    def old_jobs(self, before: float, tenant: str | None) -> OldJobs:
        """Returns what `drop_jobs` would delete."""
        old = _old_jobs(before, tenant)
        with self._engine.read() as session:
            jobs = session.scalar(sa.select(sa.func.count()).where(JobRow.id.in_(old)))
            episodes = session.scalar(sa.select(sa.func.count()).where(EpisodeRow.job_id.in_(old)))
            size = session.scalar(
                sa.select(sa.func.sum(sa.func.length(EventRow.payload))).where(EventRow.job_id.in_(old))
            )
        return OldJobs(jobs or 0, episodes or 0, int(size or 0))

    def drop_jobs(self, before: float, tenant: str | None) -> None:
        """Deletes the jobs that ended before a moment, of a tenant or of all, and what is known of them.

        Calls of the last day stay, because they count against what their tenant may spend in a day.
        """
        day = time.time() - limits.DAY_SECONDS
        with self._engine.write() as session:
            old = _old_jobs(before, tenant)
            kept = sa.update(CallRow).where(CallRow.job_id.in_(old), CallRow.start_time > day)
            session.execute(_quietly(kept.values(job_id=None, episode=None, round=None)))
            session.execute(_quietly(sa.delete(CallRow).where(CallRow.job_id.in_(old))))
            alone = sa.delete(CallRow).where(CallRow.job_id.is_(None), CallRow.start_time < min(before, day))
            session.execute(_quietly(alone if tenant is None else alone.where(CallRow.tenant_id == tenant)))
            for table in (EventRow, RoundRow, EpisodeRow):
                session.execute(_quietly(sa.delete(table).where(table.job_id.in_(old))))
            session.execute(_quietly(sa.delete(JobRow).where(*_is_old_job(before, tenant))))
            session.execute(_quietly(sa.delete(VideoRow).where(VideoRow.state == "deleted", *_unmentioned())))

    def old_videos(self, before: float, tenant: str | None) -> list[Holding]:
        """Returns the videos that nobody of their tenant has added, or asked about, since a moment."""
        with self._engine.read() as session:
            return _old_videos(session, before, tenant)

    def drop_videos(self, before: float, tenant: str | None) -> Unneeded:
        """Takes the old videos from their tenants. What has been asked about meanwhile stays."""
        with self._engine.write() as session:
            for owner in sorted({holding.tenant for holding in _old_videos(session, before, tenant)}):
                limits.lock(session, owner)
            return _drop(session, _old_videos(session, before, tenant))

    def unneeded_after(self, dropped: Sequence[Holding]) -> list[str]:
        """Returns the videos that nobody would have if these were given up."""
        gone = set(dropped)
        with self._engine.read() as session:
            query = sa.select(HoldingRow.tenant_id, HoldingRow.video_id).where(
                HoldingRow.state == "ready", HoldingRow.video_id.in_({holding.video_id for holding in dropped})
            )
            kept = {row.video_id for row in session.execute(query) if Holding(*row) not in gone}
        return sorted({holding.video_id for holding in dropped} - kept)

    def deleting(self) -> list[str]:
        """Returns the videos whose objects are still to be deleted."""
        with self._engine.read() as session:
            return list(session.scalars(sa.select(VideoRow.id).where(VideoRow.state == "deleting")))

    def is_deleting(self, video_id: str) -> bool:
        """Tells whether nobody has a video, and its objects are still to be deleted."""
        with self._engine.read() as session:
            return session.scalar(sa.select(VideoRow.state).where(VideoRow.id == video_id)) == "deleting"

    def deleted(self, video_id: str) -> None:
        """Notes that the objects of a video are gone."""
        changed = sa.update(VideoRow).where(VideoRow.id == video_id, VideoRow.state == "deleting")
        with self._engine.write() as session:
            session.execute(changed.values(state="deleted"))

    def may_lose_captions(self, video_id: str, tenant: str | None) -> bool:
        """Tells whether no job about a video goes on, and, where a tenant is named, nobody else has the video."""
        others = sa.exists().where(HoldingRow.video_id == video_id, HoldingRow.tenant_id != tenant)
        own = sa.exists().where(HoldingRow.video_id == video_id, HoldingRow.tenant_id == tenant)
        busy = sa.exists().where(JobRow.video_id == video_id, JobRow.end_time.is_(None))
        alone = sa.true() if tenant is None else sa.and_(own, ~others)
        with self._engine.read() as session:
            return bool(session.scalar(sa.select(sa.and_(~busy, alone))))


def _quietly(statement: Any) -> Any:
    return statement.execution_options(synchronize_session=False)


def _unfinished(tenant: Any, video_id: Any) -> sa.ColumnElement[bool]:
    return sa.and_(JobRow.tenant_id == tenant, JobRow.video_id == video_id, JobRow.end_time.is_(None))


def _is_old_job(before: float, tenant: str | None) -> list[sa.ColumnElement[bool]]:
    own = [] if tenant is None else [JobRow.tenant_id == tenant]
    return [JobRow.end_time < before, *own]


def _old_jobs(before: float, tenant: str | None) -> sa.Select[Any]:
    return sa.select(JobRow.id).where(*_is_old_job(before, tenant))


def _unmentioned() -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(~sa.exists().where(row.video_id == VideoRow.id) for row in (JobRow, HoldingRow))


def _old_videos(session: Session, before: float, tenant: str | None) -> list[Holding]:
    about = (JobRow.tenant_id == HoldingRow.tenant_id, JobRow.video_id == HoldingRow.video_id)
    used = sa.exists().where(*about, sa.or_(JobRow.end_time.is_(None), JobRow.create_time >= before))
    query = (
        sa.select(HoldingRow.tenant_id, HoldingRow.video_id)
        .where(HoldingRow.state == "ready", HoldingRow.create_time < before, ~used)
        .order_by(HoldingRow.tenant_id, HoldingRow.video_id)
    )
    if tenant is not None:
        query = query.where(HoldingRow.tenant_id == tenant)
    return [Holding(*row) for row in session.execute(query)]


def _drop(session: Session, holdings: Sequence[Holding]) -> Unneeded:
    """Deletes holdings with their subtitles, and returns what nobody needs then."""
    videos, subtitles = list[str](), list[tuple[str, str]]()
    for tenant, video_id in sorted(holdings, key=lambda holding: holding.video_id):  # one order, so that none wait
        of = (SubtitlesRow.tenant_id == tenant, SubtitlesRow.video_id == video_id)
        ids = list(session.scalars(sa.select(SubtitlesRow.id).where(*of)))
        session.execute(_quietly(sa.delete(SubtitlesRow).where(*of)))
        gone = sa.delete(HoldingRow).where(HoldingRow.tenant_id == tenant, HoldingRow.video_id == video_id)
        session.execute(_quietly(gone))
        # Two who give one video up at one time must see each other.
        session.execute(sa.select(VideoRow.id).where(VideoRow.id == video_id).with_for_update())
        has = (
            sa.select(HoldingRow.tenant_id).where(HoldingRow.video_id == video_id, HoldingRow.state == "ready").limit(1)
        )
        if session.scalar(has) is None:
            session.execute(_quietly(sa.update(VideoRow).where(VideoRow.id == video_id).values(state="deleting")))
            videos.append(video_id)
            continue
        others = sa.select(SubtitlesRow.id).where(SubtitlesRow.video_id == video_id)
        still = set(session.scalars(others))
        subtitles += [(video_id, each) for each in ids if each not in still]
    return Unneeded(videos, subtitles)
