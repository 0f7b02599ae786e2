"""Where to look: how likely each low segment is to hold the answer, from the captions read so far."""

from __future__ import annotations

from dataclasses import dataclass

from offline_models.dialogue import Caption, Dialogue, Path
from offline_models.evidence import Case
from offline_models.kinds import Kind, fit
from offline_models.matching import supports
from offline_models.wording import presence

# A caption tells when a sentence begins; this is about how long one lasts.
SENTENCE_SECONDS = 4.0


@dataclass(frozen=True)
class Spot:
    """A low segment: how promising it is, the question's words found there, and when they are there (seconds)."""

    path: Path
    heat: float
    matched: tuple[str, ...]
    time: float
    small_print: bool
    worth_asking: bool


@dataclass(frozen=True)
class _Mention:
    """A word of the question in a caption: which, how surely, and from when to when (seconds)."""

    term: int
    strength: float
    start: float
    end: float


def ranking(told: Dialogue, case: Case) -> list[Spot]:
    """Returns all low segments, the most promising first."""
    mentions = [mention for caption in told.captions.values() for mention in _mentions(caption, case)]
    spots = [_spot(told, case, mentions, path) for path in told.low_paths()]
    return sorted(spots, key=lambda spot: (-round(spot.heat, 3), spot.path))


def _mentions(caption: Caption, case: Case) -> list[_Mention]:
    found = []
    for passage in caption.passages:
        for index, cell in enumerate(passage.cells):
            start = passage.time_of(index)
            end = start + SENTENCE_SECONDS if passage.times else passage.end
            for number, term in enumerate(case.query.terms):
                strength = presence(term.word, cell.text)
                if strength >= 0.7:
                    found.append(_Mention(number, strength, start, end))
            said = max((supports(option, cell.text) for option in case.options.values()), default=0.0)
            if said >= 0.8:
                found.append(_Mention(-1, said, start, end))
    return found


def _spot(told: Dialogue, case: Case, mentions: list[_Mention], path: Path) -> Spot:
    start, end = told.span(path)
    weights = [term.weight * case.rarity.get(term.word, 1.0) for term in case.query.terms]
    total = sum(weights) or 1.0
    best = [0.0] * len(weights)
    option = 0.0
    here: dict[int, float] = {}
    for mention in mentions:
        reach = mention.strength * _reach(told, mention, start, end)
        if mention.term < 0:
            option = max(option, reach)
            continue
        best[mention.term] = max(best[mention.term], reach)
        if reach >= 0.6:
            here.setdefault(mention.term, mention.start)
    heat = sum(weight * value for weight, value in zip(weights, best, strict=True)) / total + 0.25 * option
    named = [value for term, value in zip(case.query.terms, best, strict=True) if term.named]
    if named:
        # Where a name is not in sight, what else fits belongs to something of another name.
        heat *= 0.35 + 0.65 * (sum(named) / len(named)) ** 2
    captions = [told.captions[path[:depth]] for depth in (1, 2, 3) if path[:depth] in told.captions]
    small = any(first < end and last >= start for caption in captions for first, last in caption.small_print)
    fitting = case.query.kind is not Kind.TEXT and any(_fits(case, caption, start, end, 0.8) for caption in captions)
    heat += 0.15 * small + 0.12 * fitting
    specific = bool(small or fitting or any(start <= time < end for time in here.values()))
    heat *= _seen_factor(told, path, specific)
    heat *= 1.0 if _anything_new(told, captions, start, end) else 0.15
    matched = tuple(case.query.terms[number].word for number in sorted(here, key=lambda number: -weights[number]))
    time = min((max(start, when) for when in here.values()), default=start)
    return Spot(path, heat, matched, time, small, _worth_asking(told, case, path))


def _worth_asking(told: Dialogue, case: Case, path: Path) -> bool:
    """Tells whether the low caption leaves room for an answer: text that may be one, or that it could not read."""
    caption = told.captions.get(path)
    if caption is None:
        return True
    # Prose comes from a vision model, which may well see more when it is asked.
    prose = any(passage.times and not passage.voice for passage in caption.passages)
    return prose or bool(caption.small_print) or _fits(case, caption, caption.start, caption.end, 0.5)


def _reach(told: Dialogue, mention: _Mention, start: float, end: float) -> float:
    """Returns how much a mention says about a segment: all within it, less the farther away it is.

    What was named before holds on for a while, as a heading does; what is named later says less.
    """
    if mention.start < end and mention.end >= start:
        return 1.0
    step = max(told.duration, 1.0) / (told.width * told.width)
    if mention.end < start:
        return float(0.7 * 0.5 ** ((start - mention.end) / step))
    return float(0.5 * 0.5 ** ((mention.start - end) / (step / told.width)))


def _anything_new(told: Dialogue, captions: list[Caption], start: float, end: float) -> bool:
    """Tells whether a segment may show something that no clip asked about has shown: a screen of its own."""
    if len(captions) < 2 or not told.clips:
        return True
    here = [(first, last) for first, last in _shown(captions[-1]) if first < end and last >= start]
    clips = [(clip.start, clip.end) for clip in told.clips.values()]
    return any(not any(first < after and last >= before for before, after in clips) for first, last in here)


def _shown(caption: Caption) -> list[tuple[float, float]]:
    """Returns from when to when each thing of a caption is shown or said, in seconds."""
    spans = [(passage.start, passage.end) for passage in caption.passages if not passage.times]
    said = [(time, time + SENTENCE_SECONDS) for passage in caption.passages for time in passage.times]
    return [*spans, *said, *caption.small_print]


def _fits(case: Case, caption: Caption, start: float, end: float, least: float) -> bool:
    """Tells whether something that a caption has between two times (seconds) looks like what is asked for."""
    for passage in caption.passages:
        for index, cell in enumerate(passage.cells):
            first = passage.time_of(index)
            last = first + SENTENCE_SECONDS if passage.times else passage.end
            if first < end and last >= start and fit(case.query.kind, cell.text, case.query.unit) >= least:
                return True
    return False


def _seen_factor(told: Dialogue, path: Path, specific: bool) -> float:
    """Lowers the promise of what was looked at already."""
    if path in told.clips or ("video_qa", path) in told.asked:
        return 0.0
    if path in told.captions:
        return 1.0 if specific else 0.2
    if path[:2] in told.captions:
        return 1.0 if specific else 0.5
    return 1.0
