"""Tests of `longvideo.video`."""
