"""What dashboards show, and how they are laid out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from monitoring import __main__ as files
from monitoring.queries import for_dashboard, for_rule
from tests.promql import check

MADE = files.made()
BOARDS = {name: json.loads(text) for name, text in MADE.items() if name.endswith(".json")}
UNITS = {"short", "s", "percentunit", "reqps", "cps", "bytes", "binBps", "currency", "none"}

Board = dict[str, Any]


def panels(board: Board) -> list[dict[str, Any]]:
    """Returns the panels that are no rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: Board) -> Iterator[str]:
    """Yields every query of a dashboard."""
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield target["expr"]


def test_the_files_are_those_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """What the chart carries is what the code makes."""
    assert files.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", BOARDS)
def test_queries_make_sense(name: str) -> None:
    """Each query parses, and names metrics, labels and values that there are; all are of the chosen namespace."""
    for query in queries(BOARDS[name]):
        check(query)
        assert query.count('namespace="$namespace"') == query.count("{"), query


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows(name: str) -> None:
    """Each panel has a title of its own, a sentence about it and, if it shows numbers, a unit."""
    shown = panels(BOARDS[name])
    titles = [(panel["title"], panel["gridPos"]["y"]) for panel in shown]
    assert len(titles) == len(set(titles))
    for panel in shown:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        if panel["type"] != "text":
            unit = panel["fieldConfig"]["defaults"]["unit"]
            assert unit in UNITS or unit.startswith("prefix:"), panel["title"]
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", BOARDS)
def test_panels_fill_the_grid(name: str) -> None:
    """No two panels overlap, none is wider than the page, and each line of panels fills its width."""
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    for line in {place["y"] for place in places}:
        on_it = [place for place in places if place["y"] == line]
        assert sum(place["w"] for place in on_it) == 24
        assert len({place["h"] for place in on_it}) == 1


def test_dashboards_belong_together() -> None:
    """Each has an address and a title of its own, links to the others, and begins with the same variables."""
    assert len({board["uid"] for board in BOARDS.values()}) == len({board["title"] for board in BOARDS.values()})
    for board in BOARDS.values():
        variables = [variable["name"] for variable in board["templating"]["list"]]
        assert variables in (["datasource", "namespace"], ["datasource", "namespace", "pool", "model"])
        (link,) = board["links"]
        assert link["tags"] == board["tags"]
        used = json.dumps(list(queries(board)))
        assert all(f"${name}" in used for name in variables[1:])
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))


def test_scopes() -> None:
    """A scope in a query's braces becomes the matchers that it stands for."""
    assert for_dashboard('a{} / b{x="y"}') == 'a{namespace="$namespace"} / b{namespace="$namespace",x="y"}'
    assert for_dashboard('a{pools,x="y"}') == 'a{namespace="$namespace",pool=~"$pool",x="y"}'
    assert for_dashboard("a{models}") == 'a{namespace="$namespace",pool=~"$pool",model=~"$model"}'
    assert for_rule("a{}") == 'a{namespace="longvideo"}'
