"""What the reasoner may say, and how it is read.

The checkpoint was trained to answer with `<think>…</think>` and then `<tool>…</tool>` or `<answer>…</answer>`. A model
can emit anything, so reading is tolerant where the meaning is plain and strict where it is not: everything else raises
`Unusable` with a sentence that tells the model what to change. Nothing the model wrote is ever evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from longvideo.segments import LEVELS, Segment

# An answer this long is a repetition loop, not a thought; what lies beyond is not looked at.
MAX_REPLY_CHARS = 32_000
MAX_QUERY_CHARS = 2_000
STOP = ("</tool>", "</answer>")


@dataclass(frozen=True)
class GetCaption:
    """Read the caption of a medium or low segment."""

    segment: Segment

    def __str__(self) -> str:
        return f"get_caption({self.segment})"


@dataclass(frozen=True)
class VideoQA:
    """Ask the qa model one question about a low segment."""

    segment: Segment
    query: str

    def __str__(self) -> str:
        return f"video_qa({self.segment}, {self.query})"


@dataclass(frozen=True)
class Answer:
    """Give the answer."""

    text: str


Action = GetCaption | VideoQA | Answer


@dataclass(frozen=True)
class Reply:
    """What the reasoner said, taken apart."""

    thought: str
    action: Action

    @property
    def text(self) -> str:
        """The reply in its canonical form, as later rounds see it."""
        if isinstance(self.action, Answer):
            return f"<think>{self.thought}</think>\n<answer>{self.action.text}</answer>"
        return f"<think>{self.thought}</think>\n<tool>{self.action}</tool>"


class Unusable(Exception):
    """The reply cannot be used. The message says what is wrong, to the model."""


_TAG = re.compile(r"<(/?)(think|tool|answer)>", re.IGNORECASE)


def parse(text: str, width: int, *, cut: bool = False) -> Reply:
    """Takes a reply apart.

    `width` is the number of children of every segment of this video's tree. A tag that the end of the text leaves open
    counts as closed, because servers drop the stop string; unless the reply was `cut` off at its token limit. Raises
    Unusable for anything that does not say plainly what to do.
    """
    thought, rest = _split_thought(text[:MAX_REPLY_CHARS])
    if cut and not re.search(r"</(tool|answer)>", rest, re.IGNORECASE):
        raise Unusable("Your reply was cut off because it was too long. Think briefly, then act.")
    tools = _contents(rest, "tool")
    answers = _contents(rest, "answer")
    if tools and answers:
        raise Unusable("You gave both a tool call and an answer. Give exactly one of them.")
    if len(set(tools)) > 1:
        raise Unusable(f"You gave {len(tools)} tool calls. Give exactly one.")
    if len(set(answers)) > 1:
        raise Unusable(f"You gave {len(answers)} answers. Give exactly one.")
    if tools:
        return Reply(thought, parse_call(tools[0], width))
    if answers:
        if not answers[0]:
            raise Unusable("Your answer is empty. Write it between <answer> and </answer>.")
        return Reply(thought, Answer(answers[0]))
    if len(text) > MAX_REPLY_CHARS:
        raise Unusable("Your reply was far too long and held no action. Think briefly, then act.")
    raise Unusable("You neither called a tool between <tool> and </tool> nor answered between <answer> and </answer>.")


def _split_thought(text: str) -> tuple[str, str]:
    """Returns what was thought and what comes after it.

    Actions inside a thought are thoughts. A thought that is never closed ends at the first action; a reply without any
    thought is accepted, because what to do is still plain.
    """
    close = re.search(r"</think>", text, re.IGNORECASE)
    if close is not None:
        thought, rest = text[: close.start()], text[close.end() :]
    else:
        action = re.search(r"<(tool|answer)>", text, re.IGNORECASE)
        end = action.start() if action else len(text)
        thought, rest = text[:end], text[end:]
    return _TAG.sub("", thought).strip(), rest


def _contents(text: str, tag: str) -> list[str]:
    """Returns what stands between the tags, each time; a tag left open ends at the next tag or the end of the text."""
    return [
        match.strip()
        for match in re.findall(rf"<{tag}>(.*?)(?:</?(?:think|tool|answer)>|\Z)", text, re.IGNORECASE | re.DOTALL)
    ]


_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*;?\s*\Z", re.DOTALL)
_IDS = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]\s*(?:,(.*))?\Z", re.DOTALL)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "`": "`"}


def parse_call(text: str, width: int) -> GetCaption | VideoQA:
    """Takes a tool call apart: `get_caption((2,4))` or `video_qa((2,4,1), What is written there?)`.

    The query may stand in quotes or not, and may hold parentheses and newlines. Raises Unusable.
    """
    match = _CALL.match(text)
    if match is None:
        raise Unusable(
            f"{_shown(text)} is not a tool call. Write get_caption((2,1)), get_caption((2,1,3)) or "
            "video_qa((2,1,3), your question)."
        )
    name, arguments = match.groups()
    if name not in ("get_caption", "video_qa"):
        raise Unusable(f"There is no tool {_shown(name)}. The tools are get_caption and video_qa.")
    ids = _IDS.match(arguments)
    if ids is None:
        raise Unusable(f"{name} needs its ids in parentheses of their own: {name}((2,1,3)…).")
    segment = _segment(ids[1], width)
    rest = ids[2]
    if name == "get_caption":
        if rest is not None and rest.strip():
            raise Unusable("get_caption takes nothing but the ids. To ask a question use video_qa.")
        if segment.level == 1:
            raise Unusable("You were given every high-level caption already. Ask for (h,m) or (h,m,l).")
        return GetCaption(segment)
    if segment.level != LEVELS:
        raise Unusable("video_qa looks at one low-level segment: it needs three ids, (h,m,l).")
    query = _unquoted((rest or "").strip())
    if not query:
        raise Unusable("video_qa needs a question after the ids: video_qa((2,1,3), your question).")
    if len(query) > MAX_QUERY_CHARS:
        raise Unusable(f"Your question is longer than {MAX_QUERY_CHARS} characters. Ask one short question.")
    return VideoQA(segment, query)


def _segment(text: str, width: int) -> Segment:
    parts = [part.strip() for part in text.split(",")]
    if parts and not parts[-1]:
        parts.pop()
    if not 1 <= len(parts) <= LEVELS:
        raise Unusable(f"({_shown(text)}) has {len(parts)} ids. Give two, (h,m), or three, (h,m,l).")
    ids = []
    for part in parts:
        # `isdecimal` also admits other scripts' digits, which int() reads as the numbers they are; the length keeps a
        # model from making us read a million of them.
        if not (part.isdecimal() and len(part) <= 4):
            raise Unusable(f"{_shown(part)} is not an id. Ids are whole numbers from 1 to {width}.")
        ids.append(int(part))
    if any(not 1 <= number <= width for number in ids):
        raise Unusable(f"({','.join(map(str, ids))}) does not exist. Every id goes from 1 to {width}.")
    return Segment(tuple(ids))


def _unquoted(text: str) -> str:
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:60] + "…")


def reply_pattern(width: int, *, answer_only: bool = False) -> str:
    """Returns a regular expression for the legal replies on a tree of this width, for servers that can be held to one.

    It admits nothing that `parse` refuses. `<` is kept out of the free text so that a thought cannot swallow a tag.
    """
    number = f"[1-{width}]"
    answer = r"<answer>[^<]{1,1000}</answer>"
    caption = rf"get_caption\(\({number},{number}(,{number})?\)\)"
    question = rf"video_qa\(\({number},{number},{number}\), [^<>()\s][^<>()]{{1,400}}\)"
    action = answer if answer_only else rf"(<tool>({caption}|{question})</tool>|{answer})"
    return rf"<think>[^<]{{1,3000}}</think>\n{action}"


_LETTER_SAID = re.compile(r"(?:answer|option|choice)\s*(?:is|:)?\s*[(*\"']{0,3}([A-Z])(?![A-Za-z'’])", re.IGNORECASE)
_LETTER_FIRST = re.compile(r"[\s(\[*'\"]*([A-Z])\s*[).:\]*]", re.IGNORECASE)
# A letter that stands alone, but not the words "a" and "I".
_LETTER_ALONE = re.compile(r"(?<![A-Za-z'’])(A(?!\s+(?!or\b|and\b)[a-z])|I(?!\s)|[B-HJ-Z])(?![A-Za-z'’])")


def choice(answer: str, options: Sequence[str]) -> str:
    """Returns the letter of the option that an answer chooses, or the empty string when it names none or several.

    Reads `B`, `(B)`, `b.`, `B. A red car`, `The answer is B`, `**B**` and an option's own words. `options` are as the
    user gave them, each with its letter first.
    """
    words = {
        match[1].upper(): match[2].strip().rstrip(".").casefold()
        for option in options
        if (match := re.match(r"\W*([A-Za-z])\W*(.*)", option, re.DOTALL))
    }
    text = answer.strip()
    said = text.rstrip(".").casefold()
    readings = (
        [text.strip("()[]*.:'\" ").upper()],
        _LETTER_SAID.findall(text),
        [match[1] for match in [_LETTER_FIRST.match(text)] if match],
        [letter for letter, option in words.items() if option == said],
        [letter for letter, option in words.items() if option and option in said],
        _LETTER_ALONE.findall(text),
    )
    for reading in readings:
        letters = {letter.upper() for letter in reading} & words.keys()
        if len(letters) == 1:
            return letters.pop()
    return ""
