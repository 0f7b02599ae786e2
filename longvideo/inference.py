"""The client of the model servers: one question in, one answer out, and a record of every attempt.

    client = ModelClient("qa", endpoints)
    completion = client.complete(messages, max_tokens=512, deadline=time.monotonic() + 60)

A request goes to one server; calls of one session go to the same one, because it has their beginning in its prefix
cache. When the server fails in a way that passes (see `longvideo.answers`), another attempt is made, on another server
if there is one, until the attempts, the time or the retry budget are used up. Every attempt is one `Call`, whether it
gave an answer or not, and travels with the completion or with the error.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import openai

from longvideo import metrics
from longvideo.answers import Answer, FailedAttempt, Failure, Usage, read_answer, timed_out
from longvideo.endpoint import Endpoint
from longvideo.endpoints import ModelInfo, ModelServer
from longvideo.errors import BadSettings, Cancelled, DeadlineExceeded, LongVideoError
from longvideo.retries import RetryBudget
from longvideo.telemetry.chat import Chat, chat
from longvideo.transport import OutOfTime, Stopped, Watch
from longvideo.usage import Call, Role

__all__ = ["Completion", "Endpoint", "ModelClient", "ModelInfo", "RetryBudget"]

FIRST_PAUSE = 0.5
"""Seconds: the longest pause before the second attempt. It doubles with every further one, up to LONGEST_PAUSE."""

LONGEST_PAUSE = 8.0
"""Seconds between two attempts at most, unless the server asks for more."""

DESCRIBE_TIMEOUT = 30.0
"""Seconds that `describe` takes at most, all servers together."""

CLOSE_TIMEOUT = 2.0
"""Seconds that `close` waits for the calls that it stopped."""


@dataclass(frozen=True)
class Completion:
    """What the model said. `calls` holds the failed attempts first; the last one gave this answer."""

    text: str
    finish_reason: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class _Request:
    """What is asked, independent of the server that is asked."""

    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    stop: tuple[str, ...]
    constraint: Mapping[str, str]
    sampling: Mapping[str, Any]
    priority: int

    @property
    def images(self) -> int:
        parts = (
            part for message in self.messages if isinstance(message["content"], list) for part in message["content"]
        )
        return sum(part.get("type") == "image_url" for part in parts)

    def body(self, info: ModelInfo, endpoint: Endpoint) -> dict[str, Any]:
        body: dict[str, Any] = {"model": info.model, "messages": self.messages, "max_tokens": self.max_tokens}
        body.update(self.sampling)
        if endpoint.priority:
            body["priority"] = self.priority
        if self.stop:
            body["stop"] = list(self.stop)
        if info.structured_output:
            if self.stop:
                body["include_stop_str_in_output"] = True
            if self.constraint:
                body["structured_outputs"] = dict(self.constraint)
        return body


def _full_jitter(longest: float) -> float:
    # Requests that failed together do not come back together.
    return random.uniform(0.0, longest)


class ModelClient:
    """Calls the models of one role. One client serves any number of threads."""

    def __init__(
        self,
        role: Role,
        endpoints: Sequence[Endpoint],
        *,
        max_attempts: int = 4,
        attempt_timeout: float = 300.0,
        cool_down: float = 1.0,
        budget: RetryBudget | None = None,
        jitter: Callable[[float], float] = _full_jitter,
    ) -> None:
        """Makes a client; nothing is sent before the first call.

        Args:
            role: The role to call for.
            endpoints: Model servers; those without the role are left out.
            max_attempts: How often one request is tried at most, the first attempt included.
            attempt_timeout: Seconds that one attempt may take; the deadline of the request ends it earlier.
            cool_down: Seconds for which a server is avoided after its first failure; doubles with each further one.
            budget: Limits the retries of all requests together.
            jitter: Returns the seconds to pause before a retry, given the longest such pause.

        Raises:
            BadSettings: No endpoint has the role, or an API key cannot be sent.
        """
        self._servers = [ModelServer(endpoint, role, cool_down) for endpoint in endpoints if role in endpoint.roles]
        if not self._servers:
            raise BadSettings(
                f"No endpoint serves the role {role}; give one with --{role}-url or in LONGVIDEO_ENDPOINTS",
                reason="NO_ENDPOINT",
                role=role,
            )
        if not any(server.endpoint.weight for server in self._servers):
            raise BadSettings(
                f"Every endpoint of the role {role} has the weight 0, so that requests which name no pool have none; "
                "give one of them a weight",
                setting="endpoints",
                role=role,
            )
        self._role = role
        self._max_attempts = max_attempts
        self._attempt_timeout = attempt_timeout
        self._budget = budget or RetryBudget()
        self._jitter = jitter
        self._closed = threading.Event()

    def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int,
        deadline: float,
        session: str = "",
        pool: str = "",
        stop: Sequence[str] = (),
        regex: str | None = None,
        grammar: str | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        priority: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Completion:
        """Returns the model's answer.

        Args:
            messages: The conversation, in OpenAI's shape.
            max_tokens: The most tokens the answer may have.
            deadline: When to give up, on the clock of `time.monotonic`.
            session: Calls with the same session go to the same server while it is well.
            pool: Only servers of this pool are asked; empty for any with a weight.
            stop: Where the answer ends. The string itself is in the answer where the server can do that (vLLM).
            regex: What the answer must match, where the server can bind it; otherwise ignored.
            grammar: The same as a grammar, EBNF or Lark. Not together with `regex`.
            temperature: None leaves it to the server.
            seed: None leaves it to the server.
            priority: The lower, the sooner it is served, where the endpoint can do that (see `longvideo.priorities`).
            cancelled: Asked several times a second, from the calling thread, whether to stop.

        Raises:
            ModelUnavailable: No server gave an answer, after all attempts that made sense.
            ModelRejected: A server refused the request for good.
            BadSettings: No server of the pool has the role.
            DeadlineExceeded: The deadline came first.
            Cancelled: `cancelled` returned true, or the client was closed.
        """
        constraint = {name: value for name, value in (("regex", regex), ("grammar", grammar)) if value is not None}
        sampling = {name: value for name, value in (("temperature", temperature), ("seed", seed)) if value is not None}
        request = _Request(messages, max_tokens, tuple(stop), constraint, sampling, priority)
        calls: list[Call] = []
        flight = metrics.Flight(self._role)
        try:
            answer = self._try_until_answered(
                request, self._in_pool(pool), session, self._watch(deadline, cancelled), calls, flight=flight
            )
        except LongVideoError as error:
            error.calls = tuple(calls)
            raise
        finally:
            flight.end()
        return Completion(answer.text, answer.finish_reason, tuple(calls))

    def _watch(self, deadline: float, cancelled: Callable[[], bool] | None = None) -> Watch:
        return Watch(deadline, lambda: self._closed.is_set() or (cancelled is not None and cancelled()))

    def _try_until_answered(
        self,
        request: _Request,
        servers: Sequence[ModelServer],
        session: str,
        watch: Watch,
        calls: list[Call],
        *,
        flight: metrics.Flight,
    ) -> Answer:
        candidates = list(servers)
        failed: list[ModelServer] = []
        try:
            while True:
                server = _choose(candidates, session, failed)
                flight.at(server.endpoint.pool)
                try:
                    with chat(calls, model=server.model) as span:
                        return self._attempt(server, request, watch, calls, span)
                except FailedAttempt as attempt:
                    failure = attempt.failure
                failed.append(server)
                if failure.retry == "elsewhere":
                    candidates.remove(server)
                self._pause(failure, candidates, failed, watch)
        except Stopped:
            raise Cancelled(f"The call of the {self._role} model was cancelled") from None
        except OutOfTime:
            last = f" The last attempt: {calls[-1].detail}." if calls else ""
            tried = _times(len(calls))
            raise DeadlineExceeded(
                f"The {self._role} model gave no answer before the deadline ({tried}).{last}"
            ) from None

    def _pause(
        self, failure: Failure, candidates: Sequence[ModelServer], failed: Sequence[ModelServer], watch: Watch
    ) -> None:
        """Returns when the next attempt may be made. Raises the failure's own error when none makes sense."""
        hopeless = failure.retry == "no" or not candidates or len(failed) >= self._max_attempts
        # One server that hangs is bad luck; two are a request that takes too long.
        hopeless = hopeless or (failure.retry == "elsewhere" and len(set(failed)) > 1)
        if hopeless or not self._budget.take():
            raise self._error(failure, len(failed))
        if any(server not in failed and not server.avoided() for server in candidates):
            return
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(failed) - 1))
        pause = max(failure.wait, self._jitter(longest))
        if pause >= watch.remaining:
            raise self._error(failure, len(failed))
        watch.sleep(pause)

    def _error(self, failure: Failure, attempts: int) -> LongVideoError:
        more = f" ({_times(attempts)})" if attempts > 1 else ""
        error = failure.error(failure.message + more, reason=failure.reason, role=self._role)
        error.retry_after = failure.wait or None
        return error

    def _attempt(self, server: ModelServer, request: _Request, watch: Watch, calls: list[Call], span: Chat) -> Answer:
        """Makes one attempt and appends its record to `calls`, however it ends."""
        watch.slice()
        call = Call(
            role=self._role,
            model="",
            endpoint=server.url,
            pool=server.endpoint.pool,
            gpus=server.endpoint.gpus,
            start_time=time.time(),
            seconds=0.0,
            outcome="error",
            images=request.images,
            attempt=len(calls) + 1,
        )
        start = time.monotonic()
        try:
            answer = self._ask(server, request, call.id, watch.until(start + self._attempt_timeout), span)
        except FailedAttempt as error:
            if error.failure.retry != "no":
                server.went_wrong(error.failure.wait)
            call = replace(_with(call, error.usage), outcome=error.failure.outcome, detail=error.failure.detail)
            raise
        except OutOfTime:
            failure = timed_out(server.url, time.monotonic() - start)
            call = replace(call, outcome=failure.outcome, detail=failure.detail)
            if watch.remaining <= 0:
                server.doubted()
                raise
            server.went_wrong()
            raise FailedAttempt(failure) from None
        except Stopped:
            call = replace(call, outcome="cancelled", detail="cancelled by the caller")
            raise
        else:
            server.went_well()
            self._budget.give_back()
            call = replace(_with(call, answer.usage), outcome="ok")
            span.answered(answer)
            return answer
        finally:
            calls.append(replace(call, model=call.model or server.model, seconds=time.monotonic() - start))

    def _ask(self, server: ModelServer, request: _Request, request_id: str, watch: Watch, span: Chat) -> Answer:
        info = server.info(watch)
        body = request.body(info, server.endpoint)
        span.asked(body, info.owned_by)
        try:
            response = server.post(body, request_id, watch)
        except openai.APIStatusError as error:
            refusal = error.response
        else:
            return read_answer(response, server.url)
        if refusal.status_code == 404:
            server.doubted()  # it may serve other models than it did
            info = server.info(watch)
        raise FailedAttempt(server.refusal(refusal, info.models))

    def _in_pool(self, pool: str) -> list[ModelServer]:
        servers = [server for server in self._servers if pool in {"", server.endpoint.pool}]
        if not servers:
            known = ", ".join(sorted({server.endpoint.pool for server in self._servers}))
            raise BadSettings(
                f"No endpoint of the pool {pool!r} serves the role {self._role}; the pools that do: {known}",
                reason="NO_ENDPOINT_IN_POOL",
                role=self._role,
                pool=pool,
            )
        return [server for server in servers if server.endpoint.weight] or servers

    def describe(
        self, pool: str = "", *, deadline: float | None = None, cancelled: Callable[[], bool] | None = None
    ) -> ModelInfo:
        """Returns what the model is that a call would use: from the first well server of the pool, which is asked once.

        Args:
            pool: Only servers of this pool are asked; empty for any.
            deadline: When to give up, on the clock of `time.monotonic`; None for DESCRIBE_TIMEOUT from now.
            cancelled: Asked several times a second whether to stop.

        Raises:
            ModelUnavailable: No server of the pool answers.
            ModelRejected: What answers is not a model server, or refuses the key.
            BadSettings: No server of the pool has the role.
            DeadlineExceeded: The deadline came first.
            Cancelled: `cancelled` returned true, or the client was closed.
        """
        watch = self._watch(time.monotonic() + DESCRIBE_TIMEOUT if deadline is None else deadline, cancelled)
        return self._describe(self._in_pool(pool), watch, wanted=True)

    def check(self) -> None:
        """Raises what `describe` does for any pool. Nobody waits for the model: it is no reason to start a server."""
        self._describe(self._in_pool(""), self._watch(time.monotonic() + DESCRIBE_TIMEOUT), wanted=False)

    def _describe(self, servers: Sequence[ModelServer], watch: Watch, *, wanted: bool) -> ModelInfo:
        failure: Failure | None = None
        for server in sorted(servers, key=ModelServer.avoided):
            try:
                return server.info(watch)
            except FailedAttempt as error:
                failure = error.failure
                if failure.retry != "no":
                    server.went_wrong(failure.wait, wanted=wanted)
            except Stopped:
                raise Cancelled(f"The question about the {self._role} model was cancelled") from None
            except OutOfTime:
                raise DeadlineExceeded(
                    f"The {self._role} model's servers did not say in time what they serve"
                ) from None
        assert failure is not None
        raise self._error(failure, 1)

    def close(self) -> None:
        """Stops every call under way, which raises Cancelled there, and closes the connections."""
        self._closed.set()
        give_up = time.monotonic() + CLOSE_TIMEOUT
        for server in self._servers:
            while server.in_flight and time.monotonic() < give_up:
                time.sleep(0.01)
            server.close()


def _choose(candidates: Sequence[ModelServer], session: str, failed: Sequence[ModelServer]) -> ModelServer:
    if session:
        ordered = sorted(candidates, key=lambda server: server.score(session), reverse=True)
    else:
        ordered = sorted(candidates, key=lambda server: (server.in_flight / server.share, random.random()))
    return min(ordered, key=lambda server: (server.avoided(), failed.count(server)))


def _times(count: int) -> str:
    return f"{count} attempt" + ("" if count == 1 else "s")


def _with(call: Call, usage: Usage) -> Call:
    return replace(
        call,
        model=usage.model or call.model,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        queue_seconds=usage.queue_seconds,
        prefill_seconds=usage.prefill_seconds,
        decode_seconds=usage.decode_seconds,
    )
