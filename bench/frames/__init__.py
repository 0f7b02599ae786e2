"""Sparse frames out of long videos: ours beside decord, PyAV, OpenCV, torchcodec and the ffmpeg command."""
