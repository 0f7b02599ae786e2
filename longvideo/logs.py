"""Logs: one line for each thing that happened, with the names of whom and what it happened to, and no secret.

Everybody logs with the standard library. What is bound here goes with every line that is logged meanwhile, by whomever;
`longvideo.rpc` sends it along with calls, so that one episode can be followed through all services. Each line also has
the trace that it belongs to (`longvideo.telemetry`).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from longvideo.settings import Settings  # which knows the limits of `longvideo.rpc`, which binds names here

_P = ParamSpec("_P")
_R = TypeVar("_R")

ACCESS_FIELDS: Final = ("code", "seconds")
"""What an access line has besides what is bound."""

# They tell of each message that comes and goes, and of each attempt of what is told when it has failed.
_CHATTY: Final = {
    "celery.beat": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "urllib3.connectionpool": logging.ERROR,
}

_HIDDEN: Final = "[hidden]"
_LEAST_SECRET: Final = 6
# What looks like a secret, wherever it comes from: the first group stays.
_SUSPECTS: Final = re.compile(
    r"(\blv_[A-Za-z0-9-]+_)[A-Za-z0-9_-]+"  # tokens
    r"|(\bBearer )[^\s\"',]+"
    r"|([?&](?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|Signature|AWSAccessKeyId)=)[^&\s\"']+"
    r"|(\b[a-z][a-z0-9+.-]*://[^\s:/@\"']*:)[^\s@/\"']+(?=@)",  # passwords in URLs
    re.IGNORECASE,
)


_NAMES: Final = contextvars.ContextVar[Mapping[str, str]]("names", default={})  # noqa: B039  # nobody changes it


def bind(**names: str) -> None:
    """Puts names on every line from here on, for the rest of the call or thread; empty ones are left out."""
    _NAMES.set({**_NAMES.get(), **{name: value for name, value in names.items() if value}})


@contextlib.contextmanager
def bound(**names: str) -> Iterator[None]:
    """Puts names on every line that is logged within."""
    token = _NAMES.set({**_NAMES.get(), **names})
    try:
        yield
    finally:
        _NAMES.reset(token)


def names() -> Mapping[str, str]:
    """Returns what is bound."""
    return _NAMES.get()


def names_of(episode: str) -> dict[str, str]:
    """Returns what is bound for an episode: its name, and its job's."""
    return {"episode": episode, "job": episode.partition("/episodes/")[0]} if episode else {}


def carried(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Returns the function for another thread, where it runs with what is bound here, and for whom it is done here."""
    context = contextvars.copy_context()

    @functools.wraps(function)
    def run(*args: _P.args, **options: _P.kwargs) -> _R:
        return context.copy().run(function, *args, **options)

    return run


def configure(settings: Settings, service: str) -> None:
    """Makes this process log as the settings say, one line at a time, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings, service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name, least in _CHATTY.items():
        quiet = least if settings.log_level != "debug" else logging.NOTSET
        logging.getLogger(name).setLevel(max(quiet, root.level))
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # a line that cannot be made would be shown as it was given
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda told: _log_uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def formatter(settings: Settings, service: str) -> logging.Formatter:
    """Returns what makes a line of a record: JSON or text, as the settings say."""
    # Heavy, and not for the `longvideo` command, which binds names and logs in its own plain way.
    import structlog  # noqa: PLC0415

    from longvideo import telemetry  # noqa: PLC0415

    def add_names(_logger: Any, _method: str, event: Any) -> Any:
        event.update(names(), **telemetry.ids(), service=service)
        return event

    shared: list[Any] = [
        add_names,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=ACCESS_FIELDS),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    rendered: list[Any] = [
        structlog.dev.ConsoleRenderer(
            colors=False, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
        )
    ]
    if settings.log_format == "json":
        rendered = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    return Hiding(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        ),
        settings.secrets(),
    )


class Veil:
    """Leaves no secret in a text, however it came there: those that are known, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # In a JSON line, and in what Python shows of a text, quotes and backslashes have another form.
        forms = {form for secret in secrets for form in (secret, repr(secret)[1:-1])}
        known = forms | {json.dumps(form, ensure_ascii=False)[1:-1] for form in forms}
        # Short ones would hide parts of other words.
        longest_first = sorted((one for one in known if len(one) >= _LEAST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        """Returns the text without them."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        return _SUSPECTS.sub(lambda found: next(filter(None, found.groups())) + _HIDDEN, text)


class Hiding(logging.Formatter):
    """Leaves no secret in the lines that another formatter makes."""

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._inner, self._veil = inner, Veil(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        return self._veil.hide(self._inner.format(record))


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("longvideo").critical("the process failed", exc_info=(kind, error, trace))
