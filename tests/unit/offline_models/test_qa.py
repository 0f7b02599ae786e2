"""The qa model on drawn frames: look-alikes, options, facts that are absent."""

from __future__ import annotations

import re

import pytest

from offline_models.messages import Refused
from offline_models.qa import answer, split_options
from offline_models.reading import Reader
from tests.unit.offline_models.drawing import LIGHT, Text, draw, request, timed

SHOPS: list[Text] = [(400, 40, 50, "Shops of Fore Street")]
for _left, _name, _owner, _phone in (
    (60, "Rosa's Bakery", "Ada Moss", "0142 433 787"),
    (470, "Finch Books", "Ben Hale", "0195 387 955"),
    (880, "Marsh Cycles", "Cora Quill", "0176 781 530"),
):
    SHOPS += [(_left, 220, 32, _name), (_left, 290, 22, "Owner"), (_left, 325, 24, _owner)]
    SHOPS += [(_left, 400, 22, "Telephone"), (_left, 435, 24, _phone)]
BOARD: list[Text] = [(40, 30, 44, "Departures - Mill Lane"), (60, 130, 24, "Destination"), (600, 130, 24, "Time")]
for _row, (_city, _time) in enumerate([("Leeds", "14:35"), ("York", "09:20"), ("Derby", "22:05")]):
    BOARD += [(60, 200 + 60 * _row, 26, _city), (600, 200 + 60 * _row, 26, _time)]

SCREENS = timed([(30.0, draw(SHOPS, 1024, LIGHT)), (31.0, draw(BOARD, 1024))])


def _told(reader: Reader, question: str, *cues: str) -> str:
    text = answer(request([*SCREENS, *cues, f"Question: {question}"]), reader)
    found = re.fullmatch(r"<reasoning>.+</reasoning>\n<answer>(.+)</answer>", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("What is the phone number of Finch Books?", "0195 387 955"),
        ("Who is the owner of Marsh Cycles?", "Cora Quill"),
        ("Who owns Rosa's Bakery?", "Ada Moss"),
        ("What time does the train to York leave?", "09:20"),
    ],
)
def test_the_value_beside_the_right_name_is_chosen(reader: Reader, question: str, value: str) -> None:
    """Among values that look alike, the one that stands with the name that is asked for is the answer."""
    assert f'The answer is "{value}"' in _told(reader, question)


@pytest.mark.parametrize(
    "question",
    ["What is the phone number of Joe's Garage?", "What time does the train to Durham leave?", "Who is the mayor?"],
)
def test_what_the_clip_does_not_show_is_not_answered(reader: Reader, question: str) -> None:
    """A question about something that is not there is answered by saying so."""
    assert _told(reader, question).startswith("The clip does not show the answer.")


def test_options_are_matched(reader: Reader) -> None:
    """With options in the question, the option that stands beside the right name is named."""
    question = "When does the train to Leeds leave? Options: A. 09:20; B. 22:05; C. 14:35"
    assert "That is option C, 14:35." in _told(reader, question)


def test_what_is_said_is_an_answer_too(reader: Reader) -> None:
    """A fact that is only spoken is found in the subtitles, also when the next sentence says `it`."""
    cues = (
        "Subtitle [31.20s - 33.00s]: Behind the mill stands an oak.",
        "Subtitle [33.10s - 35.00s]: It was planted in 1743.",
    )
    text = _told(reader, "When was the oak planted?", *cues)
    assert "a voice says" in text
    assert "1743" in text


def test_a_request_without_a_question_is_refused(reader: Reader) -> None:
    """A question is needed."""
    with pytest.raises(Refused) as refused:
        answer(request(SCREENS[:2]), reader)
    assert refused.value.status == 400


def test_options_are_split_from_the_question() -> None:
    """Options are recognised by their letters, and a sentence with one capital letter is none."""
    assert split_options("Which? Options: A. red; B. blue") == ("Which?", {"A": "red", "B": "blue"})
    assert split_options("Is plan A. good?") == ("Is plan A. good?", {})
