"""Jobs, their episodes and events, as people submit and see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from longvideo import priorities
from longvideo.errors import AlreadyExists, NotFound
from longvideo.resources import EpisodeName, JobName, VideoName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages
from orchestrator.coverage import Look
from orchestrator.db import Engine
from orchestrator.messages import EpisodeWriter
from orchestrator.paging import Cursor
from orchestrator.store import events, limits
from orchestrator.store.bell import Bell
from orchestrator.store.videos import no_video
from orchestrator.tables import EpisodeRow, EventRow, HoldingRow, JobRow, RoundRow, VideoRow
from orchestrator.transcript import Message


@dataclass(frozen=True)
class JobView:
    """A job with its episodes, and what it takes to write them."""

    job: JobRow
    episodes: list[EpisodeRow]
    looks: dict[int, list[Look]]
    writer: EpisodeWriter

    def messages(self) -> Iterator[pb.Episode]:
        """Yields the episodes in BASIC view."""
        for row in self.episodes:
            yield self.writer.episode(row, self.looks.get(row.number, ()))

    def message(self) -> pb.Job:
        """Returns the job with its episodes."""
        return messages.job(self.job, self.messages())


@dataclass(frozen=True)
class EpisodeView(JobView):
    """One episode with its rounds, and the conversation before the first of them."""

    rounds: list[RoundRow]
    opening: list[Message]


class Jobs:
    """The jobs. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine, bell: Bell) -> None:
        self._engine = engine
        self._bell = bell

    def submit(
        self,
        spec: pb.Job,
        *,
        tenant: str,
        video_id: str,
        tree_width: int,
        request_id: str,
        fingerprint: str,
        traces: Callable[[Sequence[str]], Sequence[str]],
    ) -> tuple[JobRow, bool]:
        """Accepts a tenant's job, and tells whether it is new: a known `request_id` gives the job of the first time.

        `traces` returns where the traces of the episodes of these names begin, and is only asked for a new job.
        Raises AlreadyExists when that was another job, as its `fingerprint` shows, and ResourceExhausted for a limit of
        the tenant.
        """
        job_id, now = JobName.new().job_id, time.time()
        priority = priorities.rank(spec.priority)
        job = JobRow(
            id=job_id,
            tenant_id=tenant,
            video_id=video_id,
            state="pending",
            priority=priority,
            spec=spec.SerializeToString(),
            tree_width=tree_width,
            create_time=now,
            request_id=request_id or None,
            fingerprint=fingerprint,
            open_count=len(spec.questions),
            label=spec.label,
        )
        episodes = [
            {
                "job_id": job_id,
                "number": number,
                "tenant_id": tenant,
                "priority": priority,
                "state": "pending",
                "question": question.text,
                "options": list(question.options),
                "truth": question.truth,
                "create_time": now,
            }
            for number, question in enumerate(spec.questions, start=1)
        ]
        try:
            with self._engine.write() as session:
                if (earlier := self._submitted(session, tenant, request_id)) is None:
                    limits.check_job(session, tenant, len(episodes))
                    if session.get(HoldingRow, (tenant, video_id)) is None:  # given up since the request was checked
                        raise no_video(VideoName(video_id))
                    session.add(job)
                    session.flush()
                    begun = traces([str(EpisodeName(job_id, str(episode["number"]))) for episode in episodes])
                    rows = [row | {"trace_parent": begins} for row, begins in zip(episodes, begun, strict=True)]
                    session.execute(sa.insert(EpisodeRow), rows)
                    return job, True
        except IntegrityError:
            # Another process was quicker with the same request; on SQLite nobody can be.
            earlier = self.submitted(tenant, request_id)
            if earlier is None:
                raise
        return self._same(earlier, fingerprint), False

    def submitted(self, tenant: str, request_id: str) -> JobRow | None:
        """Returns the job that a tenant submitted with a request id, or None."""
        with self._engine.read() as session:
            return self._submitted(session, tenant, request_id)

    @staticmethod
    def _submitted(session: Session, tenant: str, request_id: str) -> JobRow | None:
        if not request_id:
            return None
        query = sa.select(JobRow).where(JobRow.tenant_id == tenant, JobRow.request_id == request_id)
        return session.scalars(query).one_or_none()

    @staticmethod
    def _same(earlier: JobRow, fingerprint: str) -> JobRow:
        if earlier.fingerprint != fingerprint:
            raise AlreadyExists(
                f"request_id {earlier.request_id} was used for another job, {JobName(earlier.id)}; use a new one",
                reason="REQUEST_ID_REUSED",
                job=str(JobName(earlier.id)),
            )
        return earlier

    def check(self, name: JobName | EpisodeName, tenant: str | None) -> None:
        """Raises NotFound unless a tenant, or for None any, has such a job or episode."""
        if isinstance(name, JobName):
            query = sa.select(JobRow.tenant_id).where(JobRow.id == name.job_id)
        else:
            query = sa.select(EpisodeRow.tenant_id).where(
                EpisodeRow.job_id == name.job_id, EpisodeRow.number == int(name.episode_id)
            )
        with self._engine.read() as session:
            owner = session.scalar(query)
        if owner is None or tenant not in {None, owner}:
            raise _not_found(name)

    def view(self, name: JobName) -> JobView:
        """Returns a job with its episodes. Raises NotFound."""
        with self._engine.read() as session:
            job, writer = _job(session, name)
            query = sa.select(EpisodeRow).where(EpisodeRow.job_id == job.id).order_by(EpisodeRow.number)
            return JobView(job, list(session.scalars(query)), looks(session, job.id), writer)

    def episode(self, name: EpisodeName) -> EpisodeView:
        """Returns an episode with its rounds. Raises NotFound."""
        number = int(name.episode_id)
        with self._engine.read() as session:
            episode = session.get(EpisodeRow, (name.job_id, number), options=[undefer(EpisodeRow.opening)])
            if episode is None:
                raise _not_found(name)
            job, writer = _job(session, name.job)
            rounds = rounds_of(session, job.id, number)
            return EpisodeView(job, [episode], looks(session, job.id, number), writer, rounds, episode.opening)

    def page(self, tenant: str | None, video_id: str, after: Cursor | None, limit: int) -> list[JobRow]:
        """Returns at most `limit` jobs of a tenant, newest first, from the one after a cursor.

        None means every tenant's. Of one video, unless it is empty.
        """
        query = sa.select(JobRow).order_by(JobRow.create_time.desc(), JobRow.id.desc()).limit(limit)
        if tenant is not None:
            query = query.where(JobRow.tenant_id == tenant)
        if video_id:
            query = query.where(JobRow.video_id == video_id)
        if after is not None:
            query = query.where(sa.tuple_(JobRow.create_time, JobRow.id) < sa.tuple_(after.time, after.id))
        with self._engine.read() as session:
            return list(session.scalars(query))

    def cancel(self, name: JobName) -> int:
        """Cancels a job: what nobody works on ends now, the rest when its worker notices. Raises NotFound.

        Returns how many episodes ended. A job that has ended stays as it is.
        """
        now = time.time()
        with self._engine.write() as session:
            job, writer = _job(session, name)
            if job.end_time is not None or job.state == "cancelled":
                return 0
            ended = session.scalars(
                sa.update(EpisodeRow)
                .where(
                    EpisodeRow.job_id == job.id,
                    EpisodeRow.end_time.is_(None),
                    sa.or_(EpisodeRow.lease_owner.is_(None), EpisodeRow.lease_until < now),
                )
                .values(state="cancelled", ending="cancelled", end_time=now, lease_owner=None)
                .returning(EpisodeRow)
            ).all()
            seen = looks(session, job.id)
            told = [
                pb.JobEvent(episode=episode.name, episode_ended=episode)
                for row in sorted(ended, key=lambda row: row.number)
                for episode in [writer.episode(row, seen.get(row.number, ()))]
            ]
            left = JobRow.open_count - len(ended)
            events.append(
                session,
                job.id,
                told,
                state=sa.case((JobRow.end_time.is_(None), "cancelled"), else_=JobRow.state),
                open_count=left,
                end_time=sa.case((left == 0, sa.func.coalesce(JobRow.end_time, now)), else_=JobRow.end_time),
            )
        self._bell.ring(name.job_id)
        return len(ended)

    def position(self, name: JobName) -> tuple[int, bool]:
        """Returns the position of a job's newest event, and whether the job has ended. Raises NotFound."""
        query = sa.select(JobRow.last_position, JobRow.end_time).where(JobRow.id == name.job_id)
        with self._engine.read() as session:
            row = session.execute(query).one_or_none()
        if row is None:
            raise _not_found(name)
        return row.last_position, row.end_time is not None

    def events(self, job_id: str, after: int, limit: int) -> list[pb.JobEvent]:
        """Returns at most `limit` events of a job, in order, from the one after a position."""
        query = (
            sa.select(EventRow.payload)
            .where(EventRow.job_id == job_id, EventRow.position > after)
            .order_by(EventRow.position)
            .limit(limit)
        )
        with self._engine.read() as session:
            return [pb.JobEvent.FromString(payload) for payload in session.scalars(query)]


def _not_found(name: JobName | EpisodeName) -> NotFound:
    kind = "job" if isinstance(name, JobName) else "episode"
    return NotFound(f"there is no {kind} {name}", name=str(name))


def _job(session: Session, name: JobName) -> tuple[JobRow, EpisodeWriter]:
    row = session.execute(
        sa.select(JobRow, VideoRow)
        .join(VideoRow, VideoRow.id == JobRow.video_id)
        .where(JobRow.id == name.job_id)
        .options(undefer(VideoRow.timeline))
    ).one_or_none()
    if row is None:
        raise _not_found(name)
    job, video = row
    return job, EpisodeWriter(video, video.timeline, job.tree_width)


def looks(session: Session, job_id: str, episode: int | None = None) -> dict[int, list[Look]]:
    """Returns, for each episode of a job, its finished rounds that opened a segment, in order."""
    query = (
        sa.select(RoundRow.episode, RoundRow.number, RoundRow.path, RoundRow.action)
        .where(RoundRow.job_id == job_id, RoundRow.end_time.is_not(None), RoundRow.path != "")
        .order_by(RoundRow.episode, RoundRow.number)
    )
    if episode is not None:
        query = query.where(RoundRow.episode == episode)
    found: dict[int, list[Look]] = {}
    for row in session.execute(query):
        look = Look(row.number, messages.path_segment(row.path), row.action == "video_qa")
        found.setdefault(row.episode, []).append(look)
    return found


def rounds_of(session: Session, job_id: str, episode: int) -> list[RoundRow]:
    """Returns the rounds of an episode, in order, with one that is not finished at the end if there is one."""
    query = sa.select(RoundRow).where(RoundRow.job_id == job_id, RoundRow.episode == episode)
    return list(session.scalars(query.order_by(RoundRow.number)))


def opened(session: Session, job_id: str, episode: int) -> Sequence[pb.JobEvent]:
    """Returns the events that tell of an episode's high-level captions."""
    query = sa.select(EventRow.payload).where(
        EventRow.job_id == job_id, EventRow.episode == episode, EventRow.kind == "caption_ready"
    )
    return [pb.JobEvent.FromString(payload) for payload in session.scalars(query.order_by(EventRow.position))]
