"""Token arithmetic: images by the models' own rule, texts from above."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.tokens import (
    IMAGE_FRAME_TOKENS,
    QWEN3_VL,
    QWEN25_VL,
    SMALLEST_SIDE,
    ImageRule,
    TokenMeter,
    fit_images,
    image_rule,
    image_tokens,
    scaled,
    text_tokens,
)

SIDE = st.integers(1, 5000)
CONTEXT = 16384


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1024, 1024, 1024),
        (1024, 576, 32 * 18),
        (512, 288, 16 * 9),
        (256, 144, 11 * 6),  # 8 x 4 would be too few: scaled up to at least 64
        (140, 79, 11 * 7),
        (1, 1, 64),
        (10000, 10000, 128 * 128),
        (47, 49, 9 * 8),
    ],
)
def test_qwen3_vl(width: int, height: int, tokens: int) -> None:
    """An image costs a token for each 32 by 32 pixels, and between 64 and 16,384."""
    assert image_tokens(width, height) == tokens


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(1024, 1024, 37 * 37), (512, 288, 18 * 10), (28, 28, 4), (140, 79, 15)]
)
def test_qwen25_vl(width: int, height: int, tokens: int) -> None:
    """With Qwen2.5-VL it is 28 by 28 pixels, and at least 4 tokens."""
    assert image_tokens(width, height, QWEN25_VL) == tokens


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("Qwen/Qwen3-VL-32B-Instruct", QWEN3_VL),
        ("Qwen2.5-VL-72B-Instruct", QWEN25_VL),
        ("qwen2_vl_7b", QWEN25_VL),
        ("offline-qa", QWEN3_VL),
        ("", QWEN3_VL),
    ],
)
def test_rules_by_name(model: str, rule: ImageRule) -> None:
    """A model's name tells its rule."""
    assert image_rule(model) is rule


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5)])
def test_no_image(width: int, height: int) -> None:
    """An image without pixels is a mistake."""
    with pytest.raises(ValueError, match="at least one pixel"):
        image_tokens(width, height)


@given(SIDE, SIDE, st.sampled_from([QWEN3_VL, QWEN25_VL]))
def test_bounds(width: int, height: int, rule: ImageRule) -> None:
    """An image never costs less than the rule's least, and rotating it changes nothing."""
    tokens = image_tokens(width, height, rule)
    assert tokens >= rule.min_tokens
    assert tokens <= max(rule.max_tokens, 2 * rule.min_tokens + 5000)
    assert tokens == image_tokens(height, width, rule)


@given(SIDE, SIDE, SIDE)
def test_scaled(width: int, height: int, side: int) -> None:
    """A scaled image is never larger than it was, and its longer side is as wanted."""
    small = scaled(width, height, side)
    assert max(small) == min(side, max(width, height))
    assert small[0] <= width
    assert small[1] <= height
    assert min(small) >= 1


def test_sixteen_squares_do_not_fit_at_full_size() -> None:
    """Sixteen 1024-pixel squares would fill the whole context, so they are scaled down, by little."""
    budget = CONTEXT - 2000
    assert 16 * image_tokens(1024, 1024) == CONTEXT
    side = fit_images(16, 1024, 1024, 1024, budget)
    assert 900 < side < 1024
    assert 16 * (image_tokens(side, side) + IMAGE_FRAME_TOKENS) <= budget


def test_what_fits_stays() -> None:
    """Sixteen wide frames fit at full size, and small ones are not scaled up."""
    assert fit_images(16, 1920, 1080, 1024, CONTEXT - 2000) == 1024
    assert fit_images(16, 640, 360, 1024, CONTEXT - 2000) == 640


def test_what_cannot_fit() -> None:
    """Where nothing fits, the smallest side is all that can be offered."""
    assert fit_images(1000, 1024, 1024, 1024, 100) == SMALLEST_SIDE


@given(
    st.integers(1, 128),
    SIDE,
    SIDE,
    st.integers(28, 1024),
    st.integers(100, 40_000),
    st.sampled_from([QWEN3_VL, QWEN25_VL]),
)
def test_fitted_images_fit(count: int, width: int, height: int, side: int, budget: int, rule: ImageRule) -> None:
    """The side that is returned fits, or is the smallest; it never exceeds what was wanted."""
    best = fit_images(count, width, height, side, budget, rule=rule)
    assert best <= side
    tokens = count * (image_tokens(*scaled(width, height, best), rule) + IMAGE_FRAME_TOKENS)
    assert tokens <= budget or best <= SMALLEST_SIDE


@given(st.text())
def test_texts_have_no_more_tokens_than_bytes(text: str) -> None:
    """An estimate lies between one token for two bytes and one for each."""
    size = len(text.encode())
    assert size / 2 <= text_tokens(text) <= size
    assert text_tokens(text, 0.1) == size


def test_a_new_meter_assumes_the_worst() -> None:
    """Before anything was observed, two bytes make a token."""
    assert TokenMeter().estimate("word" * 100) == 200


def test_a_meter_learns() -> None:
    """After a prompt was counted, the estimate lies a little above what it says."""
    meter = TokenMeter()
    text = "The train left at ten. " * 100
    meter.observe(text, 550)
    assert 550 < meter.estimate(text) < 650


def test_a_meter_keeps_to_the_densest() -> None:
    """Of several prompts the one with the most tokens for its bytes counts, until many others have come."""
    meter = TokenMeter()
    meter.observe("1" * 2000, 2000)
    meter.observe("a" * 2000, 500)
    assert meter.estimate("x" * 1000) == 1000
    for _ in range(64):
        meter.observe("a" * 2000, 500)
    assert meter.estimate("x" * 1000) < 300


@pytest.mark.parametrize(("text", "tokens"), [("short", 5000), ("long " * 1000, 0)])
def test_a_meter_ignores_what_says_nothing(text: str, tokens: int) -> None:
    """Short prompts, and servers that do not count, change nothing."""
    meter = TokenMeter()
    meter.observe(text, tokens)
    assert meter.estimate("word" * 100) == 200


@given(st.text(max_size=400), st.integers(0, 250))
def test_clipped_texts_fit(text: str, tokens: int) -> None:
    """A clipped text fits, is the beginning of the text, and is the text itself where that fits."""
    meter = TokenMeter()
    clipped = meter.clip(text, tokens)
    assert meter.estimate(clipped) <= tokens
    if meter.estimate(text) <= tokens:
        assert clipped == text
    else:
        assert text.startswith(clipped.removesuffix("…"))


def test_a_text_is_clipped_after_a_word() -> None:
    """What is left ends with a whole word and an ellipsis."""
    assert TokenMeter().clip("the train crossed the bridge", 9) == "the train…"
    assert TokenMeter().clip("火车过桥了火车过桥了", 9) == "火车过桥了…"
