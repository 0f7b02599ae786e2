"""Lines of the log: what is on them, and what never is."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from longvideo import logs, settings, telemetry
from longvideo.rpc import tracing

SECRETS = {
    "database_url": ("postgresql://longvideo:hush-db%2Fx@db/longvideo", ["hush-db%2Fx", "hush-db/x"]),
    "broker_url": ("redis://:hush-broker@redis:6379/0", ["hush-broker"]),
    "s3_access_key": ("hush-access", ["hush-access"]),
    "s3_secret_key": ('hush-"quoted"\\secret', ['hush-"quoted"\\secret']),
    "s3_session_token": ("hush-session", ["hush-session"]),
    "token": ("lv_ada_hush-token", ["lv_ada_hush-token"]),
    "api_key": ("hush-api", ["hush-api"]),
    "reason_api_key": ("hush-reason", ["hush-reason"]),
    "caption_api_key": ("hush-caption", ["hush-caption"]),
    "qa_api_key": ("hush-qa-key", ["hush-qa-key"]),
}


@pytest.fixture
def log() -> Iterator[Any]:
    """Gives a logger that writes as the settings say, and what it has written."""
    logger = logging.Logger("longvideo.test", logging.DEBUG)  # one that nobody else sees

    def start(**given: Any) -> tuple[logging.Logger, io.StringIO]:
        written = io.StringIO()
        handler = logging.StreamHandler(written)
        handler.setFormatter(logs.formatter(settings.load(**given), "caption_svc"))
        logger.handlers[:] = [handler]
        return logger, written

    yield start
    logs._NAMES.set({})


def test_a_line_is_a_json_object_with_what_is_bound(log: Any) -> None:
    """A line says what, when, where, how grave, and for whom; what was bound within a block ends with it."""
    logger, written = log()
    with logs.bound(tenant="ada", **logs.names_of("jobs/1/episodes/2")):
        logger.warning("no %s", "answer", extra={"code": "OK", "other": "is left out"})
    logger.info("later\nlines")
    first, second = map(json.loads, written.getvalue().splitlines())

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", first.pop("time"))
    assert first == {
        "message": "no answer", "level": "warning", "logger": "longvideo.test", "service": "caption_svc",
        "tenant": "ada", "episode": "jobs/1/episodes/2", "job": "jobs/1", "code": "OK",
    }  # fmt: skip
    assert (second["message"], "tenant" in second) == ("later\nlines", False)


def test_text_is_for_people(log: Any) -> None:
    """In the form of text a line has the same words."""
    logger, written = log(log_format="text")
    with logs.bound(tenant="ada"):
        logger.warning("no answer")

    assert all(word in written.getvalue() for word in ("warning", "no answer", "tenant=ada", "service=caption_svc"))


def test_other_threads_know_for_whom_they_work() -> None:
    """Work that is handed to another thread takes along what is bound; a thread alone has nothing."""
    seen: list[dict[str, str]] = []

    def look() -> None:
        seen.append(dict(logs.names()))

    with logs.bound(tenant="ada"):
        for target in (logs.carried(look), look):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    assert seen == [{"tenant": "ada"}, {}]


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("how", ["message", "argument", "bound", "traceback"])
def test_no_secret_is_logged(log: Any, form: str, how: str) -> None:
    """No secret of the settings reaches a line, wherever it comes from."""
    logger, written = log(
        log_format=form,
        endpoints=[{"url": "http://gpu:8000/v1", "roles": ["reason"], "api_key": "hush-endpoint"}],
        **{name: value for name, (value, _) in SECRETS.items()},
    )
    for hidden in ["hush-reason", *(one for _, parts in SECRETS.values() for one in parts)]:
        if how == "message":
            logger.error(hidden)
        elif how == "argument":
            logger.error("it is %s", hidden)
        elif how == "bound":
            with logs.bound(tenant=hidden):
                logger.error("whose?")
        else:
            try:
                raise ValueError(hidden)
            except ValueError:
                logger.exception("it failed")

    assert written.getvalue()
    assert "hush" not in written.getvalue()


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("token lv_1a2b_hush-hush refused", "token lv_1a2b_[hidden] refused"),
        ("authorization: Bearer hush.hush", "authorization: Bearer [hidden]"),
        ("GET https://s3/b/k?X-Amz-Signature=hush&a=1", "GET https://s3/b/k?X-Amz-Signature=[hidden]&a=1"),
        ("X-Amz: ?a=1&X-Amz-Security-Token=hush", "X-Amz: ?a=1&X-Amz-Security-Token=[hidden]"),
        ("cannot connect to redis://ada:hush@r:6379/0", "cannot connect to redis://ada:[hidden]@r:6379/0"),
        ("nothing of lv_ or https://host:7700/x", "nothing of lv_ or https://host:7700/x"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(log: Any, said: str, left: str) -> None:
    """Tokens, presigned URLs and passwords in URLs are hidden also when the settings do not know them."""
    logger, written = log()
    logger.error("%s", said)

    assert json.loads(written.getvalue())["message"] == left


def test_ids_travel_with_calls() -> None:
    """What is bound goes out as metadata, and is bound where the call comes in; the trace stays."""
    place = telemetry.parse("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00")
    with logs.bound(tenant="ada", episode="jobs/1/episodes/2"), telemetry.span("asking", parent=place):
        sent = tracing.outgoing(tracing.begin_call("/longvideo.v1.CaptionService/CaptionSegment", "[::1]:7701"))
    assert dict(sent)["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")

    def arrive(metadata: Any, trusted: bool) -> dict[str, str]:
        def run() -> dict[str, str]:
            with tracing.answering("/longvideo.v1.CaptionService/CaptionSegment", metadata):
                tracing.bind("/longvideo.v1.CaptionService/CaptionSegment", metadata, trusted=trusted)
                return {**logs.names(), **telemetry.ids()}

        return logs.carried(run)()

    assert arrive(sent, True) == {
        "method": "CaptionSegment", "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "tenant": "ada", "episode": "jobs/1/episodes/2", "job": "jobs/1",
    }  # fmt: skip
    assert arrive(sent, False).keys() == {"method", "trace_id"}


@pytest.mark.parametrize("trace", ["", "nonsense", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'A' * 32}-{'1' * 16}-01"])
def test_what_is_no_id_is_not_believed(trace: str) -> None:
    """A trace that is none gets a new one, and ids with other characters than ids have are left out."""
    metadata = [("traceparent", trace), ("x-longvideo-tenant", 'a"\n{'), ("x-longvideo-episode", "x" * 300)]

    def run() -> dict[str, str]:
        with tracing.answering("/s/m", metadata):
            tracing.bind("/s/m", metadata, trusted=True)
            return {**logs.names(), **telemetry.ids()}

    bound = logs.carried(run)()
    assert bound.keys() == {"method", "trace_id"}
    assert re.fullmatch("[0-9a-f]{32}", bound["trace_id"])
