"""What a model server's answer means: the text and its cost, or a failure and what to do about it.

    answer                                   raised as            reason                 tried again
    ---------------------------------------  -------------------  ---------------------  ----------------------------
    no connection, connection cut            ModelUnavailable     MODEL_UNREACHABLE      yes
    429, 500, 502, 503, 504                  ModelUnavailable     MODEL_OVERLOADED /     yes, after Retry-After
                                                                  MODEL_FAILED
    finish_reason "abort"                    ModelUnavailable     MODEL_FAILED           yes
    no answer in time                        ModelUnavailable     MODEL_TIMEOUT          once, on another server
    401, 403                                 ModelRejected        MODEL_UNAUTHORIZED     no
    404                                      ModelRejected        MODEL_NOT_FOUND        no
    400, 413, 422 and other 4xx              ModelRejected        MODEL_BAD_REQUEST      no
    3xx, HTML, no JSON, no `choices`         ModelRejected        MODEL_NOT_OPENAI       no

Everything a server says is bounded, rid of control characters and of the API key before it goes into a message.
"""

from __future__ import annotations

import datetime
import email.utils
import http
import json
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx2

from longvideo.errors import LongVideoError, ModelRejected, ModelUnavailable
from longvideo.usage import Outcome, Role

MAX_QUOTE = 300
"""The most characters of a server's own words that go into a message."""

# A day: no call takes so long, and what is more is no time.
_MOST_MILLISECONDS = 24 * 3600 * 1000

_RETRIED = frozenset((500, 502, 503, 504))


@dataclass(frozen=True)
class Failure:
    """One attempt that gave no answer: the error it is raised as, and whether another attempt can help.

    `detail` is the cause in a few words, for the record of the call; `wait` the seconds that the server asked for.
    `retry`: "elsewhere" means on a server that has not failed so yet.
    """

    error: type[LongVideoError]
    reason: str
    message: str
    detail: str
    retry: Literal["no", "yes", "elsewhere"] = "no"
    wait: float = 0.0
    outcome: Outcome = "error"


@dataclass(frozen=True)
class Usage:
    """What one call took, as its server counted it, and its name for the model.

    Tokens are 0 where the server does not say, and seconds None.
    """

    model: str = ""
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    queue_seconds: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said, why it stopped, what that took, and what the server calls it."""

    text: str
    finish_reason: str
    usage: Usage
    id: str = ""


class FailedAttempt(Exception):
    """Carries a failure, and what the attempt took all the same."""

    def __init__(self, failure: Failure, usage: Usage | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.usage = usage or Usage()


def read_answer(response: httpx2.Response, url: str) -> Answer:
    """Returns what a 2xx response to a chat completion says. Raises FailedAttempt when that is not an answer."""
    body = read_json(response, url)
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        if isinstance(body, dict) and body.get("error"):
            said = quote(_message(body))
            raise FailedAttempt(Failure(ModelRejected, "MODEL_BAD_REQUEST", f"{url} refused the request: {said}", said))
        raise FailedAttempt(not_openai(url, "answered JSON without `choices`"))
    usage = _usage(body)
    choice = body["choices"][0] if body["choices"] and isinstance(body["choices"][0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    finish_reason = str(choice.get("finish_reason") or "")[:40]
    if finish_reason == "abort":
        raise FailedAttempt(
            _failed(url, "gave up on the request; it may be shutting down", "finish_reason abort"), usage
        )
    return Answer(_text(content), finish_reason, usage, str(body.get("id") or "")[:200])


def read_json(response: httpx2.Response, url: str) -> Any:
    """Returns the parsed body. Raises FailedAttempt: to be tried again where the server meant to send JSON."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "").split(";")[0].strip().lower() or "no content type"
    if kind.endswith("json"):
        raise FailedAttempt(_failed(url, "sent JSON that ends too early or is damaged", "damaged JSON"))
    raise FailedAttempt(not_openai(url, f"answered {quote(kind)} instead of JSON"))


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    # JSON can hold half of a surrogate pair, which nothing after us could encode.
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""


def _usage(body: dict[str, Any]) -> Usage:
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    model = body.get("model")
    # vLLM with --enable-per-request-metrics. Its time to the first token starts where the wait in the queue ends.
    metrics = body.get("metrics")
    times = metrics if isinstance(metrics, dict) else {}
    return Usage(
        model=quote(model)[:200] if isinstance(model, str) else "",
        prompt=_count(counts.get("prompt_tokens")),
        cached=_count(cached),
        completion=_count(counts.get("completion_tokens")),
        queue_seconds=_seconds(times.get("queue_time_ms")),
        prefill_seconds=_seconds(times.get("time_to_first_token_ms")),
        decode_seconds=_seconds(times.get("generation_time_ms")),
    )


def _count(value: Any) -> int:
    return min(max(value, 0), 1 << 40) if isinstance(value, int) else 0


def _seconds(milliseconds: Any) -> float | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    return milliseconds / 1000 if 0 <= milliseconds <= _MOST_MILLISECONDS else None


def refused(response: httpx2.Response, url: str, role: Role, model: str, models: tuple[str, ...]) -> Failure:
    """Returns what a response that is not 2xx means. `models` are the names that the server lists."""
    status = response.status_code
    said = quote(_said(response))
    detail = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    answered = f"answered {status} {_phrase(status)}".strip() + (f": {said}" if said else "")
    if status in {429, 503}:
        message = f"The {role} model at {url} is too busy: it {answered}"
        return Failure(ModelUnavailable, "MODEL_OVERLOADED", message, detail, "yes", retry_after(response))
    if status >= 500:
        failure = _failed(url, answered, detail, retry_after(response))
        return failure if status in _RETRIED else replace(failure, retry="no")
    if 300 <= status < 400:
        location = quote(response.headers.get("location", "")) or "somewhere else"
        failure = not_openai(url, f"redirects to {location}, which is not followed", detail)
    elif status in {401, 403}:
        message = (
            f"The {role} model at {url} wants another API key: it {answered}. Set the right one in the environment as"
        )
        message += f" LONGVIDEO_API_KEY or LONGVIDEO_{role.upper()}_API_KEY"
        failure = Failure(ModelRejected, "MODEL_UNAUTHORIZED", message, detail)
    elif status == 404 and models:
        shown = ", ".join(quote(name) for name in models[:10]) + (" and more" if len(models) > 10 else "")
        message = f"The server at {url} has no model {quote(model)!r} for the role {role}. It has: {shown}"
        failure = Failure(ModelRejected, "MODEL_NOT_FOUND", message, detail)
    elif status == 404:
        failure = not_openai(url, answered, detail)
    else:
        message = f"The {role} model at {url} refused the request: it {answered}"
        failure = Failure(ModelRejected, "MODEL_BAD_REQUEST", message, detail)
    return failure


def not_openai(url: str, what: str, detail: str = "") -> Failure:
    """Returns the failure of something that is no OpenAI-compatible server, or is one at another path."""
    message = f"{url} is not an OpenAI-compatible model server: it {what}. Check the URL; it mostly ends in /v1"
    return Failure(ModelRejected, "MODEL_NOT_OPENAI", message, detail or what)


def _failed(url: str, what: str, detail: str, wait: float = 0.0) -> Failure:
    return Failure(ModelUnavailable, "MODEL_FAILED", f"The model server at {url} {what}", detail, "yes", wait)


def unreachable(url: str, why: str) -> Failure:
    """Returns the failure of a connection that could not be made, or was cut."""
    why = quote(why) or "the connection failed"
    message = f"The model server at {url} cannot be reached: {why}. Check that it runs and that the URL is right"
    return Failure(ModelUnavailable, "MODEL_UNREACHABLE", message, why, "yes")


def unreadable(url: str, why: str) -> Failure:
    """Returns the failure of an answer that may not be read."""
    return Failure(
        ModelRejected, "MODEL_NOT_OPENAI", f"The answer of the model server at {url} cannot be read: {why}", why
    )


def timed_out(url: str, seconds: float) -> Failure:
    """Returns the failure of a server that did not answer in time."""
    message = f"The model server at {url} did not answer within {seconds:.1f} s. Allow more time, or check its load"
    detail = f"no answer within {seconds:.1f} s"
    return Failure(ModelUnavailable, "MODEL_TIMEOUT", message, detail, "elsewhere", outcome="timeout")


def retry_after(response: httpx2.Response) -> float:
    """Returns the seconds that the server asks to wait: 0 where it does not say, or not understandably."""
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.UTC)
        seconds = (when - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def quote(text: str) -> str:
    """Returns a server's words fit for a message: on one line, printable, at most MAX_QUOTE characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_QUOTE]).split())
    return line if len(line) <= MAX_QUOTE else line[: MAX_QUOTE - 1] + "…"


def _said(response: httpx2.Response) -> str:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "")
        return "" if "html" in kind else response.content[: 4 * MAX_QUOTE].decode("utf-8", "replace")
    return _message(body)


def _message(body: Any) -> str:
    # OpenAI: {"error": {"message": ...}}; others: {"error": "..."}, {"message": ...}, FastAPI: {"detail": ...}.
    while isinstance(body, dict):
        body = next((body[key] for key in ("error", "message", "detail") if body.get(key)), None)
    return "" if body is None else body if isinstance(body, str) else json.dumps(body)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
