"""What every model server does under our client: a suite to run against fakes and the genuine thing.

Inherit from `ModelServerSuite` and override the fixture `served`.
"""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from longvideo.errors import Cancelled, DeadlineExceeded, ModelRejected
from longvideo.inference import Endpoint, ModelClient
from longvideo.tokens import ImageRule, image_tokens

LONG = 120.0
"""Seconds that no request of the suite takes."""


@dataclass(frozen=True)
class Served:
    """A running server and what it can do.

    `slow` are arguments of a request that takes at least some seconds; None where there is no such request. `rule` is
    how it counts images; None where it does not count them as Qwen does. `regex` is one that it can bind an answer to.
    """

    url: str
    model: str
    api_key: str | None = None
    owned_by: str = "vllm"
    structured: bool = True
    caches: bool = True
    limits_tokens: bool = True
    rule: ImageRule | None = None
    regex: str = "<think>[a-z ]{1,40}</think>\n<tool>get_caption\\(\\([1-4],[1-4]\\)\\)</tool>"
    slow: Mapping[str, Any] | None = None
    words: str = "Say something about trains."
    extra: Mapping[str, Any] = field(default_factory=dict)

    def client(self, **changes: Any) -> ModelClient:
        """Returns a client of this server alone."""
        return ModelClient("qa", [self.endpoint(**changes)])

    def endpoint(self, **changes: Any) -> Endpoint:
        """Returns the server as an endpoint."""
        key = SecretStr(self.api_key) if self.api_key else None
        fields: dict[str, Any] = {"url": self.url, "model": self.model, "roles": {"qa"}, "api_key": key, **changes}
        return Endpoint(**fields)


def asked(text: str) -> list[dict[str, Any]]:
    """Returns a conversation of one question."""
    return [{"role": "system", "content": "You answer."}, {"role": "user", "content": text}]


def picture(width: int, height: int, shade: int) -> dict[str, Any]:
    """Returns an image part of one colour."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 255 - shade, 128)).save(data, "JPEG")
    url = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def soon() -> float:
    """Returns a deadline that no request of the suite reaches."""
    return time.monotonic() + LONG


class ModelServerSuite:
    """The suite."""

    @pytest.fixture
    def served(self) -> Served:
        """The running server."""
        raise NotImplementedError

    @pytest.fixture
    def client(self, served: Served) -> Iterator[ModelClient]:
        """A client of the server."""
        client = served.client()
        yield client
        client.close()

    def test_describes_itself(self, served: Served) -> None:
        """The server says which model it serves, how long its context is, and whose it is."""
        client = served.client(model="")
        info = client.describe()
        assert info.model in info.models
        assert served.model in info.models
        assert info.owned_by == served.owned_by
        assert info.structured_output == served.structured
        assert info.context_length > 0
        assert client.describe() is info
        client.close()

    def test_answers(self, served: Served, client: ModelClient) -> None:
        """A question gives an answer, and one record with the tokens that the server counted."""
        completion = client.complete(asked(served.words), max_tokens=40, deadline=soon(), session="a")
        (call,) = completion.calls
        assert (call.role, call.model, call.endpoint, call.outcome) == ("qa", served.model, served.url, "ok")
        assert (call.attempt, call.images, call.detail) == (1, 0, "")
        assert call.prompt_tokens > 0
        assert call.seconds > 0
        assert completion.finish_reason in {"stop", "length"}

    def test_greedy_answers_repeat(self, served: Served, client: ModelClient) -> None:
        """At temperature 0 the same question has the same answer."""
        texts = {
            client.complete(asked(served.words), max_tokens=40, deadline=soon(), temperature=0.0, seed=1).text
            for _ in range(2)
        }
        assert len(texts) == 1

    def test_images_between_words(self, served: Served, client: ModelClient) -> None:
        """Sixteen images between words are taken, and cost what the resize rule says."""
        words: list[dict[str, Any]] = [{"type": "text", "text": f"[{n}.00s]"} for n in range(16)]
        question = {"type": "text", "text": "Question: What is shown?"}
        with_images = [part for n, word in enumerate(words) for part in (word, picture(320, 180, n * 10))]

        def tokens(parts: list[dict[str, Any]]) -> int:
            call = client.complete([{"role": "user", "content": parts}], max_tokens=8, deadline=soon()).calls[-1]
            assert call.images == sum(part["type"] == "image_url" for part in parts)
            return call.prompt_tokens

        plain, more = tokens([*words, question]), tokens([*with_images, question])
        if served.rule is not None:
            assert more - plain == 16 * (image_tokens(320, 180, served.rule) + 2)

    def test_stop_strings(self, served: Served, client: ModelClient) -> None:
        """Where a stop string comes the answer ends, with it in the text where the server can do that."""
        whole = client.complete(asked(served.words), max_tokens=60, deadline=soon(), temperature=0.0).text
        stop = whole[len(whole) // 2 : len(whole) // 2 + 6]
        completion = client.complete(asked(served.words), max_tokens=60, deadline=soon(), temperature=0.0, stop=[stop])
        start = whole[: whole.index(stop)]
        assert completion.text.rstrip() == (start + stop if served.structured else start).rstrip()
        assert completion.finish_reason == "stop"

    def test_the_answer_has_an_end(self, served: Served, client: ModelClient) -> None:
        """An answer longer than max_tokens is cut, and says so."""
        if not served.limits_tokens:
            pytest.skip("this server's answers are short")
        completion = client.complete(asked(served.words), max_tokens=1, deadline=soon(), temperature=0.0)
        assert completion.finish_reason == "length"
        assert completion.calls[-1].completion_tokens == 1

    def test_structured_output(self, served: Served, client: ModelClient) -> None:
        """An answer bound to a pattern matches it."""
        if not served.structured:
            pytest.skip("this server binds nothing")
        completion = client.complete(asked(served.words), max_tokens=200, deadline=soon(), regex=served.regex)
        assert re.fullmatch(served.regex, completion.text)

    def test_unknown_model(self, served: Served) -> None:
        """Another model's name is refused, with the names that the server has."""
        client = served.client(model="gpt-17")
        with pytest.raises(ModelRejected, match=served.model) as caught:
            client.complete(asked(served.words), max_tokens=8, deadline=soon())
        assert caught.value.reason == "MODEL_NOT_FOUND"
        assert [(call.outcome, call.model) for call in caught.value.calls] == [("error", "gpt-17")]
        client.close()

    def test_wrong_key(self, served: Served) -> None:
        """Another key, and none, are refused with the variable to set; the key itself is nowhere in the error."""
        if served.api_key is None:
            pytest.skip("this server takes everybody")
        for key in ("a-wrong-key-0123456789", None):
            client = served.client(api_key=SecretStr(key) if key else None)
            with pytest.raises(ModelRejected, match="LONGVIDEO_QA_API_KEY") as caught:
                client.complete(asked(served.words), max_tokens=8, deadline=soon())
            assert caught.value.reason == "MODEL_UNAUTHORIZED"
            assert "a-wrong-key" not in repr((caught.value, caught.value.calls, client))
            client.close()

    def test_prompt_too_long(self, served: Served, client: ModelClient) -> None:
        """A prompt beyond the context is refused in the server's own words, once."""
        if not served.limits_tokens:
            pytest.skip("this server takes any length")
        length = client.describe().context_length
        with pytest.raises(ModelRejected, match=str(length)) as caught:
            client.complete(asked("word " * (length + 100)), max_tokens=8, deadline=soon())
        assert caught.value.reason == "MODEL_BAD_REQUEST"
        assert len(caught.value.calls) == 1

    def test_cached_tokens(self, served: Served, client: ModelClient) -> None:
        """The beginning that two conversations share is counted as cached the second time."""
        if not served.caches:
            pytest.skip("this server caches nothing")
        first = asked(f"{time.time_ns()} " + "long before the train came " * 40)
        more = [*first, {"role": "assistant", "content": "It came."}, {"role": "user", "content": "And then?"}]
        before, after = (
            client.complete(m, max_tokens=8, deadline=soon(), session="s").calls[-1] for m in (first, more)
        )
        assert before.cached_tokens < 64
        assert after.prompt_tokens > before.prompt_tokens
        assert after.cached_tokens > before.prompt_tokens * 0.7

    def test_cancelled(self, served: Served, client: ModelClient) -> None:
        """A request that nobody wants any more ends in the middle, and is recorded."""
        if served.slow is None:
            pytest.skip("this server is never slow")
        asks: list[int] = []

        def cancelled() -> bool:
            asks.append(1)
            return len(asks) > 3

        with pytest.raises(Cancelled) as caught:
            client.complete(**{"deadline": soon(), **served.slow}, cancelled=cancelled)
        (call,) = caught.value.calls
        assert call.outcome == "cancelled"

    def test_deadline(self, served: Served, client: ModelClient) -> None:
        """A request that is not answered by its deadline ends there, and is recorded."""
        if served.slow is None:
            pytest.skip("this server is never slow")
        client.describe()
        with pytest.raises(DeadlineExceeded) as caught:
            client.complete(**{**served.slow, "deadline": time.monotonic() + 0.5})
        (call,) = caught.value.calls
        assert call.outcome == "timeout"
        assert client.complete(asked(served.words), max_tokens=4, deadline=soon()).calls[-1].outcome == "ok"

    def test_threads_share_a_client(self, served: Served, client: ModelClient) -> None:
        """Many threads ask through one client, and each gets its own record."""
        with ThreadPoolExecutor(16) as pool:
            answers = pool.map(
                lambda n: client.complete(asked(f"{served.words} {n}"), max_tokens=8, deadline=soon()), range(32)
            )
            calls = [call for answer in answers for call in answer.calls]
        assert len({call.id for call in calls}) == 32
        assert {call.outcome for call in calls} == {"ok"}
