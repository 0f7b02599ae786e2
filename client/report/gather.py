"""Asks the orchestrator for everything that a report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from client.api import Client
from longvideo.errors import InvalidArgument, LongVideoError, NotFound
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

Path = tuple[int, ...]
Pictures = tuple[types_pb2.Picture, ...]
Progress = Callable[[float, float, str], None]

# What is shown of a segment, and how many segments have pictures at most: the others are told of without.
PICTURES_PER_SEGMENT: Final = 4
MAX_SEGMENTS: Final = 120
# Pixels of the longer side: text can be read in the large ones, and many are small so that the page stays light.
LARGE_SIDE: Final = 400
SMALL_SIDE: Final = 256
MANY_SEGMENTS: Final = 30
# For how many questions the cost of each round is asked for: a message has room for as many rows.
MAX_QUESTIONS_BY_ROUND: Final = 200


@dataclass(frozen=True)
class Asked:
    """One question: its number in the job, from 1, its episode in FULL view, and its model calls, oldest first."""

    number: int
    episode: pb.Episode
    calls: tuple[types_pb2.ModelCall, ...] = ()


@dataclass(frozen=True)
class Costs:
    """What the job cost: as a whole by model, by question, and by round."""

    whole: pb.CostReport
    by_question: dict[str, pb.CostRow] = field(default_factory=dict)
    """By the name of the episode."""
    by_round: dict[tuple[str, int], pb.CostRow] = field(default_factory=dict)
    """By the name of the episode and the number of the round; 0 is what comes before the first."""


@dataclass
class Gathered:
    """A job and everything about it. `video` is None when it was given up; `notes` say what could not be had."""

    job: pb.Job
    asked: Sequence[Asked]
    usage: pb.Usage
    video: types_pb2.Video | None = None
    high: Sequence[types_pb2.Segment] = ()
    """The high-level segments, with their times."""
    pictures: dict[Path, Pictures] = field(default_factory=dict)
    costs: Costs = field(default_factory=lambda: Costs(pb.CostReport()))
    notes: list[str] = field(default_factory=list)


def gather(client: Client, name: str, numbers: Sequence[int], progress: Progress) -> Gathered:
    """Reads a job: all of its questions, or those with the numbers given. Raises NotFound and InvalidArgument.

    A video that was given up since, or cannot be read now, leaves a note and no pictures.
    """
    job = client.job(name)
    count = len(job.episodes)
    if wrong := [number for number in numbers if not 1 <= number <= count]:
        raise InvalidArgument(f"{name} has no question {wrong[0]}; give 1 to {count}.", field="question")
    asked = []
    wanted = sorted(set(numbers)) or range(1, count + 1)
    for done, number in enumerate(wanted):
        progress(done, len(wanted), "reading questions")
        episode = client.episode(job.episodes[number - 1].name)
        asked.append(Asked(number, episode, tuple(client.calls(episode.name))))
    found = Gathered(job, asked, client.usage(name))
    progress(0, 0, "reading costs")
    _add_costs(client, found)
    try:
        found.video = client.video(job.video)
        found.high = [
            caption.segment
            for caption in client.tree(job.video, (), job.config).captions
            if len(caption.segment.path) == 1
        ]
    except NotFound:
        found.notes.append("The video was given up since, so there are no pictures.")
        return found
    except LongVideoError as error:
        found.notes.append(f"The video cannot be read now: {error.message}")
        return found
    _add_pictures(client, found, progress)
    return found


def _add_costs(client: Client, found: Gathered) -> None:
    """Adds what was spent. A server that cannot say leaves a note: the calls still tell their seconds."""

    def report(*group_by: pb.CostDimension.ValueType) -> pb.CostReport:
        return client.cost_report(pb.GetCostReportRequest(job=found.job.name, group_by=group_by))

    try:
        whole = report(pb.COST_DIMENSION_ROLE, pb.COST_DIMENSION_MODEL, pb.COST_DIMENSION_POOL)
        by_question = {row.episode: row for row in report(pb.COST_DIMENSION_EPISODE).rows}
        by_round = {}
        if len(found.job.episodes) <= MAX_QUESTIONS_BY_ROUND:
            rows = report(pb.COST_DIMENSION_EPISODE, pb.COST_DIMENSION_ROUND).rows
            by_round = {(row.episode, row.round): row for row in rows}
    except LongVideoError as error:
        found.notes.append(f"What it cost cannot be told now: {error.message}")
        return
    found.costs = Costs(whole, by_question, by_round)


def _add_pictures(client: Client, found: Gathered, progress: Progress) -> None:
    opened = {
        tuple(item.segment.path): asked.episode.tree_width for asked in found.asked for item in asked.episode.evidence
    }
    shown = list(opened.items())[:MAX_SEGMENTS]
    side = LARGE_SIDE if len(shown) <= MANY_SEGMENTS else SMALL_SIDE
    if len(opened) > MAX_SEGMENTS:
        found.notes.append(
            f"{len(opened):,} segments were opened; the page has pictures of the first {MAX_SEGMENTS} of them."
        )
    for done, (path, width) in enumerate(shown):
        progress(done, len(shown), "reading pictures")
        try:
            response = client.frames(found.job.video, path, width, PICTURES_PER_SEGMENT, side)
        except LongVideoError as error:
            found.notes.append(f"There are no pictures of some segments: {error.message}")
            return
        found.pictures[path] = tuple(response.pictures)
