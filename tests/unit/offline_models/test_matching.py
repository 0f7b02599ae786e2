"""Matching questions with texts."""

from __future__ import annotations

import pytest

from offline_models.kinds import Kind, fit, kind_of, unit_of
from offline_models.matching import Cell, Passage, find, parse_query, supports
from offline_models.wording import distance, presence, similarity, stem


@pytest.mark.parametrize(
    ("one", "other"),
    [("departs", "departing"), ("bakeries", "bakery"), ("harbour", "harhour"), ("14:35", "1435"), ("B17", "817")],
)
def test_words_are_recognised_in_other_forms_and_misread(one: str, other: str) -> None:
    """Endings, one misread letter and confused digits do not keep words apart."""
    assert similarity(one.casefold(), other.casefold()) >= 0.75


@pytest.mark.parametrize(("one", "other"), [("north", "south"), ("14:35", "14:55"), ("boat", "coat"), ("12", "21")])
def test_different_words_stay_different(one: str, other: str) -> None:
    """Words and numbers that mean something else are not matched."""
    assert similarity(one, other) == 0


def test_a_word_is_found_where_words_have_run_together() -> None:
    """A recogniser that loses a space does not hide a word."""
    assert presence("ferry", "Ferryto Lund") >= 0.8


def test_distance_stops_at_its_limit() -> None:
    """The distance of words that are far apart is the limit and one more."""
    assert distance("kitten", "sitting", 3) == 3
    assert distance("kitten", "completely", 2) == 3


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("What is the phone number of the shop?", Kind.PHONE),
        ("How much does a ticket cost?", Kind.MONEY),
        ("What time does the ferry leave?", Kind.TIME),
        ("In what year was it made?", Kind.DATE),
        ("How many sheep are there?", Kind.NUMBER),
        ("What baking time does it need?", Kind.NUMBER),
        ("From which platform does it go?", Kind.CODE),
        ("Where was it cast?", Kind.PLACE),
        ("Who owns the shop?", Kind.NAME),
        ("What does the poster say?", Kind.TEXT),
    ],
)
def test_kinds_of_questions(question: str, kind: Kind) -> None:
    """What kind of answer is wanted follows from the question's words."""
    assert kind_of(question) is kind


def test_a_value_in_another_unit_does_not_fit() -> None:
    """A weight is no duration, and a plain number may be either."""
    unit = unit_of("How long must it bake?")
    assert fit(Kind.NUMBER, "35 min", unit) > fit(Kind.NUMBER, "35", unit) > fit(Kind.NUMBER, "125 g", unit)


def test_sentences_first_words_are_no_names() -> None:
    """A capital at the start of a sentence does not make a name."""
    assert fit(Kind.NAME, "Further up the valley we go") < fit(Kind.NAME, "The dog is called Brisk now")


def test_names_and_asked_properties_must_be_found() -> None:
    """A question's names, numbers and the property it asks for are hard; its verbs are not."""
    terms = {
        term.word: term for term in parse_query("Who is the leader of the Draupner expedition that started here?").terms
    }
    assert terms["leader"].hard
    assert terms["draupner"].hard
    assert not terms["expedition"].hard
    assert terms["started"].weight < 0.5


def test_a_line_that_names_its_own_value_lends_its_words_to_no_other() -> None:
    """`Average: 35` says nothing about the value of `Baltic: 8` below it."""
    cells = (Cell("Salinity"), Cell("Average: 35 grams"), Cell("Baltic: 8 grams"))
    passage = Passage(cells, 1.0, 2.0)
    assert find(parse_query("What is the salinity of the Baltic?"), [passage])[0].value == "Baltic: 8 grams"
    assert not [
        finding
        for finding in find(
            parse_query("How many grams are the average of the Baltic?"), [Passage(cells[:2], 1.0, 2.0)]
        )
        if finding.answers
    ]


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("14:35", "leaves at 14:35", True),
        ("14:35", "Lund 1435", True),
        ("8", "18 grams", False),
        ("8", "8 grams", True),
        ("79 m", "179 m", False),
        ("a red car", "The red car stops", True),
        ("B17", "Gate B17", True),
        ("Lund", "Ferry to Lundby", False),
    ],
)
def test_options_are_found_whole(option: str, text: str, said: bool) -> None:
    """An option is said by a text that has all its numbers and most of its words, not by a part of a longer number."""
    assert (supports(option, text) >= 0.8) is said


def test_stems_are_stable() -> None:
    """A stem's stem is itself for common words."""
    for word in ("departures", "running", "ferries", "glasses", "1435", "is"):
        assert stem(stem(word)) == stem(word)
