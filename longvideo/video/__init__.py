"""Exact, sparse access to the frames of long videos: a byte source, a packet index, and frames as JPEGs."""

from longvideo.video.frames import Frame, read_frames
from longvideo.video.index import BadIndex, VideoIndex, build_index
from longvideo.video.source import ByteSource, FileSource

__all__ = ["BadIndex", "ByteSource", "FileSource", "Frame", "VideoIndex", "build_index", "read_frames"]
