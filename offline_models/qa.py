"""The qa model: reads the frames of a short clip at full size and answers from what it reads and hears."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from offline_models.clip import Clip, read_clip, span
from offline_models.matching import Cell, Finding, Passage, Query, find, parse_query, supports
from offline_models.messages import Refused, Turn
from offline_models.reading import Page, Reader

MODEL = "offline-qa"
MAX_READ = 16
MAX_QUESTION_CHARS = 4000
_OPTION = re.compile(r"(?:^|[\s;,(])\(?([A-Z])[.):]\s+(.+?)(?=(?:[\s;,(]+\(?[A-Z][.):]\s)|\s*$)", re.DOTALL)


def answer(turns: Sequence[Turn], reader: Reader) -> str:
    """Returns what the clip of a request answers to its question, with reasons. Raises Refused."""
    clip = read_clip(turns)
    text = _question(clip)
    stem_text, options = split_options(text)
    pages = reader.read([shot.picture.data for shot in clip.shots], MAX_READ)
    passages = [*_screens(clip, pages), *_voices(clip)]
    query = parse_query(stem_text)
    context = " ".join(passage.text for passage in passages)
    findings = find(query, passages, context, suits=_option_said(options) if options else None)
    best = _best(findings, options)
    reasoning = _reasoning(clip, pages, query, best)
    told = _told(best, options) if best else _nothing(passages, findings)
    return f"<reasoning>{reasoning}</reasoning>\n<answer>{told}</answer>"


def _question(clip: Clip) -> str:
    for text in reversed(clip.words):
        if found := re.search(r"\bQuestion\s*:\s*(.+)", text, re.DOTALL | re.IGNORECASE):
            return found[1].strip()[:MAX_QUESTION_CHARS]
    if not clip.words:
        raise Refused(400, "The messages hold no question: end with a text part `Question: …`.", "messages")
    return clip.words[-1][:MAX_QUESTION_CHARS]


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Returns a question without its options, and the options by their letters: none unless there are A and B."""
    found = {match[1]: match for match in _OPTION.finditer(text)}
    if not {"A", "B"} <= found.keys():
        return text, {}
    question = re.sub(r"\b(?:options?|choices?)\s*:?\s*$", "", text[: found["A"].start()].strip(), flags=re.IGNORECASE)
    return question.strip(), {letter: match[2].strip(" ;,") for letter, match in found.items()}


def _screens(clip: Clip, pages: Sequence[Page | None]) -> list[Passage]:
    """Returns each distinct screen as a passage, with the time it is there."""
    passages: list[Passage] = []
    texts: list[str] = []
    for shot, page in zip(clip.shots, pages, strict=True):
        lines = page.lines if page else ()
        if passages and lines and texts == [line.text for line in lines]:
            last = passages.pop()
            passages.append(Passage(last.cells, last.start, shot.time))
        elif lines:
            cells = tuple(Cell(line.text, (line.left, line.top, line.right, line.bottom)) for line in lines)
            passages.append(Passage(cells, shot.time, shot.time))
        texts = [line.text for line in lines]
    return passages


def _voices(clip: Clip) -> list[Passage]:
    if not clip.cues:
        return []
    said = [(sentence, cue) for cue in clip.cues for sentence in re.split(r"(?<=[.!?])\s+", cue.text) if sentence]
    return [
        Passage(
            tuple(Cell(sentence) for sentence, _ in said),
            clip.cues[0].start,
            clip.cues[-1].end,
            voice=True,
            times=tuple(cue.start for _, cue in said),
        )
    ]


def _option_said(options: dict[str, str]) -> Callable[[str], float]:
    return lambda text: max(supports(option, text) for option in options.values())


def _best(findings: Sequence[Finding], options: dict[str, str]) -> Finding | None:
    """Returns the finding that answers; of those, one that says what an option says, if there are options."""
    good = [finding for finding in findings if finding.answers]
    named = [finding for finding in good if any(supports(option, finding.value) >= 0.8 for option in options.values())]
    return next(iter([*named, *good]), None)


def _told(best: Finding, options: dict[str, str]) -> str:
    passage = best.passage
    if passage.voice:
        told = f'The answer is "{best.value}": at {best.time:.1f} s a voice says: "{best.quote.replace(" | ", " ")}".'
    else:
        heading = max(passage.cells, key=lambda cell: cell.height).text
        quote = best.quote if heading in best.quote else f"{heading} | {best.quote}"
        told = f'The answer is "{best.value}": {span(passage.start, passage.end)} the screen reads "{quote}".'
    chosen = [letter for letter, option in options.items() if supports(option, best.value) >= 0.8]
    return f"{told} That is option {chosen[0]}, {options[chosen[0]]}." if len(chosen) == 1 else told


def _nothing(passages: Sequence[Passage], findings: Sequence[Finding]) -> str:
    told = "The clip does not show the answer."
    near = [finding for finding in findings if finding.coverage >= 0.3]
    if near:
        told += f' It comes nearest with "{near[0].quote}".'
    elif passages:
        first = max(passages, key=lambda passage: max(cell.height for cell in passage.cells))
        told += f' Instead there is "{" | ".join(cell.text for cell in first.cells[:4])}".'
    else:
        told += " No text can be read in it, and nothing is said."
    return told


def _reasoning(clip: Clip, pages: Sequence[Page | None], query: Query, best: Finding | None) -> str:
    lines = {line.text for page in pages if page for line in page.lines}
    asked = ", ".join(term.word for term in query.terms) or "nothing in particular"
    told = (
        f"I read {len(lines)} different lines of text on {len(clip.shots)} frames, and {len(clip.cues)} subtitles. "
        f"The question asks for {_KIND_WORDS[query.kind.value]} about: {asked}. "
    )
    if best is None:
        return told + "Nothing I read has enough of that near one value."
    return told + f'The words nearest to all of that are "{best.quote}".'


_KIND_WORDS = {
    "phone": "a telephone number",
    "money": "an amount of money",
    "time": "a time",
    "date": "a date",
    "number": "a number",
    "code": "a code or number",
    "name": "a name",
    "place": "a place",
    "text": "something",
}
