"""The statements of a checkpoint, which every round takes twice: built once, and sent without the mapper.

To build a statement anew takes several times as long as to send it, and of all that a worker does it does this most.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from longvideo.resources import EpisodeName
from orchestrator import messages
from orchestrator.store.calls import Purpose
from orchestrator.tables import EpisodeRow, RoundRow
from orchestrator.transcript import Round

_EPISODES, _ROUNDS = (cast(sa.Table, row.__table__) for row in (EpisodeRow, RoundRow))

_HOLD = (
    sa.update(_EPISODES)
    .where(
        _EPISODES.c.job_id == sa.bindparam("of_job"),
        _EPISODES.c.number == sa.bindparam("of_number"),
        _EPISODES.c.lease_owner == sa.bindparam("of_owner"),
        _EPISODES.c.end_time.is_(None),
    )
    .values(lease_until=sa.bindparam("until"))
)
_ADVANCE = _HOLD.values(round_count=sa.bindparam("finished"), wait_count=0, wait_start=None)

_DECIDE = sa.insert(_ROUNDS)
_FINISH = sa.update(_ROUNDS).where(
    _ROUNDS.c.job_id == sa.bindparam("of_job"),
    _ROUNDS.c.episode == sa.bindparam("of_number"),
    _ROUNDS.c.number == sa.bindparam("of_round"),
    _ROUNDS.c.end_time.is_(None),
)
# What is known of a round only when it is finished; the rest was recorded when it was decided.
_FINISHED = ("observation", "notice", "repeated", "cached", "end_time")
_FINISH = _FINISH.values({name: sa.bindparam(name) for name in _FINISHED})

_NOTICE = (
    sa.update(_ROUNDS)
    .where(
        _ROUNDS.c.job_id == sa.bindparam("of_job"),
        _ROUNDS.c.episode == sa.bindparam("of_number"),
        _ROUNDS.c.number == sa.bindparam("of_round"),
    )
    .values(notice=sa.bindparam("notice"))
)


class Held(NamedTuple):
    """An episode whose lease one worker holds. `owner` is unique to this time that it was taken up."""

    job_id: str
    number: int
    owner: str
    tenant: str
    video_id: str
    label: str = ""

    @property
    def name(self) -> EpisodeName:
        """The episode's name."""
        return EpisodeName(self.job_id, str(self.number))

    @property
    def purpose(self) -> Purpose:
        """What the calls are for that are made for the episode."""
        return Purpose(self.tenant, self.video_id, self.label, self.job_id, self.number)


def hold(connection: sa.Connection, held: Held, until: float, finished: int | None) -> bool:
    """Makes a lease last until `until` and notes how many rounds are finished, if given; false when it is lost."""
    lease: dict[str, Any] = {"of_job": held.job_id, "of_number": held.number, "of_owner": held.owner, "until": until}
    if finished is None:
        changed = connection.execute(_HOLD, lease)
    else:
        changed = connection.execute(_ADVANCE, lease | {"finished": finished})
    return changed.rowcount == 1


def put_notice(connection: sa.Connection, held: Held, step: Round) -> None:
    """Records what else is told after a round."""
    place = {"of_job": held.job_id, "of_number": held.number, "of_round": step.number}
    connection.execute(_NOTICE, place | {"notice": step.notice})


def put_round(connection: sa.Connection, held: Held, step: Round) -> None:
    """Records how a round stands by now."""
    values = messages.round_values(step)
    if step.finished:
        place = {"of_job": held.job_id, "of_number": held.number, "of_round": step.number}
        if connection.execute(_FINISH, place | {name: values[name] for name in _FINISHED}).rowcount:
            return
    connection.execute(_DECIDE, {"job_id": held.job_id, "episode": held.number, **values})
