"""What reports of cost are made of: the ledger in the order of time, and what became of questions and captions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.costs.cells import Ended
from orchestrator.costs.sharing import Entry
from orchestrator.db import Engine
from orchestrator.tables import CallRow, EpisodeRow, EventRow, JobRow, RoundRow, VideoRow

# How many rows are held in memory at one time.
_ROWS = 5000

_COLUMNS = (
    *(CallRow.tenant_id, CallRow.job_id, CallRow.episode, CallRow.round, CallRow.video_id, CallRow.label),
    *(CallRow.role, CallRow.model, CallRow.endpoint, CallRow.pool, CallRow.gpus, CallRow.start_time, CallRow.seconds),
    *(CallRow.outcome, CallRow.prompt_tokens, CallRow.cached_tokens, CallRow.completion_tokens, CallRow.images),
    *(CallRow.attempt, CallRow.prefill_seconds),
)


class Scope(NamedTuple):
    """Whose calls, or for None everybody's; perhaps only those of one job."""

    tenant: str | None
    job_id: str | None = None

    def has(self, entry: Entry) -> bool:
        """Tells whether a call is meant."""
        return self.tenant in {None, entry.tenant} and self.job_id in {None, entry.job_id}


class Seen(NamedTuple):
    """What the videos that were asked about have, and what of it was read."""

    cached_captions: int
    """How many captions were there already when a question asked for them."""
    low_segments: int
    """How many low segments the videos have, each tree of a video counted once."""
    read_segments: int
    """How many different segments of them questions read the captions of."""


class Costs:
    """What costs are told from. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.contextmanager
    def read(self) -> Iterator[Reading]:
        """Gives one state of the database to read from."""
        with self._engine.read() as session:
            yield Reading(session)


class Reading:
    """One state of the database."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def first(self) -> float | None:
        """Returns when the first call was sent, or None when there is none."""
        return self._session.scalar(sa.select(sa.func.min(CallRow.start_time)))

    def longest(self) -> float:
        """Returns how many seconds the longest call took."""
        return self._session.scalar(sa.select(sa.func.max(CallRow.seconds))) or 0.0

    def span(self, job_id: str) -> tuple[float, float]:
        """Returns when a job was accepted, and when its last call ended.

        Clocks of machines differ: a call that was sent before its job is within the span all the same.
        """
        ends = sa.func.min(CallRow.start_time), sa.func.max(CallRow.start_time + CallRow.seconds)
        first, last = self._session.execute(sa.select(*ends).where(CallRow.job_id == job_id)).one()
        accepted = self._session.scalars(sa.select(JobRow.create_time).where(JobRow.id == job_id)).one()
        return min(accepted, accepted if first is None else first), max(accepted, last or 0.0)

    def calls(self, since: float, until: float) -> Iterator[Entry]:
        """Yields everybody's calls that were sent in a range of time, in the order of time."""
        query = (
            sa.select(*_COLUMNS)
            .where(CallRow.start_time >= since, CallRow.start_time < until)
            .order_by(CallRow.start_time, CallRow.id)
        )
        return map(Entry._make, self._rows(query))

    def ended(self, scope: Scope, since: float, until: float) -> Iterator[Ended]:
        """Yields the questions that ended in a range of time."""
        query = (
            sa.select(
                *(JobRow.tenant_id, JobRow.id, EpisodeRow.number, JobRow.video_id, JobRow.label, EpisodeRow.end_time),
                *(EpisodeRow.state == "answered", EpisodeRow.correct),
            )
            .join(JobRow, JobRow.id == EpisodeRow.job_id)
            .where(EpisodeRow.end_time >= since, EpisodeRow.end_time < until, *_in(scope))
        )
        return map(Ended._make, self._rows(query))

    def seen(self, scope: Scope, since: float, until: float) -> Seen:
        """Returns what was read by the questions that were first taken up in a range of time."""
        meant = (EpisodeRow.start_time >= since, EpisodeRow.start_time < until, *_in(scope))
        trees = (
            sa.select(JobRow.video_id, JobRow.tree_width, VideoRow.frame_count)
            .join(EpisodeRow, EpisodeRow.job_id == JobRow.id)
            .join(VideoRow, VideoRow.id == JobRow.video_id)
            .where(*meant)
            .distinct()
        )
        found = self._session.execute(trees).all()
        paths = (
            sa.select(JobRow.video_id, JobRow.tree_width, RoundRow.path)
            .join(EpisodeRow, sa.and_(EpisodeRow.job_id == RoundRow.job_id, EpisodeRow.number == RoundRow.episode))
            .join(JobRow, JobRow.id == RoundRow.job_id)
            .where(RoundRow.action == "get_caption", RoundRow.end_time.is_not(None), *meant)
        )
        opened = self._session.scalar(sa.select(sa.func.count()).select_from(paths.distinct().subquery())) or 0
        kept = self._session.scalar(
            sa.select(sa.func.count()).select_from(paths.where(RoundRow.cached, ~RoundRow.repeated).subquery())
        )
        return Seen(
            cached_captions=(kept or 0) + self._cached_high(meant),
            low_segments=sum(min(frames, width**3) for _, width, frames in found),
            read_segments=opened + sum(min(frames, width) for _, width, frames in found),
        )

    def _cached_high(self, meant: Iterable[sa.ColumnElement[bool]]) -> int:
        """Returns how many captions that questions start from were there already."""
        query = (
            sa.select(EventRow.payload)
            .join(EpisodeRow, sa.and_(EpisodeRow.job_id == EventRow.job_id, EpisodeRow.number == EventRow.episode))
            .join(JobRow, JobRow.id == EventRow.job_id)
            .where(EventRow.kind == "caption_ready", *meant)
        )
        return sum(pb.JobEvent.FromString(payload).caption_ready.cached for (payload,) in self._rows(query))

    def _rows(self, query: sa.Executable) -> Iterator[Any]:
        return iter(self._session.connection().execute(query, execution_options={"yield_per": _ROWS}))


def _in(scope: Scope) -> list[sa.ColumnElement[bool]]:
    found = []
    if scope.tenant is not None:
        found.append(JobRow.tenant_id == scope.tenant)
    if scope.job_id is not None:
        found.append(JobRow.id == scope.job_id)
    return found
