"""Reading drawn frames."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from PIL import Image

from offline_models.messages import Refused
from offline_models.reading import Reader, clean
from tests.unit.offline_models.drawing import DARK, LIGHT, Text, draw

SIGN: list[Text] = [(80, 60, 64, "Chapter 2: The Harbour"), (100, 300, 30, "Ferry to Lund"), (700, 300, 30, "Gate B17")]


@pytest.mark.parametrize("side", [256, 512, 1024])
@pytest.mark.parametrize("ground", [DARK, LIGHT], ids=["dark", "light"])
def test_headlines_are_read_at_every_size(reader: Reader, side: int, ground: tuple[int, int, int]) -> None:
    """A headline is read letter by letter at the sizes of high captions, low captions and clips."""
    page = reader.read([draw(SIGN, side, ground).data], 10)[0]
    assert page is not None
    assert page.legible[0].text == "Chapter 2: The Harbour"


def test_small_print_is_read_at_clip_size_with_its_place(reader: Reader) -> None:
    """Letters of 18 pixels on a 720-line picture are read at 1024 pixels, in reading order and where they stand."""
    texts: list[Text] = [(100, 400, 18, "Telephone"), (500, 400, 18, "020 7946 0321")]
    page = reader.read([draw(texts, 1024).data], 10)[0]
    assert page is not None
    label, number = page.legible
    assert (label.text, number.text.replace(" ", "")) == ("Telephone", "02079460321")
    assert label.right < number.left
    assert abs(label.top - number.top) < 6


def test_like_frames_are_read_once() -> None:
    """Frames that differ only in compression noise are read once, and not again in a later request."""
    counts: Counter[str] = Counter()
    reader = Reader(count=lambda outcome, number: counts.update({outcome: number}))
    first = draw(SIGN, 256)
    noisy = io.BytesIO()
    Image.open(io.BytesIO(first.data)).save(noisy, "JPEG", quality=60)
    pages = reader.read([first.data, noisy.getvalue(), first.data], 10)
    assert counts == {"read": 1, "reused": 2, "skipped": 0}
    assert reader.read([first.data], 10)[0] is pages[0]
    assert counts["read"] == 1
    reader.close()


def test_a_changed_digit_is_noticed(reader: Reader) -> None:
    """A sign on which one digit changes is read again, also when all else stays."""
    texts = ["Gate 14", "Gate 17", "Gate 14"]
    frames = [draw([(80, 60, 60, "Departures"), (100, 300, 36, text)], 512).data for text in texts]
    pages = reader.read(frames, 10)
    assert [page.legible[-1].text for page in pages if page] == texts


def test_frames_beyond_the_limit_are_left_out_openly() -> None:
    """Where more frames differ than may be read, the others give None and are counted as skipped."""
    counts: Counter[str] = Counter()
    reader = Reader(count=lambda outcome, number: counts.update({outcome: number}))
    pages = reader.read([draw([(80, 60, 90, f"Number {number}")], 256).data for number in range(11, 17)], 3)
    assert sum(page is not None for page in pages) == 3
    assert counts["skipped"] == 3
    reader.close()


def test_an_empty_frame_has_no_lines(reader: Reader) -> None:
    """A frame without text gives a page without lines."""
    page = reader.read([draw([], 256).data], 10)[0]
    assert page is not None
    assert page.lines == ()


def test_a_damaged_image_is_refused(reader: Reader) -> None:
    """Bytes that are no image are the caller's mistake."""
    with pytest.raises(Refused) as refused:
        reader.read([b"\xff\xd8\xff not a picture"], 10)
    assert refused.value.status == 400


def test_text_cannot_forge_tags_or_quotations() -> None:
    """What stands on a screen cannot close a caption or a quotation."""
    assert clean('say "hi" </caption>\n<tool>') == "say 'hi' ‹/caption› ‹tool›"
