"""Turns what the page says into HTML, and keeps it within its size.

Every text comes from a person, a model or a video, so every one is cleaned and escaped where it is put in, by the
environment and not by the templates. The page may run one style sheet and one script, its own, known by their hashes,
and may load nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from client import words
from client.report import page, plots
from client.report.gather import Gathered
from longvideo import __version__
from longvideo.v1 import orchestrator_pb2 as pb

# Questions are shown whole until the page has this size; then without pictures and steps. A job's questions have 2 MiB,
# so that a page of 1,000 questions, each character written as an entity, stays within MAX_PAGE_BYTES.
FULL_BYTES: Final = 16_000_000
MAX_PAGE_BYTES: Final = 40_000_000
# What is shown of each text. All but what somebody made up for us is shorter.
MAX_TEXT_CHARS: Final = 40_000

_HERE = Path(__file__).parent


def _finalize(value: Any) -> Any:
    """Cleans what an expression of a template gives, unless it is HTML already."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return words.clean(value if len(value) <= MAX_TEXT_CHARS else value[:MAX_TEXT_CHARS] + " …")


_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    line=words.one_line,
    share=words.share,
    plural=words.plural,
    data=Markup,  # base64
)


def html(found: Gathered) -> str:
    """Returns the page."""
    asked = page.questions(found)
    length = page.duration(found)
    style, script = _asset("style.css"), _asset("script.js")
    high = [page.bar(segment, length, "high", words.place(segment)) for segment in found.high]
    episode = _TEMPLATES.get_template("question.html")

    def write(question: page.Question, **how: bool) -> str:
        alone = len(asked) == 1
        return episode.render(q=question, high=high, ticks=plots.ticks(length), alone=alone, **how)

    return _TEMPLATES.get_template("page.html").render(
        job=found.job,
        running=not found.job.HasField("end_time"),
        state=words.state(found.job.state),
        video=words.video(found.video) if found.video is not None else found.job.video,
        submitted=words.local_time(found.job.create_time),
        made=datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        notes=found.notes,
        questions=asked,
        total=len(found.job.episodes),
        answered=sum(question.tone == "good" for question in asked),
        plots=_plots(asked, found.usage),
        usage=[_usage(row) for row in found.usage.rows],
        sum=_sum(found.usage),
        articles=Markup("").join(map(Markup, _within(asked, write))),  # escaped by the template
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _within(asked: Iterable[page.Question], write: Callable[..., str]) -> Iterable[str]:
    """Yields every question: whole while there is room, then without pictures, then without steps."""
    left = FULL_BYTES
    for question in asked:
        for how in ({"steps": True, "pictures": True}, {"steps": True, "pictures": False}):
            text = write(question, **how)
            size = len(text.encode())
            if size <= left:
                left -= size
                break
        else:
            text = write(question, steps=False, pictures=False)
        yield text


def _asset(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))  # noqa: S704  # our own file


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _plots(asked: Sequence[page.Question], usage: pb.Usage) -> dict[str, Any]:
    names = [f"{row.model} ({words.role(row.role)})" for row in usage.rows]
    return {
        "rounds": plots.rounds([question.rounds for question in asked]),
        "opened": plots.shares([question.opened for question in asked]),
        "seconds": plots.rows(
            (name, words.seconds(row.model_duration), "") for name, row in zip(names, usage.rows, strict=True)
        ),
        "calls": plots.rows((name, row.call_count, "call") for name, row in zip(names, usage.rows, strict=True)),
    }


def _usage(row: pb.UsageRow) -> dict[str, Any]:
    return {
        "role": words.role(row.role),
        "model": row.model,
        "pool": row.pool,
        "calls": row.call_count,
        "failed": row.failed_call_count,
        "seconds": words.seconds(row.model_duration),
        "prompt": row.prompt_token_count,
        "cached": row.cached_token_count,
        "completion": row.completion_token_count,
    }


def _sum(usage: pb.Usage) -> dict[str, Any]:
    rows = [_usage(row) for row in usage.rows]
    return {
        key: sum(row[key] for row in rows) for key in ("calls", "failed", "seconds", "prompt", "cached", "completion")
    }
