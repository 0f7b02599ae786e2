"""The two servers that `bin/test-vllm` starts, and what they can do."""

from __future__ import annotations

import os

import pytest

from longvideo.tokens import ImageRule
from tests.contract.model_server import Served, asked

TINY_RULE = ImageRule(factor=32, min_tokens=4, max_tokens=1024)
"""Qwen3-VL's rule with the bounds of the tiny model's preprocessor_config.json."""

SLOW = {"messages": asked("Write a novel."), "max_tokens": 1024, "regex": "[a-z]{4000}"}
"""A request that takes seconds, because the pattern does not let the answer end."""


def _served(name: str, rule: ImageRule | None) -> Served:
    url = os.environ.get(f"TINY_VLLM_{name.upper()}_URL")
    if url is None:
        pytest.skip("needs the genuine vLLM server: run `make test-vllm`")
    return Served(
        url,
        f"tiny-{name}",
        api_key=os.environ.get("LONGVIDEO_API_KEY"),
        rule=rule,
        slow=SLOW,
        regex="<think>[^<]{1,40}</think>\\n<tool>get_caption\\(\\([1-4],[1-4]\\)\\)</tool>",
    )


@pytest.fixture(scope="session")
def text_server() -> Served:
    """The tiny Qwen3."""
    return _served("text", None)


@pytest.fixture(scope="session")
def vl_server() -> Served:
    """The tiny Qwen3-VL."""
    return _served("vl", TINY_RULE)
