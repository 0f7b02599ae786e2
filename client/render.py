"""Shows how an answer is found, as it happens, and what it was and cost in the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from client import words
from client.screen import Screen
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

# What a line shows of a long text; `--verbose` and `--json` have all of it.
EXCERPT_CHARS = 280

_NO_ANSWER = {
    pb.Episode.ENDING_BUDGET_EXHAUSTED: "nothing was left of the job's budget",
    pb.Episode.ENDING_ROUNDS_EXHAUSTED: "all rounds passed without an answer; allow more with --max-rounds",
    pb.Episode.ENDING_TIME_EXHAUSTED: "the time passed without an answer; allow more with --max-seconds",
    pb.Episode.ENDING_INVALID_OUTPUT: "the reasoner's answers could not be used, three times in a row",
    pb.Episode.ENDING_CONTEXT_EXHAUSTED: "the reasoner's context is full",
    pb.Episode.ENDING_CANCELLED: "it was cancelled",
    pb.Episode.ENDING_ERROR: "something failed",
}


def _ignore(_what: str) -> None:
    """Takes what is being waited for where nobody watches."""


@dataclass
class Narrator:
    """Writes what happens in a job, one event after the other, and remembers what was made.

    `waiting` is told what is being waited for. `verbose` writes long texts in full.
    """

    screen: Screen
    verbose: bool = False
    waiting: Callable[[str], None] = _ignore
    captions: set[tuple[int, ...]] = field(default_factory=set)
    """The segments whose captions are known to exist now."""
    rounds: int = 0
    """How many rounds are finished."""
    _start: float = 0.0
    _made: int = 0

    def show(self, event: pb.JobEvent) -> None:
        """Writes one event."""
        kind = event.WhichOneof("event")
        now = words.instant(event.time)
        if kind == "episode_started":
            self._started(event.episode_started, now)
        elif kind == "caption_ready":
            self._caption(event.caption_ready, now)
        elif kind == "round_decided":
            self._decided(event.round_decided, now)
        elif kind == "round_finished":
            self._finished(event.round_finished.round)
        elif kind == "episode_waiting":
            self.screen.line("Waiting", words.one_line(event.episode_waiting.reason), "yellow")
            self.waiting("waiting to try again")

    def _started(self, started: pb.EpisodeStarted, now: float) -> None:
        self._start = self._start or now
        if started.finished_round_count:
            self.screen.line("Resumed", f"after round {started.finished_round_count}")
        self.waiting("reading the high-level captions")

    def _caption(self, ready: pb.CaptionReady, now: float) -> None:
        self.captions.add(tuple(ready.caption.segment.path))
        self._made += not ready.cached
        self.waiting(f"high-level captions: {ready.done_count} of {ready.total_count}")
        if self.verbose:
            self.screen.line("Caption", f"{words.place(ready.caption.segment)} {self._text(ready.caption.text)}")
        if ready.done_count == ready.total_count:
            known = "all known already" if not self._made else f"{self._made} made now, in {now - self._start:.1f} s"
            self.screen.line("Captions", f"{ready.total_count} high-level captions, {known}")
            self.waiting("the reasoner reads them")

    def _decided(self, decided: pb.RoundDecided, now: float) -> None:
        label = f"Round {decided.number}"
        head = f"{max(0.0, now - self._start):.1f} s"
        corrections = decided.correction_count
        mended = f" after {words.plural(corrections, 'correction')}" if corrections else ""
        self.screen.line(label, f"{head}{mended}  thinks: {self._text(decided.thought) or '(nothing)'}", "cyan")
        self.screen.line("", describe(decided.action))
        self.waiting(_doing(decided.action))

    def _finished(self, finished: pb.Round) -> None:
        self.rounds = finished.number
        kind = finished.action.WhichOneof("action")
        if kind == "get_caption":
            self.captions.add(tuple(finished.action.get_caption.segment.path))
        if kind != "answer":
            how = " (it knew that)" if finished.repeated else ""
            self.screen.line("", f"is told{how}: {self._text(_told(finished.observation))}", "green")
        self.waiting("the reasoner thinks")

    def _text(self, text: str) -> str:
        return words.one_line(text, None if self.verbose else EXCERPT_CHARS)


def describe(action: pb.Action) -> str:
    """Returns what the reasoner does: `opens (2,4) 3:07–3:45`."""
    kind = action.WhichOneof("action")
    if kind == "get_caption":
        return f"opens {words.place(action.get_caption.segment)}"
    if kind == "video_qa":
        return f"looks at {words.place(action.video_qa.segment)} and asks: {words.one_line(action.video_qa.query)}"
    return f"answers: {words.one_line(action.answer.text, EXCERPT_CHARS)}"


# What stands around the words in an observation repeats what the line above it says.
_AROUND = re.compile(r"\A\s*(?:<information>\s*)?(?:\w+-level caption of )?\([\d,]+\) \[[^\]]*\]:\s*|</?information>")


def _told(observation: str) -> str:
    return _AROUND.sub("", observation)


def _doing(action: pb.Action) -> str:
    kind = action.WhichOneof("action")
    if kind == "get_caption":
        return f"the captioner describes {words.place(action.get_caption.segment)}"
    if kind == "video_qa":
        return f"the qa model looks at {words.place(action.video_qa.segment)}"
    return ""


def why(episode: pb.Episode) -> str:
    """Returns why an episode has no answer, in words for a person."""
    known = words.one_line(episode.error.message) or _NO_ANSWER.get(episode.ending, "it has not ended")
    return known[:1].upper() + known[1:].rstrip(".") + "."


def answer(episode: pb.Episode) -> str:
    """Returns the answer in words for a person: for multiple choice, the chosen option too."""
    text = words.clean(episode.answer).strip()
    if not episode.choice:
        return text
    chosen = next(
        (option for option in episode.question.options if option.lstrip("( ")[:1].upper() == episode.choice), ""
    )
    return words.clean(chosen) if text.strip(" .()").upper() == episode.choice and chosen else text


def truth(screen: Screen, episode: pb.Episode) -> None:
    """Writes what the right answer is, where that is known, and whether it was given."""
    if not episode.question.truth:
        return
    judged = {True: ": right", False: ": wrong"}.get(episode.correct, "") if episode.HasField("correct") else ""
    screen.line("Truth", f"{words.one_line(episode.question.truth, EXCERPT_CHARS)}{judged}")


def result(screen: Screen, episode: pb.Episode, usage: pb.Usage, wall: float) -> None:
    """Writes the answer, where it was found, and what it cost. `wall` is the whole time, in seconds."""
    screen.plain()
    if episode.state == pb.Episode.STATE_ANSWERED:
        screen.line("Answer", answer(episode), "bold green")
    else:
        screen.line("No answer", why(episode), "bold yellow")
    truth(screen, episode)
    screen.plain()
    label = "Evidence"
    for item in episode.evidence:
        how = [name for name, used in (("caption", item.captioned), ("clip", item.inspected)) if used]
        where = f"{words.path(item.segment):<10}{words.span(item.segment):<16}"
        screen.line(label, f"{where}{' and '.join(how)}, round {item.round}")
        label = ""
    coverage = episode.coverage
    screen.line(
        "Looked at",
        f"{words.share(coverage.opened_fraction)} of the video, "
        f"{words.share(coverage.low_fraction)} at the finest level, "
        f"{words.share(coverage.inspected_fraction)} by the qa model",
    )
    screen.plain()
    usage_table(screen, usage)
    screen.plain()
    screen.line("Total", f"{wall:.1f} s, {words.plural(episode.round_count, 'round')}")


_USAGE_NUMBERS = ("calls", "seconds", "prompt", "cached", "completion", "calls × mean")


def usage_table(screen: Screen, usage: pb.Usage) -> None:
    """Writes what the model calls took, one row for each role, model and pool, and their sum."""
    if not usage.rows:
        screen.line("Usage", "no model was called")
        return
    rows = [[words.role(row.role), words.one_line(row.model, 40), words.one_line(row.pool, 20), *_numbers(row)]
            for row in usage.rows]  # fmt: skip
    if len(rows) > 1:
        rows.append(["total", "", "", *_numbers(_total(usage))])
    screen.table(("role", "model", "pool", *_USAGE_NUMBERS), rows, right=_USAGE_NUMBERS)
    if failed := sum(row.failed_call_count for row in usage.rows):
        screen.plain(f"{words.plural(failed, 'call')} of these failed or could not be used.", "yellow")


def _numbers(row: pb.UsageRow) -> list[str]:
    return [
        f"{row.call_count:,}",
        f"{words.seconds(row.model_duration):,.2f}",
        f"{row.prompt_token_count:,}",
        f"{row.cached_token_count:,}",
        f"{row.completion_token_count:,}",
        f"{words.seconds(row.isolated_duration):,.2f} s",
    ]


def _total(usage: pb.Usage) -> pb.UsageRow:
    total = pb.UsageRow(
        call_count=sum(row.call_count for row in usage.rows),
        failed_call_count=sum(row.failed_call_count for row in usage.rows),
        prompt_token_count=sum(row.prompt_token_count for row in usage.rows),
        cached_token_count=sum(row.cached_token_count for row in usage.rows),
        completion_token_count=sum(row.completion_token_count for row in usage.rows),
    )
    total.model_duration.FromNanoseconds(sum(row.model_duration.ToNanoseconds() for row in usage.rows))
    total.isolated_duration.FromNanoseconds(sum(row.isolated_duration.ToNanoseconds() for row in usage.rows))
    return total


def captions_line(caption: types_pb2.Caption, verbose: bool) -> str:
    """Returns one caption of a tree on a line: its place and its words, or that nobody has made it."""
    text = words.one_line(caption.text, None if verbose else EXCERPT_CHARS) or "(no caption yet)"
    return f"{words.place(caption.segment)}  {text}"
