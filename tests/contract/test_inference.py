"""The client against a server that fails in every way: what is tried again, where, and what is recorded."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from longvideo.errors import (
    BadSettings,
    Cancelled,
    DeadlineExceeded,
    LongVideoError,
    ModelRejected,
    ModelUnavailable,
)
from longvideo.inference import Completion, Endpoint, ModelClient, RetryBudget
from longvideo.testing import Handler, Reply, ScriptedModelServer
from tests.contract.model_server import asked

QUESTION = asked("What is shown?")


class Script:
    """Answers with one reply after another, and with the last one for ever. Threads share it."""

    def __init__(self, *replies: Reply | str) -> None:
        self._replies = list(replies)
        self._lock = threading.Lock()

    def __call__(self, request: dict[str, Any]) -> Reply | str:
        with self._lock:
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


class Bench:
    """Starts servers and clients, and stops them at the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def server(self, handler: Handler | str = "fine", **options: Any) -> ScriptedModelServer:
        """Returns a running server."""
        script = Script(handler) if isinstance(handler, str) else handler
        return self._stack.enter_context(ScriptedModelServer(script, **options))

    def client(self, *where: ScriptedModelServer | Endpoint, role: Any = "qa", **options: Any) -> ModelClient:
        """Returns a client that pauses for no time."""
        endpoints = [w if isinstance(w, Endpoint) else Endpoint(url=w.url, roles={role}) for w in where]
        client = ModelClient(role, endpoints, **{"jitter": lambda longest: 0.0, **options})
        self._stack.callback(client.close)
        return client


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Servers and clients of one test."""
    with ExitStack() as stack:
        yield Bench(stack)


def ask(client: ModelClient, seconds: float = 60.0, **options: Any) -> Completion:
    """Returns the answer to a question."""
    return client.complete(QUESTION, max_tokens=50, deadline=time.monotonic() + seconds, **options)


def refused(client: ModelClient, seconds: float = 60.0, **options: Any) -> LongVideoError:
    """Returns the error that a question ends in."""
    with pytest.raises(LongVideoError) as caught:
        ask(client, seconds, **options)
    return caught.value


def outcomes(result: Completion | LongVideoError) -> list[str]:
    """Returns how each attempt ended."""
    assert [call.attempt for call in result.calls] == list(range(1, len(result.calls) + 1))
    assert len({call.id for call in result.calls}) == len(result.calls)
    return [call.outcome for call in result.calls]


PASSING = {
    "429": Reply.error(429),
    "500": Reply.error(500),
    "502": Reply.html(502),
    "503": Reply.error(503),
    "504": Reply.html(504),
    "500 and the connection dropped": Reply(status=500, body=b"Internal Server Error", hang_up=True),
    "cut before the headers": Reply.cut(-1),
    "cut half-way": Reply.cut(30),
    "abort": Reply("half an ans", finish_reason="abort"),
    "JSON that ends early": Reply(body=b'{"choices": [{"mess'),
}


@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING)
class TestFailuresThatPass:
    """What a server answers when it cannot now, but may later."""

    def test_tried_again(self, bench: Bench, reply: Reply) -> None:
        """The second attempt's answer is the answer, and both attempts are recorded."""
        server = bench.server(Script(reply, "fine"))
        completion = ask(bench.client(server))
        assert completion.text == "fine"
        assert outcomes(completion) == ["error", "ok"]
        assert completion.calls[0].detail
        assert len(server.requests) == 2

    def test_given_up(self, bench: Bench, reply: Reply) -> None:
        """After four attempts the server counts as unavailable, with its URL and what it said last."""
        server = bench.server(Script(reply))
        error = refused(bench.client(server))
        assert isinstance(error, ModelUnavailable)
        assert outcomes(error) == ["error"] * 4
        assert len(server.requests) == 4
        assert server.url in error.message
        assert "4 attempts" in error.message

    def test_on_another_server(self, bench: Bench, reply: Reply) -> None:
        """Where there is another server, that one is asked next."""
        servers = [bench.server(Script(reply)), bench.server(Script(reply)), bench.server("fine")]
        completion = ask(bench.client(*servers), session="s")
        assert completion.calls[-1].endpoint == servers[2].url
        assert len({call.endpoint for call in completion.calls}) == len(completion.calls)


LASTING = {
    "400": (Reply.error(400, "too many images"), "MODEL_BAD_REQUEST", "too many images"),
    "401": (Reply.error(401), "MODEL_UNAUTHORIZED", "LONGVIDEO_API_KEY or LONGVIDEO_QA_API_KEY"),
    "403": (Reply.html(403), "MODEL_UNAUTHORIZED", "LONGVIDEO_QA_API_KEY"),
    "404": (Reply.error(404), "MODEL_NOT_FOUND", "It has: scripted"),
    "405": (Reply.error(405), "MODEL_BAD_REQUEST", "405"),
    "408": (Reply.error(408), "MODEL_BAD_REQUEST", "408"),
    "413": (Reply.html(413), "MODEL_BAD_REQUEST", "413"),
    "422": (Reply(status=422, body=b'{"detail": [{"loc": ["body"]}]}'), "MODEL_BAD_REQUEST", "loc"),
    "a redirect": (Reply(status=307, headers={"Location": "http://example.org/x"}), "MODEL_NOT_OPENAI", "example.org"),
    "HTML": (Reply.html(), "MODEL_NOT_OPENAI", "text/html"),
    "other JSON": (Reply(body=b'{"hello": 1}'), "MODEL_NOT_OPENAI", "choices"),
    "a JSON list": (Reply(body=b"[1, 2]"), "MODEL_NOT_OPENAI", "choices"),
    "an error as 200": (Reply(body=b'{"error": {"message": "no such voice"}}'), "MODEL_BAD_REQUEST", "no such voice"),
    "nothing": (Reply(status=204, content_type="text/plain"), "MODEL_NOT_OPENAI", "text/plain"),
    "too much": (Reply(body=b" " * (5 << 20)), "MODEL_NOT_OPENAI", "more than 4194304 bytes"),
    "compressed": (Reply("x", headers={"Content-Encoding": "gzip"}), "MODEL_NOT_OPENAI", "compressed"),
}


@pytest.mark.parametrize(("reply", "reason", "words"), LASTING.values(), ids=LASTING)
def test_failures_that_last(bench: Bench, reply: Reply, reason: str, words: str) -> None:
    """What another attempt cannot change is not tried again, not even elsewhere, and says what to mend."""
    servers = [bench.server(Script(reply)), bench.server(Script(reply))]
    error = refused(bench.client(*servers))
    assert isinstance(error, ModelRejected)
    assert error.reason == reason
    assert words in error.message
    assert outcomes(error) == ["error"]
    assert sum(len(server.requests) for server in servers) == 1


def test_long_words_of_a_server_are_cut(bench: Bench) -> None:
    """A message holds at most 300 characters of what a server said, on one line."""
    error = refused(bench.client(bench.server(Script(Reply.error(400, "ho\nho\x1b[31m " * 10_000)))))
    assert len(error.message) < 450
    assert error.message.isprintable()
    assert len(error.calls[0].detail) < 330


def test_another_5xx_is_not_tried_again(bench: Bench) -> None:
    """A 501 will not go away."""
    error = refused(bench.client(bench.server(Script(Reply.error(501)))))
    assert isinstance(error, ModelUnavailable)
    assert outcomes(error) == ["error"]


def test_nobody_listens(bench: Bench) -> None:
    """A refused connection is tried again, then says where and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    error = refused(bench.client(Endpoint(url=url, model="m", roles={"qa"})))
    assert isinstance(error, ModelUnavailable)
    assert error.reason == "MODEL_UNREACHABLE"
    assert f"{url} cannot be reached: Connection refused. Check that it runs" in error.message
    assert outcomes(error) == ["error"] * 4
    assert {call.model for call in error.calls} == {"m"}


def test_unknown_host(bench: Bench) -> None:
    """A host name that does not exist is named."""
    error = refused(bench.client(Endpoint(url="http://no-such-host.invalid", roles={"qa"}), max_attempts=1))
    assert "the host name no-such-host.invalid is not known" in error.message


def test_pauses_grow(bench: Bench) -> None:
    """The longest pause doubles from attempt to attempt, up to a limit."""
    pauses: list[float] = []

    def jitter(longest: float) -> float:
        pauses.append(longest)
        return 0.0

    refused(bench.client(bench.server(Script(Reply.error(500))), jitter=jitter, max_attempts=8))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(bench: Bench, status: int) -> None:
    """The next attempt comes no sooner than the server asked for."""
    server = bench.server(Script(Reply.error(status, retry_after="0.4"), "fine"))
    first, second = ask(bench.client(server)).calls
    assert second.start_time - first.start_time >= 0.4


def test_retry_after_beyond_the_deadline(bench: Bench) -> None:
    """A server that asks for more time than there is fails the request at once."""
    error = refused(bench.client(bench.server(Script(Reply.error(429, retry_after="300")))), seconds=30)
    assert isinstance(error, ModelUnavailable)
    assert error.reason == "MODEL_OVERLOADED"
    assert outcomes(error) == ["error"]


def test_retry_budget(bench: Bench) -> None:
    """When the budget of retries is used up, requests are tried once; answers fill it again."""
    server = bench.server(Script(Reply.error(500)))
    client = bench.client(server, budget=RetryBudget(capacity=4))
    assert [len(refused(client).calls) for _ in range(4)] == [4, 2, 1, 1]
    server.handler = Script("fine")
    for _ in range(10):
        ask(client)
    server.handler = Script(Reply.error(500), "fine")
    assert outcomes(ask(client)) == ["error", "ok"]


def test_silence_ends_at_the_deadline(bench: Bench) -> None:
    """A server that never answers costs its deadline, one record, and nothing after that."""
    server = bench.server(Script(Reply.silence()))
    error = refused(bench.client(server), seconds=0.3)
    assert isinstance(error, DeadlineExceeded)
    assert outcomes(error) == ["timeout"]
    assert error.calls[0].seconds >= 0.25
    assert "no answer within" in error.calls[0].detail


def test_dripping_ends_at_the_deadline(bench: Bench) -> None:
    """A server that sends a byte now and then does not outlive the deadline."""
    error = refused(bench.client(bench.server(Script(Reply("slow words", drip=0.05)))), seconds=0.4)
    assert isinstance(error, DeadlineExceeded)
    assert outcomes(error) == ["timeout"]


def test_silence_is_tried_once_elsewhere(bench: Bench) -> None:
    """An attempt that takes too long is made once more, on another server; two such attempts are enough."""
    servers = [bench.server(Script(Reply.silence())) for _ in range(3)]
    error = refused(bench.client(*servers, attempt_timeout=0.2))
    assert isinstance(error, ModelUnavailable)
    assert error.reason == "MODEL_TIMEOUT"
    assert outcomes(error) == ["timeout", "timeout"]
    assert len({call.endpoint for call in error.calls}) == 2


def test_silence_with_one_server(bench: Bench) -> None:
    """Where there is no other server, an attempt that takes too long is the only one."""
    error = refused(bench.client(bench.server(Script(Reply.silence())), attempt_timeout=0.2))
    assert error.reason == "MODEL_TIMEOUT"
    assert outcomes(error) == ["timeout"]


def test_silence_then_an_answer_elsewhere(bench: Bench) -> None:
    """The other server's answer counts."""
    silent, well = bench.server(Script(Reply.silence())), bench.server("fine")
    client = bench.client(silent, well, attempt_timeout=0.3)
    completions = [ask(client, session=f"s{n}") for n in range(8)]
    assert {completion.text for completion in completions} == {"fine"}
    assert ["timeout", "ok"] in [outcomes(completion) for completion in completions]


def test_a_silent_list_of_models(bench: Bench) -> None:
    """A server that does not even list its models ends at the deadline too."""
    server = bench.server()
    server.models_reply = Reply.silence()
    error = refused(bench.client(server), seconds=0.3)
    assert isinstance(error, DeadlineExceeded)
    assert outcomes(error) == ["timeout"]
    assert server.requests == []


def test_the_deadline_has_passed(bench: Bench) -> None:
    """Nothing is sent and nothing recorded after the deadline."""
    server = bench.server()
    error = refused(bench.client(server), seconds=-1)
    assert isinstance(error, DeadlineExceeded)
    assert error.calls == ()
    assert (server.probes, server.requests) == (0, [])


def test_cancelled_in_the_middle(bench: Bench) -> None:
    """Cancelling closes the connection, which the server notices, and is recorded."""
    server = bench.server(Script(Reply.silence()))
    error = refused(bench.client(server), cancelled=lambda: bool(server.requests))
    assert isinstance(error, Cancelled)
    assert outcomes(error) == ["cancelled"]
    wait_for(lambda: server.disconnects == 1)


def test_cancelled_between_attempts(bench: Bench) -> None:
    """Cancelling during a pause ends it, with the attempts made so far."""
    pausing = threading.Event()

    def jitter(longest: float) -> float:
        pausing.set()
        return 50.0

    client = bench.client(bench.server(Script(Reply.error(500))), jitter=jitter)
    error = refused(client, cancelled=pausing.is_set)
    assert isinstance(error, Cancelled)
    assert outcomes(error) == ["error"]


def test_cancelled_before(bench: Bench) -> None:
    """A request that nobody wants from the start is not sent."""
    server = bench.server()
    error = refused(bench.client(server), cancelled=lambda: True)
    assert isinstance(error, Cancelled)
    assert (error.calls, server.requests) == ((), [])


def test_cancelled_while_sending(bench: Bench) -> None:
    """Cancelling ends a request whose server has stopped reading."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def list_models_and_fall_asleep() -> socket.socket:
            connection, _ = listener.accept()
            connection.recv(65536)
            body = b'{"data": [{"id": "m"}]}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return connection

        with ThreadPoolExecutor(1) as pool:
            asleep = pool.submit(list_models_and_fall_asleep)
            client = bench.client(Endpoint(url=f"http://127.0.0.1:{listener.getsockname()[1]}", roles={"qa"}))
            client.describe()
            asks = iter([False] * 5)
            with pytest.raises(Cancelled) as caught:
                client.complete(
                    asked("x" * 20_000_000),
                    max_tokens=5,
                    deadline=time.monotonic() + 60,
                    cancelled=lambda: next(asks, True),
                )
            assert outcomes(caught.value) == ["cancelled"]
            asleep.result().close()


def test_closing_the_client(bench: Bench) -> None:
    """Closing a client ends the requests of its threads, and refuses more."""
    server = bench.server(Script(Reply.silence()))
    client = bench.client(server)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(refused, client) for _ in range(4)]
        wait_for(lambda: len(server.requests) == 4)
        client.close()
        assert [outcomes(future.result()) for future in futures] == [["cancelled"]] * 4
    assert isinstance(refused(client), Cancelled)


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until something another thread does has happened."""
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_a_session_sticks(bench: Bench) -> None:
    """Every call of a session goes to one server, and sessions are spread over all."""
    servers = [bench.server(str(n)) for n in range(4)]
    client = bench.client(*servers)
    homes = {session: {ask(client, session=session).text for _ in range(3)} for session in map(str, range(24))}
    assert all(len(home) == 1 for home in homes.values())
    assert set.union(*homes.values()) == {"0", "1", "2", "3"}
    other = bench.client(*reversed(servers))
    assert {ask(other, session="7").text} == homes["7"]


def test_only_the_sessions_of_a_lost_server_move(bench: Bench) -> None:
    """Without one of its servers, a client leaves all other servers' sessions where they were."""
    servers = [bench.server(str(n)) for n in range(4)]
    client, fewer = bench.client(*servers), bench.client(*servers[1:])
    for session in map(str, range(24)):
        before, after = ask(client, session=session).text, ask(fewer, session=session).text
        assert before in ("0", after)


def test_sessions_are_spread_by_weight(bench: Bench) -> None:
    """Sessions go to servers in proportion to their weights, and stay with a server that is given more."""
    heavy, light = bench.server("heavy"), bench.server("light")

    def homes(weight: float) -> list[str]:
        endpoints = [
            Endpoint(url=heavy.url, roles={"qa"}, weight=weight),
            Endpoint(url=light.url, roles={"qa"}, pool="other"),
        ]
        client = bench.client(*endpoints)
        return [ask(client, session=str(number)).text for number in range(200)]

    before, after = homes(1), homes(3)
    assert 70 < before.count("light") < 130
    assert 30 < after.count("light") < 70
    assert all(now == "heavy" for was, now in zip(before, after, strict=True) if was == "heavy")


def test_a_weight_of_nothing_waits_for_who_asks(bench: Bench) -> None:
    """A pool with the weight 0 gets the requests that name it, also when the others fail, and no others."""
    usual, spare = bench.server("usual"), bench.server("spare")
    client = bench.client(
        Endpoint(url=usual.url, roles={"qa"}, pool="h800"),
        Endpoint(url=spare.url, roles={"qa"}, pool="a800", weight=0),
    )
    assert {ask(client, session=str(number)).text for number in range(20)} == {"usual"}
    assert ask(client, pool="a800", session="1").text == "spare"
    usual.handler = Script(Reply.error(500))
    assert outcomes(refused(client)) == ["error"] * 4
    assert len(spare.requests) == 1


def test_a_heavy_server_is_less_busy(bench: Bench) -> None:
    """Without a session, a server with twice the weight has twice as many calls under way."""
    release = threading.Event()

    def slow(request: dict[str, Any]) -> str:
        release.wait(20)
        return "fine"

    servers = [bench.server(slow) for _ in range(2)]
    client = bench.client(*(Endpoint(url=each.url, roles={"qa"}, weight=n) for n, each in enumerate(servers, start=1)))
    with ThreadPoolExecutor(6) as pool:
        for number in range(6):
            pool.submit(ask, client)
            wait_for(lambda number=number: sum(len(server.requests) for server in servers) == number + 1)
        assert [len(server.requests) for server in servers] == [2, 4]
        release.set()


def test_without_a_session_the_least_busy_is_asked(bench: Bench) -> None:
    """Calls without a session go where the fewest are under way."""
    release = threading.Event()

    def slow(request: dict[str, Any]) -> str:
        release.wait(20)
        return "fine"

    servers = [bench.server(slow) for _ in range(4)]
    client = bench.client(*servers)
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(ask, client)
            wait_for(lambda number=number: sum(len(server.requests) for server in servers) == number + 1)
        assert [len(server.requests) for server in servers] == [2, 2, 2, 2]
        release.set()


def test_a_pool_is_obeyed(bench: Bench) -> None:
    """A pinned pool's servers get the calls, and their failure is not helped by other pools."""
    fast, slow = bench.server("fast"), bench.server("slow")
    endpoints = [
        Endpoint(url=fast.url, roles={"qa"}, pool="h800", gpus=2),
        Endpoint(url=slow.url, roles={"qa"}, pool="a800", gpus=4),
    ]
    client = bench.client(*endpoints)
    for number in range(6):
        completion = ask(client, pool="a800", session=str(number))
        assert completion.text == "slow"
        assert (completion.calls[0].pool, completion.calls[0].gpus) == ("a800", 4)
    slow.handler = Script(Reply.error(500))
    assert outcomes(refused(client, pool="a800")) == ["error"] * 4
    assert fast.requests == []


def test_an_unknown_pool(bench: Bench) -> None:
    """A pool without a server for the role is refused, with the pools that have one."""
    client = bench.client(Endpoint(url=bench.server().url, roles={"qa"}, pool="h800"))
    for use in (lambda: ask(client, pool="l40"), lambda: client.describe("l40")):
        with pytest.raises(BadSettings, match=r"pool 'l40' serves the role qa; the pools that do: h800") as caught:
            use()
        assert caught.value.reason == "NO_ENDPOINT_IN_POOL"


def test_a_failing_server_is_avoided(bench: Bench) -> None:
    """After a failure the other server gets the calls of the session; each failing one is asked once."""
    bad, well = bench.server(Script(Reply.error(500))), bench.server("fine")
    client = bench.client(bad, well, cool_down=600.0)
    for number in range(12):
        assert ask(client, session=str(number)).text == "fine"
    assert len(bad.requests) == 1


def test_a_failing_server_is_probed_back_in(bench: Bench) -> None:
    """After its pause a server that failed is asked for its models first, and then gets its sessions again."""
    server, other = bench.server("home"), bench.server("away")
    client = bench.client(server, other, cool_down=0.0)
    session = next(s for s in map(str, range(99)) if ask(client, session=s).text == "home")
    server.handler = Script(Reply.error(500), "home again")
    assert ask(client, session=session).text == "away"
    probes = server.probes
    assert ask(client, session=session).text == "home again"
    assert server.probes == probes + 1


def test_a_server_that_is_still_down_gets_no_request(bench: Bench) -> None:
    """While the list of models is refused, no question is sent there."""
    server, other = bench.server("home"), bench.server("away")
    client = bench.client(server, other, cool_down=0.0)
    session = next(s for s in map(str, range(99)) if ask(client, session=s).text == "home")
    server.handler = Script(Reply.error(500), "home")
    server.models_reply = Reply.error(503)
    sent = len(server.requests)
    for _ in range(3):
        assert ask(client, session=session).text == "away"
    assert len(server.requests) == sent + 1


def test_all_servers_failed_lately(bench: Bench) -> None:
    """When every server is avoided, they are asked all the same."""
    server = bench.server(Script(Reply.error(500), Reply.error(500), "fine"))
    client = bench.client(server, cool_down=600.0, max_attempts=2)
    assert outcomes(refused(client)) == ["error", "error"]
    assert ask(client).text == "fine"


def test_a_connection_that_vllm_dropped(bench: Bench) -> None:
    """After a 500 the pooled connection is gone without notice; the next request does not suffer."""
    server = bench.server(Script("one", Reply(status=500, body=b"oops", hang_up=True), "two", "three"))
    client = bench.client(server)
    assert [ask(client).text for _ in range(3)] == ["one", "two", "three"]


def test_models_are_asked_for_once(bench: Bench) -> None:
    """A hundred threads at the start make one request for the list of models."""
    server = bench.server()
    server.models_reply = Reply(body=b'{"data": [{"id": "scripted", "owned_by": "vllm"}]}', delay=0.2)
    client = bench.client(server)
    with ThreadPoolExecutor(100) as pool:
        assert [future.result().text for future in [pool.submit(ask, client) for _ in range(100)]] == ["fine"] * 100
    assert server.probes == 1


def test_a_failed_probe_is_shared(bench: Bench) -> None:
    """Threads that wait for the list of models share its failure instead of asking one after the other."""
    server = bench.server()
    server.models_reply = Reply(status=500, body=b"", delay=0.3)
    client = bench.client(server, max_attempts=1)
    with ThreadPoolExecutor(20) as pool:
        errors = [future.result() for future in [pool.submit(refused, client) for _ in range(20)]]
    assert {outcome for error in errors for outcome in outcomes(error)} == {"error"}
    assert server.probes < 10


def test_two_hundred_threads(bench: Bench) -> None:
    """Two hundred threads share a client over two servers, one of which fails now and then; no record is lost."""
    count = iter(range(10_000))

    def shaky(request: dict[str, Any]) -> Reply | str:
        return Reply.error(503) if next(count) % 7 == 0 else Reply("fine", delay=0.02)

    servers = [bench.server(shaky), bench.server(lambda request: Reply("fine", delay=0.02))]
    client = bench.client(*servers, budget=RetryBudget(capacity=1000), max_attempts=10)
    with ThreadPoolExecutor(200) as pool:
        completions = list(pool.map(lambda n: ask(client, session=str(n % 50)), range(400)))
    calls = [call for completion in completions for call in completion.calls]
    assert {completion.text for completion in completions} == {"fine"}
    assert len({call.id for call in calls}) == len(calls)
    # An attempt that fails at the list of models sends no question.
    assert sum(len(server.requests) for server in servers) <= len(calls)
    assert sum(call.outcome == "ok" for call in calls) == 400


def test_the_first_model_is_taken(bench: Bench) -> None:
    """Without a model's name, the first that the server lists is used and recorded."""
    server = bench.server(models=("first", "second"))
    client = bench.client(server)
    assert client.describe().model == "first"
    assert ask(client).calls[0].model == "first"
    assert server.requests[0]["model"] == "first"


def test_the_server_serves_another_model_now(bench: Bench) -> None:
    """A model that is gone is refused with the list of today."""
    server = bench.server(models=("old",))
    client = bench.client(Endpoint(url=server.url, model="old", roles={"qa"}))
    ask(client)
    server.models = ("new",)
    assert "has no model 'old' for the role qa. It has: new" in refused(client).message


LISTS = {
    "HTML": Reply.html(),
    "404": Reply.error(404),
    "405": Reply.error(405),
    "a list": Reply(body=b"[]"),
    "no data": Reply(body=b'{"object": "list"}'),
    "strange entries": Reply(body=b'{"data": [7, {"id": 7}, null]}'),
    "empty": Reply(body=b'{"data": []}'),
}


@pytest.mark.parametrize("reply", LISTS.values(), ids=LISTS)
def test_servers_that_list_no_models(bench: Bench, reply: Reply) -> None:
    """A server without a usable list works when the model is given, with the usual lengths and nothing special."""
    server = bench.server()
    server.models_reply = reply
    given = bench.client(Endpoint(url=server.url, model="scripted", roles={"qa"}))
    assert ask(given, stop=["x"], regex="fi.*").text == "fine"
    assert {"structured_outputs", "include_stop_str_in_output"}.isdisjoint(server.requests[0])
    info = given.describe()
    assert (info.model, info.context_length, info.owned_by, info.models) == ("scripted", 16384, "", ())
    assert refused(bench.client(server)).reason == "MODEL_NOT_OPENAI"


def test_a_refused_list_of_models(bench: Bench) -> None:
    """A server that wants a key for its list wants one for its answers."""
    server = bench.server(api_key="right")
    client = bench.client(server)
    assert refused(client).reason == "MODEL_UNAUTHORIZED"
    with pytest.raises(ModelRejected, match="LONGVIDEO_QA_API_KEY"):
        client.describe()
    assert server.requests == []


def test_describe_asks_the_next_server(bench: Bench) -> None:
    """What the model is, any server of the pool may say."""
    down, well = bench.server(), bench.server(max_model_len=1234)
    down.models_reply = Reply.error(503)
    assert bench.client(down, well).describe().context_length == 1234


def test_describing_ends(bench: Bench) -> None:
    """Asking what a server serves ends at a deadline, when cancelled, and when the client is closed."""
    server = bench.server()
    server.models_reply = Reply.silence()
    client = bench.client(server)
    with pytest.raises(DeadlineExceeded):
        client.describe(deadline=time.monotonic() + 0.2)
    with pytest.raises(Cancelled):
        client.describe(cancelled=lambda: server.probes > 1)
    client.close()
    with pytest.raises(Cancelled):
        client.describe()


def test_describe_with_all_down(bench: Bench) -> None:
    """When no server says what it serves, none is available."""
    down = bench.server()
    down.models_reply = Reply.error(503)
    with pytest.raises(ModelUnavailable, match="too busy"):
        bench.client(down).describe()


@pytest.mark.parametrize(("role", "length"), [("reason", 32768), ("caption", 16384), ("qa", 16384)])
def test_lengths(bench: Bench, role: str, length: int) -> None:
    """The context length is the given one, else the server's, else the usual one of the role."""
    server = bench.server(max_model_len=999)
    fields: dict[str, Any] = {"url": server.url, "roles": {role}}
    assert bench.client(Endpoint(**fields, context_length=5), role=role).describe().context_length == 5
    assert bench.client(Endpoint(**fields), role=role).describe().context_length == 999
    server.models_reply = Reply(body=b'{"data": [{"id": "m", "max_model_len": null}]}')
    assert bench.client(Endpoint(**fields), role=role).describe().context_length == length


@pytest.mark.parametrize(
    ("owned_by", "setting", "bound"),
    [
        ("vllm", None, True),
        ("longvideo", None, True),
        ("openai", None, False),
        ("vllm", False, False),
        ("openai", True, True),
    ],
)
def test_structured_output(bench: Bench, owned_by: str, setting: bool | None, bound: bool) -> None:
    """Patterns and the kept stop string are asked for only where they are understood, or said to be."""
    server = bench.server("<a>fine</a>", owned_by=owned_by)
    client = bench.client(Endpoint(url=server.url, roles={"qa"}, structured_output=setting))
    assert client.describe().structured_output == bound
    ask(client, stop=["</a>"], regex="<a>[a-z]*</a>")
    ask(client, grammar="start: /x/")
    first, second = server.requests
    assert first["stop"] == ["</a>"]
    assert first.get("include_stop_str_in_output", False) == bound
    assert first.get("structured_outputs") == ({"regex": "<a>[a-z]*</a>"} if bound else None)
    assert second.get("structured_outputs") == ({"grammar": "start: /x/"} if bound else None)


def test_what_is_sent(bench: Bench) -> None:
    """A request holds what was asked for and nothing else; what is left open is left to the server."""
    server = bench.server()
    client = bench.client(server)
    completion = ask(client, temperature=0.2, seed=7)
    ask(client)
    assert server.requests[0] == {
        "model": "scripted",
        "messages": QUESTION,
        "max_tokens": 50,
        "temperature": 0.2,
        "seed": 7,
    }
    assert server.requests[1].keys() == {"model", "messages", "max_tokens"}
    assert server.headers[0]["x-request-id"] == completion.calls[0].id


def test_nothing_else_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and names that the environment holds for other programs are not sent."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "sk-somebody-elses")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: sk-somebody-elses")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    server = bench.server()
    ask(bench.client(server))
    assert "sk-somebody-elses" not in str(server.headers)
    assert server.headers[0].keys() <= {
        "host", "accept", "accept-encoding", "content-type", "content-length", "user-agent", "x-request-id",
    }  # fmt: skip


def test_the_key_stays_secret(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A key is sent, and shows nowhere: not in errors, records, logs or reprs, even if the server repeats it."""
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret-0123456789"
    server = bench.server(api_key="another")
    endpoint = Endpoint(url=server.url, roles={"qa"}, model="scripted", api_key=SecretStr(key))
    client = bench.client(endpoint)
    error = refused(client)
    assert "Unauthorized: Bearer ***" in error.message
    server.api_key = key
    completion = ask(client)
    assert server.headers[0]["authorization"] == f"Bearer {key}"
    seen = repr((error, error.calls, error.metadata, completion, client, endpoint, endpoint.model_dump())) + caplog.text
    assert key not in seen
    assert server.url in seen


ODD = {
    "no choices": b'{"choices": []}',
    "null choice": b'{"choices": [null]}',
    "null content": b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}], "usage": null}',
    "no message": b'{"choices": [{}], "usage": {"prompt_tokens": "many", "prompt_tokens_details": 3}}',
    "numbers": b'{"choices": [{"message": {"content": 7}}], "usage": {"prompt_tokens": -5}, "model": 3}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_odd_answers_are_empty(bench: Bench, body: bytes) -> None:
    """An answer without words is an empty one, and costs what is known."""
    completion = ask(bench.client(bench.server(Script(Reply(body=body)))))
    assert completion.text == ""
    assert completion.calls[0].prompt_tokens == 0


def test_parts_and_broken_letters(bench: Bench) -> None:
    """Text in parts is joined, and half a surrogate pair becomes a question mark."""
    body = b'{"choices": [{"message": {"content": [{"type": "text", "text": "a\\ud83d"}, {"text": "b"}, 5]}}]}'
    assert ask(bench.client(bench.server(Script(Reply(body=body))))).text == "a?b"


def test_times_of_the_server(bench: Bench) -> None:
    """What the server says of its own time stands in the record of the call, and nothing where it says nothing."""
    times = {"queue_time_ms": 250.0, "time_to_first_token_ms": 1500, "generation_time_ms": 4000.5}
    server = bench.server()
    client = bench.client(server)
    answered = ask(client).calls[-1]
    assert answered.queue_seconds == 0.0005
    assert answered.prefill_seconds == pytest.approx(0.01 + answered.prompt_tokens / 8000)
    assert answered.decode_seconds == pytest.approx(answered.completion_tokens * 0.004)
    for metrics, expected in (
        (times, (0.25, 1.5, 4.0005)),
        ({"queue_time_ms": None, "time_to_first_token_ms": 0}, (None, 0.0, None)),
        ({"queue_time_ms": "1", "time_to_first_token_ms": -1, "generation_time_ms": 1e300}, (None, None, None)),
        ({"queue_time_ms": True, "time_to_first_token_ms": float("nan")}, (None, None, None)),
        ([], (None, None, None)),
        (None, (None, None, None)),
    ):
        body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "metrics": metrics}
        told = Reply(body=json.dumps(body).encode())
        server.handler = lambda _, told=told: told  # type: ignore[misc]
        call = ask(client).calls[-1]
        assert (call.queue_seconds, call.prefill_seconds, call.decode_seconds) == expected


def test_tokens_of_an_abandoned_answer_count(bench: Bench) -> None:
    """What an aborted attempt took is in its record."""
    completion = ask(bench.client(bench.server(Script(Reply("half", finish_reason="abort"), "fine"))))
    assert [call.completion_tokens for call in completion.calls] == [1, 1]
    assert completion.calls[0].prompt_tokens > 0
    assert completion.calls[0].detail == "finish_reason abort"


def test_priority_goes_where_it_is_understood(bench: Bench) -> None:
    """A request says how urgent it is to an endpoint that serves urgent ones first, and to no other."""
    server = bench.server()
    urgent = bench.client(Endpoint(url=server.url, roles=frozenset({"qa"}), priority=True))
    for client, options in ((urgent, {}), (urgent, {"priority": 1}), (bench.client(server), {"priority": 1})):
        ask(client, **options)
    assert [request.get("priority") for request in server.requests] == [0, 1, None]


def test_error_says_when_to_try_again(bench: Bench) -> None:
    """An error carries how long the server asked to wait, where it did."""
    for reply, seconds in ((Reply.error(503, Retry_After="90"), 90.0), (Reply.error(503), None)):
        error = refused(bench.client(bench.server(Script(reply)), max_attempts=1))
        assert error.retry_after == seconds
