"""The report's page: what it says, what it lets nobody do, and how large it gets."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from client.report import overview, plots, question, render, spending
from client.report.gather import Asked
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from tests.report_jobs import call, episode, gathered, many

HOSTILE = """</p></script><script>x</script>"'><img src=x onerror=y>{{ 7*7 }}\x00\u202e\u2066&lt;style>"""


class Tags(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Returns the attributes of every tag of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_question() -> None:
    """A question has its steps, each with its calls by their times, its place on the timeline and the chosen option."""
    asked = Asked(1, episode(), (call(995), call(1001), call(1011), call(1012)))
    (found,) = question.questions(gathered(asked), spending.Unit())
    assert [option.chosen for option in found.options] == [False, True]
    assert (found.seconds, found.call_count, len(found.opening_calls)) == (30.0, 4, 1)
    assert [len(step.calls) for step in found.steps] == [1, 2]
    (bar,) = found.lanes[0].bars
    assert (bar.left, bar.width, bar.kind, bar.rounds) == (43.75, 6.25, "medium", (1,))
    assert (found.opening, len(found.steps[0].pictures)) == ("captions", 1)


def test_segments_lead_to_their_rounds() -> None:
    """A segment that a text names leads to the round that opened it; the answer shows the one that it rests on."""
    made = episode()
    made.rounds[-1].thought = "It is (2,4), not (3,1): <b>seven</b>."
    text = render.html(gathered(Asked(1, made)))
    assert 'It is <a class="ref" href="#q1s1">(2,4)</a>, not (3,1): &lt;b&gt;seven&lt;/b&gt;.' in text
    (found,) = question.questions(gathered(Asked(1, made)), spending.Unit())
    assert found.key is not None
    assert found.key.place.startswith("(2,4)")


def test_right_and_wrong() -> None:
    """Where the truth is known the page says which answers are right, and what a right one costs."""
    found = many()
    unit = spending.unit(found.costs.whole)
    asked = question.questions(found, unit)
    facts = {fact.name: (fact.value, fact.more) for fact in overview.facts(asked, found, unit)}
    assert facts["Right"] == ("74 %", "29 of 39")
    assert facts["Cost for a right answer"] == ("XTS 0.0399", "")
    counts = {part.kind: part.count for part in overview.drawn(asked, found)["outcomes"]}
    assert counts == {"right": 29, "wrong": 8, "none": 3}
    assert "✗ wrong" in render.html(found)


def test_costs_are_never_made_up() -> None:
    """Without a price there are GPU-seconds, without GPUs seconds, and what is not known is a dash."""
    found = many()
    found.costs.whole.total.attributed.ClearField("cost")
    assert spending.unit(found.costs.whole).kind == "gpu"
    assert "XTS" not in render.html(found).partition("What was not spent")[0]
    assert "not said to use a GPU" not in render.html(found)
    found.costs.whole.total.ClearField("attributed")
    assert "not said to use a GPU" not in render.html(found), "nobody knows: there was no report of cost"
    found.costs.whole.total.call_count = 3
    assert "not said to use a GPU" in render.html(found)
    unit = spending.unit(found.costs.whole)
    assert (unit.kind, unit.write(None), unit.write(4.25)) == ("time", "–", "4.2 s")
    assert [spending.amount(value) for value in (0, 1240, 31.52, 0.004219)] == ["0", "1,240", "31.5", "0.00422"]
    assert [spending.lasting(value) for value in (99.9, 185, 7800)] == ["99.9 s", "3 min 05 s", "2 h 10 min"]


@pytest.mark.parametrize(
    ("state", "ending", "word", "said"),
    [
        ("FAILED", "ERROR", "failed", "The model is away."),
        ("CANCELLED", "CANCELLED", "cancelled", "It was cancelled."),
        ("UNANSWERED", "ROUNDS_EXHAUSTED", "unanswered", "All rounds passed"),
        ("RUNNING", "UNSPECIFIED", "running", "This question has not ended"),
        ("PENDING", "UNSPECIFIED", "pending", "This question has not ended"),
    ],
)
def test_without_an_answer(state: str, ending: str, word: str, said: str) -> None:
    """An episode without an answer says what it is, and why."""
    asked = episode(state=f"STATE_{state}", ending=f"ENDING_{ending}" if ending != "UNSPECIFIED" else 0)
    asked.ending = pb.Episode.Ending.Value(f"ENDING_{ending}")
    if state == "FAILED":
        asked.error.message = "the model is away"
    text = render.html(gathered(Asked(1, asked)))
    assert f">{word}</span>" in render.html(gathered(Asked(1, asked), Asked(2, episode())))
    assert said in text
    assert "It is seven." not in text.partition("Step by step")[0]


def test_a_running_job() -> None:
    """A job that has not ended says so at the top."""
    found = gathered(Asked(1, episode()))
    assert "This job has not ended" not in render.html(found)
    found.job.ClearField("end_time")
    assert "This job has not ended" in render.html(found)


def _fill(message: Message) -> None:
    """Puts hostile text into every text of a message, and of what it holds."""
    for field in message.DESCRIPTOR.fields:
        held = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.name == "role":
                continue  # nobody's words: it decides what is shown
            if field.is_repeated:
                held[:] = [HOSTILE] * max(1, len(held))
            elif field.containing_oneof is None:
                setattr(message, field.name, HOSTILE)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in held if field.is_repeated else [held] if message.HasField(field.name) else []:
                _fill(each)


def test_texts_stay_texts() -> None:
    """Tags, quotes, control and direction characters in any text of any message change nothing of the page."""
    plain, hostile = (gathered(Asked(1, episode(), (call(1001),)), Asked(2, episode())) for _ in "12")
    for step in plain.asked[0].episode.rounds:
        step.observation, step.corrections[:] = "x", ["x"]
    hostile.asked[0].episode.CopyFrom(plain.asked[0].episode)
    for message in (hostile.job, hostile.usage, hostile.video, *(asked.episode for asked in hostile.asked)):
        assert message is not None
        _fill(message)
    _fill(hostile.asked[0].calls[0])
    hostile.notes.append(HOSTILE)
    plain.notes.append("x")
    text = render.html(hostile)
    assert not re.search("[\x00\u202e\u2066]", text)
    pages = [Tags(render.html(plain)), Tags(text)]
    kept = ("html", "head", "meta", "script", "style", "link", "img", "svg", "rect", "article", "a", "details")
    assert not pages[1].of("x")
    for tag in kept:
        names = [[sorted(attributes) for attributes in each.of(tag)] for each in pages]
        assert names[0] == names[1], tag
    assert all((attributes["src"] or "").startswith("data:image/jpeg;base64,") for attributes in pages[1].of("img"))
    assert not [name for _, attributes in pages[1].tags for name in attributes if name.startswith("on")]


def test_the_policy_names_what_is_there() -> None:
    """The page allows its own style and script by their hashes, pictures inside itself, and nothing else."""
    text = render.html(gathered(Asked(1, episode())))
    (policy,) = [each["content"] for each in Tags(text).of("meta") if "http-equiv" in each]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        inside = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        assert render._hash(inside) in policy
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert " style=" not in text


def test_pictures_say_when() -> None:
    """Every picture has words that say what it shows and when."""
    for image in Tags(render.html(gathered(Asked(1, episode())))).of("img"):
        assert re.fullmatch(r"Frame of \(2,4\) 4:22–5:00 at \d:\d\d\.\d", image["alt"] or "")


def test_a_thousand_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a job holds the page stays small: the last questions are without pictures, then without steps."""
    monkeypatch.setattr(render, "FULL_BYTES", 2_000_000)
    long = episode("<" * 2000)
    long.rounds[0].observation = "<" * 3000
    found = gathered(*(Asked(number, long) for number in range(1, 1001)))
    found.pictures[2, 4] = (types_pb2.Picture(jpeg=b"x" * 9000),) * 4
    text = render.html(found)
    assert text.count('<article class="question"') == 1000
    assert "The steps are left out" in text
    assert 2_000_000 < len(text.encode()) < 12_000_000


def test_plots() -> None:
    """Histograms hold every question once, in few columns; bars are as long as their values."""
    assert sum(column.count for column in plots.rounds([(count, "good") for count in range(1, 101)])) == 100
    assert len(plots.rounds([(count, "good") for count in range(1, 101)])) <= 15
    assert [part.length for part in plots.rounds([(3, "right"), (3, "wrong")])[0].parts] == [50.0, 50.0]
    paid = plots.amounts([(0.0, "good"), (0.03, "good"), (0.12, "good")], "{:.10g}".format)
    assert [(column.label, column.count) for column in paid] == [
        ("0", 1), ("0.02", 1), ("0.04", 0), ("0.06", 0), ("0.08", 0), ("0.1", 0), ("0.12", 1)
    ]  # fmt: skip
    assert plots.opened([[(0.0, 50.0)], [(0.0, 25.0)]]) == [100.0] * 15 + [50.0] * 15 + [0.0] * 30
    assert plots.opened([[]]) == plots.amounts([], str) == []
    assert [(row.value, row.width) for row in plots.rows([("a", 2, "call"), ("b", 1, "call")])] == [
        ("2 calls", 100.0),
        ("1 call", 50.0),
    ]
    assert plots.rounds([]) == plots.rows([]) == []


_PAIRS = [("ink", "paper"), ("ink", "card"), ("ink", "sunk"), ("soft", "paper"), ("soft", "card"), ("soft", "sunk"),
          ("link", "paper"), ("link", "card"), ("good", "good-back"), ("warn", "warn-back"), ("bad", "bad-back"),
          ("busy", "busy-back"), ("bad", "card"), ("good", "card"), ("ink", "good-back"), ("ink", "warn-back"),
          ("ink", "bad-back"), ("ink", "busy-back"), ("on", "medium"), ("on", "low"), ("on", "clip"),
          ("on", "good"), ("warn", "card"), ("busy", "card")]  # fmt: skip


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_contrast(scheme: int) -> None:
    """In light, in dark and on paper every text has the contrast of WCAG AA, and every bar that of graphics."""
    style = (render.TEMPLATES / "style.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})\b", block))
    for text, back in _PAIRS:
        assert _ratio(colours[text], colours[back]) >= 4.5, (text, back)
    for bar in ("high", "medium", "low", "clip", "right", "wrong", "none"):
        assert _ratio(colours[bar], colours["card"]) >= 3, bar


def _ratio(one: str, other: str) -> float:
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [value / 255 for value in base64.b16decode(digits.upper())]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
