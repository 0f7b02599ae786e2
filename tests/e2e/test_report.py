"""The page of `longvideo report` in a real browser: what a person sees, types and prints."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from client import cli
from client.report import render
from longvideo.testing import ScriptedModelServer
from tests.e2e.conftest import Run
from tests.e2e.test_offline import sign
from tests.media import make_video
from tests.parts.chromium import chromium, opened
from tests.report_jobs import many
from tests.unit.client.test_report import HOSTILE

SHOTS = Path(__file__).parents[2] / "var" / "report"
"""Where the pictures of the pages are kept, for people to look at."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests here."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a question that the offline models answered about a video that they had never seen."""
    folder = tmp_path_factory.mktemp("one")
    video = make_video(folder / "signs.mp4", seconds=24, fps=2, width=640, height=360, gop=12, paint=sign)
    where = ["--data-dir", str(folder / "data")]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LONGVIDEO_UNAVAILABLE_PATIENCE", "0")
        assert cli.run(["ask", str(video), "What is the gate number?", "--quiet", *where]) == 0
        assert cli.run(["report", _only_job(where), "-o", str(folder / "one.html"), *where]) == 0
    return folder / "one.html"


def _only_job(where: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.run(["jobs", "list", "--json", *where]) == 0
    (job,) = json.loads(out.getvalue())["jobs"]
    return str(job["job"])


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a job of forty questions with truth and costs, one of them hostile."""
    found = many()
    found.asked[2].episode.question.text = HOSTILE
    found.asked[2].episode.rounds[0].observation = HOSTILE
    path = tmp_path_factory.mktemp("forty") / "forty.html"
    path.write_text(render.html(found), encoding="utf-8")
    return path


@pytest.fixture(params=["one", "forty"])
def page_file(request: pytest.FixtureRequest) -> Path:
    """A page of one question, and one of many."""
    path: Path = request.getfixturevalue(request.param)
    return path


def test_it_tells_the_price(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a price book the page tells the cost of the question and of each round; without one the GPU-seconds."""
    endpoint = {"url": models.url, "roles": ["reason", "caption", "qa"], "pool": "here", "gpus": 2}
    monkeypatch.setenv("LONGVIDEO_ENDPOINTS", json.dumps([endpoint]))
    asked = run("ask", talk, "Which number?")
    command = re.search(r"^Page +(\S+) report (jobs/\w+) --data-dir", asked.out, re.MULTILINE)
    assert command is not None, asked.out
    page = tmp_path / "page.html"
    assert run("report", command[2], "-o", page).code == 0
    assert re.search(r"<dt>GPU time</dt><dd>[\d.]+ GPU-s</dd>", page.read_text("utf-8"))
    book = tmp_path / "prices.toml"
    book.write_text('currency = "XTS"\n[[prices]]\npool = "here"\ngpu_hour = 9\nvalid_from = 2020-01-01\nsource = "x"')
    monkeypatch.setenv("LONGVIDEO_PRICE_BOOK", str(book))
    assert run("report", command[2], "-o", page).code == 0
    text = page.read_text("utf-8")
    assert re.search(r"<dt>Cost</dt><dd>XTS 0\.\d+</dd>", text)
    assert len(re.findall(r'class="took">[^<]+ · XTS 0\.\d+ · ', text)) == 3


@pytest.mark.parametrize("width", [360, 820, 1440])
def test_it_fits_every_screen(browser: Browser, page_file: Path, width: int) -> None:
    """On a phone, a tablet and a desktop, by day and by night, nothing sticks out, and nothing else is loaded."""
    with opened(browser, page_file, width) as found:
        page = found.page
        SHOTS.mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SHOTS / f"{page_file.stem}-{width}-{scheme}.png", full_page=True)
            back = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", back)[:3])) < 200) == (scheme == "dark")
        assert _overhang(page) == 0
        page.get_by_role("button", name="Open all").click()
        assert page.locator("details:not([open])").count() == 0
        assert _overhang(page) == 0
        assert [url for url in found.requests if not url.startswith("data:")] == [page_file.as_uri()]
        assert found.complaints == []


def _overhang(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_the_keyboard_reaches_all(browser: Browser, one: Path) -> None:
    """The first key offers to skip; arrows go along the timeline; Enter on a bar leads to its round, open."""
    with opened(browser, one) as found:
        page = found.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "questions"
        page.get_by_role("button", name="Close all").click()
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("!!document.activeElement.closest('.timeline')"):
                break
            if page.evaluate("document.activeElement === document.body"):
                page.keyboard.press("Tab")
        first = page.evaluate("document.activeElement.getAttribute('href')")
        page.keyboard.press("ArrowRight")
        second = page.evaluate("document.activeElement.getAttribute('href')")
        assert (first, second) == ("#q1s1", "#q1s2")
        page.keyboard.press("Enter")
        page.locator("#q1s2 > details[open]").wait_for()
        assert page.evaluate("document.activeElement === document.querySelector('#q1s2 summary')")
        page.keyboard.press("Space")
        page.locator("#q1s2 > details:not([open])").wait_for()


def test_focus_is_seen(browser: Browser, forty: Path) -> None:
    """Whatever the keyboard reaches is drawn with an outline."""
    with opened(browser, forty) as found:
        for _ in range(8):
            found.page.keyboard.press("Tab")
            style = found.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", found.page.evaluate("document.activeElement.outerHTML")


def test_questions_are_found_and_sorted(browser: Browser, forty: Path) -> None:
    """Typing leaves the questions that hold the words; sorting puts the wrong ones or the dearest first."""
    with opened(browser, forty) as found:
        page = found.page
        page.get_by_label("Find a question").fill("umbrella")
        assert page.locator("article:visible").count() == 8
        assert page.get_by_role("status").inner_text() == "8 of 40"
        page.get_by_label("Find a question").fill("")
        page.get_by_label("Sort").select_option("Result, worst first")
        assert page.locator("article").first.get_attribute("data-result") == "wrong"
        page.get_by_label("Sort").select_option("Dearest")
        assert page.locator("article").first.get_attribute("id") == "q12"


def test_hostile_texts_do_nothing(browser: Browser, forty: Path) -> None:
    """A question that is markup and script is shown as its characters, and nothing of it runs."""
    with opened(browser, forty) as found:
        assert "<img src=x onerror=y>" in found.page.locator("#q3 .asked").inner_text()
        assert found.page.locator("img[src=x]").count() == 0
        assert found.complaints == []


def test_without_scripts(browser: Browser, forty: Path) -> None:
    """Where scripts are off the page is read all the same: its parts open, and its links lead there."""
    with opened(browser, forty, java_script_enabled=False) as found:
        found.page.locator("#q1 > details > summary").click()
        assert found.page.locator("#q1 .answer .said").is_visible()
        assert found.page.locator(".tools button").count() == 0


def test_on_paper(browser: Browser, forty: Path) -> None:
    """Paper is white, has no buttons, and shows what is closed on the screen."""
    with opened(browser, forty, color_scheme="dark") as found:
        page = found.page
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator(".tools").first.is_visible()
        assert page.locator("#q40 .step .thought").last.is_visible()
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("#q40 > details[open]").count() == 0
        SHOTS.mkdir(parents=True, exist_ok=True)
        assert page.pdf(path=SHOTS / "forty.pdf").startswith(b"%PDF")
