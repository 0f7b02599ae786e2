"""Model servers as data, and what is known about each of them: what it serves, and whether it is well."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai import Omit

from longvideo import metrics, telemetry
from longvideo.answers import FailedAttempt, Failure, not_openai, read_json, refused, timed_out, unreachable, unreadable
from longvideo.endpoint import Endpoint
from longvideo.errors import BadSettings
from longvideo.transport import OutOfTime, StoppableTransport, UnreadableAnswer, Watch, watched
from longvideo.usage import Role

CONNECT_TIMEOUT = 5.0
"""Seconds until a connection must stand. Model servers are near; one that takes longer is not there."""

PROBE_TIMEOUT = 10.0
"""Seconds that `GET /models` may take. vLLM answers it in milliseconds, also under load."""

LONGEST_COOL_DOWN = 30.0
"""Seconds that a failing server is left alone at most, before it is asked again whether it is well."""

_STRUCTURED = frozenset(("vllm", "longvideo"))
"""The `owned_by` of servers that understand `structured_outputs` and `include_stop_str_in_output`."""


@dataclass(frozen=True)
class ModelInfo:
    """What a server says about the model that is used there.

    `context_length` counts tokens. `owned_by` is `vllm` for vLLM, `longvideo` for the offline models, empty where the
    server does not say. `models` are all the names that the server lists.
    """

    model: str
    context_length: int
    structured_output: bool
    owned_by: str
    models: tuple[str, ...] = ()


class ModelServer:
    """One endpoint with its connections, its health and what it serves. Threads share it.

    `model` is the model's name as far as it is known, `in_flight` the number of requests under way.
    """

    def __init__(self, endpoint: Endpoint, role: Role, cool_down: float = 1.0) -> None:
        self.endpoint = endpoint
        self.role = role
        self.model = endpoint.model
        self.in_flight = 0
        key = _key(endpoint)
        self._headers: dict[str, str | Omit] = {"Authorization": f"Bearer {key}" if key else Omit()}
        self._client = _client(endpoint.url, key or "")
        self._lock = threading.Lock()
        self._info: ModelInfo | None = None
        self._probing = threading.Lock()
        self._probes = 0
        self._probe_failure: Failure | None = None
        self._cool_down = cool_down
        self._failures = 0
        self._avoid_until = 0.0
        self._healthy = metrics.MODEL_ENDPOINT_HEALTHY.labels(role, endpoint.pool, endpoint.url)
        self._healthy.set(1)
        for metric in (metrics.MODEL_CALLS_IN_FLIGHT, metrics.MODEL_UNSERVED):
            metric.labels(role, endpoint.pool)  # 0, where nothing has been asked yet
        if endpoint.model:
            metrics.expect_calls(role, endpoint.model, endpoint.pool)

    @property
    def url(self) -> str:
        """Returns the URL, which holds no credentials."""
        return self.endpoint.url

    def score(self, session: str) -> float:
        """Returns this server's place for a session: the highest score wins (weighted rendezvous hashing).

        Each server wins as many sessions as its weight says. When one comes, goes or gets another weight, only sessions
        that were or will be on it move.
        """
        name = f"{session}\0{self.endpoint.url}\0{self.endpoint.model}"
        drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 12
        return -self.share / math.log((drawn + 1) / (2**52 + 2))

    @property
    def share(self) -> float:
        """Returns the weight that counts where the server is asked at all."""
        return self.endpoint.weight or 1.0

    def avoided(self) -> bool:
        """Returns whether the server failed lately and is left alone for now."""
        return time.monotonic() < self._avoid_until

    def went_well(self) -> None:
        """Notes that the server answered."""
        with self._lock:
            self._failures = 0
            self._avoid_until = 0.0
        self._healthy.set(1)

    def went_wrong(self, wait: float = 0.0, *, wanted: bool = True) -> None:
        """Notes that the server failed: it is left alone for twice as long each time, at least `wait` seconds.

        What was known about it is forgotten, so it is asked what it serves before it gets a request again. It counts as
        a wish for the model where it was `wanted`.
        """
        if wanted:
            metrics.MODEL_UNSERVED.labels(self.role, self.endpoint.pool).inc()
        now = time.monotonic()
        with self._lock:
            if now >= self._avoid_until:  # requests that fail together are one failure
                self._failures += 1
            pause = min(max(wait, self._cool_down * 2.0 ** min(self._failures - 1, 10)), LONGEST_COOL_DOWN)
            self._avoid_until = max(self._avoid_until, now + pause)
            self._info = None
        self._healthy.set(0)

    def doubted(self) -> None:
        """Forgets what the server serves, so that it is asked again before it gets the next request."""
        with self._lock:
            self._info = None

    def info(self, watch: Watch) -> ModelInfo:
        """Returns what the server serves, asking it if that is not known.

        Many threads may want to know at once: one asks, the others take its result.

        Raises:
            FailedAttempt: The server cannot be used.
            Interrupted: The watch said stop.
        """
        if (known := self._info) is not None:
            return known
        seen = self._probes
        while not self._probing.acquire(timeout=watch.slice()):
            pass
        try:
            if (known := self._info) is not None:
                return known
            if self._probes > seen and self._probe_failure is not None:
                raise FailedAttempt(self._probe_failure)
            return self._probe(watch)
        finally:
            self._probing.release()

    def _probe(self, watch: Watch) -> ModelInfo:
        failure: Failure | None = None
        try:
            info = self._ask(watch.until(time.monotonic() + PROBE_TIMEOUT))
        except FailedAttempt as error:
            failure = error.failure
            raise
        except OutOfTime:
            if watch.remaining <= 0:
                raise
            failure = timed_out(self.url, PROBE_TIMEOUT)
            raise FailedAttempt(failure) from None
        finally:
            self._probes += 1
            self._probe_failure = failure
        with self._lock:
            self._info = info
            self.model = info.model
        return info

    def _ask(self, watch: Watch) -> ModelInfo:
        try:
            response = self._get_models(watch)
        except openai.APIStatusError as error:
            if error.status_code not in {400, 404, 405, 501}:
                raise FailedAttempt(self.refusal(error.response, ())) from None
            return self._describe(None)  # some servers do not list their models
        try:
            return self._describe(_listed(read_json(response, self.url)))
        except FailedAttempt as error:
            if self.endpoint.model and error.failure.retry == "no":
                return self._describe(None)
            raise

    def _get_models(self, watch: Watch) -> httpx2.Response:
        with self._counted(), watched(watch), self.reached():
            return self._client.get("/models", cast_to=httpx2.Response, options={"headers": self._headers})

    def _describe(self, listed: list[Mapping[str, Any]] | None) -> ModelInfo:
        names = tuple(str(entry["id"]) for entry in listed or ())
        model = self.endpoint.model or (names[0] if names else "")
        if not model:
            what = "lists no models" if listed is not None else "does not answer GET /models as OpenAI's protocol says"
            raise FailedAttempt(not_openai(self.url, what))
        entry = next((entry for entry in listed or () if entry["id"] == model), {})
        owner = entry.get("owned_by")
        owned_by = owner if isinstance(owner, str) else ""
        length = entry.get("max_model_len")
        fallback = 32768 if self.role == "reason" else 16384
        structured = self.endpoint.structured_output
        return ModelInfo(
            model=model,
            context_length=self.endpoint.context_length or (length if isinstance(length, int) else fallback),
            structured_output=owned_by in _STRUCTURED if structured is None else structured,
            owned_by=owned_by,
            models=names,
        )

    def post(self, body: Mapping[str, Any], request_id: str, watch: Watch) -> httpx2.Response:
        """Sends one chat completion and returns the answer, which is not looked into.

        Raises:
            openai.APIStatusError: The status is not 2xx.
            FailedAttempt: The server could not be reached, or its answer could not be read.
            Interrupted: The watch said stop.
        """
        with self._counted(), watched(watch), self.reached():
            return self._client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=body,
                options={"headers": {**self._headers, "X-Request-Id": request_id, **_trace()}},
            )

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turns what happens to the connection inside the block into FailedAttempt."""
        try:
            yield
        except openai.APIConnectionError as error:
            raise FailedAttempt(unreachable(self.url, str(error.__cause__ or error))) from None
        except UnreadableAnswer as error:
            raise FailedAttempt(unreadable(self.url, str(error))) from None

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    def refusal(self, response: httpx2.Response, models: tuple[str, ...]) -> Failure:
        """Returns what a status other than 2xx means. `models` are the names that the server lists."""
        return refused(response, self.url, self.role, self.endpoint.model, models)

    def close(self) -> None:
        """Closes the connections. No request may be under way."""
        self._client.close()


def _trace() -> dict[str, str]:
    """Returns the header that makes the server's spans part of the trace, where there is one."""
    return {"traceparent": telemetry.header()} if telemetry.is_on() else {}


def _client(url: str, key: str) -> openai.OpenAI:
    transport = StoppableTransport(secure=url.startswith("https:"), secret=key)
    timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
    return openai.OpenAI(
        base_url=url,
        api_key=key or "none",  # without one, the SDK takes OPENAI_API_KEY, which is for somebody else
        max_retries=0,
        timeout=timeout,
        http_client=httpx2.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False),
    )


def _key(endpoint: Endpoint) -> str | None:
    key = endpoint.api_key.get_secret_value().strip() if endpoint.api_key is not None else ""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadSettings(
            f"The API key for {endpoint.url} holds characters that an HTTP header cannot carry; "
            "look for a line break, a space or a typographic dash in the environment variable",
            setting="api_key",
        )
    return key or None


def _listed(body: Any) -> list[Mapping[str, Any]] | None:
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
