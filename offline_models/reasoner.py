"""The reasoner: finds its way through a caption tree by matching the question's words, and follows the protocol.

It is given nothing but the messages. Each reply is worked out anew from all of them, so it depends on nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from offline_models.dialogue import Dialogue, Path, read_dialogue
from offline_models.evidence import Case, Evidence, gather
from offline_models.heat import Spot, ranking
from offline_models.messages import Turn
from offline_models.wording import presence, words

MODEL = "offline-reasoner"
UNKNOWN = "It cannot be determined from the video."
# What a server that is held to the protocol may write at most.
MAX_THOUGHT_CHARS = 3000
MAX_ANSWER_CHARS = 1000
MAX_QUERY_CHARS = 380


def reply(turns: Sequence[Turn], *, conclude: bool = False) -> str:
    """Returns the next reply of an episode: a thought, and then a tool call or the answer.

    `conclude` wants the answer now, as on a last round.
    """
    told = read_dialogue(turns)
    told.last = told.last or conclude
    case = gather(told)
    if not told.captions:
        return _answer("I was given no captions, so there is nothing I could look for the answer in.", UNKNOWN)
    if not case.query.subject and not told.options and _GIST.search(told.question):
        return _answer("This asks what the video is about as a whole. The high-level captions tell that.", _gist(told))
    best = case.best
    if best is not None and best.settled:
        return _answer(_why(case, best), _final(case, best))
    if not told.last and told.rounds < _patience(told, case):
        step = _next_step(told, case)
        if step is not None:
            return step
    if best is not None and best.acceptable:
        return _answer(f"{_why(case, best)} I found nothing that fits better.", _final(case, best))
    why = "This is the last round. " if told.last else "I have looked where the answer would most likely be. "
    return _answer(f"{why}{_lacking(case)} I do not guess.", UNKNOWN)


_GIST = re.compile(r"\babout\b|\bsummar|\btopics?\b|\bhappen|\bsubject\b|\bcontents?\b", re.IGNORECASE)


def _patience(told: Dialogue, case: Case) -> int:
    """Returns how many rounds a search may take: more where what the question names is known to be in the video."""
    text = " ".join(caption.text for caption in told.captions.values())
    known = bool(case.query.subject) and all(presence(term.word, text) >= 0.75 for term in case.query.subject)
    return (4 if known else 3) * told.width - 1


def _next_step(told: Dialogue, case: Case) -> str | None:
    """Returns the next tool call: read on where the answer most likely is. None when everything promising was seen."""
    spots = ranking(told, case)
    unread = [spot for spot in spots if spot.path[:2] not in told.captions]
    if unread and not spots[0].matched:
        # Nothing points anywhere: reading on widely finds more than looking closely at some place.
        spots = unread
    for spot in spots:
        medium, low = spot.path[:2], spot.path
        if medium not in told.captions and ("get_caption", medium) not in told.asked:
            return _tool(_reading(told, case, spot, spots, medium), f"get_caption({_shown(medium)})")
        if low not in told.captions and ("get_caption", low) not in told.asked:
            return _tool(_reading(told, case, spot, spots, low), f"get_caption({_shown(low)})")
        if ("video_qa", low) not in told.asked and spot.worth_asking:
            return _tool(_asking(case, spot), f"video_qa({_shown(low)}, {_query(told)})")
    return None


def _tool(thought: str, call: str) -> str:
    return f"<think>{_plain(thought, MAX_THOUGHT_CHARS)}</think>\n<tool>{call}</tool>"


def _answer(thought: str, text: str) -> str:
    return f"<think>{_plain(thought, MAX_THOUGHT_CHARS)}</think>\n<answer>{_plain(text, MAX_ANSWER_CHARS)}</answer>"


def _plain(text: str, limit: int) -> str:
    """Keeps tags out of free text, and its length within what the protocol allows."""
    return " ".join(text.replace("<", "‹").replace(">", "›").split())[:limit]


def _shown(path: Path) -> str:
    return f"({','.join(map(str, path))})"


def _query(told: Dialogue) -> str:
    """Returns the question as it is put to the qa model, with the options, without signs that would end the call."""
    text = told.question
    if told.options:
        text += " Options: " + "; ".join(f"{letter}. {option}" for letter, option in told.options.items())
    text = " ".join(re.sub(r"[<>()\[\]{}]", " ", text).split())
    return text if len(text) <= MAX_QUERY_CHARS else text[:MAX_QUERY_CHARS].rsplit(" ", 1)[0]


def _wanted(case: Case) -> str:
    terms = [term.word for term in case.query.subject] or words(case.query.text)[:6]
    return ", ".join(terms[:8])


def _reading(told: Dialogue, case: Case, spot: Spot, spots: list[Spot], path: Path) -> str:
    start, end = told.span(path)
    rival = next((other for other in spots if other.path[0] != spot.path[0]), None)
    text = f"I look for {_wanted(case)}. "
    if told.rounds and path[:-1] in told.captions and not spot.matched:
        text += f"What I read of {_shown(path[:-1])} does not name it, but nothing else fits better. "
    if spot.matched:
        text += f"Around {_time(spot.time)} the captions have {', '.join(spot.matched[:6])}"
        if rival and rival.matched:
            text += f", while {_shown(rival.path[:1])} has {', '.join(rival.matched[:4])}"
        text += ". "
    else:
        text += "No caption so far has these words, so I go on where there is most to read. "
    if spot.small_print:
        text += "There is text there that was too small to read. "
    return text + f"I read {_shown(path)}, from {start:.0f} s to {end:.0f} s, more closely."


def _asking(case: Case, spot: Spot) -> str:
    text = f"The captions of {_shown(spot.path)} "
    text += f"have {', '.join(spot.matched[:6])}" if spot.matched else "have text that may be it"
    if spot.small_print:
        text += ", and text too small to read"
    return text + f". I let the frames be looked at in full size, to see what they say about {_wanted(case)}."


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s"


def _why(case: Case, best: Evidence) -> str:
    near = [term.word for term in case.query.terms if term not in best.finding.missing and term.weight >= 0.5]
    text = f'{_shown(best.path)} says "{best.quote}"'
    if near:
        text += f", and {', '.join(near)} stand{'s' if len(near) == 1 else ''} with it"
    if best.letter:
        text += f". That is what option {best.letter} says, and no other option"
    if case.rivals:
        other = case.rivals[0]
        text += f'. {_shown(other.path)} has "{other.quote}", but that fits the question less'
    return text + "."


def _final(case: Case, best: Evidence) -> str:
    if best.letter:
        return f"{best.letter}. {case.options[best.letter]}"
    quote = best.quote.replace(" | ", ", ")
    if best.heard:
        return f'"{best.value}" (a voice says so at {best.time:.1f} s)'
    return f'{best.value} (at {best.time:.1f} s the screen reads "{quote}")'


def _lacking(case: Case) -> str:
    if case.best is None:
        return f"Nothing I read or heard is about {_wanted(case)}."
    missing = ", ".join(term.word for term in case.best.finding.missing[:5])
    near = f'The nearest is "{case.best.quote}" in {_shown(case.best.path)}'
    return f"{near}, but it lacks {missing}." if missing else f"{near}, but that does not answer the question."


def _gist(told: Dialogue) -> str:
    """Returns the headlines of the whole video, for a question about nothing in particular."""
    lines: list[str] = []
    for path in sorted(told.captions):
        for passage in told.captions[path].passages[:3]:
            lines += [cell.text for cell in passage.cells[:2] if cell.text not in lines]
    return "; ".join(lines[:12]) if lines else UNKNOWN
