"""The journal of an episode, kept in the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator.budget import Purse
from orchestrator.leases import Lease, insist
from orchestrator.messages import EpisodeWriter, clean
from orchestrator.store import Database, LeaseLost
from orchestrator.store.checkpoints import Held
from orchestrator.store.spending import Standing
from orchestrator.tools import Captioned
from orchestrator.transcript import Message, Round


class DatabaseJournal:
    """Implements `orchestrator.spec.Journal` for an episode whose lease is held.

    What a model has said is kept while the database is away, and written when it is back.
    """

    def __init__(
        self,
        database: Database,
        held: Held,
        lease: Lease,
        writer: EpisodeWriter,
        *,
        is_new: bool = False,
        purse: Purse | None = None,
    ) -> None:
        """Makes the journal. Of an episode that `is_new`, nothing was recorded yet, and nothing is looked for.

        `purse` is there when its job has a budget.
        """
        self._database = database
        self._held = held
        self._lease = lease
        self._writer = writer
        self._is_new = is_new
        self._purse = purse
        self._opened: set[tuple[int, ...]] | None = set() if is_new else None

    def rounds(self) -> list[Round]:
        """Returns the finished rounds, and after them perhaps one that was decided but not finished."""
        return [] if self._is_new else self._database.work.rounds(self._held)

    def check(self) -> None:
        """Raises Cancelled, LeaseLost or Abandoned when the episode must not go on here. Asks no database."""
        self._lease.check()

    def check_between_rounds(self) -> None:
        """Raises what `check` raises, also when this process stops and another is to go on. Asks no database."""
        self._lease.check_between_rounds()

    def check_budget(self) -> bool:
        """Tells whether the job's budget has room for another round and an answer. Asks no database.

        Raises BudgetExhausted when nothing of it is left, and FailedPrecondition when nobody can tell.
        """
        if self._purse is None:
            return True
        self._purse.check()
        return not self._purse.nearly_spent

    def noticed(self, step: Round) -> None:
        """Records the notice of a finished round."""
        insist(self._lease, lambda: self._database.work.notice(self._held, step))

    def opening(self) -> list[Message]:
        """Returns the conversation before the first reply, or nothing when it was never complete."""
        return [] if self._is_new else self._database.work.opening(self._held)

    def began(self, opening: list[Message]) -> None:
        """Records the conversation before the first reply."""
        insist(self._lease, lambda: self._database.work.begin(self._held, opening))

    def opened(self, caption: Captioned, done: int, total: int) -> None:
        """Records a high-level caption. An episode that is taken up again tells of each only once."""
        ready = pb.CaptionReady(caption=caption.caption, cached=caption.cached, done_count=done, total_count=total)
        event = pb.JobEvent(episode=str(self._held.name), caption_ready=ready)
        path = tuple(caption.caption.segment.path)

        def write() -> Standing | None:
            known, self._opened = self._opened, None  # asked for again after a failure
            known = self._database.work.opened(self._held) if known is None else known
            if path in known:
                standing = self._write_calls(caption.calls, 0)
            else:
                standing = self._database.work.checkpoint(self._held, event, caption.calls)
            self._opened = known | {path}
            return standing

        self._insist(write, caption.calls, 0)

    def corrected(self, number: int, problem: str, calls: Sequence[Call]) -> None:  # noqa: ARG002  # told in the round
        """Records the calls of a reply of round `number` that could not be used."""
        self._record(calls, number)

    def decided(self, step: Round, calls: Sequence[Call]) -> None:
        """Records what the reasoner decided."""
        decision = pb.RoundDecided(
            number=step.number,
            thought=clean(step.thought),
            action=self._writer.action(step.action),
            correction_count=len(step.corrections),
        )
        self._checkpoint(pb.JobEvent(round_decided=decision), calls, step)

    def finished(self, step: Round, calls: Sequence[Call]) -> None:
        """Records what the action gave."""
        self._checkpoint(pb.JobEvent(round_finished=pb.RoundFinished(round=self._writer.round(step))), calls, step)

    def failed_calls(self, number: int, calls: Sequence[Call]) -> None:
        """Records calls that were made for something that then failed; they cost something whoever has the lease."""
        self._record(calls, number)

    def strays(self, strays: Sequence[types_pb2.StrayCall]) -> None:
        """Records calls that services made for others who had gone."""
        if strays:
            insist(self._lease, lambda: self._database.calls.record_strays(strays))

    def _record(self, calls: Sequence[Call], number: int = 0) -> None:
        self._count(insist(self._lease, lambda: self._write_calls(calls, number)), calls, number)

    def _write_calls(self, calls: Sequence[Call], number: int) -> Standing | None:
        return self._database.calls.record(calls, self._held.purpose, number or None)

    def _insist(self, write: Callable[[], Standing | None], calls: Sequence[Call], number: int) -> None:
        """Writes something that holds calls, or at least the calls, when somebody else has the episode by now."""
        try:
            standing = insist(self._lease, write)
        except LeaseLost:
            self._record(calls, number)
            raise
        self._count(standing, calls, number)

    def _count(self, standing: Standing | None, calls: Sequence[Call], number: int) -> None:
        """Notes what calls took, and how the job stands, unless that was not heard of."""
        if self._purse is not None:
            self._purse.took(number, calls)
            if standing is not None:
                self._purse.stands(standing)

    def _checkpoint(self, event: pb.JobEvent, calls: Sequence[Call], step: Round | None = None) -> None:
        event.episode = str(self._held.name)
        number, counted = step.number if step else 0, self._purse is not None
        checkpoint = self._database.work.checkpoint
        self._insist(
            lambda: checkpoint(self._held, event, calls, step=step, number=number, counted=counted), calls, number
        )
