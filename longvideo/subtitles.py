"""Subtitles: reading .srt and .vtt files, whatever their state, and finding the cues of a span.

The parser is our own because subtitle files are hostile input: every step takes time proportional to the file. (A
well-known library needed 12 s for 20 kB of empty lines, and reads WebVTT's notes as speech.)
"""

from __future__ import annotations

import codecs
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from longvideo.errors import BadSubtitles

# Ten hours of dense dialogue make about 1 MiB and 20,000 cues.
MAX_BYTES = 3 * 1024 * 1024
MAX_CUES = 100_000
MAX_CUE_CHARS = 2_000

# A cue that ends no later than it starts is shown for as long as a short line takes to read.
_REPAIRED_SECONDS = 1.0
# Rolling captions repeat a line in a cue that follows without a gap; people who say a thing twice leave one.
_ROLLING_GAP = 0.05

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"[ \t]*(-?){_TIME}[ \t]*-->[ \t]*(-?){_TIME}(?=[ \t]|$)")
# Every alternative starts at a bracket and stops at the next one, so that the whole takes linear time.
_MARKUP = re.compile(r"</?[A-Za-z][^<>]*>|</>|<\d[\d:.]*>|\{\\[^{}]*\}|\{[a-zA-Z]:[^{}]*\}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class Cue(NamedTuple):
    """Words, on one line, and when they are shown: from `start` up to `end`, in seconds since the first frame."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Subtitles:
    """The cues of a video, sorted by time."""

    cues: tuple[Cue, ...]

    @property
    def id(self) -> str:
        """Names the subtitles by what they say: the same cues have the same id."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    def within(self, start: float, end: float) -> list[Cue]:
        """Returns every cue that is shown at some moment of [start, end), once, in order. Times in seconds."""
        return [cue for cue in self.cues if max(cue.start, start) < min(cue.end, end)]

    def to_bytes(self) -> bytes:
        """Returns the subtitles as they are stored."""
        return json.dumps([list(cue) for cue in self.cues], ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Subtitles:
        """Reads what `to_bytes` gave. Raises BadSubtitles for anything else."""
        try:
            cues = [Cue(float(start), float(end), str(text)) for start, end, text in json.loads(data)]
        except (ValueError, TypeError) as error:
            raise BadSubtitles("the stored subtitles are damaged; upload them again") from error
        return cls(tuple(cues))


def parse(content: bytes, name: str = "") -> list[Cue]:
    """Reads an .srt or .vtt file.

    UTF-8, UTF-16 with a byte order mark, and Windows-1252 or Latin-1 are told apart by themselves. Cues come back
    sorted, without markup, without the repetitions of rolling captions, each at most 2,000 characters long. `name`
    stands in messages. Raises BadSubtitles when nothing in the file is a cue, and for more than 3 MiB or 100,000 cues.
    """
    shown = name or "the subtitle file"
    if len(content) > MAX_BYTES:
        raise BadSubtitles(
            f"{shown} has {len(content):,} bytes; subtitles may have at most {MAX_BYTES:,}",
            reason="SUBTITLES_TOO_LARGE",
        )
    text = _decode(content, shown)
    lines = re.split(r"\r\n|\n|\r", text)
    found = list(_cues(lines, is_vtt=text.lstrip().startswith("WEBVTT")))
    if len(found) > MAX_CUES:
        raise BadSubtitles(
            f"{shown} has {len(found):,} cues; subtitles may have at most {MAX_CUES:,}", reason="SUBTITLES_TOO_LARGE"
        )
    cues = _without_rolling(sorted(found, key=lambda raw: (raw.start, raw.end)))
    if not cues:
        problem = "only empty cues" if found else "no line such as `00:01:02,500 --> 00:01:04,000`"
        raise BadSubtitles(f"{shown} is not subtitles: it has {problem}. Give an .srt or .vtt file.")
    return cues


def fit(cues: Sequence[Cue], duration: float, name: str = "") -> tuple[Subtitles, tuple[str, ...]]:
    """Returns the cues that lie within a video of `duration` seconds, and what its user should know.

    A cue that runs on past the end is kept. Raises BadSubtitles when every cue starts past the end: then the file
    belongs to another video.
    """
    inside = tuple(cue for cue in cues if cue.start < duration)
    shown = name or "the subtitle file"
    if not inside:
        first = f" The first starts at {cues[0].start:.1f} s." if cues else ""
        raise BadSubtitles(
            f"every cue of {shown} lies past the end of the video, which lasts {duration:.1f} s.{first} "
            "Give the subtitles of this video.",
            reason="SUBTITLES_PAST_END",
        )
    outside = len(cues) - len(inside)
    warning = f"{outside} of {len(cues)} cues of {shown} lie past the end of the video and were left out"
    return Subtitles(inside), (warning,) if outside else ()


_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*", re.ASCII)


def find_sidecar(video: Path) -> Path | None:
    """Returns the subtitle file beside a video, or None.

    Looks for `NAME.srt`, `NAME.vtt`, then `NAME.LANGUAGE.srt` and `.vtt`, in this order; among several languages the
    first by name. Upper-case endings count.
    """
    candidates: list[tuple[bool, str, bool, str, Path]] = []
    try:
        for path in video.parent.iterdir():
            ending = path.suffix.lower()
            if ending not in (".srt", ".vtt") or not path.name.startswith(video.stem):
                continue
            rest = path.name[len(video.stem) : -len(ending)]
            if not rest or (rest.startswith(".") and _LANGUAGE.fullmatch(rest[1:])):
                candidates.append((bool(rest), rest.lower(), ending != ".srt", path.name, path))
    except OSError:  # a directory that may not be listed has no sidecar for us
        return None
    return next((path for *_, path in sorted(candidates) if path.is_file()), None)


class _Raw(NamedTuple):
    start: float
    end: float
    lines: tuple[str, ...]


def _decode(content: bytes, shown: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise BadSubtitles(f"{shown} is not text: it holds zero bytes. Give an .srt or .vtt file saved as UTF-8.")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _cues(lines: list[str], *, is_vtt: bool) -> Iterator[_Raw]:
    """Yields the cues of a file, in its order.

    In WebVTT an empty line ends a cue, and what lies between cues is notes and styles. In SubRip a cue lasts until
    the next timing line, less that one's number.
    """
    timing: tuple[float, float] | None = None
    body: list[str] = []
    for line in lines:
        # Longer lines are not timing lines; this bounds what the pattern looks at.
        match = _TIMING.match(line) if len(line) < 500 and "-->" in line else None
        if match is None:
            if is_vtt and not line and timing is not None:
                yield _raw(timing, body)
                timing = None
            elif timing is not None:
                body.append(line)
            continue
        if timing is not None:
            if body and body[-1].strip().isdecimal():
                body.pop()
            yield _raw(timing, body)
        timing, body = _times(match), []
    if timing is not None:
        yield _raw(timing, body)


def _times(match: re.Match[str]) -> tuple[float, float]:
    groups = match.groups()
    start, end = _seconds(groups[:5]), _seconds(groups[5:])
    return start, end if end > start else start + _REPAIRED_SECONDS


def _seconds(groups: tuple[str | None, ...]) -> float:
    sign, hours, minutes, seconds, fraction = (group or "" for group in groups)
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    total = round(whole + float(f"0.{fraction}"), 3)
    return -total if sign else total


def _raw(timing: tuple[float, float], body: list[str]) -> _Raw:
    cleaned: list[str] = []
    room = MAX_CUE_CHARS
    # `\N` and `\h` are how converters from ASS write a line break and a hard space.
    for line in (part for whole in body for part in whole.replace("\\h", " ").split("\\N")):
        # Cut first: `unescape` refuses a numeric entity of more than 4,300 digits.
        plain = html.unescape(_MARKUP.sub("", line)[: 2 * MAX_CUE_CHARS])
        words = " ".join(_CONTROL.sub("", plain).split())[:room]
        if words:
            cleaned.append(words)
            room -= len(words) + 1
        if room <= 0:
            break
    return _Raw(*timing, tuple(cleaned))


def _without_rolling(raws: list[_Raw]) -> list[Cue]:
    """Joins the lines of each cue, less those that repeat the end of the cue before.

    Automatic captions roll: each cue shows the last line again, over the new one. A cue that says nothing new makes
    the one before it last longer.
    """
    cues: list[Cue] = []
    before = _Raw(0.0, float("-inf"), ())
    for raw in raws:
        if not raw.lines or raw.end <= 0:
            continue
        lines = raw.lines
        if raw.start - before.end <= _ROLLING_GAP:
            repeated = max(
                (n for n in range(1, min(len(lines), len(before.lines)) + 1) if before.lines[-n:] == lines[:n]),
                default=0,
            )
            lines = lines[repeated:]
        before = raw
        if lines:
            cues.append(Cue(max(0.0, raw.start), raw.end, " ".join(lines)))
        elif raw.end > cues[-1].end:
            cues[-1] = cues[-1]._replace(end=raw.end)
    return cues
