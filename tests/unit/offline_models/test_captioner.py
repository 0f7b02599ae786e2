"""The captioner on drawn frames."""

from __future__ import annotations

import re

import pytest

from offline_models.captioner import caption, words_allowed
from offline_models.reading import Reader
from tests.unit.offline_models.drawing import draw, request, timed

HARBOUR = draw([(80, 60, 64, "The Harbour"), (100, 300, 40, "Ferry to Lund")], 256)
MARKET = draw([(80, 60, 64, "The Market")], 256, ground=(240, 230, 200))


def test_a_caption_tells_texts_with_their_times_and_what_is_said(reader: Reader) -> None:
    """A caption quotes what stands on the screen, from when to when, and the subtitles at their times."""
    parts = [
        "Segment (1) of the video, from 10.0 s to 16.0 s.",
        *timed([(10.0, HARBOUR), (12.0, HARBOUR)]),
        "Subtitle [12.50s - 13.90s]: Welcome to Lund.",
        *timed([(14.0, MARKET), (15.5, MARKET)]),
    ]
    text = caption(request(parts, "Use at most 400 words."), reader)
    assert text.startswith("<caption>")
    assert text.endswith("</caption>")
    assert 'from 10.0 s to 12.0 s: "The Harbour | Ferry to Lund"' in text
    assert 'from 14.0 s to 15.5 s: "The Market"' in text
    assert 'A voice says, at 12.5 s: "Welcome to Lund."' in text
    assert "The picture changes at 14.0 s" in text


def test_a_caption_keeps_within_its_words(reader: Reader) -> None:
    """With few words allowed, headlines and the telling words of what is said are kept; nothing is claimed as said."""
    cues = [
        f"Subtitle [{time:.2f}s - {time + 2:.2f}s]: And then, as it were, we come to house number {time}, which is so."
        for time in range(20, 60, 2)
    ]
    text = caption(request([*timed([(20.0, HARBOUR)]), *cues], "Use at most 80 words, please."), reader)
    words = re.sub(r"</?caption>", "", text).split()
    assert len(words) <= 80
    assert "The Harbour" in text
    assert "A voice mentions" in text
    assert "says" not in text


def test_a_picture_without_text_is_described_as_such(reader: Reader) -> None:
    """Nothing is made up for a plain picture: it has no text, a brightness and a colour."""
    blue = draw([], 256, ground=(20, 40, 220))
    text = caption(request(timed([(3.0, blue)])), reader)
    assert "No text can be read on the screen." in text
    assert "blue" in text


def test_subtitles_alone_make_a_caption(reader: Reader) -> None:
    """A request without frames is captioned from its subtitles."""
    text = caption(request(["Subtitle [1.00s - 2.00s]: Only words."]), reader)
    assert text == '<caption>A voice says, at 1.0 s: "Only words.".</caption>'


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("Use at most 200 words.", 200),
        ("no more than 300 words", 300),
        ("Word limit: 150", 150),
        ("Describe it.", 400),
        ("at most 3 words", 400),
    ],
)
def test_the_word_limit_is_read_from_the_instructions(system: str, words: int) -> None:
    """The limit is the number beside `words`; without a sensible one it is 400."""
    assert words_allowed(system) == words
