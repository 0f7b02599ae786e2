"""Reading frames: which of them differ, what stands on each, and where.

Reading is slow, and a film shows the same writing again and again. So frames that look alike are read once; a quick
look at a small copy tells whether the writing has changed since the last frame that was read; lines that stand
unchanged are recognised once; and a frame that comes back in a later request is not read again.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np

from offline_models.messages import Refused
from offline_models.ocr import Boxes, Image, TextEngine, threads
from offline_models.sameness import Surface, alike, cut_between, same_writing

# Below this the recogniser mostly guesses: measured on drawn text of known content.
LEGIBLE_SCORE = 0.78
# Lines scored lower than this are no text at all more often than not.
TEXT_SCORE = 0.45
# A picture that returns after a short cut away is recognised among this many earlier ones.
RECENT_PICTURES = 4
# Small writing can change unnoticed by a quick look, so every so many quick looks the frame is read.
MAX_QUICK_LOOKS = 12
MAX_PAGES_KEPT = 8192
_BATCH = 6


@dataclass(frozen=True)
class Line:
    """A line of text: its words, how sure they are (0 to 1) and its box in pixels of the frame that was sent."""

    text: str
    score: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """How tall the line is, in pixels."""
        return self.bottom - self.top

    @property
    def legible(self) -> bool:
        """Whether the words can be trusted."""
        return self.score >= LEGIBLE_SCORE


@dataclass(frozen=True)
class Page:
    """What stands on one frame, in reading order."""

    width: int
    height: int
    lines: tuple[Line, ...]

    @property
    def legible(self) -> tuple[Line, ...]:
        """The lines that could be read."""
        return tuple(line for line in self.lines if line.legible)


@dataclass
class _Frame:
    """A frame that differs from those before it.

    `glimpse` is where a quick look found writing, `boxes` where reading did, `writing` those of them that are legible.
    """

    key: str
    image: Image
    surface: Surface
    cut: bool
    glimpse: Boxes
    boxes: Boxes
    crops: list[Image]
    writing: Boxes


def decode(data: bytes) -> Image:
    """Returns the pixels (BGR) of an encoded image. Raises Refused when it is damaged."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise Refused(400, "An image is damaged and cannot be decoded.", "messages")
    return np.asarray(image, np.uint8)


class Reader:
    """Reads frames and remembers what it read. Safe to use from many threads.

    `count` is told how many frames were just `read`, `reused` or `skipped`.
    """

    def __init__(self, engine: TextEngine | None = None, count: Callable[[str, int], None] | None = None) -> None:
        self._engine = engine or TextEngine()
        self._threads: Executor = threads()
        self._count = count or (lambda _outcome, _number: None)
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stops reading: what waits is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def read(self, pictures: Sequence[bytes], limit: int) -> list[Page | None]:
        """Returns what stands on each picture, in order.

        Where more than `limit` pictures differ, some between them are left out and give None. Raises Refused for a
        damaged image.
        """
        keys = [hashlib.sha256(data).hexdigest() for data in pictures]
        same, frames = self._distinct(keys, pictures)
        chosen = _choose([frame for frame in frames if self._kept(frame.key) is None], limit)
        read = self._read_changes(chosen, same)
        pages = [self._kept(_resolved(same, key)) for key in keys]
        skipped = sum(page is None for page in pages)
        for outcome, number in (("read", read), ("reused", len(keys) - read - skipped), ("skipped", skipped)):
            self._count(outcome, number)
        return pages

    def _kept(self, key: str) -> Page | None:
        with self._lock:
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
            return page

    def _distinct(self, keys: list[str], pictures: Sequence[bytes]) -> tuple[dict[str, str], list[_Frame]]:
        """Returns which frame stands for which, by their keys, and the frames that stand for others or themselves."""
        same: dict[str, str] = {}
        frames: list[_Frame] = []
        none = np.empty((0, 4, 2), np.float32)
        for key, data in zip(keys, pictures, strict=True):
            if key in same:
                continue
            image = decode(data)
            grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
            recent = frames[-RECENT_PICTURES:]
            match = next((frame.key for frame in reversed(recent) if alike(frame.surface.grey, grey)), None)
            same[key] = match or key
            if match is None:
                cut = not frames or cut_between(frames[-1].surface.grey, grey)
                frames.append(_Frame(key, image, Surface.of(grey), cut, none, none, [], none))
        return same, frames

    def _read_changes(self, frames: list[_Frame], same: dict[str, str]) -> int:
        """Reads the frames on which the writing is new; the others stand for those. Returns how many were read."""
        for frame, glimpse in zip(frames, self._threads.map(self._glimpse, frames), strict=True):
            frame.glimpse = glimpse
        self._drop_scenery(frames)
        followers = _followers(frames)
        read = self._read_all([frames[number] for number in sorted(followers)])
        # What was read shows more writing than the quick look did: where any of it has changed, the frame is read too.
        late = [
            frames[number]
            for leader, numbers in followers.items()
            for number in numbers
            if not all(
                same_writing(frames[leader].surface, frames[number].surface, box) for box in frames[leader].writing
            )
        ]
        late = late if len(late) <= len(followers) else late[:: -(-len(late) // max(1, len(followers)))]
        read += self._read_all(late)
        read_late = {frame.key for frame in late}
        for leader, numbers in followers.items():
            standing = leader
            for number in numbers:
                if frames[number].key in read_late:
                    standing = number
                else:
                    same[frames[number].key] = frames[standing].key
        return read

    def _drop_scenery(self, frames: list[_Frame]) -> None:
        """Leaves out of the quick looks what moves and is no writing: wheels, faces, birds."""
        moving = [
            (frame, number)
            for before, frame, after in zip([None, *frames], frames, [*frames[1:], None], strict=False)
            for number, box in enumerate(frame.glimpse)
            if _moves(before, frame, box) or _moves(frame, after, box)
        ]
        crops = [_crop(frame, frame.glimpse[number]) for frame, number in moving]
        batches = [crops[start : start + _BATCH] for start in range(0, len(crops), _BATCH)]
        found = [text for batch in self._threads.map(self._engine.recognise, batches) for text in batch]
        scenery: dict[str, list[int]] = {}
        for (frame, number), (text, score) in zip(moving, found, strict=True):
            if score < TEXT_SCORE or not any(sign.isalnum() for sign in text):
                scenery.setdefault(frame.key, []).append(number)
        for frame in frames:
            frame.glimpse = np.delete(frame.glimpse, scenery.get(frame.key, []), axis=0)

    def _glimpse(self, frame: _Frame) -> Boxes:
        """Finds writing on a small copy of the frame."""
        side = max(frame.image.shape[:2])
        scale = min(1.0, max(256.0, side**0.5 * 13) / side)
        boxes, _ = self._engine.find(_scaled(frame.image, scale))
        return boxes / np.float32(scale)

    def _find(self, frame: _Frame) -> tuple[Boxes, list[Image]]:
        scale = _reading_scale(frame.image)
        boxes, crops = self._engine.find(_scaled(frame.image, scale))
        return boxes / np.float32(scale), crops

    def _read_all(self, frames: list[_Frame]) -> int:
        for frame, (boxes, crops) in zip(frames, self._threads.map(self._find, frames), strict=True):
            frame.boxes, frame.crops = boxes, crops
        same, new = _unchanged_lines(frames)
        batches = [new[start : start + _BATCH] for start in range(0, len(new), _BATCH)]
        crops_of = [[frames[frame].crops[line] for frame, line in batch] for batch in batches]
        texts: dict[_LineId, tuple[str, float]] = {}
        for batch, found in zip(batches, self._threads.map(self._engine.recognise, crops_of), strict=True):
            texts.update(zip(batch, found, strict=True))
        with self._lock:
            for number, frame in enumerate(frames):
                found_lines = [texts[same.get((number, line), (number, line))] for line in range(len(frame.crops))]
                self._pages[frame.key] = _page(frame, found_lines)
                frame.crops = []
                frame.writing = frame.boxes[[score >= LEGIBLE_SCORE for _, score in found_lines]]
            while len(self._pages) > MAX_PAGES_KEPT:
                self._pages.popitem(last=False)
        return len(frames)


def _resolved(same: dict[str, str], key: str) -> str:
    return same.get(same[key], same[key])


def _choose(frames: list[_Frame], limit: int) -> list[_Frame]:
    """Returns at most `limit` frames: the first after each cut, and others spread evenly between them."""
    if len(frames) <= limit:
        return frames
    cuts = [number for number, frame in enumerate(frames) if frame.cut][: limit // 2]
    others = [number for number in range(len(frames)) if number not in cuts]
    even = np.unique(np.linspace(0, len(others) - 1, limit - len(cuts)).astype(int))
    return [frames[number] for number in sorted([*cuts, *(others[place] for place in even)])]


def _followers(frames: list[_Frame]) -> dict[int, list[int]]:
    """Returns, by number, the frames to read and for each the later ones on which a quick look sees nothing new."""
    found: dict[int, list[int]] = {}
    leader = -1
    for number, frame in enumerate(frames):
        if leader >= 0 and len(found[leader]) < MAX_QUICK_LOOKS and _writing_unchanged(frames[leader], frame):
            found[leader].append(number)
        else:
            leader = number
            found[leader] = []
    return found


def _moves(before: _Frame | None, now: _Frame | None, box: Boxes) -> bool:
    if before is None or now is None or now.cut or before.image.shape != now.image.shape:
        return False
    return not same_writing(before.surface, now.surface, box)


def _crop(frame: _Frame, box: Boxes) -> Image:
    left, top = np.maximum(np.floor(box.min(axis=0)), 0).astype(int)
    right, bottom = np.ceil(box.max(axis=0)).astype(int)
    return np.ascontiguousarray(frame.image[top : max(bottom, top + 1), left : max(right, left + 1)])


def _writing_unchanged(before: _Frame, now: _Frame) -> bool:
    """Tells whether all that a quick look took for writing, on either frame, is the same on both."""
    if now.cut or before.image.shape != now.image.shape:
        return False
    return all(same_writing(before.surface, now.surface, box) for box in (*before.glimpse, *now.glimpse))


def _reading_scale(image: Image) -> float:
    """Returns how far to enlarge: the engine finds letters from some ten pixels on, a caption's frames hold smaller."""
    side = max(image.shape[:2])
    return 2.0 if side <= 400 else 1.5 if side <= 700 else 1.0


def _scaled(image: Image, scale: float) -> Image:
    if scale == 1.0:
        return image
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), np.uint8)


_LineId = tuple[int, int]


def _unchanged_lines(frames: list[_Frame]) -> tuple[dict[_LineId, _LineId], list[_LineId]]:
    """Returns which line of a frame is one of the frame before (both as frame and line numbers), and which are new."""
    same: dict[_LineId, _LineId] = {}
    new: list[_LineId] = []
    for number, frame in enumerate(frames):
        before = frames[number - 1] if number else None
        for line in range(len(frame.crops)):
            earlier = None if before is None else _line_before(before, frame, line)
            if earlier is None:
                new.append((number, line))
            else:
                same[number, line] = same.get((number - 1, earlier), (number - 1, earlier))
    return same, new


def _line_before(before: _Frame, frame: _Frame, line: int) -> int | None:
    if before.image.shape != frame.image.shape or not len(before.boxes):
        return None
    distances = np.abs(before.boxes - frame.boxes[line]).max(axis=(1, 2))
    nearest = int(distances.argmin())
    if distances[nearest] > 4 or not same_writing(before.surface, frame.surface, frame.boxes[line]):
        return None
    return nearest


def _page(frame: _Frame, texts: list[tuple[str, float]]) -> Page:
    lines = []
    for points, (text, score) in zip(frame.boxes, texts, strict=True):
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        words = clean(text)
        if words and score >= TEXT_SCORE:
            lines.append(Line(words, score, float(left), float(top), float(right), float(bottom)))
    height, width = frame.image.shape[:2]
    return Page(width, height, tuple(lines))


# Signs that would end a quotation or open a tag in what we write; full-width forms come from the recogniser.
_REPLACED = str.maketrans(
    {'"': "'", "“": "'", "”": "'", "<": "‹", ">": "›", "|": "/", "：": ":", "，": ",", "（": "(", "）": ")", "·": " · "}
)


def clean(text: str) -> str:
    """Returns a text on one line, without the signs that have a meaning in captions and answers."""
    return " ".join(text.translate(_REPLACED).split())
