"""Carrying episodes out: what a worker does when it is woken.

A message to a worker is only a nudge: it may come twice, or be lost. What there is to do, and from where to go on, is
in the database, and a worker that was woken goes on until nothing is left.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from longvideo import errors, logs, metrics
from longvideo.errors import Cancelled, LongVideoError
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages, traces
from orchestrator.budget import Purse
from orchestrator.episode import navigate
from orchestrator.journal import DatabaseJournal
from orchestrator.leases import LOOK_SECONDS, Abandoned, Keeper, Lease, insist
from orchestrator.spec import Answered, Ending, EpisodeSpec, Services
from orchestrator.store import Database, LeaseLost
from orchestrator.store.spending import Spent, Standing
from orchestrator.store.work import End, Taken
from orchestrator.tables import EpisodeRow
from orchestrator.tools import Place
from orchestrator.transcript import Question

logger = logging.getLogger(__name__)

# How long an episode waits at most where it was told how long.
_LONGEST_ASKED = 600.0

# How many workers one sweep wakes at most; they wake others.
_SWEEP_LIMIT = 200

# In what time every worker that lives has renewed its leases once the database is back.
_RENEWING_SECONDS = 3 * LOOK_SECONDS


class Runner:
    """Carries episodes out, one per thread that calls `run`.

    `patience` is how many seconds an episode waits for models or storage that do not answer before it fails; with None
    it waits for as long as its own time lasts.
    """

    def __init__(self, database: Database, services: Services, *, patience: float | None) -> None:
        self.database = database
        self._services = services
        self._patience = patience
        self._keeper = Keeper(database.work)
        self._reclaim_time = 0.0

    def check_models(self) -> None:
        """Raises an exception when no model server answers that the episodes need themselves."""
        self._services.reasoner.check()

    def run(self, nudge: Callable[[int], None]) -> None:
        """Carries out what is due, one episode after the other, until nothing is left that may run now.

        `nudge` wakes so many other workers: whoever finds something to do passes the word on, and so does whoever stops
        before everything is done.
        """
        try:
            self._work_off(nudge)
        finally:
            if self.stopping:
                nudge(1)

    def _work_off(self, nudge: Callable[[int], None]) -> None:
        alone = True
        while not self.stopping:
            lease = Lease(secrets.token_hex(12))
            try:
                self._reclaim_now_and_then()
                taken = self.database.work.take(lease.owner)
                if taken is None:
                    return
                self._keeper.add(lease)
                if taken.is_new:
                    waited = taken.taken_time - taken.episode.create_time
                    metrics.EPISODE_WAIT_SECONDS.labels(metrics.PRIORITIES[taken.episode.priority]).observe(waited)
                if alone:
                    nudge(1)
                    alone = False
                names = logs.names_of(str(taken.held.name))
                with logs.bound(tenant=taken.job.tenant_id, **names), traces.taken_up(taken):
                    self._finish(taken, lease)
            except LongVideoError as error:  # the database is away; leases expire, and a sweep finds what is left
                logger.warning("cannot take an episode up: %s", error)
                return
            finally:
                self._keeper.remove(lease)

    def _finish(self, taken: Taken, lease: Lease) -> None:
        """Carries an episode out to its end, or as far as it goes now, and records what became of it."""
        name = taken.held.name
        try:
            end = self._carry_out(taken, lease)
            if end is not None:
                traces.ended(end)
                self._record_end(taken, lease, replace(end, correct=_judged(taken.episode, end)))
            logger.info("%s %s", name, end.state if end is not None else "goes on later")
        except LeaseLost:
            logger.info("%s is in other hands", name)
        except LongVideoError as error:  # the database is away; the lease expires, and a sweep finds the episode
            logger.warning("cannot record what became of %s: %s", name, error)

    def _record_end(self, taken: Taken, lease: Lease, end: End) -> None:
        ended = insist(lease, lambda: self.database.work.end(taken.held, taken.writer, end))
        metrics.count_end(end.ending, max(0.0, time.time() - (taken.episode.start_time or 0.0)), ended)

    def _reclaim_now_and_then(self) -> None:
        """Takes expired leases away from time to time: while every worker is busy, no sweep gets its turn."""
        now = time.monotonic()
        if now >= self._reclaim_time:
            self._reclaim_time = now + self.database.work.lease_seconds / 6
            self._reclaim()

    def _reclaim(self) -> None:
        """Takes expired leases away from workers that must be dead.

        Those that live could not renew theirs either while the database was away, and get a moment to do so.
        """
        expired = self.database.work.expired()
        if expired and not self._keeper.wait(_RENEWING_SECONDS):
            self.database.work.reclaim(expired)

    def sweep(self, nudge: Callable[[int], None]) -> int:
        """Gives back what dead workers held, tells jobs why they wait, and nudges for what is due.

        Returns the number of episodes that are due, as far as that matters.
        """
        self._reclaim()
        self.database.work.tell_waiting()
        due = self.database.work.due(_SWEEP_LIMIT)
        nudge(due)
        return due

    @property
    def stopping(self) -> bool:
        """Whether no episode is taken up any more."""
        return self._keeper.stopping

    def hand_over(self, seconds: float) -> None:
        """Gives every running episode back when it has finished its round, or after `seconds` wherever it stands.

        Returns then. No other starts any more.
        """
        self._keeper.hand_over(seconds)
        self._keeper.stop()

    def abandon(self) -> None:
        """Makes every running episode stop where it stands, with its lease given back. No other starts any more."""
        self._keeper.stop()

    def _carry_out(self, taken: Taken, lease: Lease) -> End | None:
        """Returns how the episode ended, or None when it has not."""
        if taken.job.state == "cancelled":
            return _CANCELLED
        try:
            journal = DatabaseJournal(
                self.database, taken.held, lease, taken.writer, is_new=taken.is_new, purse=self._purse(taken)
            )
            return _ended(navigate(spec_of(taken), self._services, journal))
        except Cancelled as error:
            return self._stopped(taken, lease, error)
        except LongVideoError as error:
            return self._postponed(taken, error) if _passes(error) else _failed(error)
        except Exception:  # a defect ends this episode with a reason, and no other
            reference = secrets.token_hex(4)
            logger.exception("unexpected error %s in %s", reference, taken.held.name)
            return _failed(errors.Internal(f"An unexpected error happened; the worker's log has it under {reference}."))

    def _purse(self, taken: Taken) -> Purse | None:
        """Returns the purse of an episode whose job has a budget, with what its rounds took so far."""
        budget = pb.Job.FromString(taken.job.spec).budget
        if not budget.ByteSize():
            return None
        price, job = self.database.calls.price, taken.job
        purse = Purse(budget, price, Standing(Spent(job.gpu_seconds, job.cost), running=1))
        if not taken.is_new:
            for row in self.database.calls.of_episode(taken.held.purpose):
                purse.took(row.round or 0, [messages.call_of(row)])
        return purse

    def _stopped(self, taken: Taken, lease: Lease, error: Cancelled) -> End | None:
        """Returns the end of an episode that was told to stop, if it is one."""
        try:
            lease.check()
        except Abandoned:
            self.database.work.release(taken.held)
            return None
        except LeaseLost:
            raise
        except Cancelled:
            return _CANCELLED
        # Not on our account: the other side is stopping.
        return self._postponed(taken, errors.Unavailable(error.message))

    def _postponed(self, taken: Taken, error: LongVideoError) -> End | None:
        """Gives the episode back for a while; returns its end when it has waited long enough."""
        now = time.time()
        waits, since = self.database.work.waits(taken.held)
        until = deadline_of(taken)
        if self._patience is not None:
            until = min(until, (since or now) + self._patience)
        # A twelfth of a lease, doubled each time, until it is a whole one: five seconds, and a minute.
        longest = self.database.work.lease_seconds
        first = longest / 12
        if until - now < first:
            return _failed(error)
        asked = min(error.retry_after or 0.0, _LONGEST_ASKED)
        delay = max(min(longest, first * 2 ** min(waits, 10)), asked)
        # The last attempt is made shortly before the time is over, so that it can still say what is wrong.
        delay = min(delay, until - now - first / 2)
        self.database.work.wait(taken.held, error.message, delay)
        traces.postponed(error, delay)
        logger.warning("%s waits %.0f s: %s", taken.held.name, delay, error.message)
        return None


def _passes(error: LongVideoError) -> bool:
    """Tells whether what an error says may be otherwise later, without anybody changing the job.

    An episode whose own time is over ends by itself: a deadline that comes here is another's.
    """
    if isinstance(error, errors.ResourceExhausted):
        return error.retry_after is not None or isinstance(error, errors.StorageFull)
    return isinstance(error, errors.Unavailable | errors.DeadlineExceeded)


_CANCELLED = End("cancelled", "cancelled")


def _ended(ending: Ending) -> End:
    if isinstance(ending, Answered):
        return End("answered", ending.kind, answer=ending.answer, choice=ending.choice)
    return End("unanswered", ending.kind, reason=ending.kind.upper(), message=ending.message)


def _failed(error: LongVideoError) -> End:
    return End("failed", "error", code=int(error.code), reason=error.reason, message=error.message)


def _judged(episode: EpisodeRow, end: End) -> bool | None:
    """Tells whether an end is the right answer; None where nobody knows, or nobody wanted it."""
    if not episode.truth or not episode.options or end.state == "cancelled":
        return None
    return end.choice == episode.truth


def deadline_of(taken: Taken) -> float:
    """Returns when the time of an episode is over, in seconds since the epoch."""
    limits = pb.Job.FromString(taken.job.spec).limits
    return (taken.episode.start_time or 0.0) + limits.max_duration.ToNanoseconds() / 1e9


def spec_of(taken: Taken) -> EpisodeSpec:
    """Returns everything the episode depends on."""
    job = pb.Job.FromString(taken.job.spec)
    return EpisodeSpec(
        name=str(taken.held.name),
        question=Question(taken.episode.question, tuple(taken.episode.options)),
        place=Place(
            video=job.video,
            tree_width=taken.job.tree_width,
            sampling=job.config.sampling,
            subtitles=job.config.subtitles,
            pool=job.config.pool,
            priority=job.priority,
        ),
        duration=taken.video.duration,
        frame_count=taken.video.frame_count,
        max_rounds=job.limits.max_rounds,
        deadline=deadline_of(taken),
    )
