"""Episodes as workers see them: leases, checkpoints and endings.

A worker writes only while it holds the episode's lease: every checkpoint first changes the episode's row on condition
that the lease is still its own, which also keeps any other from taking it until the transaction ends.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from longvideo import metrics
from longvideo.backlogs import Backlog
from longvideo.errors import Cancelled
from longvideo.resources import EpisodeName
from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages
from orchestrator.db import Engine
from orchestrator.messages import EpisodeWriter
from orchestrator.store import checkpoints, events, limits, scheduling
from orchestrator.store.bell import Bell
from orchestrator.store.calls import Calls
from orchestrator.store.checkpoints import Held
from orchestrator.store.jobs import looks, opened, rounds_of
from orchestrator.store.spending import Standing
from orchestrator.tables import IS_PENDING, IS_RUNNING, EpisodeRow, JobRow, VideoRow
from orchestrator.transcript import Message, Round

# How long it may take until a tenant is passed over whose models' time of the day is spent.
_SPENT_SECONDS = 5.0

# How many jobs of one tenant are told at one time that they wait.
_TELL_LIMIT = 100

_UNFINISHED = ("pending", "running")


class LeaseLost(Cancelled):
    """Another worker has the episode, or it has ended."""

    default_reason = "LEASE_LOST"


@dataclass(frozen=True)
class Taken:
    """An episode that was taken up at `taken_time`, and what its rows say."""

    held: Held
    taken_time: float
    episode: EpisodeRow
    job: JobRow
    video: VideoRow
    writer: EpisodeWriter

    @property
    def is_new(self) -> bool:
        """Whether nobody has worked on it before."""
        return self.episode.start_time == self.taken_time


@dataclass(frozen=True)
class End:
    """How an episode ended: its resting state and ending, and what there is to say about it.

    `correct` tells whether it gave the right answer; None where nobody knows.
    """

    state: str
    ending: str
    answer: str = ""
    choice: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    correct: bool | None = None


class Work:
    """The episodes. Raises StorageUnavailable and StorageFull everywhere.

    A lease lasts `lease_seconds`; a worker that is alive renews it several times in that time.
    """

    def __init__(self, engine: Engine, bell: Bell, calls: Calls, lease_seconds: float) -> None:
        self._engine = engine
        self._bell = bell
        self._calls = calls
        self.lease_seconds = lease_seconds
        self._spent: tuple[float, Collection[str]] = (0.0, ())

    def take(self, owner: str, seconds: float | None = None) -> Taken | None:
        """Takes the episode up that is due most; returns None when none is due that may run now.

        An episode of a cancelled job can be taken up too, so that its taker ends it.
        """
        now = time.time()
        spent = self._spent_tenants(now)
        values = {
            "state": "running",
            "lease_owner": owner,
            "lease_until": now + (self.lease_seconds if seconds is None else seconds),
            "start_time": sa.func.coalesce(EpisodeRow.start_time, now),
        }
        with self._engine.write() as session:
            episode = scheduling.take(session, now, spent, values)
            if episode is None:
                return None
            job, video = session.execute(
                sa.select(JobRow, VideoRow)
                .join(VideoRow, VideoRow.id == JobRow.video_id)
                .where(JobRow.id == episode.job_id)
                .options(undefer(VideoRow.timeline))
            ).one()
            held = Held(job.id, episode.number, owner, job.tenant_id, job.video_id, job.label)
            if job.state != "cancelled":
                started = pb.EpisodeStarted(tree_width=job.tree_width, finished_round_count=episode.round_count)
                event = pb.JobEvent(episode=str(held.name), episode_started=started)
                # One that only waited is still the same start to those who watch.
                told = [] if episode.wait_count else [event]
                running = sa.case((JobRow.state == "pending", "running"), else_=JobRow.state)
                events.append(session, job.id, told, state=running, waiting="")
        self._bell.ring(job.id)
        return Taken(held, now, episode, job, video, EpisodeWriter(video, video.timeline, job.tree_width))

    def _spent_tenants(self, now: float) -> Collection[str]:
        """Returns the tenants whose models' time of the day is spent, as of a few seconds ago."""
        until, spent = self._spent
        if now >= until:
            with self._engine.read() as session:
                spent = limits.spent(session, now)
            self._spent = (now + _SPENT_SECONDS, spent)
        return spent

    def expired(self) -> list[str]:
        """Returns the leases that have expired."""
        query = sa.select(EpisodeRow.lease_owner).where(IS_RUNNING, EpisodeRow.lease_until < time.time())
        with self._engine.read() as session:
            return [owner for owner in session.scalars(query) if owner is not None]

    def reclaim(self, owners: Collection[str]) -> int:
        """Takes those of these leases that have expired away from their workers, and returns their number."""
        expired = (
            sa.select(EpisodeRow.job_id, EpisodeRow.number)
            .where(IS_RUNNING, EpisodeRow.lease_owner.in_(owners), EpisodeRow.lease_until < time.time())
            .with_for_update(skip_locked=True)
        )
        with self._engine.write() as session:
            return _count(
                session.execute(
                    sa.update(EpisodeRow)
                    .where(sa.tuple_(EpisodeRow.job_id, EpisodeRow.number).in_(expired))
                    .values(state="pending", lease_owner=None)
                    .execution_options(synchronize_session=False)
                )
            )

    def due(self, limit: int) -> int:
        """Returns how many episodes are due, counting no further than `limit`."""
        some = sa.select(sa.literal(1)).select_from(EpisodeRow).where(*scheduling.is_due(time.time())).limit(limit)
        with self._engine.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0

    def backlog(self) -> list[Backlog]:
        """Returns how many episodes wait and run, by their priority, and for how long the oldest of them waits."""

        def count(state: sa.ColumnElement[bool]) -> Any:
            columns = (EpisodeRow.priority, EpisodeRow.state, sa.func.count(), sa.func.min(EpisodeRow.create_time))
            return sa.select(*columns).where(state).group_by(EpisodeRow.priority, EpisodeRow.state)

        with self._engine.read() as session:
            rows = session.execute(sa.union_all(count(IS_PENDING), count(IS_RUNNING))).all()
        now, found = time.time(), {(row[0], row[1]): (row[2], row[3]) for row in rows}
        backlogs = []
        for priority, name in enumerate(metrics.PRIORITIES):
            waiting, since = found.get((priority, "pending"), (0, now))
            running, _ = found.get((priority, "running"), (0, now))
            backlogs.append(Backlog(name, waiting, running, max(0.0, now - since)))
        return backlogs

    def tell_waiting(self) -> int:
        """Tells the jobs that no episode of theirs runs because of a limit of their tenant, each once.

        Returns the number of jobs that were told.
        """
        now, told = time.time(), list[str]()
        with self._engine.write() as session:
            spent = limits.spent(session, now)
            for turn in scheduling.turns(session, now):
                reason = ""
                if turn.tenant in spent:
                    reason = (
                        f"the tenant's model calls took all of its {spent[turn.tenant]:,.0f} s of the last 24 hours"
                    )
                elif turn.is_full:
                    reason = f"{turn.running:,} of the tenant's episodes run already, and no more may"
                if reason:
                    told += _tell(session, turn.tenant, reason)
        for job_id in told:
            self._bell.ring(job_id)
        return len(told)

    def renew(self, owners: Collection[str]) -> None:
        """Makes leases last as if they were acquired now."""
        with self._engine.write() as session:
            session.execute(
                sa.update(EpisodeRow)
                .where(EpisodeRow.lease_owner.in_(owners))
                .values(lease_until=time.time() + self.lease_seconds)
                .execution_options(synchronize_session=False)
            )

    def states(self, owners: Collection[str]) -> dict[str, bool]:
        """Returns, for those of these leases that are still held, whether the job was cancelled."""
        query = (
            sa.select(EpisodeRow.lease_owner, JobRow.state)
            .join(JobRow, JobRow.id == EpisodeRow.job_id)
            .where(EpisodeRow.lease_owner.in_(owners), EpisodeRow.end_time.is_(None))
        )
        with self._engine.read() as session:
            return {str(owner): state == "cancelled" for owner, state in session.execute(query)}

    def release(self, held: Held) -> None:
        """Gives a lease back, so that the episode is due again. Does nothing when it is lost."""
        with self._engine.write() as session:
            self._fenced(session, held, state="pending", lease_owner=None, quiet=True)

    def wait(self, held: Held, reason: str, delay: float) -> None:
        """Gives an episode back for at least `delay` seconds, and says why, more rarely the longer it waits.

        Raises LeaseLost.
        """
        now = time.time()
        with self._engine.write() as session:
            row = self._fenced(
                session,
                held,
                state="pending",
                lease_owner=None,
                not_before=now + delay,
                wait_count=EpisodeRow.wait_count + 1,
                wait_start=sa.func.coalesce(EpisodeRow.wait_start, now),
            )
            assert row is not None
            said = messages.clean(reason)
            event = pb.JobEvent(episode=str(held.name), episode_waiting=pb.EpisodeWaiting(reason=said))
            told = [event] if row.wait_count.bit_count() == 1 else []  # the first, second, fourth, eighth time …
            others = sa.exists().where(
                EpisodeRow.tenant_id == held.tenant, EpisodeRow.job_id == held.job_id, IS_RUNNING
            )
            events.append(session, held.job_id, told, waiting=sa.case((others, ""), else_=said))
        self._bell.ring(held.job_id)

    def waits(self, held: Held) -> tuple[int, float | None]:
        """Returns how often, and since when, an episode has waited without finishing a round in between."""
        query = sa.select(EpisodeRow.wait_count, EpisodeRow.wait_start).where(*_is(held))
        with self._engine.read() as session:
            count, since = session.execute(query).one()
        return count, since

    def release_all(self) -> int:
        """Makes every unfinished episode ready to be taken up at once, and returns their number."""
        with self._engine.write() as session:
            return _count(
                session.execute(
                    sa.update(EpisodeRow)
                    .where(EpisodeRow.state.in_(_UNFINISHED))
                    .values(state="pending", lease_owner=None, lease_until=0.0, not_before=0.0)
                    .execution_options(synchronize_session=False)
                )
            )

    def rounds(self, held: Held) -> list[Round]:
        """Returns an episode's rounds, in order; the last may be one that was decided but not finished."""
        with self._engine.read() as session:
            return [messages.round_of(row) for row in rounds_of(session, held.job_id, held.number)]

    def opening(self, held: Held) -> list[Message]:
        """Returns the conversation before an episode's first reply, or nothing when it was never complete."""
        with self._engine.read() as session:
            return session.scalars(sa.select(EpisodeRow.opening).where(*_is(held))).one()

    def begin(self, held: Held, opening: list[Message]) -> None:
        """Records the conversation before an episode's first reply. Raises LeaseLost."""
        with self._engine.write() as session:
            self._fenced(session, held, opening=opening)

    def opened(self, held: Held) -> set[tuple[int, ...]]:
        """Returns the paths of the high-level captions that the episode's events tell of."""
        with self._engine.read() as session:
            told = opened(session, held.job_id, held.number)
        return {tuple(event.caption_ready.caption.segment.path) for event in told}

    def checkpoint(
        self,
        held: Held,
        event: pb.JobEvent,
        calls: Sequence[Call],
        *,
        step: Round | None = None,
        number: int = 0,
        counted: bool = False,
    ) -> Standing:
        """Records an event with the calls that led to it, in round `number`, and how a round stands by now.

        Returns how the job stands then; its running episodes only where they are to be `counted`. Raises LeaseLost, and
        then has changed nothing.
        """
        finished = step.number if step is not None and step.finished else None
        with self._engine.change() as connection:
            until = time.time() + self.lease_seconds
            if not checkpoints.hold(connection, held, until, finished):
                raise _lost(held)
            if step is not None:
                checkpoints.put_round(connection, held, step)
            spent = self._calls.put(connection, calls, held.purpose, number or None)
            standing = events.append(connection, held.job_id, [event], spent, counted=counted)
        self._bell.ring(held.job_id)
        return standing

    def notice(self, held: Held, step: Round) -> None:
        """Records what else the reasoner is told after a round that is finished. Raises LeaseLost."""
        with self._engine.change() as connection:
            if not checkpoints.hold(connection, held, time.time() + self.lease_seconds, None):
                raise _lost(held)
            checkpoints.put_notice(connection, held, step)

    def end(self, held: Held, writer: EpisodeWriter, end: End) -> pb.Episode:
        """Ends an episode, and its job when it was the last. Returns it as it is then. Raises LeaseLost."""
        now = time.time()
        with self._engine.write() as session:
            row = self._fenced(
                session,
                held,
                state=end.state,
                ending=end.ending,
                answer=messages.clean(end.answer),
                choice=end.choice,
                correct=end.correct,
                error_code=end.code,
                error_reason=end.reason,
                error_message=messages.clean(end.message),
                end_time=now,
                lease_owner=None,
            )
            assert row is not None
            seen = looks(session, held.job_id, held.number).get(held.number, ())
            event = pb.JobEvent(episode=str(held.name), episode_ended=writer.episode(row, seen))
            is_last = JobRow.open_count == 1
            failed = JobRow.failed_count + int(end.state == "failed")
            events.append(
                session,
                held.job_id,
                [event],
                open_count=JobRow.open_count - 1,
                failed_count=failed,
                judged_count=JobRow.judged_count + int(end.correct is not None),
                correct_count=JobRow.correct_count + int(end.correct is True),
                state=sa.case(
                    (sa.or_(JobRow.state == "cancelled", sa.not_(is_last)), JobRow.state),
                    (failed > 0, "failed"),
                    else_="succeeded",
                ),
                end_time=sa.case((is_last, now), else_=JobRow.end_time),
                waiting="",
            )
        self._bell.ring(held.job_id)
        return event.episode_ended

    def _fenced(self, session: Session, held: Held, *, quiet: bool = False, **changes: Any) -> EpisodeRow | None:
        """Changes an episode's row if the lease is still held. Raises LeaseLost if not, unless `quiet`."""
        row = session.scalars(
            sa.update(EpisodeRow)
            .where(*_is(held), EpisodeRow.lease_owner == held.owner, EpisodeRow.end_time.is_(None))
            .values(**changes)
            .returning(EpisodeRow)
        ).one_or_none()
        if row is None and not quiet:
            raise _lost(held)
        return row


def _lost(held: Held) -> LeaseLost:
    return LeaseLost(f"another worker has {held.name}, or it has ended")


def _is(held: Held) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return EpisodeRow.job_id == held.job_id, EpisodeRow.number == held.number


def _tell(session: Session, tenant: str, reason: str) -> list[str]:
    """Tells a tenant's jobs of which nothing runs why that is so, unless they know, and returns them."""
    own = (EpisodeRow.job_id == JobRow.id, EpisodeRow.tenant_id == tenant)
    first = sa.select(sa.func.min(EpisodeRow.number)).where(*own, IS_PENDING).scalar_subquery()
    query = (
        sa.select(JobRow.id, first.label("number"))
        .where(JobRow.tenant_id == tenant, JobRow.end_time.is_(None), JobRow.waiting == "")
        .where(~sa.exists().where(*own, IS_RUNNING))
        .limit(_TELL_LIMIT)
    )
    told = []
    for job_id, number in session.execute(query).all():
        if number is not None:
            waiting = pb.EpisodeWaiting(reason=reason)
            event = pb.JobEvent(episode=str(EpisodeName(job_id, str(number))), episode_waiting=waiting)
            events.append(session, job_id, [event], waiting=reason)
            told.append(job_id)
    return told


def _count(result: sa.Result[Any]) -> int:
    assert isinstance(result, sa.CursorResult)
    return result.rowcount
