"""The captioner: says what stands on the screen of a segment and when, what is said, and how it looks.

It knows nothing but what it reads: text on the frames, the subtitles it is given, brightness, colours and cuts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from offline_models.clip import Clip, Cue, read_clip, span
from offline_models.looks import Look, describe_looks, look_of
from offline_models.messages import Turn
from offline_models.reading import Line, Page, Reader
from offline_models.wording import STOP_WORDS, distance, squeezed, words

MODEL = "offline-captioner"
DEFAULT_WORDS = 400
MIN_WORDS = 20
# Frames that are read closely for one caption: some five seconds of work on one processor, for a film in which
# no two frames are alike.
MAX_READ = 28
# Subtitles may take this share of the words when there is also text on the screen.
VOICE_SHARE = 0.55


@dataclass
class _Track:
    """One line of text through time: where it stands, its readings, and when it was first and last seen."""

    line: Line
    scale: float
    first: int
    last: int
    start: float
    end: float
    readings: Counter[str] = field(default_factory=Counter)

    @property
    def text(self) -> str:
        return max(self.readings.items(), key=lambda item: (item[1], len(item[0])))[0]


def caption(turns: Sequence[Turn], reader: Reader) -> str:
    """Returns the caption of the segment that a request shows, between tags. Raises Refused."""
    system = "\n".join(turn.text for turn in turns if turn.role in ("system", "developer"))
    clip = read_clip(turns)
    pages = reader.read([shot.picture.data for shot in clip.shots], MAX_READ)
    looks = [look_of(shot.picture.data, shot.time) for shot in clip.shots]
    return f"<caption>{_compose(clip, pages, looks, words_allowed(system))}</caption>"


def words_allowed(system: str) -> int:
    """Returns how many words the instructions allow; 400 where they do not say."""
    found = re.search(r"(\d{2,5})[\s-]*words?\b|words?\D{0,20}?(\d{2,5})", system, re.IGNORECASE)
    return max(MIN_WORDS, int(found[1] or found[2])) if found else DEFAULT_WORDS


def _compose(clip: Clip, pages: Sequence[Page | None], looks: Sequence[Look], limit: int) -> str:
    """Puts the caption together: what matters most gets its words first."""
    times = [shot.time for shot in clip.shots]
    screen = _screen_quotes(times, pages)
    full_voice = _voice_quotes(clip.cues, limit * 10)
    small = _small_print(times, pages)
    for_voice = min(_size(full_voice), int(limit * (VOICE_SHARE if screen else 1.0)))
    shown = _fitting(screen, limit - for_voice - len(small.split()) - 6)
    said = _voice_quotes(clip.cues, limit - _size(shown) - len(small.split()) - 6)
    sentences = []
    if shown:
        sentences.append(f"The screen reads, {_listed(shown)}.")
    elif not small and any(page is not None for page in pages):
        sentences.append("No text can be read on the screen.")
    if small:
        sentences.append(small)
    if said:
        # A shortened sentence is not what was said: the verb tells.
        sentences.append(f"A voice {'says' if said == full_voice else 'mentions'}, {_listed(said)}.")
    looked = describe_looks(looks)
    skipped = sum(page is None for page in pages)
    if skipped:
        looked.append(f"{skipped} of {len(pages)} frames were not read.")
    for sentence in looked:
        if sum(len(text.split()) for text in (*sentences, sentence)) <= limit:
            sentences.append(sentence)
    return " ".join(sentences) or "Nothing can be read or heard."


@dataclass(frozen=True)
class _Quote:
    """Words with their time (seconds, and in words) and how important they are."""

    time: float
    when: str
    text: str
    weight: float = 1.0

    @property
    def size(self) -> int:
        return len(self.when.split()) + len(self.text.split())


def _size(quotes: Sequence[_Quote]) -> int:
    return sum(quote.size for quote in quotes)


def _fitting(quotes: Sequence[_Quote], limit: int) -> list[_Quote]:
    """Returns the most important quotes that fit into `limit` words."""
    kept = []
    for quote in sorted(quotes, key=lambda quote: -quote.weight):
        if quote.size <= limit:
            kept.append(quote)
            limit -= quote.size
    return kept


def _listed(quotes: Sequence[_Quote]) -> str:
    return "; ".join(f'{quote.when}: "{quote.text}"' for quote in sorted(quotes, key=lambda quote: quote.time))


def _screen_quotes(times: Sequence[float], pages: Sequence[Page | None]) -> list[_Quote]:
    """Returns each group of lines that came and went together, with the time it was there."""
    groups: dict[tuple[int, int], list[_Track]] = {}
    for track in _without_counters(_tracks(times, pages)):
        groups.setdefault((track.first, track.last), []).append(track)
    quotes = []
    for tracks in groups.values():
        text = " | ".join(track.text for track in _reading_order(tracks))
        size = max(track.line.height * track.scale for track in tracks)
        quotes.append(_Quote(tracks[0].start, span(tracks[0].start, tracks[0].end), text, size))
    return quotes


def _tracks(times: Sequence[float], pages: Sequence[Page | None]) -> list[_Track]:
    """Follows each line of text from frame to frame."""
    done: list[_Track] = []
    open_tracks: list[_Track] = []
    for index, (time, page) in enumerate(zip(times, pages, strict=True)):
        if page is None:
            continue
        scale = 1.0 / max(1, page.height)
        going = []
        for line in page.legible:
            track = next((track for track in open_tracks if _continues(track, line, scale)), None)
            if track is None:
                track = _Track(line, scale, index, index, time, time)
            else:
                open_tracks.remove(track)
                track.last, track.end = index, time
            track.readings[line.text] += 1
            going.append(track)
        done += open_tracks
        open_tracks = going
    return sorted(done + open_tracks, key=lambda track: (track.start, track.line.top))


def _continues(track: _Track, line: Line, scale: float) -> bool:
    """Tells whether a line is the one that stood there a moment ago, perhaps read a little differently."""
    size = max(track.line.height * track.scale, line.height * scale)
    if abs(track.line.top * track.scale - line.top * scale) > 1.5 * size:
        return False
    return _same_words(track.line.text, line.text)


def _same_words(one: str, other: str) -> bool:
    """Tells whether two readings differ no more than misreading explains; digits must not differ."""
    one, other = squeezed(one), squeezed(other)
    if one == other:
        return True
    if [sign for sign in one if sign.isdigit()] != [sign for sign in other if sign.isdigit()]:
        return False
    allowed = min(3, max(len(one), len(other)) // 8)
    return allowed > 0 and distance(one, other, allowed) <= allowed


def _without_counters(tracks: list[_Track]) -> list[_Track]:
    """Leaves out all but the first of many readings that differ in digits only and stand in one place: a clock."""
    shapes: Counter[tuple[str, int]] = Counter()
    kept = []
    for track in tracks:
        shape = (re.sub(r"\d", "0", squeezed(track.text)), round(track.line.top * track.scale * 30))
        shapes[shape] += 1
        if shapes[shape] <= 4 or not any(sign.isdigit() for sign in track.text):
            kept.append(track)
    return kept


def _reading_order(tracks: Sequence[_Track]) -> list[_Track]:
    """Orders lines as they are read: by rows from the top, each from the left."""
    rows: list[list[_Track]] = []
    for track in sorted(tracks, key=lambda track: track.line.top + track.line.bottom):
        middle = (track.line.top + track.line.bottom) / 2
        if rows and middle < max(other.line.bottom for other in rows[-1]) - 0.3 * track.line.height:
            rows[-1].append(track)
        else:
            rows.append([track])
    return [track for row in rows for track in sorted(row, key=lambda track: track.line.left)]


def _small_print(times: Sequence[float], pages: Sequence[Page | None]) -> str:
    """Says when there is text that cannot be read at this size: a reason to look closer."""
    seen = [page is not None and any(not line.legible for line in page.lines) for page in pages]
    spans: list[list[float]] = []
    before = False
    for time, now in zip(times, seen, strict=True):
        if now and before:
            spans[-1][1] = time
        elif now:
            spans.append([time, time])
        before = now
    longest = sorted(sorted(spans, key=lambda one: one[0] - one[1])[:6])
    return f"Text too small to read stands there {', '.join(span(*one) for one in longest)}." if longest else ""


def _voice_quotes(cues: Sequence[Cue], allowed: int) -> list[_Quote]:
    """Returns what is said, in full if it fits into `allowed` words and else in its telling words."""
    full = [_Quote(cue.start, span(cue.start, cue.start), cue.text) for cue in cues if cue.text]
    if not full or _size(full) <= allowed:
        return full
    frequency = Counter(word for cue in cues for word in set(words(cue.text)))
    each = max(2, allowed // len(full) - 3)
    short = []
    for quote in full:
        text = _telling(quote.text, each, frequency)
        if text:
            short.append(_Quote(quote.time, quote.when, text, _weight(text, frequency)))
    return _fitting(short, allowed)


def _weight(text: str, frequency: Counter[str]) -> float:
    return sum(_worth(word, frequency) for word in words(text)) / (2 + len(words(text)))


def _worth(word: str, frequency: Counter[str]) -> float:
    if word in STOP_WORDS:
        return 0.0
    return (2.0 if any(sign.isdigit() for sign in word) else 1.0) / frequency[word]


def _telling(text: str, count: int, frequency: Counter[str]) -> str:
    """Returns the `count` words of a sentence that tell most, in their order."""
    tokens = text.split()
    worth = [max((_worth(word, frequency) for word in words(token)), default=0.0) for token in tokens]
    worth = [
        value + (0.5 if value and token[:1].isupper() else 0.0) for value, token in zip(worth, tokens, strict=True)
    ]
    best = sorted(range(len(tokens)), key=lambda index: -worth[index])[:count]
    return " ".join(tokens[index] for index in sorted(best) if worth[index])
