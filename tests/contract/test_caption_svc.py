"""The caption service over real gRPC, with a scripted model and a real video."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from caption_svc.caption import LONGEST_SIDES, Captioner, CaptionRequest, SamplingName, read_caption
from caption_svc.servicer import CaptionServicer, registration
from longvideo import errors, logs, rpc
from longvideo.clips import Library
from longvideo.inference import Endpoint, ModelClient
from longvideo.prompts import PromptPack, load_pack
from longvideo.resources import VideoName
from longvideo.segments import Segment, Tree, sample
from longvideo.storage import DirectoryStore, ObjectStore, index_key
from longvideo.subtitles import Cue
from longvideo.testing import Reply, ScriptedModelServer
from longvideo.v1 import caption_pb2, types_pb2
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.video import FrameSelection
from tests.contract.library import FRAMES, MEDIA, VIDEO, add_film, add_subtitles, film, parts, pictures
from tests.media import make_video, read_number

WIDTH = 2
TREE = Tree(FRAMES, WIDTH)


@pytest.fixture(scope="module")
def film_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video file."""
    return film(tmp_path_factory.mktemp("film"))


@pytest.fixture
def store(tmp_path: Path, film_path: Path) -> ObjectStore:
    """A store that holds the video."""
    store = DirectoryStore(tmp_path / "data")
    add_film(store, film_path)
    return store


@dataclass
class Model:
    """The caption model: what it says can be changed while it runs."""

    server: ScriptedModelServer = field(
        default_factory=lambda: ScriptedModelServer(lambda _: "<caption>A red boat.</caption>", max_model_len=16384)
    )

    def say(self, handler: Callable[[dict[str, Any]], Reply | str]) -> None:
        """Says something else from now on."""
        self.server.handler = handler

    @property
    def calls(self) -> int:
        """How many completions were asked for."""
        return len(self.server.requests)


@pytest.fixture
def model() -> Iterator[Model]:
    """A caption model."""
    model = Model()
    with model.server:
        yield model


class Service:
    """The caption service on loopback, and a client of it."""

    def __init__(
        self,
        store: ObjectStore,
        url: str,
        *,
        name: str = "",
        pack: PromptPack | None = None,
        sampling: SamplingName = "trained",
        frame_selection: FrameSelection = "keyframe",
    ) -> None:
        endpoints = [Endpoint(url=url, model=name, roles=frozenset(["caption"]))]
        self.client = ModelClient("caption", endpoints, max_attempts=2)
        library = Library(store, MEDIA)
        captioner = Captioner(
            store,
            library,
            self.client,
            endpoints,
            pack or load_pack(),
            sampling=sampling,
            frame_selection=frame_selection,
        )
        self.server = rpc.serve([registration(CaptionServicer(captioner, library))])
        self.channel: grpc.Channel = rpc.connect(self.server.address)
        self.stub = CaptionServiceStub(self.channel)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.client.close()
        self.server.stop()

    def caption(self, *path: int, timeout: float = 30, **more: Any) -> caption_pb2.CaptionSegmentResponse:
        """Asks for a caption."""
        fields = {"video": str(VIDEO), "tree_width": WIDTH} | more
        request = caption_pb2.CaptionSegmentRequest(path=path, **fields)
        response: caption_pb2.CaptionSegmentResponse = self.stub.CaptionSegment(request, timeout=timeout)
        return response

    def captions(self, *path: int, **more: Any) -> list[types_pb2.Caption]:
        """Lists captions."""
        fields = {"video": str(VIDEO), "tree_width": WIDTH} | more
        request = caption_pb2.ListCaptionsRequest(path=path, **fields)
        return list(self.stub.ListCaptions(request, timeout=30).captions)


@pytest.fixture
def service(store: ObjectStore, model: Model) -> Iterator[Service]:
    """The service, with the video and the model."""
    with Service(store, model.server.url) as service:
        yield service


def test_a_caption(service: Service, model: Model) -> None:
    """A caption has the words, the segment with its times, the model, and the call that made it."""
    response = service.caption(2, 1, 2)
    caption = response.caption
    assert caption.text == "A red boat."
    assert list(caption.segment.path) == [2, 1, 2]
    span = TREE.span(_segment(2, 1, 2))
    assert caption.segment.start_offset.ToMicroseconds() == span.start * 50_000
    assert caption.segment.end_offset.ToMicroseconds() == span.stop * 50_000
    assert (caption.frame_count, caption.model, response.cached) == (32, "scripted", False)
    assert abs(caption.create_time.ToSeconds() - time.time()) < 60
    (call,) = response.calls
    assert (call.role, call.outcome, call.image_count) == (types_pb2.ROLE_CAPTION, types_pb2.ModelCall.OUTCOME_OK, 32)
    assert call.prompt_token_count > 0


def test_the_last_segment_ends_with_the_video(service: Service) -> None:
    """The end of the last segment is the end of the video."""
    assert service.caption(2).caption.segment.end_offset.ToMicroseconds() == 13_000_000


@pytest.mark.parametrize(
    ("path", "sampling", "count", "words"),
    [
        ((1,), types_pb2.SAMPLING_TRAINED, 128, 400),
        ((1, 2), types_pb2.SAMPLING_UNSPECIFIED, 64, 400),
        ((1, 2, 1), types_pb2.SAMPLING_TRAINED, 32, 200),
        ((1,), types_pb2.SAMPLING_LIGHT, 64, 300),
        ((1, 2), types_pb2.SAMPLING_LIGHT, 32, 300),
        ((1, 2, 1), types_pb2.SAMPLING_LIGHT, 16, 200),
    ],
)
def test_sampling(service: Service, model: Model, path: tuple[int, ...], sampling: Any, count: int, words: int) -> None:
    """Each level of each sampling shows its own frames, evenly spread over the span, and asks for its own words."""
    service.caption(*path, sampling=sampling)
    request = model.server.requests[-1]
    assert pictures(request) == sample(TREE.span(_segment(*path)), count)
    assert f"{words} words" in request["messages"][0]["content"]
    assert request["max_tokens"] >= 2 * words


def test_keyframes_stand_in(tmp_path: Path, model: Model) -> None:
    """High and medium captions are shown keyframes near their samples, with their own times, and say how near."""
    store = DirectoryStore(tmp_path / "data")
    add_film(store, make_video(tmp_path / "long.mp4", seconds=100, fps=20, gop=3, width=80, height=48))
    tree = Tree(2000, WIDTH)
    exact = {path: sample(tree.span(_segment(*path)), count) for path, count in (((1,), 128), ((1, 1, 1), 32))}
    with Service(store, model.server.url) as service:
        caption = service.caption(1).caption
        shown = pictures(model.server.requests[-1])
        assert [number % 3 for number in shown] == [0] * 128
        times = [f"[{number / 20:.2f}s]" for number in shown]
        assert [part for part in parts(model.server.requests[-1]) if part in times] == times
        moves = [abs(new - old) / 20 for new, old in zip(shown, exact[1,], strict=True) if new != old]
        assert caption.moved_frame_count == len(moves)
        assert caption.mean_move.ToTimedelta().total_seconds() == pytest.approx(sum(moves) / len(moves), abs=1e-6)
        assert caption.max_move.ToTimedelta().total_seconds() == pytest.approx(max(moves), abs=1e-6) == 0.05
        low = service.caption(1, 1, 1).caption
        assert pictures(model.server.requests[-1]) == exact[1, 1, 1]
        assert (low.moved_frame_count, low.HasField("max_move")) == (0, True)
    with Service(store, model.server.url, frame_selection="exact") as service:
        assert service.caption(1).caption.moved_frame_count == 0
        assert pictures(model.server.requests[-1]) == exact[1,]


def test_longest_sides() -> None:
    """Pictures have 512 / sqrt(k) pixels at most, k being 4, 2 and 1."""
    assert LONGEST_SIDES == (256, 362, 512)


def test_what_the_model_is_shown(service: Service, model: Model, store: ObjectStore) -> None:
    """Frames follow their times, and every cue that overlaps the segment stands once, in order, at its time."""
    span = TREE.span(_segment(1, 1, 2))
    assert (span.start, span.stop) == (33, 65)
    name = add_subtitles(
        store,
        Cue(0.0, 1.0, "long before"),
        Cue(1.0, 1.7, "begun before"),
        Cue(1.5, 3.0, "also before"),
        Cue(1.71, 1.72, "between two frames"),
        Cue(1.76, 1.80, "after a frame"),
        Cue(3.22, 9.0, "after the last frame"),
        Cue(3.3, 4.0, "after"),
    )
    service.caption(1, 1, 2, subtitles=name)
    shown = parts(model.server.requests[-1])
    assert shown[:11] == [
        "Segment (1,1,2) of the video, from 1.7 s to 3.2 s.",
        "Subtitle [1.00s - 1.70s]: begun before",
        "Subtitle [1.50s - 3.00s]: also before",
        "[1.65s]",
        "#33",
        "[1.70s]",
        "#34",
        "Subtitle [1.71s - 1.72s]: between two frames",
        "[1.75s]",
        "#35",
        "Subtitle [1.76s - 1.80s]: after a frame",
    ]
    assert shown[-3:] == ["[3.20s]", "#64", "Subtitle [3.22s - 9.00s]: after the last frame"]
    assert sum(part.startswith("Subtitle") for part in shown) == 5


def test_a_second_request(service: Service, model: Model) -> None:
    """A caption that exists costs no call, and only its own requester is told of the calls that made it."""
    first = service.caption(1, requester="jobs/a/episodes/1")
    again = service.caption(1, requester="jobs/a/episodes/1")
    other = service.caption(1, requester="jobs/b/episodes/1")
    nobody = service.caption(1)
    assert model.calls == 1
    assert [response.cached for response in (first, again, other, nobody)] == [False, True, True, True]
    assert list(again.calls) == list(first.calls)
    assert not other.calls
    assert not nobody.calls
    assert other.caption == first.caption


def test_nobody_is_no_requester(service: Service) -> None:
    """Calls made for nobody in particular are told once."""
    assert service.caption(1).calls
    assert not service.caption(1).calls


@pytest.mark.parametrize("workers", [1, 2])
def test_many_at_once(store: ObjectStore, model: Model, workers: int) -> None:
    """Eight requests at one time, through one service or two, make one call, which one of them is told of."""

    def slow(_: dict[str, Any]) -> str:
        assert arrived.wait(10)
        return "A red boat."

    arrived = threading.Event()
    model.say(slow)
    services = [Service(DirectoryStore(store.root), model.server.url) for _ in range(workers)]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(services[n % workers].caption, 1) for n in range(8)]
        time.sleep(0.3)  # lets most of them arrive; the facts below hold however many do
        arrived.set()
        responses = [response.result() for response in asked]
    for service in services:
        service.__exit__()
    assert model.calls == 1
    assert sum(len(response.calls) for response in responses) == 1
    assert sum(not response.cached for response in responses) == 1
    assert {response.caption.text for response in responses} == {"A red boat."}


ASK = """
import sys
from pathlib import Path
from longvideo.storage import DirectoryStore
from tests.contract.test_caption_svc import Service
with Service(DirectoryStore(Path(sys.argv[1])), sys.argv[2]) as service:
    for number in (1, 2):
        service.caption(number)
    print(len(service.captions()))
"""


def test_processes_at_once(store: ObjectStore, model: Model) -> None:
    """Two processes that caption the same segments make one call for each."""
    model.say(lambda _: Reply("A red boat.", delay=0.3))
    root = store.root  # type: ignore[attr-defined]
    command = [sys.executable, "-c", ASK, str(root), model.server.url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [worker.communicate()[0] for worker in workers] == [b"2\n", b"2\n"]
    assert model.calls == 2


def test_others_try_when_the_first_gives_up(service: Service, model: Model) -> None:
    """When whoever asked first runs out of time, one of those who waited makes the caption."""
    asked = threading.Event()

    def first_hangs(_: dict[str, Any]) -> Reply | str:
        if not asked.is_set():
            asked.set()
            return Reply.silence()
        return "A red boat."

    model.say(first_hangs)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(service.caption, 1, timeout=1.5)
        assert asked.wait(10)
        second = pool.submit(service.caption, 1)
        with pytest.raises(errors.DeadlineExceeded):
            first.result()
        assert second.result().caption.text == "A red boat."
    assert model.calls == 2


def test_a_call_for_somebody_who_has_gone(service: Service, model: Model) -> None:
    """A call that was given up because its caller had gone is told to the next caller, once, with whose it was."""
    asked = threading.Event()

    def first_hangs(_: dict[str, Any]) -> Reply | str:
        if not asked.is_set():
            asked.set()
            return Reply.silence()
        return "A red boat."

    model.say(first_hangs)
    request = caption_pb2.CaptionSegmentRequest(video=str(VIDEO), tree_width=WIDTH, path=[1])
    episode = "jobs/3f9a/episodes/2"
    with logs.bound(tenant="ada", **logs.names_of(episode)):
        call = service.stub.CaptionSegment.future(request, timeout=30)
    assert asked.wait(10)
    call.cancel()
    strays: list[types_pb2.StrayCall] = []
    deadline = time.monotonic() + 20
    while not strays and time.monotonic() < deadline:
        strays = list(service.caption(2).strays)
    (stray,) = strays
    assert (stray.tenant, stray.episode, stray.video) == ("ada", episode, str(VIDEO))
    assert (stray.call.role, stray.call.outcome) == (types_pb2.ROLE_CAPTION, types_pb2.ModelCall.OUTCOME_CANCELLED)
    assert not service.caption(2).strays


def test_all_hear_of_a_failure(service: Service, model: Model) -> None:
    """When the model fails, everybody who waited hears so, and only one is told of the calls."""
    arrived = threading.Event()

    def fail(_: dict[str, Any]) -> Reply:
        assert arrived.wait(10)
        return Reply.error(400, "no")

    model.say(fail)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(service.caption, 1) for _ in range(4)]
        time.sleep(0.3)  # as above
        arrived.set()
        failures = [future.exception() for future in asked]
    assert all(isinstance(failure, errors.ModelRejected) for failure in failures)
    told = [failure.calls for failure in failures if isinstance(failure, errors.LongVideoError)]
    assert sum(map(len, told)) == model.calls


def test_everything_a_caption_depends_on(store: ObjectStore, model: Model) -> None:
    """Another model, wording, sampling or subtitles make another caption; the reasoner's wording does not."""
    model.server.models = ("scripted", "other")
    pack = load_pack()
    name = add_subtitles(store, Cue(1, 2, "Ahoy"))

    def calls(service: Service, **more: Any) -> int:
        before = model.calls
        with service:
            service.caption(1, **more)
            assert len(service.captions(**more)) == 1
        return model.calls - before

    def changed(**templates: str) -> PromptPack:
        return PromptPack("changed", {**pack.templates, **templates})

    url = model.server.url
    assert calls(Service(store, url)) == 1
    assert calls(Service(store, url)) == 0
    assert calls(Service(store, url, name="scripted")) == 0
    assert calls(Service(store, url, pack=changed(reason_system="Other words."))) == 0
    assert calls(Service(store, url), sampling=types_pb2.SAMPLING_TRAINED) == 0
    assert calls(Service(store, url, name="other")) == 1
    assert calls(Service(store, url, pack=changed(caption_system="Other words."))) == 1
    assert calls(Service(store, url, sampling="light")) == 1
    assert calls(Service(store, url), sampling=types_pb2.SAMPLING_LIGHT) == 0
    assert calls(Service(store, url, frame_selection="exact")) == 1
    assert calls(Service(store, url), subtitles=name) == 1
    assert calls(Service(store, url), tree_width=3) == 1


def test_captions_without_a_server(store: ObjectStore, model: Model) -> None:
    """Captions that exist are served while the model server is down, when the endpoint names its model."""
    with Service(store, model.server.url) as service:
        service.caption(1)
    with Service(store, "http://127.0.0.1:9/v1", name="scripted") as service:
        assert service.caption(1).cached
        assert len(service.captions()) == 1
        with pytest.raises(errors.ModelUnavailable):
            service.caption(2)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<caption>A boat.</caption>", "A boat."),
        ("A boat.", "A boat."),
        ("Here it is: <Caption>\nA boat.\nA pier.\n</CAPTION> I hope it helps.", "A boat.\nA pier."),
        ("<caption>A boat, cut", "A boat, cut"),
        ("A boat.</caption>", "A boat."),
        ("<think>A <caption>?</caption></think><caption>A boat.</caption>", "A boat."),
        ("<caption>A <caption>boat.</caption>", "A boat."),
        ("<caption></caption>", None),
        ("  \n", None),
        ("<think>What is", None),
        ("x" * 100_000, "x" * 12_000),
    ],
)
def test_reading_captions(reply: str, text: str | None) -> None:
    """A caption is found whatever became of its tags, which are never part of it."""
    assert read_caption(reply) == text


def test_an_empty_answer(service: Service, model: Model) -> None:
    """An empty answer is asked for once more, and counted as invalid."""
    replies = iter(["<caption> </caption>", "A red boat."])
    model.say(lambda _: next(replies))
    response = service.caption(1)
    assert response.caption.text == "A red boat."
    assert [call.outcome for call in response.calls] == [
        types_pb2.ModelCall.OUTCOME_INVALID,
        types_pb2.ModelCall.OUTCOME_OK,
    ]


def test_two_empty_answers(service: Service, model: Model) -> None:
    """Two empty answers are an error that carries both calls, and nothing is kept."""
    model.say(lambda _: "<caption></caption>")
    with pytest.raises(errors.ModelUnavailable) as caught:
        service.caption(1)
    assert caught.value.reason == "MODEL_EMPTY_ANSWER"
    assert [call.outcome for call in caught.value.calls] == ["invalid", "invalid"]
    assert service.captions() == []


def test_a_failing_model(service: Service, model: Model) -> None:
    """An error of the model server carries the calls that were made."""
    model.say(lambda _: Reply.error(503, "busy"))
    with pytest.raises(errors.ModelUnavailable) as caught:
        service.caption(1)
    assert [call.outcome for call in caught.value.calls] == ["error", "error"]


def test_list(service: Service) -> None:
    """Captions are listed in tree order, all of them or those below a segment."""
    paths = [(2, 1, 1), (1,), (2, 1), (1, 2), (2, 2, 2), (2,)]
    for path in paths:
        service.caption(*path)
    assert [tuple(caption.segment.path) for caption in service.captions()] == sorted(paths)
    below = [tuple(caption.segment.path) for caption in service.captions(2, 1)]
    assert below == [(2, 1), (2, 1, 1)]
    assert service.captions(2, 1)[0].text == "A red boat."


def test_a_damaged_caption_is_made_again(service: Service, model: Model, store: ObjectStore) -> None:
    """A stored caption that cannot be read counts as none."""
    service.caption(1)
    (key,) = store.list("captions/")
    for damage in (b"", b"{}", b"[1]", b"\xff", store.get(key)[:-20]):
        store.put(key, damage)
        assert service.captions() == []
        assert not service.caption(1).cached
    assert model.calls == 6


@pytest.mark.parametrize(
    ("path", "more", "error", "said"),
    [
        ((), {}, errors.InvalidArgument, "0 ids"),
        ((1, 1, 1, 1), {}, errors.InvalidArgument, "4 ids"),
        ((3,), {}, errors.InvalidArgument, "go from 1 to 2"),
        ((0,), {}, errors.InvalidArgument, "go from 1 to 2"),
        ((-1,), {}, errors.InvalidArgument, "go from 1 to 2"),
        ((1,), {"tree_width": 0}, errors.InvalidArgument, "tree_width is 0"),
        ((1,), {"tree_width": 9}, errors.InvalidArgument, "tree_width is 9"),
        ((8, 8, 8), {"tree_width": 8}, errors.InvalidArgument, "holds no frame"),
        ((1,), {"video": "film.mp4"}, errors.InvalidArgument, "video is 'film.mp4'"),
        ((1,), {"video": str(VideoName("00" * 32))}, errors.NotFound, "add it first"),
        ((1,), {"subtitles": f"{VIDEO}/subtitles/none"}, errors.NotFound, "no subtitles"),
        ((1,), {"subtitles": f"{VideoName('00' * 32)}/subtitles/a"}, errors.InvalidArgument, "another video"),
        ((1,), {"subtitles": "a.srt"}, errors.InvalidArgument, "subtitles is 'a.srt'"),
        ((1,), {"sampling": 77}, errors.InvalidArgument, "sampling is 77"),
        ((1,), {"pool": "b200"}, errors.BadSettings, "b200"),
    ],
)
def test_bad_requests(
    service: Service, model: Model, path: tuple[int, ...], more: dict[str, Any], error: type[Exception], said: str
) -> None:
    """A wrong request is refused before any call, saying which field is wrong and how."""
    with pytest.raises(error, match=said):
        service.caption(*path, **more)
    assert model.calls == 0


def test_a_video_that_changed(service: Service, model: Model, store: ObjectStore, tmp_path: Path) -> None:
    """Bytes that are not the indexed ones are refused, not captioned."""
    other = tmp_path / "other"
    other.write_bytes(b"other")
    store.add_file(f"{VIDEO}/source", other)
    with pytest.raises(errors.VideoChanged):
        service.caption(1)
    assert model.calls == 0


def damage(store: ObjectStore, first: float, last: float) -> None:
    """Overwrites a part of the stored video, without a trace in its size and time."""
    path = store.root / "videos" / VIDEO.video_id / "source"  # type: ignore[attr-defined]
    data = bytearray(path.read_bytes())
    status = path.stat()
    start, stop = int(first * len(data)), int(last * len(data))
    data[start:stop] = bytes(stop - start)
    path.unlink()  # the file itself is shared
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_video_with_damage(service: Service, store: ObjectStore) -> None:
    """Frames that cannot be decoded are left out, and the caption says how many there were."""
    damage(store, 0.3, 0.6)
    assert 10 < service.caption(1).caption.frame_count + service.caption(2).caption.frame_count < 250


def test_a_video_beyond_repair(service: Service, model: Model, store: ObjectStore) -> None:
    """When no frame can be decoded, the video is refused and no model is asked."""
    damage(store, 0.0, 1.0)
    with pytest.raises(errors.BadMedia, match="damaged"):
        service.caption(1)
    assert model.calls == 0


def test_several_models(store: ObjectStore, model: Model) -> None:
    """Where servers of several models share the work, their captions have a place of their own."""
    model.server.models = ("one", "two")
    with Service(store, model.server.url, name="one") as service:
        service.caption(1)
    endpoints = [
        Endpoint(url=model.server.url, model=name, roles=frozenset(["caption"]), pool=name) for name in ("one", "two")
    ]
    client = ModelClient("caption", endpoints)
    captioner = Captioner(store, Library(store, MEDIA), client, endpoints, load_pack())
    asked = CaptionRequest(video=VIDEO, path=(1,), width=WIDTH)
    deadline = time.monotonic() + 30
    assert captioner.caption(replace(asked, pool="one"), deadline).cached
    assert not captioner.caption(replace(asked, pool="two"), deadline).cached
    assert not captioner.caption(asked, deadline).cached
    assert captioner.caption(asked, deadline).cached
    listed = [captioner.captions(replace(asked, path=(), pool=pool)) for pool in ("one", "two")]
    assert [[caption.model for caption in captions] for captions in listed] == [["one"], ["two"]]
    client.close()


def test_captions_of_a_pool(service: Service) -> None:
    """A list is of the captions of one pool's models, and a pool that there is not is refused by name."""
    service.caption(1)
    assert service.captions(pool="default")
    with pytest.raises(errors.BadSettings, match="b200"):
        service.captions(pool="b200")


def test_a_damaged_index(service: Service, store: ObjectStore) -> None:
    """An index that cannot be read says that it has to be built again."""
    store.put(index_key(VIDEO.video_id), b"LVIX")
    with pytest.raises(errors.FailedPrecondition, match="build it again"):
        service.caption(1)


def test_a_deadline(service: Service, model: Model) -> None:
    """A model that hangs costs no more than the caller's time, and the call is reported."""
    model.say(lambda _: Reply.silence())
    with pytest.raises(errors.DeadlineExceeded):
        service.caption(1, timeout=1)


def test_short_context(store: ObjectStore, model: Model) -> None:
    """With a short context, and more subtitles than fit, the request still fits, and says what was left out."""
    model.server.max_model_len = 4096
    cues = [Cue(n / 40, n / 40 + 0.05, f"word number {n} of the announcement") for n in range(500)]
    name = add_subtitles(store, *cues)
    with Service(store, model.server.url) as service:
        response = service.caption(1, subtitles=name)
    assert response.caption.text == "A red boat."
    shown = parts(model.server.requests[-1])
    assert "For lack of room" in shown[-1]


def test_no_room_at_all(store: ObjectStore, model: Model) -> None:
    """A context without room for a single frame is refused before any call."""
    model.server.max_model_len = 1200
    with Service(store, model.server.url) as service, pytest.raises(errors.InvalidArgument, match="1200 tokens"):
        service.caption(1)
    assert model.calls == 0


def test_a_full_disk_does_not_lose_the_count(store: ObjectStore, model: Model) -> None:
    """When a caption was paid for but cannot be kept, the error carries its call."""

    class Full(DirectoryStore):
        def put(self, key: str, data: bytes) -> None:
            raise errors.StorageFull("no space left")

    with Service(Full(store.root), model.server.url) as service:  # type: ignore[attr-defined]
        with pytest.raises(errors.StorageFull) as caught:
            service.caption(1)
        assert len(caught.value.calls) == 1


def _segment(*path: int) -> Segment:
    return Segment(path)


def _wanted(*path: int, **changed: Any) -> types_pb2.GetFramesRequest:
    fields = {"video": str(VIDEO), "tree_width": WIDTH, "count": 4, "longest_side": 96} | changed
    return types_pb2.GetFramesRequest(path=path, **fields)


@pytest.mark.parametrize("path", [(2,), (1, 2), (2, 1, 1)])
def test_pictures_of_a_segment(service: Service, model: Model, path: tuple[int, ...]) -> None:
    """Pictures are spread over a segment, nearly even, show the frames of their times, and cost no model call."""
    response = service.stub.GetFrames(_wanted(*path), timeout=30)
    span = TREE.span(_segment(*path))
    even, apart = sample(span, 4), len(span) // 3
    assert list(response.segment.path) == list(path)
    assert response.segment.start_offset.ToMicroseconds() == span.start * 50_000
    shown = [read_number(picture.jpeg) for picture in response.pictures]
    assert [picture.offset.ToMicroseconds() for picture in response.pictures] == [50_000 * frame for frame in shown]
    moves = [abs(new - old) for new, old in zip(shown, even, strict=True)]
    assert max(moves) <= (0 if len(path) == 3 else apart // 4)
    assert {max(picture.width_px, picture.height_px) for picture in response.pictures} == {96}
    assert model.calls == 0


def test_pictures_come_from_few_frames(service: Service) -> None:
    """Of a segment that has fewer frames than were asked for, each frame comes once."""
    response = service.stub.GetFrames(_wanted(1, 1, tree_width=8, count=8), timeout=30)
    assert [read_number(picture.jpeg) for picture in response.pictures] == list(
        range(*Tree(FRAMES, 8).span(_segment(1, 1)))
    )


@pytest.mark.parametrize(
    ("path", "changed", "field"),
    [
        ((1,), {"count": 0}, "count"),
        ((1,), {"count": 9}, "count"),
        ((1,), {"longest_side": 15}, "longest_side"),
        ((1,), {"longest_side": 513}, "longest_side"),
        ((1,), {"tree_width": 9}, "tree_width"),
        ((1,), {"video": "videos/x"}, "video"),
        ((3,), {}, "path"),
        ((), {}, "path"),
    ],
)
def test_picture_limits(service: Service, path: tuple[int, ...], changed: dict[str, Any], field: str) -> None:
    """How many pictures, how large and of what is bounded, and the error names the field."""
    with pytest.raises(errors.InvalidArgument) as caught:
        service.stub.GetFrames(_wanted(*path, **changed), timeout=30)
    assert caught.value.metadata["field"] == field


def test_pictures_of_nothing(service: Service) -> None:
    """A video that is not there is not found."""
    with pytest.raises(errors.NotFound, match="there is no video"):
        service.stub.GetFrames(_wanted(1, video="videos/" + "0" * 64), timeout=30)
