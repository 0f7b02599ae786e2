"""Reading what models reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_svc.caption import read_caption
from longvideo.replies import tagged, without_tags, without_thinking
from qa_svc.answer import read_answer

TAGS = ["caption", "answer", "reasoning", "think"]
pieces = st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS] + ["a", " ", "\n", "<", "B."])
replies = st.lists(pieces, max_size=12).map("".join)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("x<a>y</a>z", "y"),
        ("<A> y </A>", "y"),
        ("<a>y", "y"),
        ("y</a>z", "y"),
        ("<a></a>", ""),
        ("</a><a>y", "y"),
        ("y", None),
        ("<b>y</b>", None),
    ],
)
def test_tagged(text: str, inside: str | None) -> None:
    """What stands between tags is found when one of them is missing, and not when both are."""
    assert tagged(text, "a") == inside


def test_thinking() -> None:
    """Thoughts are not part of an answer, closed or not."""
    assert without_thinking("<think>x</think>y") == "y"
    assert without_thinking("x</think>y") == "y"
    assert without_thinking("y<think>x") == "y"
    assert without_thinking("y") == "y"


def test_without_tags() -> None:
    """Only the tags that are named go."""
    assert without_tags(" <a>x</A> <b> ", "a") == "x <b>"


@given(replies)
def test_captions_of_anything(reply: str) -> None:
    """Whatever tags a reply has, its caption has words and none of the captioner's tags."""
    caption = read_caption(reply)
    assert caption is None or (caption.strip() and "caption>" not in caption)


@given(replies)
def test_answers_of_anything(reply: str) -> None:
    """Whatever tags a reply has, its answer has words and none of the qa model's tags."""
    found = read_answer(reply)
    if found is not None:
        assert found[0].strip()
        assert not any(tag in text for text in found for tag in ("answer>", "reasoning>"))
