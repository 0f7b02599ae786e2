"""Turns what the page says into HTML, and keeps it within its size.

Every text comes from a person, a model or a video, so every one is cleaned and escaped where it is put in, by the
environment and not by the templates. The page may run one style sheet and one script, its own, known by their hashes,
and may load nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

from client import words
from client.report import overview, question, spending, timeline
from client.report.gather import Gathered
from longvideo import __version__

# Questions are shown whole until the page has this size; then without pictures and steps. A job's questions have 2 MiB,
# so that a page of 1,000 questions, each character written as an entity, stays within MAX_PAGE_BYTES.
FULL_BYTES: Final = 16_000_000
MAX_PAGE_BYTES: Final = 40_000_000
# What is shown of each text. All but what somebody made up for us is shorter.
MAX_TEXT_CHARS: Final = 40_000

TEMPLATES: Final = Path(__file__).with_name("templates")


def _shown(text: str) -> str:
    return words.clean(text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + " …")


def _finalize(value: Any) -> Any:
    """Cleans what an expression of a template gives, unless it is HTML already."""
    return value if not isinstance(value, str) or hasattr(value, "__html__") else _shown(value)


def _linked(text: str, number: int, rounds_of: Mapping[str, int]) -> Markup:
    """Returns a text in which every segment that question `number` opened leads to the round that did."""
    text = _shown(text)
    made, end = Markup(""), 0
    for start, stop, path in question.paths(text):
        if path in rounds_of:
            link = Markup('<a class="ref" href="#q{}s{}">{}</a>').format(number, rounds_of[path], text[start:stop])
            made += escape(text[end:start]) + link
            end = stop
    return made + escape(text[end:])


_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    line=words.one_line,
    share=words.share,
    plural=words.plural,
    lasting=spending.lasting,
    percent="{:.3f}%".format,
    linked=_linked,
    data=Markup,  # base64
)


def html(found: Gathered) -> str:
    """Returns the page."""
    unit = spending.unit(found.costs.whole)
    asked = question.questions(found, unit)
    length = question.duration(found)
    high = [timeline.bar(segment, length, "high") for segment in found.high]
    style, script = _asset("style.css"), _asset("script.js")
    one = _ENVIRONMENT.get_template("question.html")

    def write(each: question.Question, **how: bool) -> str:
        alone = len(asked) == 1
        return one.render(q=each, high=high, ticks=timeline.ticks(length), alone=alone, unit=unit, **how)

    usage, total = overview.usage(found, unit)
    return _ENVIRONMENT.get_template("page.html").render(
        job=found.job,
        running=not found.job.HasField("end_time"),
        state=words.state(found.job.state),
        video=words.video(found.video) if found.video is not None else found.job.video,
        submitted=words.local_time(found.job.create_time),
        made=datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        notes=found.notes,
        cost_notes=[note.message for note in found.costs.whole.notes] if unit.kind != "time" else [],
        questions=asked,
        total=len(found.job.episodes),
        unit=unit,
        facts=overview.facts(asked, found, unit),
        plots=overview.drawn(asked, found),
        outcomes=overview.OUTCOMES,
        ticks=timeline.ticks(length),
        savings=overview.savings(found, unit),
        bases=overview.bases(found, unit),
        usage=usage,
        no_gpu=unit.kind == "time" and found.costs.whole.total.call_count > 0,
        sum=total,
        articles=Markup("").join(map(Markup, _within(asked, write))),  # escaped by the template
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _within(asked: Iterable[question.Question], write: Callable[..., str]) -> Iterable[str]:
    """Yields every question: whole while there is room, then without pictures, then without steps."""
    left = FULL_BYTES
    for each in asked:
        for how in ({"steps": True, "pictures": True}, {"steps": True, "pictures": False}):
            text = write(each, **how)
            size = len(text.encode())
            if size <= left:
                left -= size
                break
        else:
            text = write(each, steps=False, pictures=False)
        yield text


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  # our own file


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
