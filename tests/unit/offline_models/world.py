"""A scripted video: captions and clip answers by segment, and an episode that asks the reasoner until it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from offline_models.messages import Turn
from offline_models.reasoner import reply

Path = tuple[int, ...]

_REPLY = re.compile(r"<think>([^<]+)</think>\n<(tool|answer)>([^<]+)</\2>")
_CALL = re.compile(r"(get_caption|video_qa)\(\((\d(?:,\d)+)\)(?:, ([^<>()]{1,400}))?\)")


@dataclass
class World:
    """A video of `duration` seconds in a tree four wide. What is not scripted is a plain picture."""

    captions: Mapping[Path, str] = field(default_factory=dict)
    clips: Mapping[Path, str] = field(default_factory=dict)
    duration: float = 640.0
    width: int = 4

    def span(self, path: Path) -> str:
        """Returns a segment's span as the observations show it."""
        start, end = 0.0, self.duration
        for number in path:
            part = (end - start) / self.width
            start, end = start + (number - 1) * part, start + number * part
        return f"({','.join(map(str, path))}) [{start:.1f}s - {end:.1f}s]"

    def opening(self, question: str, options: Sequence[str] = ()) -> list[Turn]:
        """Returns the first turns of an episode."""
        lines = [f"Question: {question}", *(["Options:", *options] if options else [])]
        lines += [f"Duration: {self.duration:.1f} seconds", f"Ids at every level go from 1 to {self.width}."]
        lines.append("High-level captions:")
        lines += [f"{self.span((number,))}: {self._caption((number,))}" for number in range(1, self.width + 1)]
        lines.append("You have at most 30 rounds. Call one tool, or answer.")
        return [Turn("system", ("You find your way.",)), Turn("user", ("\n".join(lines),))]

    def observation(self, call: str) -> str:
        """Returns what the reasoner is told for a tool call."""
        match = _CALL.fullmatch(call)
        assert match is not None, call
        path = tuple(int(number) for number in match[2].split(","))
        assert all(1 <= number <= self.width for number in path)
        if match[1] == "video_qa":
            assert len(path) == 3
            answer = self.clips.get(path, "The clip does not show the answer.")
            return f"<information>{self.span(path)}: {answer}</information>"
        return f"{'Medium' if len(path) == 2 else 'Low'}-level caption of {self.span(path)}: {self._caption(path)}"

    def _caption(self, path: Path) -> str:
        return self.captions.get(path, "No text can be read on the screen. The picture is mostly dark and blue.")

    def play(self, question: str, options: Sequence[str] = (), max_rounds: int = 30) -> Episode:
        """Plays a whole episode. Fails when a reply breaks the protocol or something is asked for twice."""
        turns = self.opening(question, options)
        calls: list[str] = []
        for number in range(1, max_rounds + 1):
            text = reply(turns)
            match = _REPLY.fullmatch(text)
            assert match is not None, text
            if match[2] == "answer":
                return Episode(match[3], calls, turns)
            assert match[3] not in calls, f"asked twice: {match[3]}"
            calls.append(match[3])
            told = self.observation(match[3])
            if number == max_rounds - 1:
                told += "\nThis is your last round: no tool can be called any more. Give your best answer."
            turns += [Turn("assistant", (text,)), Turn("user", (told,))]
        raise AssertionError(f"no answer in {max_rounds} rounds: {calls}")


@dataclass
class Episode:
    """How an episode went."""

    answer: str
    calls: list[str]
    turns: list[Turn]
