"""Why something in a report is not known, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Iterable

from longvideo.v1 import orchestrator_pb2 as pb


class Notes:
    """The notes of a report, each reason once."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, reason: str, message: str) -> None:
        """Adds a note, unless there is one for this reason."""
        self._found.setdefault(reason, message)

    def messages(self) -> list[pb.CostNote]:
        """Returns them in the order in which they came."""
        return [pb.CostNote(reason=reason, message=message) for reason, message in self._found.items()]


def listed(things: Iterable[str]) -> str:
    """Returns a few of some things, in words: `a, b and 3 more`."""
    sorted_things = sorted(set(things))
    some, more = sorted_things[:5], len(sorted_things) - 5
    return ", ".join(some) + (f" and {more} more" if more > 0 else "")
