"""What is added up: for each group of calls, and within it for each role, model, pool and way to end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from longvideo.errors import InvalidArgument
from longvideo.resources import EpisodeName, JobName, VideoName
from orchestrator.costs.sharing import Amount, Entry, Part

MAX_ROWS: Final = 10_000
_DAY_SECONDS: Final = 86_400

Names = tuple[Any, ...]
"""What a group is called: a value for each dimension."""


class Kind(NamedTuple):
    """What the calls of a cell have in common besides their group."""

    role: str
    model: str
    pool: str
    outcome: str


class Ended(NamedTuple):
    """A question that has ended."""

    tenant: str
    job_id: str
    episode: int
    video_id: str
    label: str
    start: float
    """When it ended: what a report takes for its day."""
    is_answered: bool
    is_correct: bool | None
    """None where nobody can tell."""


def day(moment: float) -> str:
    """Returns the day of a moment, in UTC, such as `2026-03-01`."""
    return _day(int(moment // _DAY_SECONDS))


@functools.lru_cache(maxsize=64)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY_SECONDS, UTC).date().isoformat()


def _episode(call: Entry | Ended) -> str:
    return str(EpisodeName(call.job_id, str(call.episode))) if call.job_id and call.episode else ""


OF_QUESTIONS: Final[Mapping[str, Callable[[Entry | Ended], Any]]] = {
    "tenant": lambda call: call.tenant,
    "job": lambda call: str(JobName(call.job_id)) if call.job_id else "",
    "video": lambda call: str(VideoName(call.video_id)) if call.video_id else "",
    "label": lambda call: call.label,
    "day": lambda call: day(call.start),
    "episode": _episode,
}
"""What both calls and questions can be grouped by, and what their groups are called then."""

_OF_CALLS: Final[Mapping[str, Callable[[Entry], Any]]] = {
    "role": lambda call: call.role,
    "model": lambda call: call.model,
    "pool": lambda call: call.pool,
    "round": lambda call: call.round or 0,
}
DIMENSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {**OF_QUESTIONS, **_OF_CALLS}


class Cell:
    """The sums over some calls."""

    __slots__ = (
        *("allocated", "attributed", "cached_tokens", "calls", "completion_tokens", "gpu_prices", "gpus", "images"),
        *("prompt_tokens", "retries", "seconds", "unknown", "unpriced_gpus"),
    )

    def __init__(self) -> None:
        self.calls = self.prompt_tokens = self.cached_tokens = self.completion_tokens = self.images = self.retries = 0
        self.seconds = 0.0
        self.gpus = 0
        """The GPUs of each call, added up."""
        self.gpu_prices = 0.0
        """The same, times what a GPU cost for a second."""
        self.unpriced_gpus = 0
        self.attributed = Sum()
        self.allocated = Sum()
        self.unknown = 0
        """How many calls have no allocated part."""

    def add(self, part: Part) -> None:
        """Adds a call."""
        call = part.call
        if part.is_sent:
            self.calls += 1
            self.seconds += call.seconds
            self.prompt_tokens += call.prompt_tokens
            self.cached_tokens += call.cached_tokens
            self.completion_tokens += call.completion_tokens
            self.images += call.images
            self.retries += call.attempt > 1
            self.gpus += call.gpus
            if part.price is None:
                self.unpriced_gpus += call.gpus
            else:
                self.gpu_prices += call.gpus * part.price
        self.attributed.add(part.attributed)
        if part.allocated is None:
            self.unknown += 1
        else:
            self.allocated.add(part.allocated)


class Sum:
    """An amount that grows."""

    __slots__ = ("cost", "gpu_seconds", "unpriced")

    def __init__(self) -> None:
        self.gpu_seconds = self.cost = self.unpriced = 0.0

    def add(self, amount: Amount) -> None:
        """Adds an amount."""
        self.gpu_seconds += amount[0]
        self.cost += amount[1]
        self.unpriced += amount[2]

    @property
    def amount(self) -> Amount:
        """What it has come to."""
        return Amount(self.gpu_seconds, self.cost, self.unpriced)


class Cells:
    """The cells of a report, by group and kind. Raises InvalidArgument when there are too many groups."""

    def __init__(self, dimensions: Iterable[str]) -> None:
        self._names = [DIMENSIONS[name] for name in dimensions]
        self.groups: dict[Names, dict[Kind, Cell]] = {}

    def add(self, part: Part) -> None:
        """Adds a call to the cell where it belongs."""
        call = part.call
        kinds = self.group(tuple([name(call) for name in self._names]))
        kind = Kind(call.role, call.model, call.pool, call.outcome)
        cell = kinds.get(kind)
        if cell is None:
            cell = kinds[kind] = Cell()
        cell.add(part)

    def group(self, names: Names) -> dict[Kind, Cell]:
        """Returns the cells of a group."""
        kinds = self.groups.get(names)
        if kinds is None:
            if len(self.groups) == MAX_ROWS:
                raise InvalidArgument(
                    f"group_by gives more than {MAX_ROWS:,} rows; group by less, or ask for a shorter time",
                    field="group_by",
                )
            kinds = self.groups[names] = {}
        return kinds
