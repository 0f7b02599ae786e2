"""Evidence: what an episode's captions and clip answers say about its question, and how much that is worth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from offline_models.dialogue import LEVELS, Dialogue, Path, passages_of
from offline_models.kinds import fit
from offline_models.matching import Cell, Finding, Passage, Query, find, parse_query, supports
from offline_models.wording import presence

# An option counts as said when at least this much of it is.
OPTION_SAID = 0.8
# A finding without all of the question's words is taken at the end of a search only if it has this much of them.
GOOD_ENOUGH = 0.7


@dataclass(frozen=True)
class Evidence:
    """Something that may answer the question, and where it comes from.

    `exact` evidence was seen at full size or heard word for word; what a caption read from small frames is not.
    `complete` evidence has all that the question names, except words that the whole video seems not to have.
    `letter` is the option that it supports, `choice` whether there are options. `time` is in seconds.
    """

    path: Path
    finding: Finding
    value: str
    quote: str
    time: float
    exact: bool
    heard: bool
    complete: bool
    letter: str = ""
    choice: bool = False

    @property
    def settled(self) -> bool:
        """Whether the search can stop here."""
        return self.exact and self.complete and self.finding.answers and self._chosen

    @property
    def acceptable(self) -> bool:
        """Whether it may be given as the answer when nothing better turned up."""
        seen = self.exact or len(self.path) == LEVELS
        return seen and self.finding.answers and self.finding.coverage >= GOOD_ENOUGH and self._chosen

    @property
    def _chosen(self) -> bool:
        return bool(self.letter) or not self.choice


@dataclass
class Case:
    """The question and everything that speaks for an answer, the best first."""

    query: Query
    options: dict[str, str]
    rarity: dict[str, float]
    unseen: frozenset[str] = frozenset()
    found: list[Evidence] = field(default_factory=list)

    @property
    def best(self) -> Evidence | None:
        """The strongest evidence."""
        return self.found[0] if self.found else None

    @property
    def rivals(self) -> list[Evidence]:
        """Evidence elsewhere with another value, which might be confused with the best."""
        if self.best is None:
            return []
        mine = self.best
        return [
            other
            for other in self.found[1:]
            if other.path != mine.path and other.value != mine.value and other.exact and other.finding.coverage >= 0.5
        ]


def gather(told: Dialogue) -> Case:
    """Weighs everything an episode has told so far against its question."""
    query = parse_query(told.question)
    text = " ".join(caption.text for caption in told.captions.values())
    unseen = frozenset(term.word for term in query.terms if not term.hard and presence(term.word, text) < 0.7)
    case = Case(query, told.options, _rarity(told, query), unseen)
    found = [*_from_clips(told, case), *_from_captions(told, case)]
    case.found = sorted(found, key=lambda one: (not one.settled, not one.acceptable, not one.exact, -one.finding.score))
    return case


def _rarity(told: Dialogue, query: Query) -> dict[str, float]:
    """Weighs the question's words: one that every high-level caption has tells little about where to look."""
    texts = [caption.text for path, caption in told.captions.items() if len(path) == 1]
    count = len(texts)
    weights = {}
    for term in query.terms:
        having = sum(presence(term.word, text) >= 0.75 for text in texts)
        weights[term.word] = (
            max(0.35, min(1.0, math.log((count + 1) / (having + 0.5)) / math.log(count + 1))) if count else 1.0
        )
    return weights


def _from_clips(told: Dialogue, case: Case) -> Iterable[Evidence]:
    for path, clip in told.clips.items():
        if clip.negative:
            continue
        rest = re.sub(r'^.*?answer is "[^"]*"', "", clip.text, count=1, flags=re.DOTALL) if clip.value else clip.text
        passages = passages_of(rest, clip.start, clip.end)
        quote = " | ".join(passage.text for passage in passages) or clip.text
        # The qa model saw what belongs together on the screen; here it is one piece.
        whole = Passage((Cell(quote),), passages[0].time_of(0) if passages else clip.start, clip.end)
        value = clip.value or clip.text
        for finding in _found(case, [whole], _context(told, path), value):
            heard = _HEARD.search(clip.text) is not None
            yield _evidence(case, path, finding, value, quote, exact=True, heard=heard)


_HEARD = re.compile(r"a voice says|\bsubtitles?\b", re.IGNORECASE)


def _from_captions(told: Dialogue, case: Case) -> Iterable[Evidence]:
    for path, caption in told.captions.items():
        for finding in _found(case, caption.passages, "")[:4]:
            heard = finding.passage.voice
            yield _evidence(case, path, finding, finding.value, finding.quote, exact=heard, heard=heard)


def _evidence(
    case: Case, path: Path, finding: Finding, value: str, quote: str, *, exact: bool, heard: bool
) -> Evidence:
    missing = [term for term in finding.missing if term.weight >= 0.5 and not term.label]
    return Evidence(
        path=path,
        finding=finding,
        value=value,
        quote=quote,
        time=finding.time,
        exact=exact,
        heard=heard,
        complete=not missing or (not heard and all(term.word in case.unseen for term in missing)),
        letter=_letter(case, [value, quote] if exact else [value]),
        choice=bool(case.options),
    )


def _context(told: Dialogue, path: Path) -> str:
    return " ".join(told.captions[path[:depth]].text for depth in (2, 3) if path[:depth] in told.captions)


def _found(case: Case, passages: Iterable[Passage], context: str, value: str = "") -> list[Finding]:
    def suits(text: str) -> float:
        told = value or text
        if case.options:
            return max(supports(option, told) for option in case.options.values())
        return fit(case.query.kind, told, case.query.unit)

    return find(case.query, list(passages), context, suits=suits if case.options or value else None)


def _letter(case: Case, texts: Iterable[str]) -> str:
    """Returns the one option that the first telling text supports, or nothing."""
    for text in texts:
        scores = {letter: supports(option, text) for letter, option in case.options.items()}
        said = [letter for letter, score in scores.items() if score >= OPTION_SAID]
        if len(said) > 1:
            # `Harbour` is also said where `Old Harbour` is: the longer option says more.
            longest = max(said, key=lambda letter: len(case.options[letter]))
            said = (
                [longest]
                if all(case.options[one].casefold() in case.options[longest].casefold() for one in said)
                else []
            )
        if said:
            return said[0]
    return ""
