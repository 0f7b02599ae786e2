"""Matching a question with what was read or heard: which words it asks about, and which text answers it.

The text that answers a question is seldom the text that repeats it: next to `Gate` stands `B17`. So each piece of text
is judged by how near the question's words stand to it, and by whether it looks like what was asked for: a time, a
price, a name.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from offline_models.kinds import LABELS, Kind, fit, kind_of, unit_of
from offline_models.wording import SOFT_WORDS, STOP_WORDS, presence, squeezed, stem, words

# How much of what a question names must be near the answer before it counts as one: found by trying questions about
# things that are, and that are not, in test videos.
ENOUGH = 0.62
# A word of the question belongs to a value when it is at least this near to it.
REACHED = 0.4


Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Term:
    """A word of the question. `hard` words must be found: names, numbers, and the property that is asked for.

    `label` words say what kind of answer is wanted; `named` ones are the names and numbers.
    """

    word: str
    weight: float
    hard: bool = False
    label: str = ""
    named: bool = False


@dataclass(frozen=True)
class Query:
    """A question, taken apart."""

    text: str
    kind: Kind
    unit: str
    terms: tuple[Term, ...]

    @property
    def subject(self) -> tuple[Term, ...]:
        """The words that say what the question is about, rather than what kind of answer it wants."""
        return tuple(term for term in self.terms if not term.label and term.weight >= 0.5)


@dataclass(frozen=True)
class Cell:
    """A line on the screen or a sentence that was said. `box` is left, top, right, bottom where it is known."""

    text: str
    box: Box | None = None

    @property
    def height(self) -> float:
        """The height of the box, or 0."""
        return self.box[3] - self.box[1] if self.box else 0.0


@dataclass(frozen=True)
class Passage:
    """Cells that belong together: one screen, or neighbouring sentences. Times in seconds; `voice` was heard."""

    cells: tuple[Cell, ...]
    start: float
    end: float
    voice: bool = False
    times: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """All its words."""
        return " | ".join(cell.text for cell in self.cells)

    def time_of(self, cell: int) -> float:
        """Returns when a cell is said or shown, in seconds."""
        return self.times[cell] if self.times else self.start


@dataclass(frozen=True)
class Finding:
    """A cell that may answer the question.

    `coverage` is how much of the question is near it, `fit` how much it looks like what was asked for, `score` both
    together; all from 0 to 1. `missing` are the question's words that were not found.
    """

    passage: Passage
    cell: int
    support: tuple[int, ...]
    coverage: float
    fit: float
    score: float
    missing: tuple[Term, ...] = field(default=())
    anchored: bool = False

    @property
    def value(self) -> str:
        """The text of the cell."""
        return self.passage.cells[self.cell].text

    @property
    def quote(self) -> str:
        """The cell with the cells that tie it to the question, in reading order."""
        return " | ".join(self.passage.cells[index].text for index in sorted({self.cell, *self.support}))

    @property
    def time(self) -> float:
        """When it is said or shown, in seconds."""
        return self.passage.time_of(self.cell)

    @property
    def answers(self) -> bool:
        """Whether this is an answer, rather than something that merely resembles the question."""
        if self.coverage < ENOUGH or self.fit < 0.5 or any(term.hard for term in self.missing):
            return False
        # A word that was not found is forgiven only where a name or number ties the value to the question.
        return self.anchored or not any(term.weight >= 0.5 and not term.label for term in self.missing)


def parse_query(text: str) -> Query:
    """Takes a question apart."""
    asked = {stem(word) for word in _asked_for(text)}
    kind = kind_of(text)
    terms: dict[str, Term] = {}
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        for number, token in enumerate(sentence.split()):
            for word in words(token):
                term = _term(word, token, kind, asked, first=number == 0)
                if term is not None and (term.word not in terms or terms[term.word].weight < term.weight):
                    terms[term.word] = term
    return Query(text, kind, unit_of(text), tuple(terms.values()))


_IS = r"(?:is|are|was|were|does|do|did|has|have|had|will|would|can|must|should|may)"
_ASKED_FOR = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # `Who is the leader of`, `What was the highest range in`: the last word before the preposition.
        rf"\b(?:who|what)\s+{_IS}\s+(?:the\s+|an?\s+)?(?:[\w'’-]+\s+){{0,3}}?([\w'’-]+)\s+(?:of|for|in|at|on|to|who|that|from)\b",
        # `Which satellite`, `how many sheep`, `how much flour`; not `what time`, which is a kind of answer.
        rf"\b(?:which|what|how many|how much)\s+(?!{_IS}\b)([\w'’-]+)",
        # `Who owns`.
        rf"(?:^|[,.;]\s*)who\s+(?!{_IS}\b)([\w'’-]+)",
    )
)


def _asked_for(text: str) -> list[str]:
    """Returns the words that name the property that is asked for: a value without it beside it is another's."""
    return [found for pattern in _ASKED_FOR for found in pattern.findall(text)]


def _term(word: str, token: str, kind: Kind, asked: set[str], *, first: bool) -> Term | None:
    if word in STOP_WORDS or (len(word) == 1 and not word.isdigit()):
        return None
    root = stem(word)
    if root in LABELS.get(kind.value, ()):
        return Term(word, 0.7, label=kind.value)
    named = any(sign.isdigit() for sign in word) or (not first and re.sub(r"^\W+", "", token)[:1].isupper())
    if named:
        return Term(word, 1.5, hard=True, named=True)
    if word in _KIND_WORDS:
        return Term(word, 0.3)
    if root in asked:
        return Term(word, 1.0, hard=True)
    return Term(word, 0.3 if root in _SOFT_STEMS or word in SOFT_WORDS else 1.0)


# Words such as `number` in `phone number`, that add nothing to the kind of answer.
_KIND_WORDS = frozenset(("number", "time", "name", "date", "amount"))
_SOFT_STEMS = frozenset(stem(word) for word in SOFT_WORDS)


def find(
    query: Query, passages: Sequence[Passage], context: str = "", suits: Callable[[str], float] | None = None
) -> list[Finding]:
    """Returns every cell that may answer the question, the best first.

    `context` are words known to be about the same place, which count a little. `suits` says how much a text looks like
    an answer, from 0 to 1; without it that is what kind of answer the question asks for.
    """
    found = [finding for passage in passages for finding in _judge(query, passage, context, suits)]
    return sorted(found, key=lambda finding: (-finding.score, finding.passage.start))


def _judge(query: Query, passage: Passage, context: str, suitable: Callable[[str], float] | None) -> list[Finding]:
    weights = [term.weight for term in query.terms]
    total = sum(weights)
    if not total:
        return []
    present = [[_in_cell(term, cell.text) for cell in passage.cells] for term in query.terms]
    around = [0.35 * presence(term.word, context) if context else 0.0 for term in query.terms]
    nearness = _Nearness(passage)
    findings = []
    for index, cell in enumerate(passage.cells):
        new = _without(query, cell.text)
        suits = suitable(cell.text) if suitable else fit(query.kind, new, query.unit)
        if nearness.heading(index) and any(row[index] for row in present):
            # The heading says where, not what.
            suits *= 0.5 if not suitable else 1.0
        reached, support, missing = 0.0, [], []
        for term, weight, row, outside in zip(query.terms, weights, present, around, strict=True):
            best, source = max(
                ((found * nearness(place, index), place) for place, found in enumerate(row) if found),
                default=(0.0, index),
            )
            if term.label:
                # What looks like a price needs no `price` beside it.
                best = max(best, 0.8 * suits if term.label == query.kind.value else 0.0)
            if best >= REACHED and source != index and not (term.weight < 0.5):
                support.append(source)
            best = max(best, outside)
            reached += weight * best
            if best < REACHED:
                missing.append(term)
        # What the screen does not have at all counts half, unless the question depends on it. What it has beside
        # another value speaks against this one.
        absent = [term for term, row in zip(query.terms, present, strict=True) if not any(row)]
        lost = sum(0.5 * term.weight for term in missing if term in absent and not term.hard)
        coverage = reached / (total - lost)
        inside = sum(
            row[index] > 0
            for term, row in zip(query.terms, present, strict=True)
            if term.weight >= 0.5 and not term.label
        )
        named = any(term.named and term not in missing for term in query.terms)
        anchored = (named or inside >= 2) and all(term in absent for term in missing if term.weight >= 0.5)
        score = coverage * (0.3 + 0.7 * suits) * (1.0 if words(new) or suitable else 0.3)
        findings.append(Finding(passage, index, tuple(support), coverage, suits, score, tuple(missing), anchored))
    return findings


def _in_cell(term: Term, text: str) -> float:
    best = presence(term.word, text)
    if best < 0.8 and term.label:
        best = max([best, *(0.9 * presence(synonym, text) for synonym in LABELS[term.label])])
    return best if best >= 0.7 else 0.0


def _without(query: Query, text: str) -> str:
    """Returns what a text says beyond the question's own words."""
    kept = []
    for token in text.split():
        inside = words(token)
        if inside and all(any(presence(term.word, word) >= 0.75 for term in query.terms) for word in inside):
            continue
        kept.append(token)
    return " ".join(kept).strip(" :;,.-–—|/")


_LABELLED = re.compile(r"[^\d:][^:]{1,40}:\s*\S")
_POINTS_BACK = re.compile(r"(?:and |but )?(?:it|its|they|their|he|his|she|her|this|that|these|those)\b", re.IGNORECASE)


class _Nearness:
    """How strongly a word in one cell of a passage speaks for the value in another, from 0 to 1."""

    def __init__(self, passage: Passage) -> None:
        self._cells = passage.cells
        self._voice = passage.voice
        self._labelled = [_LABELLED.match(cell.text) is not None and not passage.voice for cell in passage.cells]
        heights = [cell.height for cell in passage.cells if cell.box]
        self._usual = statistics.median(heights) if heights else 0.0
        for index, cell in enumerate(passage.cells):
            # A heading such as `Part 2: Tides` goes for all that is below it.
            heading = cell.height >= 1.25 * self._usual if cell.box else index == 0
            self._labelled[index] = self._labelled[index] and not heading

    def heading(self, index: int) -> bool:
        """Tells whether a cell stands out by its size among others."""
        return len(self._cells) > 1 and self._cells[index].height >= 1.25 * max(1.0, self._usual)

    def __call__(self, word: int, value: int) -> float:
        if word == value:
            return 1.0
        if self._labelled[word] and self._labelled[value]:
            # Each line names its own value.
            return 0.3
        if self._voice:
            # The next sentence goes on about the same thing only where it says so.
            goes_on = _POINTS_BACK.match(self._cells[value].text) is not None
            return {1: 0.88 if goes_on else 0.5, -1: 0.5}.get(value - word, 0.2)
        here, there = self._cells[word].box, self._cells[value].box
        if here and there:
            return self._on_screen(here, there)
        gap = value - word
        beside = {1: 0.9, 2: 0.8, 3: 0.7, -1: 0.55}.get(gap, 0.4)
        return max(beside, 0.65) if word == 0 else beside

    def _leads_on(self, box: Box) -> bool:
        def below(other: Box) -> bool:
            return (
                other[0] < box[2]
                and other[2] > box[0]
                and 0 <= other[1] - box[1] - 0.5 * (box[3] - box[1]) < 2 * (box[3] - box[1])
            )

        return any(cell.box and cell.box != box and below(cell.box) for cell in self._cells)

    def _begins_row(self, box: Box) -> bool:
        def beside(other: Box) -> bool:
            return other[0] > box[2] and min(other[3], box[3]) - max(other[1], box[1]) > 0.5 * (box[3] - box[1])

        return any(cell.box and beside(cell.box) for cell in self._cells)

    def _on_screen(self, here: Box, there: Box) -> float:
        unit = max(1.0, min(here[3] - here[1], there[3] - there[1]))
        if min(here[3], there[3]) - max(here[1], there[1]) > 0.5 * unit:
            gap = max(there[0] - here[2], here[0] - there[2], 0.0) / unit
            return max(0.45, (0.96 if here[0] < there[0] else 0.7) - 0.01 * gap)
        aligned = min(here[2], there[2]) > max(here[0], there[0]) or abs(here[0] - there[0]) < 2 * unit
        down = (there[1] - here[3]) / unit
        if aligned and down > -0.5:
            near = max(0.62, 0.93 - 0.02 * max(0.0, down))
        elif aligned:
            # A word may stand below its value, unless it has something below itself.
            near = 0.3 if self._leads_on(here) else max(0.55, 0.7 - 0.1 * (here[1] - there[3]) / unit)
        else:
            # What begins a row goes for that row, not for others.
            near = 0.3 if self._begins_row(here) else 0.55
        heading = here[1] < there[1] and here[3] - here[1] >= 1.25 * self._usual
        return max(near, 0.72) if heading else near


def supports(option: str, text: str) -> float:
    """Returns how surely a text says what an option says, from 0 to 1: all its numbers, and most of its words."""
    whole, inside = squeezed(option), squeezed(text)
    if whole and _stands_in(whole, text, inside):
        return 1.0
    wanted = [word for word in words(option) if word not in STOP_WORDS] or words(option)
    if not wanted:
        return 0.0
    scores = [presence(word, text) for word in wanted]
    if any(score < 0.9 for word, score in zip(wanted, scores, strict=True) if any(s.isdigit() for s in word)):
        return 0.0
    return sum(scores) / len(scores)


def _stands_in(whole: str, text: str, inside: str) -> bool:
    """Tells whether an option's letters occur in a text, not as a part of a longer number or a short word."""
    if whole.isdigit():
        numbers = re.findall(r"\d+(?:[ .,:/-]\d+)*", text)
        return any(whole in (squeezed(number), *map(squeezed, number.split())) for number in numbers)
    if len(whole) >= 5:
        return whole in inside
    return whole in {squeezed(word) for word in text.split()} or whole in words(text)
