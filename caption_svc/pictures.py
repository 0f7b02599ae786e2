"""Pictures of a segment, for people who want to see what was looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from longvideo.clips import Library
from longvideo.errors import Cancelled, DeadlineExceeded, InvalidArgument
from longvideo.resources import VideoName
from longvideo.segments import LEVELS
from longvideo.v1 import types_pb2
from longvideo.video import FrameSelection, choose_frames

MAX_COUNT: Final = 8
MIN_SIDE, MAX_SIDE = 16, 512


def of_segment(
    library: Library, request: types_pb2.GetFramesRequest, deadline: float, cancelled: Callable[[], bool]
) -> types_pb2.GetFramesResponse:
    """Returns what `CaptionService.GetFrames` answers. `deadline` is on `time.monotonic`'s clock.

    Above the lowest level frames lie far apart, and a keyframe close by shows as much and costs a hundredth.
    """
    _check("count", request.count, 1, MAX_COUNT)
    _check("longest_side", request.longest_side, MIN_SIDE, MAX_SIDE)

    def check() -> None:
        if cancelled():
            raise Cancelled("the caller has gone; call again")
        if time.monotonic() > deadline:
            raise DeadlineExceeded("there was no time left to decode the frames; allow more")

    clip = library.clip(VideoName.parse(request.video, "video"), request.path, request.tree_width)
    selection: FrameSelection = "exact" if clip.segment.level == LEVELS else "keyframe"
    chosen = choose_frames(clip.index, clip.span, request.count, selection)
    response = types_pb2.GetFramesResponse(segment=types_pb2.Segment(path=clip.segment.path))
    response.segment.start_offset.FromNanoseconds(round(clip.start * 1e9))
    response.segment.end_offset.FromNanoseconds(round(clip.end * 1e9))
    for frame in library.frames(clip, chosen.frames, request.longest_side, check):
        picture = response.pictures.add(width_px=frame.width, height_px=frame.height, jpeg=frame.jpeg)
        picture.offset.FromNanoseconds(round(frame.time * 1e9))
    return response


def _check(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"{field} is {value}; give {least} to {most}", field=field)
