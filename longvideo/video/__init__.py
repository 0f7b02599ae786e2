"""Exact, sparse access to the frames of long videos: a byte source, a packet index, and frames as JPEGs."""

from longvideo.video.frames import Frame, read_frames
from longvideo.video.index import BadIndex, VideoIndex, build_index
from longvideo.video.sampling import FrameSelection, Samples, choose_frames, near_keyframes
from longvideo.video.source import ByteSource, FileSource

__all__ = [
    "BadIndex",
    "ByteSource",
    "FileSource",
    "Frame",
    "FrameSelection",
    "Samples",
    "VideoIndex",
    "build_index",
    "choose_frames",
    "near_keyframes",
    "read_frames",
]
