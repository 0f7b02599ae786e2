"""Makes captions, once each.

A caption is kept under a key that says everything it depends on. Whoever asks first makes it; everybody who asks at
the same time, in this process or another, waits for that one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from caption_svc.flights import Flights, Wanted
from longvideo import metrics
from longvideo.clips import Clip, Library, Room, content, text_part, view
from longvideo.errors import DeadlineExceeded, LongVideoError, NotFound
from longvideo.inference import Completion, Endpoint, ModelClient
from longvideo.prompts import PromptPack
from longvideo.replies import ask_for_words, tagged, without_tags, without_thinking
from longvideo.resources import VideoName
from longvideo.segments import LEVELS, Segment
from longvideo.storage import ObjectStore, caption_key, caption_prefix
from longvideo.subtitles import Subtitles
from longvideo.usage import Call
from longvideo.video import FrameSelection

SamplingName = Literal["trained", "light"]


@dataclass(frozen=True)
class Sampling:
    """How many frames, and at most how many words, a caption of the high, medium and low level gets."""

    frames: tuple[int, int, int]
    words: tuple[int, int, int]


# `trained` is what the reasoner was trained on (arXiv 2602.20913, appendix); `light` is half of it.
SAMPLINGS: Final[dict[SamplingName, Sampling]] = {
    "trained": Sampling((128, 64, 32), (400, 400, 200)),
    "light": Sampling((64, 32, 16), (300, 300, 200)),
}
# 512 / sqrt(k) with k = 4, 2 and 1 (ibid.), and never under 140.
LONGEST_SIDES: Final = tuple(max(140, int(512 / k**0.5)) for k in (4, 2, 1))

# Raised when requests to the model change in a way that changes captions.
FORMAT: Final = 1
_TEMPLATES = ("caption_system", "caption_system_low")

# A word takes less than two tokens; the rest is for tags, times, and models that think first.
_TOKENS_PER_WORD = 2
_SPARE_TOKENS = 512
MAX_CAPTION_CHARS = 12_000


@dataclass(frozen=True)
class CaptionRequest:
    """Which caption is wanted. The fields are those of `longvideo.v1.CaptionSegmentRequest`."""

    video: VideoName
    path: tuple[int, ...]
    width: int
    sampling: SamplingName | None = None
    subtitles: str = ""
    pool: str = ""
    requester: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Caption:
    """A caption as it is stored. Times in seconds since the first frame, `create_time` since the epoch.

    Of its frames, `moved_frame_count` are keyframes that stand in for frames nearby, `mean_move` and at most `max_move`
    seconds away.
    """

    segment: Segment
    start: float
    end: float
    text: str
    frame_count: int
    model: str
    create_time: float
    requester: str
    calls: tuple[Call, ...]
    moved_frame_count: int = 0
    mean_move: float = 0.0
    max_move: float = 0.0

    def to_bytes(self, **more: str) -> bytes:
        """Returns the caption for storage; `more` is kept with it for people who look."""
        document = asdict(self) | {"segment": list(self.segment.path)} | more
        return json.dumps(document, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Caption | None:
        """Reads what `to_bytes` gave; returns None for anything else, which is then made again."""
        try:
            document = json.loads(data)
            return cls(
                segment=Segment(tuple(map(int, document["segment"]))),
                start=float(document["start"]),
                end=float(document["end"]),
                text=str(document["text"]),
                frame_count=int(document["frame_count"]),
                model=str(document["model"]),
                create_time=float(document["create_time"]),
                requester=str(document["requester"]),
                calls=tuple(Call(**call) for call in document["calls"]),
                moved_frame_count=int(document["moved_frame_count"]),
                mean_move=float(document["mean_move"]),
                max_move=float(document["max_move"]),
            )
        except (ValueError, KeyError, TypeError, LongVideoError):
            return None


@dataclass(frozen=True)
class CaptionResult:
    """A caption, the calls to tell the one who asked about, and whether it was there already."""

    caption: Caption
    calls: tuple[Call, ...]
    cached: bool


class Captioner:
    """Makes captions and keeps them. Threads share it."""

    def __init__(
        self,
        store: ObjectStore,
        library: Library,
        client: ModelClient,
        endpoints: Sequence[Endpoint],
        pack: PromptPack,
        *,
        sampling: SamplingName = "trained",
        frame_selection: FrameSelection = "keyframe",
    ) -> None:
        """Makes a captioner.

        Args:
            store: Where captions are kept.
            library: The videos.
            client: Calls the caption model.
            endpoints: What the client calls: where all of them name their model, no server is asked for it.
            pack: The words that the model is given.
            sampling: Used for requests that name none.
            frame_selection: Whether high and medium captions, whose frames lie seconds apart, may take keyframes nearby
                instead. Low captions, where a moment counts, never do.
        """
        self._store = store
        self._library = library
        self._client = client
        self._endpoints = [endpoint for endpoint in endpoints if "caption" in endpoint.roles]
        self._pack = pack
        self._sampling = sampling
        self._selection: FrameSelection = frame_selection
        self._flights = Flights()

    def caption(
        self, request: CaptionRequest, deadline: float, cancelled: Callable[[], bool] = lambda: False
    ) -> CaptionResult:
        """Returns a caption, making it if nobody has. `deadline` is on `time.monotonic`'s clock.

        Raises InvalidArgument, NotFound, VideoChanged, BadMedia, ModelUnavailable, ModelRejected, DeadlineExceeded and
        Cancelled, with the calls that were made.
        """
        clip = self._library.clip(request.video, request.path, request.width)
        result = "failed"
        try:
            found = self._caption(clip, request, Wanted(deadline, cancelled))
            result = "cached" if found.cached else "made"
            if found.cached:
                metrics.count_kept(found.caption.calls)
            return found
        finally:
            metrics.CAPTIONS.labels(clip.segment.level_name, result).inc()

    def _caption(self, clip: Clip, request: CaptionRequest, wanted: Wanted) -> CaptionResult:
        subtitles = self._library.subtitles_of(request.video, request.subtitles)
        digest = self._digest(request)
        key = caption_key(request.video.video_id, request.width, digest, clip.segment)
        while True:
            kept = self._kept(key)
            if kept is not None:
                return _again(kept, request)
            with self._flights.join(f"{key}?{request.pool}", wanted) as first:
                if first:
                    return self._make_once(key, clip, subtitles, request, wanted)

    def captions(self, request: CaptionRequest) -> list[Caption]:
        """Returns the captions that exist in the way `request` describes, in tree order; an empty path means all.

        Raises InvalidArgument, and NotFound for a video that is not there.
        """
        self._library.clip(request.video, request.path or (1,), request.width)
        self._library.subtitles_of(request.video, request.subtitles)
        prefix = caption_prefix(request.video.video_id, request.width, self._digest(request))
        found = [caption for key in self._store.list(prefix) if (caption := self._kept(key))]
        below = [caption for caption in found if caption.segment.path[: len(request.path)] == request.path]
        return sorted(below, key=lambda caption: caption.segment)

    def _digest(self, request: CaptionRequest) -> str:
        """Names everything a caption depends on besides the video, the segment and the tree's width."""
        name = request.sampling or self._sampling
        subtitles = request.subtitles.rpartition("/")[2]
        depends = {
            "format": FORMAT,
            "frame_selection": self._selection,
            "model": self._model(request.pool),
            "prompts": self._pack.digest_of(*_TEMPLATES),
            "sampling": {"name": name, **asdict(SAMPLINGS[name])},
            "sides": LONGEST_SIDES,
            "subtitles": subtitles,
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]

    def _model(self, pool: str) -> str:
        """Returns the name of the model, or names of the models, that may serve a request for a pool.

        Where the settings name them no server is asked, so that captions are to be had while all servers are down.
        """
        names = {endpoint.model for endpoint in self._endpoints if pool in {"", endpoint.pool}}
        return ", ".join(sorted(names)) if names and all(names) else self._client.describe(pool).model

    def _kept(self, key: str) -> Caption | None:
        try:
            return Caption.from_bytes(self._store.get(key))
        except NotFound:
            return None

    def _make_once(
        self, key: str, clip: Clip, subtitles: Subtitles, request: CaptionRequest, wanted: Wanted
    ) -> CaptionResult:
        with self._locked(key, wanted):
            kept = self._kept(key)
            if kept is not None:
                return _again(kept, request)
            caption = self._make(clip, subtitles, request, wanted)
            try:
                self._store.put(
                    key, caption.to_bytes(prompts=self._pack.digest, sampling=request.sampling or self._sampling)
                )
            except LongVideoError as error:
                error.calls = caption.calls
                raise
        return CaptionResult(caption, caption.calls, cached=False)

    @contextlib.contextmanager
    def _locked(self, key: str, wanted: Wanted) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self._store.lock(key, wanted.slice()))
                    break
                except DeadlineExceeded:
                    continue
            yield

    def _make(self, clip: Clip, subtitles: Subtitles, request: CaptionRequest, wanted: Wanted) -> Caption:
        level = clip.segment.level - 1
        sampling = SAMPLINGS[request.sampling or self._sampling]
        words = sampling.words[level]
        max_tokens = words * _TOKENS_PER_WORD + _SPARE_TOKENS
        heading = f"Segment {clip.segment} of the video, from {clip.start:.1f} s to {clip.end:.1f} s."
        cues = subtitles.within(clip.start, clip.end)
        model = self._client.describe(request.pool)
        system = self._system(clip.segment, words, sampling.frames[level])
        room = Room(model.context_length, max_tokens, system + heading, model.model)
        selection: FrameSelection = "exact" if clip.segment.level == LEVELS else self._selection
        shown = view(clip, cues, sampling.frames[level], LONGEST_SIDES[level], room, selection=selection)
        frames = self._library.frames(clip, shown.frames, shown.longest_side, wanted.slice)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": system},
            {"role": "user", "content": [text_part(heading), *content(frames, shown.cues, shown.note)]},
        ]

        def ask() -> Completion:
            return self._client.complete(
                messages,
                max_tokens=max_tokens,
                deadline=wanted.deadline,
                pool=request.pool,
                priority=request.priority,
                cancelled=wanted.cancelled,
            )

        text, calls = ask_for_words(ask, read_caption, "caption")
        return Caption(
            segment=clip.segment,
            start=clip.start,
            end=clip.end,
            text=text,
            frame_count=len(frames),
            model=calls[-1].model or model.model,
            create_time=time.time(),
            requester=request.requester,
            calls=calls,
            moved_frame_count=shown.samples.moved,
            mean_move=shown.samples.mean_move,
            max_move=shown.samples.max_move,
        )

    def _system(self, segment: Segment, words: int, frames: int) -> str:
        template = "caption_system_low" if segment.level == LEVELS else "caption_system"
        return self._pack.render(template, max_words=words, level=segment.level_name, frames=frames)


def read_caption(text: str) -> str | None:
    """Returns the caption in a model's reply, without any tags, or None when there is none."""
    said = without_thinking(text)
    inside = tagged(said, "caption")
    words = without_tags(inside if inside is not None else said, "caption")
    return words[:MAX_CAPTION_CHARS] or None


def _again(kept: Caption, request: CaptionRequest) -> CaptionResult:
    """A caller that died before it could record a call asks again under its own name, and is told once more."""
    own = bool(request.requester) and kept.requester == request.requester
    return CaptionResult(kept, kept.calls if own else (), cached=True)
