"""The reasoner's memory: everything that the messages of an episode tell, taken apart.

Nothing is kept between requests. The shapes of the lines are those of the protocol; where a line has another shape it
is left out rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from offline_models.matching import Cell, Passage
from offline_models.messages import Turn

Path = tuple[int, ...]

LEVELS = 3
DEFAULT_WIDTH = 4
MAX_QUESTION_CHARS = 4000

_NUMBER = r"\d+(?:\.\d+)?"
_SPAN = rf"\[\s*({_NUMBER})\s*s?\s*[-–—]\s*({_NUMBER})\s*s?\s*\]\s*:?"
_HIGH = re.compile(rf"^[ \t]*\(\s*(\d+)\s*,?\s*\)\s*{_SPAN}[ \t]*", re.MULTILINE)
_FINER = re.compile(rf"(?:Medium|Low)-level caption of \(([\d,\s]+)\)\s*{_SPAN}\s*(.*)", re.DOTALL | re.IGNORECASE)
_CLIP = re.compile(rf"<information>\s*\(([\d,\s]+)\)\s*{_SPAN}\s*(.*?)(?:</information>|\Z)", re.DOTALL)
_CALL = re.compile(r"(get_caption|video_qa)\s*\(\s*\(([\d,\s]+)\)", re.IGNORECASE)
_LAST = re.compile(r"last round|final round|no tool can be called|no more tools", re.IGNORECASE)
_OPTION = re.compile(r"^\s*\(?([A-Z])[.):]\s*(.+?)\s*$", re.MULTILINE)
_NEGATIVE = re.compile(
    r"\b(?:does not|doesn['’]t|do not|did not|not|never|no)\b[^.\"]{0,40}?"
    r"\b(?:show|shown|visible|mention\w*|seen|see|appear\w*|determine\w*|contain\w*|answer\w*|present|available|indicate\w*|provide\w*)\b"
    r"|cannot|can['’]t|unable|unclear|unknown",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Caption:
    """A caption that was read. Times in seconds."""

    path: Path
    start: float
    end: float
    passages: tuple[Passage, ...]
    small_print: tuple[tuple[float, float], ...]
    text: str


@dataclass(frozen=True)
class ClipAnswer:
    """What the qa model said about a low segment. `negative` when it said that the clip does not show it."""

    path: Path
    start: float
    end: float
    text: str
    value: str
    negative: bool


@dataclass
class Dialogue:
    """An episode as its messages tell it."""

    question: str = ""
    options: dict[str, str] = field(default_factory=dict)
    duration: float = 0.0
    width: int = DEFAULT_WIDTH
    captions: dict[Path, Caption] = field(default_factory=dict)
    clips: dict[Path, ClipAnswer] = field(default_factory=dict)
    asked: set[tuple[str, Path]] = field(default_factory=set)
    rounds: int = 0
    last: bool = False

    def span(self, path: Path) -> tuple[float, float]:
        """Returns when a segment starts and ends, in seconds: as a caption says, or as equal parts of its parent."""
        known = self.captions.get(path)
        if known is not None:
            return known.start, known.end
        start, end = self.span(path[:-1]) if len(path) > 1 else (0.0, self.duration)
        part = (end - start) / self.width
        return start + (path[-1] - 1) * part, start + path[-1] * part

    def low_paths(self) -> list[Path]:
        """Returns the ids of all low segments, in order."""
        ids = range(1, self.width + 1)
        return [(high, medium, low) for high in ids for medium in ids for low in ids]


def read_dialogue(turns: Sequence[Turn]) -> Dialogue:
    """Takes the messages of an episode apart."""
    told = Dialogue()
    users = [turn.text for turn in turns if turn.role == "user"]
    if users:
        _read_opening(told, users[0])
    for text in users[1:]:
        _read_observation(told, text)
    for turn in turns:
        if turn.role == "assistant":
            told.rounds += 1
            told.asked.update((name.lower(), _path(ids)) for name, ids in _CALL.findall(_action(turn.text)))
    told.last = len(users) > 0 and _LAST.search(_notice(users[-1])) is not None
    return told


def _action(text: str) -> str:
    return text.rpartition("</think>")[2]


def _path(ids: str) -> Path:
    return tuple(int(part) for part in ids.split(",") if part.strip().isdecimal() and len(part.strip()) < 5)


def _notice(text: str) -> str:
    """Returns what a turn says besides captions and clip answers: its last lines, which no caption may imitate."""
    return text.rpartition("</information>")[2][-600:] if "<information>" in text else "\n".join(text.splitlines()[-2:])


def _read_opening(told: Dialogue, text: str) -> None:
    head, _, rest = text.partition("High-level captions:")
    question = re.search(r"Question:\s*(.*?)\s*(?=^Options:|^Duration:|\Z)", head, re.DOTALL | re.MULTILINE)
    told.question = (question[1] if question else head)[:MAX_QUESTION_CHARS].strip()
    listed = re.search(r"^Options:\s*$(.*?)(?=^Duration:|\Z)", head, re.DOTALL | re.MULTILINE)
    if listed:
        told.options = dict(_OPTION.findall(listed[1]))
    if duration := re.search(rf"^Duration:\s*({_NUMBER})", head, re.MULTILINE):
        told.duration = float(duration[1])
    if width := re.search(r"from 1 to (\d{1,2})\b", head):
        told.width = max(1, int(width[1]))
    matches = list(_HIGH.finditer(rest))
    for number, match in enumerate(matches):
        if number + 1 < len(matches):
            words = rest[match.end() : matches[number + 1].start()]
        else:
            # The instructions that end the turn stand on a line of their own.
            lines = rest[match.end() :].strip().splitlines()
            words = "\n".join(lines[:-1] if len(lines) > 1 else lines)
        _add_caption(told, (int(match[1]),), float(match[2]), float(match[3]), words)
    told.duration = told.duration or max((caption.end for caption in told.captions.values()), default=0.0)


def _read_observation(told: Dialogue, text: str) -> None:
    if clip := _CLIP.search(text):
        path, words = _path(clip[1]), clip[4].strip()
        value = re.search(r'answer is "([^"]+)"', words)
        negative = value is None and _NEGATIVE.search(re.sub(r'"[^"]*"', "", words)) is not None
        told.clips[path] = ClipAnswer(path, float(clip[2]), float(clip[3]), words, value[1] if value else "", negative)
    elif (finer := _FINER.search(text)) and not text.lstrip().startswith("You already read"):
        _add_caption(told, _path(finer[1]), float(finer[2]), float(finer[3]), finer[4])


def _add_caption(told: Dialogue, path: Path, start: float, end: float, text: str) -> None:
    passages = tuple(passages_of(text, start, end))
    told.captions[path] = Caption(path, start, end, passages, tuple(_small_print(text)), text.strip())


_QUOTE = re.compile(r"[\"“]([^\"“”]+)[\"”]")
_SECONDS = re.compile(rf"(?<![\w.])({_NUMBER})\s*(?:s|sec|seconds)\b")
_SAID = re.compile(
    r"\b(?:voice|says?|said|speaks?|narrator|narrates?|mentions?|subtitles?|explains?|tells?|announces?)\b",
    re.IGNORECASE,
)
_FULL = re.compile(r"\bsays\b", re.IGNORECASE)
_NEXT = re.compile(rf"\s*[;,]\s*(?:at|from)?\s*{_NUMBER} s(?: to {_NUMBER} s)?\s*:\s*\Z", re.IGNORECASE)


def passages_of(text: str, start: float, end: float) -> list[Passage]:
    """Returns what a caption quotes, with times, and what it tells in sentences of its own.

    What is heard in one segment is one passage, because an answer may go on from one sentence to the next. The words
    of a shortened quotation (`a voice mentions`) count as told, not as heard.
    """
    screens: list[Passage] = []
    heard: list[tuple[str, float]] = []
    told: list[tuple[str, float]] = []
    place = 0
    goes_on = "screen"
    for match in _QUOTE.finditer(text):
        before = text[place : match.start()]
        place = match.end()
        times = [float(found) for found in _SECONDS.findall(before)] or [start, end]
        # `; at 12.0 s:` goes on with what came before it.
        if not _NEXT.match(before):
            goes_on = "screen" if not _SAID.search(before) else "heard" if _FULL.search(before) else "told"
        if goes_on != "screen":
            (heard if goes_on == "heard" else told).append((match[1], times[-1]))
        else:
            cells = tuple(Cell(cell.strip()) for cell in match[1].split("|") if cell.strip())
            screens.append(Passage(cells, times[0], times[-1] if len(times) > 1 else times[0]))
    for sentence in re.split(r"(?<=[.!?])\s+", _QUOTE.sub(" ", text)):
        if not _FILLER.search(sentence) and len(re.findall(r"[^\W\d]{3,}", sentence)) >= 3:
            times = [float(found) for found in _SECONDS.findall(sentence)] or [start]
            told.append((sentence.strip(), times[0]))
    return [*screens, *_spoken(heard, start, end, voice=True), *_spoken(told, start, end, voice=False)]


_FILLER = re.compile(
    r"the screen reads|a voice (?:says|mentions)|too small to read|^the picture|no text can be read|were not read"
    r"|nothing can be read",
    re.IGNORECASE,
)


def _spoken(sentences: list[tuple[str, float]], start: float, end: float, *, voice: bool) -> list[Passage]:
    if not sentences:
        return []
    pieces = [(piece, time) for text, time in sentences for piece in re.split(r"(?<=[.!?])\s+", text) if piece.strip()]
    cells = tuple(Cell(piece) for piece, _ in pieces)
    return [Passage(cells, start, end, voice=voice, times=tuple(time for _, time in pieces))]


def _small_print(text: str) -> list[tuple[float, float]]:
    spans = []
    for found in re.findall(r"too small to read((?:[^.]|\.\d)*)", text, re.IGNORECASE):
        for first, second in re.findall(rf"({_NUMBER}) s(?: to ({_NUMBER}) s)?", found):
            spans.append((float(first), float(second or first)))
    return spans
