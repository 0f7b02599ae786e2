"""The video question service over real gRPC, with a scripted model and a real video."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from longvideo import errors, rpc
from longvideo.clips import Library
from longvideo.inference import Endpoint, ModelClient
from longvideo.prompts import load_pack
from longvideo.resources import VideoName
from longvideo.segments import Segment, Tree, sample
from longvideo.storage import DirectoryStore, ObjectStore
from longvideo.subtitles import Cue
from longvideo.testing import MemoryStore, Reply, ScriptedModelServer
from longvideo.v1 import types_pb2, video_qa_pb2
from longvideo.v1.video_qa_pb2_grpc import VideoQAServiceStub
from qa_svc.answer import Answerer, read_answer
from qa_svc.servicer import VideoQAServicer, registration
from tests.contract.library import FRAMES, MEDIA, VIDEO, add_film, add_subtitles, film, parts, pictures
from tests.media import Pixels, make_video


class Ask:
    """Asks a service."""

    def __init__(self, stub: VideoQAServiceStub) -> None:
        self._stub = stub

    def __call__(self, *path: int, timeout: float = 30, **more: Any) -> video_qa_pb2.AnswerQuestionResponse:
        """Returns the answer."""
        response: video_qa_pb2.AnswerQuestionResponse = self.begin(*path, timeout=timeout, **more).result()
        return response

    def begin(self, *path: int, timeout: float = 30, **more: Any) -> Any:
        """Returns the call under way."""
        fields = {"video": str(VIDEO), "tree_width": 2, "query": "Which colour?"} | more
        return self._stub.AnswerQuestion.future(
            video_qa_pb2.AnswerQuestionRequest(path=path, **fields), timeout=timeout
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """A store that holds a video; nothing here changes it."""
    directory = tmp_path_factory.mktemp("film")
    store = DirectoryStore(directory / "data")
    add_film(store, film(directory))
    return store


@pytest.fixture
def model() -> Iterator[ScriptedModelServer]:
    """A qa model."""
    with ScriptedModelServer(lambda _: "<answer>Red.</answer>", max_model_len=16384) as server:
        yield server


@pytest.fixture
def serve(model: ScriptedModelServer) -> Iterator[Callable[[ObjectStore], Ask]]:
    """Starts services and returns what asks them."""
    running: list[tuple[rpc.Server, ModelClient, Any]] = []

    def start(store: ObjectStore) -> Ask:
        client = ModelClient("qa", [Endpoint(url=model.url, roles=frozenset(["qa"]), priority=True)], max_attempts=2)
        server = rpc.serve([registration(VideoQAServicer(Answerer(Library(store, MEDIA), client, load_pack())))])
        channel = rpc.connect(server.address)
        running.append((server, client, channel))
        return Ask(VideoQAServiceStub(channel))

    yield start
    for server, client, channel in running:
        channel.close()
        client.close()
        server.stop()


@pytest.fixture
def ask(serve: Callable[[ObjectStore], Ask], store: ObjectStore) -> Ask:
    """Asks about the video."""
    return serve(store)


def test_an_answer(ask: Ask, model: ScriptedModelServer) -> None:
    """An answer has the words, how the model came to them, the clip with its times, and the call."""
    model.handler = lambda _: "<reasoning>At 1.7s it is red.</reasoning>\n<answer>Red.</answer>"
    response = ask(1, 1, 2)
    assert (response.answer, response.reasoning, response.frame_count) == ("Red.", "At 1.7s it is red.", 16)
    assert list(response.segment.path) == [1, 1, 2]
    assert response.segment.start_offset.ToMicroseconds() == 33 * 50_000
    assert response.segment.end_offset.ToMicroseconds() == 65 * 50_000
    (call,) = response.calls
    assert (call.role, call.outcome, call.image_count) == (types_pb2.ROLE_QA, types_pb2.ModelCall.OUTCOME_OK, 16)


def test_priority(ask: Ask, model: ScriptedModelServer) -> None:
    """The model server is told how urgent a question is; a priority that is none is refused."""
    for priority in (0, 1, 2):
        ask(1, 1, 1, priority=priority)
    assert [request["priority"] for request in model.requests] == [0, 0, 1]
    with pytest.raises(errors.InvalidArgument, match=r"priority is 7; give PRIORITY_INTERACTIVE"):
        ask(1, 1, 1, priority=7)


def test_what_the_model_is_shown(ask: Ask, model: ScriptedModelServer, store: ObjectStore) -> None:
    """Sixteen frames spread over the clip, first and last included, with the subtitles, then the question."""
    name = add_subtitles(store, Cue(0.5, 1.7, "begun before"), Cue(2.01, 2.2, "within"), Cue(9, 10, "later"))
    ask(1, 1, 2, subtitles=name, query="  What is written (in red)?\n")
    (request,) = model.requests
    shown = parts(request)
    assert pictures(request) == sample(Tree(FRAMES, 2).span(Segment((1, 1, 2))), 16)
    assert shown[:3] == ["Subtitle [0.50s - 1.70s]: begun before", "[1.65s]", "#33"]
    assert shown[shown.index("Subtitle [2.01s - 2.20s]: within") - 1] == "#39"
    assert shown[-2:] == ["#64", "Question: What is written (in red)?"]
    assert request["messages"][0] == {"role": "system", "content": load_pack().render("qa_system", frames=16)}


def grey(number: int, width: int, height: int) -> Pixels:
    """Paints a picture that is quickly encoded."""
    return np.full((height, width, 3), 99, np.uint8)


def test_pictures_fit(serve: Callable[[ObjectStore], Ask], model: ScriptedModelServer, tmp_path: Path) -> None:
    """Square pictures, sixteen of which would fill the model's context, are made smaller; the longest question fits."""
    times = [n / 2 for n in range(128)]
    path = make_video(tmp_path / "film.mp4", times=times, width=1024, height=1024, paint=grey, bframes=0, gop=8)
    store = MemoryStore()
    add_film(store, path)
    assert serve(store)(1, 1, 1, query="?" * 4000).answer == "Red."
    content = model.requests[-1]["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    assert len(urls) == 16
    height, width = simplejpeg.decode_jpeg_header(base64.b64decode(urls[0].partition(",")[2]))[:2]
    assert height == width
    assert 700 < width < 1024


@pytest.mark.parametrize(
    ("reply", "answer", "reasoning"),
    [
        ("<reasoning>a</reasoning><answer>b</answer>", "b", "a"),
        ("<REASONING>a</REASONING>\n\n<Answer>\nb\n</Answer>", "b", "a"),
        ("b", "b", ""),
        ("a<answer>b</answer>c", "b", "a"),
        ("<answer>b", "b", ""),
        ("b</answer>", "b", ""),
        ("<reasoning>a</reasoning>b", "b", "a"),
        ("<reasoning>a</reasoning>b</answer>", "b", "a"),
        ("<reasoning>a <answer>b</answer>", "b", "a"),
        ("<answer>b</answer><reasoning>a</reasoning>", "b", "b</answer><reasoning>a"),
        ("<reasoning>only a", "only a", ""),
        ("<reasoning>only a</reasoning>", "only a", "only a"),
        ("<think>x <answer>no</answer></think><answer>b</answer>", "b", ""),
        ("<answer>b <answer>c</answer>", "b c", ""),
        ("<answer>" + "b" * 10_000, "b" * 4000, ""),
    ],
)
def test_reading_answers(reply: str, answer: str, reasoning: str) -> None:
    """The answer is found whatever became of the tags, which are never part of it."""
    found = read_answer(reply)
    assert found is not None
    assert found[0] == answer
    assert found[1].replace("answer", "") == reasoning.replace("answer", "") or "<" in reasoning


@pytest.mark.parametrize(
    "reply", ["", " \n", "<answer></answer>", "<reasoning>a</reasoning><answer> </answer>", "<think>a"]
)
def test_reading_nothing(reply: str) -> None:
    """Nothing, and an answer that is empty in so many words, is no answer."""
    assert read_answer(reply) is None


def test_an_empty_answer(ask: Ask, model: ScriptedModelServer) -> None:
    """An empty answer is asked for once more, and counted as invalid."""
    replies = iter(["<answer></answer>", "Red."])
    model.handler = lambda _: next(replies)
    response = ask(1, 1, 1)
    assert response.answer == "Red."
    assert [types_pb2.ModelCall.Outcome.Name(call.outcome) for call in response.calls] == [
        "OUTCOME_INVALID",
        "OUTCOME_OK",
    ]


def test_two_empty_answers(ask: Ask, model: ScriptedModelServer) -> None:
    """Two empty answers are an error that carries both calls."""
    model.handler = lambda _: ""
    with pytest.raises(errors.ModelUnavailable) as caught:
        ask(1, 1, 1)
    assert [call.outcome for call in caught.value.calls] == ["invalid", "invalid"]


def test_a_failure_after_an_empty_answer(ask: Ask, model: ScriptedModelServer) -> None:
    """An error on the second try carries the first try's call too."""
    replies = iter(["", Reply.error(400, "no")])
    model.handler = lambda _: next(replies)
    with pytest.raises(errors.ModelRejected) as caught:
        ask(1, 1, 1)
    assert [call.outcome for call in caught.value.calls] == ["invalid", "error"]


def test_nothing_is_kept(ask: Ask, model: ScriptedModelServer) -> None:
    """The same question asked again is a new call."""
    ask(1, 1, 1)
    ask(1, 1, 1)
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    ("path", "more", "error", "said"),
    [
        ((1, 1), {}, errors.InvalidArgument, "2 ids"),
        ((1, 1, 3), {}, errors.InvalidArgument, "go from 1 to 2"),
        ((8, 8, 8), {"tree_width": 8}, errors.InvalidArgument, "holds no frame"),
        ((1, 1, 1), {"tree_width": 1}, errors.InvalidArgument, "tree_width is 1"),
        ((1, 1, 1), {"query": " "}, errors.InvalidArgument, "query has 0 characters"),
        ((1, 1, 1), {"query": "x" * 4001}, errors.InvalidArgument, "4,001"),
        ((1, 1, 1), {"video": "videos/x"}, errors.InvalidArgument, "video is"),
        ((1, 1, 1), {"video": str(VideoName("00" * 32))}, errors.NotFound, "add it first"),
        ((1, 1, 1), {"subtitles": f"{VIDEO}/subtitles/none"}, errors.NotFound, "no subtitles"),
    ],
)
def test_bad_requests(
    ask: Ask, model: ScriptedModelServer, path: tuple[int, ...], more: dict[str, Any], error: type[Exception], said: str
) -> None:
    """A wrong request is refused before any call, saying which field is wrong and how."""
    with pytest.raises(error, match=said):
        ask(*path, **more)
    assert model.requests == []


def test_a_call_for_somebody_who_has_gone(ask: Ask, model: ScriptedModelServer) -> None:
    """A call that was given up because its caller had gone is told to the next caller, once."""
    asked = threading.Event()

    def hang(_: dict[str, Any]) -> Reply:
        asked.set()
        return Reply.silence()

    model.handler = hang
    call = ask.begin(1, 1, 1)
    assert asked.wait(10)
    model.handler = lambda _: "<answer>Red.</answer>"
    call.cancel()
    strays: list[types_pb2.StrayCall] = []
    deadline = time.monotonic() + 20
    while not strays and time.monotonic() < deadline:
        strays = list(ask(1, 1, 1).strays)
    (stray,) = strays
    assert (stray.video, stray.episode, stray.call.role) == (str(VIDEO), "", types_pb2.ROLE_QA)
    assert stray.call.outcome == types_pb2.ModelCall.OUTCOME_CANCELLED
    assert not ask(1, 1, 1).strays


def test_a_deadline(ask: Ask, model: ScriptedModelServer) -> None:
    """A model that hangs costs no more than the caller's time."""
    model.handler = lambda _: Reply.silence()
    with pytest.raises(errors.DeadlineExceeded):
        ask(1, 1, 1, timeout=1)
