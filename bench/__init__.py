"""Benchmarks against peers. Nothing of longvideo imports them."""
