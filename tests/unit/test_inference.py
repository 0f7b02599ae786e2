"""What a client decides without a server: endpoints, words of failures, budgets and watches."""

from __future__ import annotations

import datetime
import email.utils
import time
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from longvideo.answers import FailedAttempt, quote, read_answer, retry_after
from longvideo.errors import BadSettings
from longvideo.inference import Endpoint, ModelClient, RetryBudget
from longvideo.transport import OutOfTime, Stopped, Watch


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1", "http://host:8000/v1"),
        (" HTTPS://Host/v1/ ", "https://host/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("http://host/chat/completions", "http://host/v1"),
        ("http://host/openai/v1/", "http://host/openai/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_urls(given_url: str, url: str) -> None:
    """However people write an endpoint, it is one URL."""
    assert Endpoint(url=given_url, roles={"qa"}).url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("host:8000", "look like http"),
        ("ftp://host", "look like http"),
        ("http://", "look like http"),
        ("", "look like http"),
        ("http://me:secret-word@host/v1", "LONGVIDEO_API_KEY"),
        ("http://host/v1?key=secret-word", "query"),
        ("http://host/v1#top", "fragment"),
        ("http://host:99999/v1", "port"),
        ("http://host:80o0/v1", "port"),
    ],
)
def test_bad_urls(url: str, words: str) -> None:
    """A URL that cannot be one is refused, without repeating what may be a secret."""
    with pytest.raises(ValidationError, match=words) as caught:
        Endpoint(url=url, roles={"qa"})
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("fields", [{"roles": {"sing"}}, {"roles": {"qa"}, "colour": "red"}, {}])
def test_bad_endpoints(fields: dict[str, Any]) -> None:
    """Unknown roles and fields are refused."""
    with pytest.raises(ValidationError):
        Endpoint(url="http://host", **fields)


def test_endpoints_without_any_weight() -> None:
    """A role whose endpoints all wait for requests that name their pool is refused, with the fix."""
    with pytest.raises(BadSettings, match="give one of them a weight"):
        ModelClient("qa", [Endpoint(url="http://x", roles={"qa"}, pool="h800", weight=0)])


def test_no_endpoint_for_a_role() -> None:
    """A role that nothing serves is refused with how to give it one."""
    endpoints = [Endpoint(url="http://host", roles={"caption", "qa"})]
    with pytest.raises(BadSettings, match="--reason-url or in LONGVIDEO_ENDPOINTS") as caught:
        ModelClient("reason", endpoints)
    assert caught.value.reason == "NO_ENDPOINT"


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "dash–dash", "x\x00y"])
def test_keys_that_cannot_be_sent(key: str) -> None:
    """A key that no header can carry is refused before anything is sent, and not shown."""
    endpoint = Endpoint(url="http://host", roles={"qa"}, api_key=SecretStr(key))
    with pytest.raises(BadSettings, match="header cannot carry") as caught:
        ModelClient("qa", [endpoint])
    assert key not in caught.value.message


def test_a_key_is_not_shown() -> None:
    """Printing an endpoint shows stars."""
    endpoint = Endpoint(url="http://host", roles={"qa"}, api_key=SecretStr("sk-1234567"))
    assert "sk-1234567" not in repr(endpoint) + str(endpoint.model_dump_json())


@given(st.text(max_size=3000))
def test_quotes(text: str) -> None:
    """A server's words are one printable line of at most 300 characters."""
    line = quote(text)
    assert len(line) <= 300
    assert line.isprintable()


def test_a_nested_answer_is_survived() -> None:
    """JSON too deep to read counts as damaged."""
    deep = httpx2.Response(200, headers={"content-type": "application/json"}, content=b"[" * 1_000_000)
    with pytest.raises(FailedAttempt, match="damaged") as caught:
        read_answer(deep, "http://host/v1")
    assert caught.value.failure.retry == "yes"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", 0.0), ("", 0.0), ("nan", 0.0), ("inf", 0.0), ("1e999", 0.0)],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    """Seconds are taken as they are, and nonsense as none."""
    assert retry_after(httpx2.Response(429, headers={"retry-after": value})) == seconds


def test_retry_after_as_a_date() -> None:
    """A date is taken as the time until then."""
    for days, low, high in ((1, 86_000, 86_401), (-1, 0, 0)):
        when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        response = httpx2.Response(429, headers={"retry-after": email.utils.format_datetime(when, usegmt=True)})
        assert low <= retry_after(response) <= high


def test_the_budget() -> None:
    """A budget is taken one by one, and ten answers give one back, never more than it held."""
    budget = RetryBudget(capacity=2)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(9):
        budget.give_back()
    assert not budget.take()
    budget.give_back()
    assert budget.take()
    for _ in range(1000):
        budget.give_back()
    assert [budget.take() for _ in range(3)] == [True, True, False]


def test_a_watch() -> None:
    """A watch says stop before it says that time is up, and a part's deadline is never later than the whole's."""
    past, future = time.monotonic() - 1, time.monotonic() + 1000
    with pytest.raises(Stopped):
        Watch(past, lambda: True).slice()
    with pytest.raises(OutOfTime):
        Watch(past).sleep(5)
    with pytest.raises(OutOfTime):
        Watch(future).until(past).slice()
    assert Watch(future).until(future + 5).deadline == future
    assert Watch(float("inf")).slice() == Watch(future).slice()
