"""Writing down what must not get lost."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from longvideo.errors import StorageUnavailable
from orchestrator.leases import Abandoned, Lease, insist

AWAY = StorageUnavailable("away")
THERE = IntegrityError("INSERT", {}, Exception("there already"))


class Write:
    """Something to write, and what becomes of each attempt."""

    def __init__(self, *outcomes: Exception | str) -> None:
        self.outcomes = list(outcomes)

    def __call__(self) -> str:
        """Does the next attempt."""
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_a_write_is_tried_again() -> None:
    """A write is done when the database is back."""
    assert insist(Lease("w"), Write(AWAY, AWAY, "done")) == "done"


def test_a_write_that_was_done_unheard() -> None:
    """What an earlier attempt wrote, whose answer was lost, is not written twice."""
    assert insist(Lease("w"), Write(AWAY, THERE)) is None
    with pytest.raises(IntegrityError):
        insist(Lease("w"), Write(THERE))


def test_an_ended_lease_ends_the_attempts() -> None:
    """Nobody insists after the lease has ended."""
    lease = Lease("w")
    lease.end(Abandoned)
    with pytest.raises(Abandoned):
        insist(lease, Write(AWAY, "done"))


def test_a_lease_is_handed_over_between_rounds() -> None:
    """A lease that is to be handed over lasts to the end of the round, and is then over for good."""
    lease = Lease("w")
    lease.check_between_rounds()
    lease.hand_over()
    lease.check()
    for check in (lease.check_between_rounds, lease.check):
        with pytest.raises(Abandoned):
            check()
