"""What the reasoner may say, and how it is read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.segments import Segment
from orchestrator.protocol import Answer, GetCaption, Unusable, VideoQA, choice, parse, reply_pattern

LOW = Segment((2, 4, 1))


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<think>t</think><tool>get_caption((2,4))</tool>", GetCaption(Segment((2, 4)))),
        ("<think>t</think>\n<tool>\nget_caption( ( 2 , 4 , 1 ) )\n</tool>", GetCaption(LOW)),
        ("<think>t</think><tool>get_caption((2,4,))</tool>", GetCaption(Segment((2, 4)))),
        ("<think>t</think><tool>get_caption([2,4])</tool>", GetCaption(Segment((2, 4)))),
        ("<think>t</think><tool>get_caption((２,４))</tool>", GetCaption(Segment((2, 4)))),
        ("<think>t</think><tool>get_caption((02,4))</tool>", GetCaption(Segment((2, 4)))),
        ("<think>t</think><tool>video_qa((2,4,1), What is the number?)</tool>", VideoQA(LOW, "What is the number?")),
        ('<think>t</think><tool>video_qa((2,4,1), "What?")</tool>', VideoQA(LOW, "What?")),
        ("<think>t</think><tool>video_qa((2,4,1), “What?”)</tool>", VideoQA(LOW, "What?")),
        ("<think>t</think><tool>video_qa((2,4,1), 'What's that?')</tool>", VideoQA(LOW, "What's that?")),
        ("<think>t</think><tool>video_qa((2,4,1), Who (if any)\nleft?)</tool>", VideoQA(LOW, "Who (if any)\nleft?")),
        ("<think>t</think><tool>video_qa((2,4,1), is x < y, or not)?)</tool>", VideoQA(LOW, "is x < y, or not)?")),
        ("text <think>t</think> more <tool>get_caption((1,1))</tool> end", GetCaption(Segment((1, 1)))),
        ("<think>t</think><tool>get_caption((1,1))", GetCaption(Segment((1, 1)))),
        ("<think>t <tool>get_caption((1,1))</tool>", GetCaption(Segment((1, 1)))),
        ("<tool>get_caption((1,1))</tool>", GetCaption(Segment((1, 1)))),
        ("<answer>B</answer>", Answer("B")),
        ("<think>t</think><answer>B", Answer("B")),
        ("<THINK>t</THINK><ANSWER>B</ANSWER>", Answer("B")),
        ("<think>maybe <tool>get_caption((1,1))</tool>?</think><answer>B</answer>", Answer("B")),
        ("<think>t</think><answer>B</answer><answer>B</answer>", Answer("B")),
    ],
)
def test_plain_meanings_are_read(text: str, action: object) -> None:
    """A reply whose meaning is plain gives its action, whatever stands around it."""
    assert parse(text, 4).action == action


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither called a tool"),
        ("The answer is B.", "neither called a tool"),
        ("<think>only a thought</think>", "neither called a tool"),
        ("<think>never closed", "neither called a tool"),
        ("<think>t</think><tool>get_caption((1,1))</tool><answer>B</answer>", "both"),
        ("<think>t</think><tool>get_caption((1,1))</tool><tool>get_caption((1,2))</tool>", "2 tool calls"),
        ("<think>t</think><answer>A</answer><answer>B</answer>", "2 answers"),
        ("<think>t</think><answer>  </answer>", "answer is empty"),
        ("<think>t</think><tool>zoom((1,1))</tool>", "no tool 'zoom'"),
        ("<think>t</think><tool>look closely</tool>", "not a tool call"),
        ("<think>t</think><tool></tool>", "not a tool call"),
        ("<think>t</think><tool>get_caption(1,1)</tool>", "parentheses of their own"),
        ("<think>t</think><tool>get_caption((1))</tool>", "every high-level caption already"),
        ("<think>t</think><tool>get_caption(())</tool>", "0 ids"),
        ("<think>t</think><tool>get_caption((1,1,1,1))</tool>", "4 ids"),
        ("<think>t</think><tool>get_caption((1,1), what?)</tool>", "nothing but the ids"),
        ("<think>t</think><tool>get_caption((1,5))</tool>", "from 1 to 4"),
        ("<think>t</think><tool>get_caption((0,1))</tool>", "from 1 to 4"),
        ("<think>t</think><tool>get_caption((1,-1))</tool>", "not an id"),
        ("<think>t</think><tool>get_caption((1,two))</tool>", "not an id"),
        ("<think>t</think><tool>get_caption((1,2.0))</tool>", "not an id"),
        ("<think>t</think><tool>get_caption((1,²))</tool>", "not an id"),
        ("<think>t</think><tool>get_caption((1," + "9" * 5000 + "))</tool>", "not an id"),
        ("<think>t</think><tool>video_qa((1,1), What?)</tool>", "three ids"),
        ("<think>t</think><tool>video_qa((1,1,1))</tool>", "needs a question"),
        ('<think>t</think><tool>video_qa((1,1,1), "")</tool>', "needs a question"),
        ("<think>t</think><tool>video_qa((1,1,1), " + "x" * 3000 + ")</tool>", "longer than"),
        ("la " * 40_000, "far too long"),
        ("<think>" + "again and again " * 6_000, "far too long"),
    ],
)
def test_everything_else_says_what_is_wrong(text: str, says: str) -> None:
    """A reply that cannot be used gives a short sentence about its own mistake."""
    with pytest.raises(Unusable, match=re.escape(says)) as caught:
        parse(text, 4)

    assert len(str(caught.value)) < 200


def test_a_reply_cut_at_its_token_limit_is_not_guessed() -> None:
    """An answer that was cut off in the middle is sent back."""
    with pytest.raises(Unusable, match="cut off"):
        parse("<think>t</think><answer>It was on the", 4, cut=True)


def test_a_reply_cut_after_its_action_is_used() -> None:
    """What follows a closed action does not matter."""
    assert parse("<think>t</think><answer>B</answer> and so", 4, cut=True).action == Answer("B")


def test_nothing_is_evaluated() -> None:
    """Code in the place of an id is not an id."""
    with pytest.raises(Unusable):
        parse("<tool>get_caption((__import__('os').getpid(),1))</tool>", 4)


@given(
    st.text(max_size=2000) | st.text(alphabet="<>/()[],123 think tool answer get_caption video_qa\"'\n", max_size=400)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a model emits gives a reply or Unusable, and nothing else."""
    try:
        reply = parse(text, 4)
    except Unusable:
        return
    assert parse(reply.text, 4).action == reply.action or "<" in reply.text[7:-9]


@given(st.integers(2, 8), st.data())
def test_the_pattern_admits_only_legal_replies(width: int, data: st.DataObject) -> None:
    """Every text that a server held to the pattern can emit is a reply that can be used."""
    text = data.draw(st.from_regex(reply_pattern(width), fullmatch=True))

    if text.split("<answer>")[-1].removesuffix("</answer>").strip():
        parse(text, width)


def test_the_pattern_of_the_last_round_admits_no_tool() -> None:
    """When only an answer will do, the pattern has no tool call."""
    assert not re.fullmatch(reply_pattern(4, answer_only=True), "<think>t</think>\n<tool>get_caption((1,1))</tool>")
    assert re.fullmatch(reply_pattern(4, answer_only=True), "<think>t</think>\n<answer>B</answer>")


OPTIONS = ["A. A red car", "B. A blue car", "C. A bus", "D. None of them"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("B)", "B"), ("**B**", "B"), ("B. A blue car", "B"),
        ("(b) a blue car", "B"), ("The answer is B", "B"), ("The answer is (B).", "B"), ("Answer: B", "B"),
        ("The correct option is **C**.", "C"), ("Option D", "D"), ("A blue car", "B"), ("It was a bus.", "C"),
        ("A", "A"), ("A. A red car", "A"), ("I believe it is C", "C"), ("The answer is A", "A"),
        ("E", ""), ("", ""), ("A car", ""), ("A or B", ""), ("A red car or a blue car", ""), ("Both B and C", ""),
        ("It cannot be determined from the video.", ""), ("Because nobody came", ""),
    ],
)  # fmt: skip
def test_the_letter_is_found(answer: str, letter: str) -> None:
    """The letter of the chosen option is found however it is written; no letter is guessed."""
    assert choice(answer, OPTIONS) == letter


@pytest.mark.parametrize("option", ["A) red", "(A) red", "A: red", "A. red", "A red"])
def test_options_may_mark_their_letter_in_any_way(option: str) -> None:
    """The letter of an option is its first letter, whatever stands around it."""
    assert choice("red", [option, "B. blue"]) == "A"
