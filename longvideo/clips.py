"""Segments of stored videos, and how a model is shown one: frames and subtitles, in the order of time.

What the caption service and the question service share.
"""

from __future__ import annotations

import base64
import bisect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from longvideo import metrics, tokens
from longvideo.cache import CACHE_BYTES, ByteCache
from longvideo.errors import BadMedia, InvalidArgument, NotFound
from longvideo.resources import SubtitlesName, VideoName
from longvideo.segments import MAX_WIDTH, MIN_WIDTH, Segment, Span, Tree, sample
from longvideo.storage import ObjectStore, index_key, source_key, subtitles_key
from longvideo.subtitles import Cue, Subtitles
from longvideo.video import Frame, FrameSelection, Samples, VideoIndex, choose_frames
from longvideo.video.sandbox import MediaReader

Part = dict[str, Any]

# What a picture takes in memory besides its bytes.
_FRAME_OVERHEAD_BYTES = 500

# Below this, nothing in a frame can be recognised, and the method never goes there (arXiv 2602.20913: 512 / sqrt(k)).
MIN_SIDE = 140

# Tokens for what cannot be counted beforehand: the chat template, and a server's own additions.
_SPARE_TOKENS = 128


@dataclass(frozen=True)
class Clip:
    """A segment of one video: which frames it has, and when it plays, in seconds since the first frame."""

    video: VideoName
    index: VideoIndex
    segment: Segment
    span: Span
    start: float
    end: float


def span_times(index: VideoIndex, span: Span) -> tuple[float, float]:
    """Returns when a span starts and ends, in seconds. It ends where the next frame starts, or with the video."""
    end = index.times[span.stop] if span.stop < index.frame_count else index.duration
    start = index.times[span.start] if span.start < index.frame_count else end
    return float(start), float(end)


_Loaded = TypeVar("_Loaded", VideoIndex, Subtitles)


class Library:
    """The stored videos, by name. Threads share it.

    Indexes, subtitles and decoded pictures that were used last stay in memory, together at most `cache_bytes`: what is
    asked about a clip a second time, or about its neighbour, reads and decodes nothing twice.
    """

    def __init__(self, store: ObjectStore, media: MediaReader, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._store = store
        self._media = media
        self._cache = ByteCache(cache_bytes)

    def index(self, video: VideoName) -> VideoIndex:
        """Returns a video's index. Raises NotFound, and BadIndex when it has to be built again."""
        key = index_key(video.video_id)
        return self._load(key, VideoIndex.from_bytes, _index_bytes, f"there is no video {video}; add it first")

    def subtitles(self, name: SubtitlesName) -> Subtitles:
        """Returns subtitles. Raises NotFound."""
        key = subtitles_key(name.video_id, name.subtitles_id)
        return self._load(key, Subtitles.from_bytes, _subtitles_bytes, f"there are no subtitles {name}; add them first")

    def subtitles_of(self, video: VideoName, name: str) -> Subtitles:
        """Returns the subtitles that a request names, none for the empty name.

        Raises InvalidArgument for another video's, and NotFound.
        """
        if not name:
            return Subtitles(())
        parsed = SubtitlesName.parse(name, "subtitles")
        if parsed.video_id != video.video_id:
            raise InvalidArgument(
                f"subtitles is {name}, which belongs to another video than {video}", field="subtitles"
            )
        return self.subtitles(parsed)

    def clip(self, video: VideoName, path: Sequence[int], width: int) -> Clip:
        """Returns a segment of a video whose tree has `width` children everywhere.

        Raises InvalidArgument for a width outside 2 to 8, a path outside the tree and a segment without frames, and
        NotFound for a video that is not there.
        """
        if not MIN_WIDTH <= width <= MAX_WIDTH:
            raise InvalidArgument(
                f"tree_width is {width}; it must be from {MIN_WIDTH} to {MAX_WIDTH}", field="tree_width"
            )
        segment = Segment(tuple(path))
        index = self.index(video)
        span = Tree(index.frame_count, width).span(segment)
        if not len(span):
            raise InvalidArgument(
                f"segment {segment} holds no frame: the video has only {index.frame_count}; ask for a wider segment",
                field="path",
            )
        return Clip(video, index, segment, span, *span_times(index, span))

    def frames(
        self, clip: Clip, frames: Sequence[int], longest_side: int, check: Callable[[], object] = lambda: None
    ) -> list[Frame]:
        """Returns frames of a clip, those that were read before from memory. Damaged ones are left out.

        Decoding can take seconds; `check` is called every now and then, from several threads, and may raise to end it.
        Raises what `MediaReader.read_frames` does.
        """
        keys = {frame: (clip.video.video_id, clip.index.version, longest_side, frame) for frame in frames}
        found: dict[int, Frame] = {frame: kept for frame, key in keys.items() if (kept := self._cache.get(key))}
        missing = [frame for frame in keys if frame not in found]
        metrics.FRAMES.labels("memory").inc(len(found))
        if missing:
            with self._store.open(source_key(clip.video.video_id)) as source:
                try:
                    read = self._media.read_frames(source, clip.index, missing, longest_side, check=check)
                except BadMedia:
                    if not found:
                        raise
                    read = []
            metrics.FRAMES.labels("read").inc(len(read))
            for frame in read:
                found[frame.index] = frame
                self._cache.put(keys[frame.index], frame, len(frame.jpeg) + _FRAME_OVERHEAD_BYTES)
        return [found[frame] for frame in frames if frame in found]

    def _load(
        self, key: str, read: Callable[[bytes], _Loaded], measure: Callable[[_Loaded], int], missing: str
    ) -> _Loaded:
        kept: _Loaded | None = self._cache.get(key)
        if kept is not None:
            return kept
        try:
            data = self._store.get(key)
        except NotFound as error:
            raise NotFound(missing, key=key) from error
        loaded = read(data)
        self._cache.put(key, loaded, measure(loaded))
        return loaded


def _index_bytes(index: VideoIndex) -> int:
    # Its tables are all that counts.
    return sum(value.nbytes for value in vars(index).values() if isinstance(value, np.ndarray))


def _subtitles_bytes(subtitles: Subtitles) -> int:
    return sum(200 + 4 * len(cue.text) for cue in subtitles.cues)


@dataclass(frozen=True)
class View:
    """What of a clip fits into one request: which frames, how large, and which subtitles.

    `note` tells the model what was left out, if anything was.
    """

    samples: Samples
    longest_side: int
    cues: tuple[Cue, ...]
    note: str = ""

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames to show."""
        return self.samples.frames


@dataclass(frozen=True)
class Room:
    """How large a request may be.

    Of the model's `context_length` tokens, `max_tokens` are the answer's; `fixed_text` is what the request says besides
    frames and subtitles, and `reserved` are tokens for what else it holds.
    """

    context_length: int
    max_tokens: int
    fixed_text: str
    model: str = ""
    reserved: int = 0

    @property
    def left(self) -> int:
        """The tokens that are left for frames and subtitles."""
        return self.context_length - self.max_tokens - _cost(self.fixed_text) - self.reserved - _SPARE_TOKENS

    @property
    def rule(self) -> tokens.ImageRule:
        """How the model cuts images into tokens."""
        return tokens.image_rule(self.model)


def view(
    clip: Clip,
    cues: Sequence[Cue],
    frame_count: int,
    longest_side: int,
    room: Room,
    *,
    selection: FrameSelection = "exact",
) -> View:
    """Returns the best view of a clip that fits: at most `frame_count` frames, at most `longest_side` pixels.

    `selection` says whether a frame may be stood in for by a keyframe close by.

    What gives way, in this order: cues between the same two frames are joined under one time; frames shrink, down to
    140 pixels; cues over four frames are joined; there are fewer frames, down to half; subtitles are thinned out
    evenly; frames shrink further; and at last there are fewer still. So words go late: they say more than most frames.
    Raises InvalidArgument when not even one frame fits.
    """

    def chosen(count: int) -> Samples:
        return choose_frames(clip.index, clip.span, count, selection)

    whole = View(chosen(frame_count), longest_side, tuple(cues))
    if _tokens(clip, whole, room) <= room.left:
        return whole
    floor = min(longest_side, MIN_SIDE)
    for eighths in (8, 7, 6, 5, 4):
        samples = chosen(max(1, len(whole.frames) * eighths // 8))
        for apart in (1, 4):
            least = View(samples, floor, _joined(clip, samples.frames[::apart], cues))
            if _tokens(clip, least, room) <= room.left:
                return _shrunk(clip, replace(least, longest_side=longest_side), room)
    while True:
        least = _shrunk(clip, _thinned(clip, View(samples, floor, ()), cues, room), room)
        if _tokens(clip, least, room) <= room.left:
            return least
        if len(samples.frames) == 1:
            raise InvalidArgument(
                f"the model's context of {room.context_length} tokens has no room for a single frame; use a model with "
                "a longer one",
                reason="CONTEXT_TOO_SHORT",
            )
        samples = chosen(len(samples.frames) // 2)


def content(frames: Sequence[Frame], cues: Sequence[Cue], note: str = "") -> list[Part]:
    """Returns frames and cues as the parts of a message, in the order of time.

    Each picture follows its time. A cue stands before the first frame that is shown after the cue starts; one that
    started before the clip comes first.
    """
    parts: list[Part] = []
    waiting = list(cues)
    for frame in frames:
        while waiting and waiting[0].start < frame.time:
            parts.append(text_part(cue_line(waiting.pop(0))))
        url = f"data:image/jpeg;base64,{base64.b64encode(frame.jpeg).decode('ascii')}"
        parts += [text_part(_label(frame.time)), {"type": "image_url", "image_url": {"url": url}}]
    parts += [text_part(cue_line(cue)) for cue in waiting]
    if note:
        parts.append(text_part(note))
    return parts


def text_part(text: str) -> Part:
    """Returns a text as a part of a message."""
    return {"type": "text", "text": text}


def cue_line(cue: Cue) -> str:
    """Returns how a model is shown a cue: `Subtitle [413.20s - 415.90s]: words`."""
    return f"{_times(cue)}{cue.text}"


def _times(cue: Cue) -> str:
    return f"Subtitle [{cue.start:.2f}s - {cue.end:.2f}s]: "


def _label(time: float) -> str:
    return f"[{time:.2f}s]"


def _joined(clip: Clip, frames: Sequence[int], cues: Sequence[Cue]) -> tuple[Cue, ...]:
    """Joins the cues that stand between the same two frames."""
    times = [float(clip.index.times[frame]) for frame in frames]
    places: dict[int, list[Cue]] = {}
    for cue in cues:
        places.setdefault(bisect.bisect_right(times, cue.start), []).append(cue)
    return tuple(
        Cue(group[0].start, max(cue.end for cue in group), " ".join(cue.text for cue in group))
        for group in places.values()
    )


def _thinned(clip: Clip, wanted: View, cues: Sequence[Cue], room: Room) -> View:
    """Returns the view with as many cues, evenly spread and joined over four frames, as fit."""

    def showing(kept: int) -> View:
        some = [cues[place] for place in sample(Span(0, len(cues)), kept)] if kept else []
        note = f"(For lack of room, only {kept} of {len(cues)} subtitles are shown.)" if kept < len(cues) else ""
        return replace(wanted, cues=_joined(clip, wanted.frames[::4], some), note=note)

    def too_many(kept: int) -> bool:
        return _tokens(clip, showing(kept), room) > room.left

    return showing(max(0, bisect.bisect_left(range(len(cues) + 1), True, key=too_many) - 1))


def _shrunk(clip: Clip, wanted: View, room: Room) -> View:
    budget = room.left - _text_tokens(clip, wanted)
    side = tokens.fit_images(
        len(wanted.frames), clip.index.width, clip.index.height, wanted.longest_side, budget, rule=room.rule
    )
    return replace(wanted, longest_side=side)


def _tokens(clip: Clip, wanted: View, room: Room) -> int:
    size = tokens.scaled(clip.index.width, clip.index.height, wanted.longest_side)
    image = tokens.image_tokens(*size, room.rule) + tokens.IMAGE_FRAME_TOKENS
    return _text_tokens(clip, wanted) + image * len(wanted.frames)


def _text_tokens(clip: Clip, wanted: View) -> int:
    # Times are digits, and each digit is a token.
    total = sum(len(_label(float(clip.index.times[frame]))) for frame in wanted.frames)
    total += sum(len(_times(cue)) + _cost(cue.text) for cue in wanted.cues)
    return total + _cost(wanted.note)


_WORD = re.compile(r"[A-Za-z]?[a-z]+")
_NO_TOKEN = re.compile(r"[A-Za-z]?[a-z]+|\s")


def _cost(text: str) -> int:
    """Returns about how many tokens a text takes at most.

    Closer than counting bytes, because what is overestimated here is missing from what the model hears: a word of
    small letters has a token for every four of them and one more, any other ASCII character is one, and everything else
    is one for two bytes. English prose takes two thirds of that with Qwen's vocabulary.
    """
    words = sum(1 + len(word) // 4 for word in _WORD.findall(text))
    rest = _NO_TOKEN.sub("", text)
    return words + (len(rest) + len(rest.encode("utf-8", "replace")) + 1) // 2
