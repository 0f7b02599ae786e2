"""What the orchestrator's API promises, over real gRPC."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longvideo import errors
from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator.api.ledger import MAX_EXPORTS
from orchestrator.store.calls import Purpose
from tests.contract.orchestrator_world import Gate, World, film, target_of

UNKNOWN = "videos/" + "0" * 64
SUBTITLES = b"1\n00:00:01,000 --> 00:00:02,000\nIt is seven.\n\n2\n00:01:00,000 --> 00:01:02,000\nToo late.\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video file."""
    return film(tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An orchestrator that the tests of this module share. Each makes its own jobs."""
    made = World(tmp_path_factory.mktemp("data dir"), max_watchers=4)
    yield made
    made.close()


@pytest.fixture(scope="module")
def video(world: World, path: Path) -> str:
    """A ready video."""
    return world.add(path).name


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[World]:
    """An orchestrator of the test's own, whose captions nobody else makes."""
    made = World(tmp_path / "quiet")
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path, path: Path) -> Path:
    """A file with the same frames and other bytes, its own in every test."""
    copy = tmp_path / "other.mp4"
    free = uuid.uuid4().bytes  # a box of type `free` at the end
    copy.write_bytes(path.read_bytes() + (8 + len(free)).to_bytes(4, "big") + b"free" + free)
    return copy


# Videos


def test_added_video_is_ready(world: World, other: Path) -> None:
    """A video is pending until its bytes were checked, and then says what it is."""
    created = world.create(other, "Évening news")
    assert created.video.state == types_pb2.Video.STATE_PENDING
    assert created.upload_uri.startswith("file:///")
    target_of(created).hardlink_to(other)
    done = world.stub.CompleteVideo(pb.CompleteVideoRequest(name=created.video.name))
    assert (done.state, done.display_name) == (types_pb2.Video.STATE_READY, "Évening news")
    assert (done.frame_count, done.duration.ToMilliseconds(), done.frame_rate) == (80, 4000, 20.0)
    assert (done.container, done.codec, done.width_px, done.height_px) == ("mp4", "h264", 160, 96)
    assert world.stub.GetVideo(pb.GetVideoRequest(name=done.name)) == done


def test_adding_a_video_again(world: World, video: str, path: Path) -> None:
    """A ready video needs no upload, and completing it again changes nothing."""
    created = world.create(path, "another name")
    assert created.upload_uri == ""
    assert created.video.state == types_pb2.Video.STATE_READY
    assert world.stub.CompleteVideo(pb.CompleteVideoRequest(name=video)) == created.video


@pytest.mark.parametrize("harm", ["bytes gone", "bytes touched", "index gone", "index damaged"])
def test_video_that_came_to_harm(world: World, other: Path, harm: str) -> None:
    """A ready video whose bytes or index are not what they were wants its bytes again."""
    name = world.add(other).name
    match harm:
        case "bytes gone":
            world.store.delete(f"{name}/source")
        case "bytes touched":
            os.utime(world.store.root / name / "source", (1, 1))
        case "index gone":
            world.store.delete(f"{name}/index")
        case "index damaged":
            world.store.put(f"{name}/index", b"of another version")
    created = world.create(other)
    assert created.video.state == types_pb2.Video.STATE_PENDING
    target_of(created).write_bytes(other.read_bytes())
    assert world.stub.CompleteVideo(pb.CompleteVideoRequest(name=name)).state == types_pb2.Video.STATE_READY
    assert world.create(other).upload_uri == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sha256": "", "size_bytes": 1}, "sha256 is ''"),
        ({"sha256": "AB" * 32, "size_bytes": 1}, "64 lowercase hexadecimal digits"),
        ({"sha256": "ab" * 31 + "a", "size_bytes": 1}, "sha256 is"),
        ({"sha256": "ab" * 32, "size_bytes": 0}, "size_bytes is 0; an empty file is not a video"),
        ({"sha256": "ab" * 32, "size_bytes": -5}, "size_bytes is -5"),
        ({"sha256": "ab" * 32, "size_bytes": 1, "display_name": "x" * 256}, "display_name has 256 characters"),
    ],
)
def test_bad_announcements(world: World, fields: dict[str, Any], message: str) -> None:
    """An announcement that cannot be right is refused with the field, its value and the fix."""
    with pytest.raises(errors.InvalidArgument, match=message):
        world.stub.CreateVideo(pb.CreateVideoRequest(**fields))


def test_nothing_uploaded(world: World, other: Path) -> None:
    """Completing a video whose bytes are missing says so, and another try after the upload works."""
    name = world.create(other).video.name
    with pytest.raises(errors.FailedPrecondition, match="nothing was uploaded") as caught:
        world.stub.CompleteVideo(pb.CompleteVideoRequest(name=name))
    assert caught.value.reason == "UPLOAD_MISSING"
    assert world.add(other).name == name


@pytest.mark.parametrize("wrong", ["shorter", "changed"])
def test_other_bytes_uploaded(world: World, other: Path, wrong: str) -> None:
    """Bytes that are not the announced ones are refused and removed, and the video stays pending."""
    created = world.create(other)
    data = bytearray(other.read_bytes())
    data[-1] ^= 1
    target_of(created).write_bytes(data[:-1] if wrong == "shorter" else data)
    with pytest.raises(errors.FailedPrecondition, match="uploaded") as caught:
        world.stub.CompleteVideo(pb.CompleteVideoRequest(name=created.video.name))
    assert caught.value.reason == "UPLOAD_DIFFERS"
    assert not target_of(created).exists()
    assert world.create(other).video.state == types_pb2.Video.STATE_PENDING


def test_what_is_not_a_video(world: World, tmp_path: Path) -> None:
    """A text file named .mp4 is refused with the reason, and nothing of it is left."""
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    name = world.upload(text)
    with pytest.raises(errors.BadMedia) as caught:
        world.stub.CompleteVideo(pb.CompleteVideoRequest(name=name))
    assert caught.value.reason == "MEDIA_UNSUPPORTED_CONTAINER"
    assert list(world.store.list(name)) == []


def test_uploading_at_one_time(world: World, other: Path) -> None:
    """Two callers who complete one video at one time both get it ready."""
    name = world.upload(other)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(world.stub.CompleteVideo, [pb.CompleteVideoRequest(name=name)] * 2))
    assert both[0] == both[1]
    assert both[0].state == types_pb2.Video.STATE_READY


def test_unknown_and_malformed_names(world: World) -> None:
    """A name that means nothing is not found; a text that is no name is refused with what a name looks like."""
    stub = world.stub
    for call in (
        lambda name: stub.GetVideo(pb.GetVideoRequest(name=name)),
        lambda name: stub.CompleteVideo(pb.CompleteVideoRequest(name=name)),
        lambda name: stub.CreateSubtitles(pb.CreateSubtitlesRequest(parent=name, content=SUBTITLES)),
        lambda name: stub.GetTree(pb.GetTreeRequest(video=name)),
        lambda name: list(stub.BuildTree(pb.BuildTreeRequest(video=name))),
        world.submit,
    ):
        with pytest.raises(errors.NotFound, match="there is no video"):
            call(UNKNOWN)
        with pytest.raises(errors.InvalidArgument, match=r"is 'film'; it must look like videos/\{sha256\}"):
            call("film")
    for call in (
        lambda name: stub.GetJob(pb.GetJobRequest(name=name)),
        lambda name: stub.CancelJob(pb.CancelJobRequest(name=name)),
        lambda name: list(stub.WatchJob(pb.WatchJobRequest(name=name))),
        lambda name: stub.GetUsage(pb.GetUsageRequest(name=name)),
        lambda name: stub.ListModelCalls(pb.ListModelCallsRequest(parent=name)),
    ):
        with pytest.raises(errors.NotFound, match="there is no job jobs/none"):
            call("jobs/none")
        with pytest.raises(errors.InvalidArgument, match="is 'none'; it must look like jobs/"):
            call("none")
    for call in (
        lambda name: stub.GetEpisode(pb.GetEpisodeRequest(name=name)),
        lambda name: stub.GetUsage(pb.GetUsageRequest(name=name)),
    ):
        with pytest.raises(errors.NotFound, match="there is no episode"):
            call("jobs/none/episodes/1")


def test_pending_video_is_not_usable(world: World, other: Path) -> None:
    """A video that is not ready takes no subtitles, tree or job, and says what is missing."""
    name = world.create(other).video.name
    for call in (
        lambda: world.stub.CreateSubtitles(pb.CreateSubtitlesRequest(parent=name, content=SUBTITLES)),
        lambda: world.stub.GetTree(pb.GetTreeRequest(video=name)),
        lambda: list(world.stub.BuildTree(pb.BuildTreeRequest(video=name))),
        lambda: world.submit(name),
    ):
        with pytest.raises(errors.FailedPrecondition, match="then call CompleteVideo") as caught:
            call()
        assert caught.value.reason == "VIDEO_NOT_READY"


def test_pages_of_videos(world: World, video: str, other: Path) -> None:
    """Pages of videos hold each once, newest first; the token of one list does not fit another."""
    newest = world.create(other).video.name
    whole = [each.name for each in world.stub.ListVideos(pb.ListVideosRequest()).videos]
    assert whole[0] == newest
    names, token = [], ""
    while True:
        page = world.stub.ListVideos(pb.ListVideosRequest(page_size=2, page_token=token))
        names += [each.name for each in page.videos]
        token = page.next_page_token
        if not token:
            break
        with pytest.raises(errors.InvalidArgument, match="page_token belongs to another list"):
            world.stub.ListJobs(pb.ListJobsRequest(page_token=token))
    assert names == whole
    assert video in names
    for fields, message in (({"page_size": -1}, "page_size is -1"), ({"page_token": "?"}, "page_token is not one")):
        with pytest.raises(errors.InvalidArgument, match=message):
            world.stub.ListVideos(pb.ListVideosRequest(**fields))


def test_subtitles(world: World, other: Path) -> None:
    """Subtitles become the video's default, have one name however often they come, and late cues are left out."""
    name = world.add(other).name
    request = pb.CreateSubtitlesRequest(parent=name, content=SUBTITLES, display_name="film.srt")
    made = world.stub.CreateSubtitles(request)
    assert (made.cue_count, made.warnings) == (
        1,
        ["1 of 2 cues of film.srt lie past the end of the video and were left out"],
    )
    assert world.stub.CreateSubtitles(request) == made
    assert world.stub.GetVideo(pb.GetVideoRequest(name=name)).subtitles == made.name
    assert world.submit(name).config.subtitles == made.name


def test_bad_subtitles(world: World, video: str, other: Path) -> None:
    """What is not subtitles, or lies past the end, is refused; so are another video's and unknown ones."""
    for content, message in ((b"hello", "is not subtitles"), (SUBTITLES.split(b"\n\n")[1], "lies past the end")):
        with pytest.raises(errors.BadSubtitles, match=message):
            world.stub.CreateSubtitles(pb.CreateSubtitlesRequest(parent=video, content=content))
    name = world.add(other).name
    made = world.stub.CreateSubtitles(pb.CreateSubtitlesRequest(parent=name, content=SUBTITLES))
    for subtitles, kind, message in (
        (made.name, errors.InvalidArgument, "which belongs to another video"),
        (f"{video}/subtitles/none", errors.NotFound, "there are no subtitles"),
        ("film.srt", errors.InvalidArgument, "must look like videos/"),
    ):
        with pytest.raises(kind, match=message):
            world.submit(video, config=pb.TreeConfig(subtitles=subtitles))


# Trees


def test_tree_has_every_segment(world: World, video: str) -> None:
    """A tree lists every segment that holds a frame, in tree order and with its times, also those without a caption."""
    tree = world.stub.GetTree(pb.GetTreeRequest(video=video, config=pb.TreeConfig(min_width=4)))
    assert tree.width == 4
    paths = [tuple(caption.segment.path) for caption in tree.captions]
    assert paths == sorted(paths)
    assert len(paths) == 4 + 16 + 64
    fifth = tree.captions[paths.index((2, 1))].segment
    assert (fifth.start_offset.ToMilliseconds(), fifth.end_offset.ToMilliseconds()) == (1000, 1250)
    assert tree.captions[-1].segment.end_offset.seconds == 4
    below = world.stub.GetTree(pb.GetTreeRequest(video=video, path=[2, 1]))
    assert [tuple(caption.segment.path) for caption in below.captions] == [(2, 1), *[(2, 1, n) for n in range(1, 5)]]


def test_tree_of_a_pool(world: World, video: str) -> None:
    """A tree holds the captions of the pool that was asked for: the caption service is told it."""
    world.stub.GetTree(pb.GetTreeRequest(video=video, config=pb.TreeConfig(pool="h800")))
    assert world.services.list_requests[-1].pool == "h800"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": [5]}, r"segment \(5\) has the id 5"),
        ({"path": [0]}, "has the id 0"),
        ({"path": [1, 1, 1, 1]}, "has 4 ids"),
        ({"config": {"min_width": 9}}, "config.min_width is 9; give 2 to 8, or 0 for 4"),
        ({"config": {"min_width": 1}}, "config.min_width is 1"),
        ({"config": {"sampling": 7}}, "config.sampling is 7"),
        ({"config": {"pool": "b200"}}, "config.pool is 'b200'; no model server is in it. The pools are h800"),
    ],
)
def test_bad_tree_requests(world: World, video: str, fields: dict[str, Any], message: str) -> None:
    """A segment outside the tree and settings out of range are refused with the field, the value and the fix."""
    with pytest.raises(errors.InvalidArgument, match=message):
        world.stub.GetTree(pb.GetTreeRequest(video=video, **fields))


def test_build_streams_its_progress(quiet: World, other: Path) -> None:
    """A build makes every caption down to its level, high ones first, counts them, and records what it took."""
    name = quiet.add(other).name
    built = list(quiet.stub.BuildTree(pb.BuildTreeRequest(video=name, level=2)))
    assert [each.done_count for each in built] == list(range(1, 21))
    assert {each.total_count for each in built} == {20}
    assert [len(each.caption.segment.path) for each in built] == [1] * 4 + [2] * 16
    assert not any(each.cached for each in built)
    assert all(len(each.calls) == 1 for each in built)
    tree = quiet.stub.GetTree(pb.GetTreeRequest(video=name))
    assert len([caption for caption in tree.captions if caption.text]) == 20
    again = list(quiet.stub.BuildTree(pb.BuildTreeRequest(video=name, level=2)))
    assert all(each.cached and not each.calls for each in again)


def test_build_ends_with_the_first_error(quiet: World, other: Path) -> None:
    """A caption that cannot be made ends the build with its error; the captions made before stay."""
    name = quiet.add(other).name

    def caption(path: tuple[int, ...]) -> str:
        if path == (1, 3):
            raise errors.ModelRejected("no such model", reason="MODEL_NOT_FOUND")
        return "seen"

    quiet.services.caption = caption
    built = []
    with pytest.raises(errors.ModelRejected, match="no such model"):
        built += list(quiet.stub.BuildTree(pb.BuildTreeRequest(video=name)))
    quiet.services.caption = lambda path: f"caption of {path}"
    assert len([each for each in quiet.services.made if len(each) == 1]) == 4
    with pytest.raises(errors.InvalidArgument, match="level is 4"):
        list(quiet.stub.BuildTree(pb.BuildTreeRequest(video=name, level=4)))


def test_build_ends_with_its_stream(quiet: World, other: Path) -> None:
    """A build whose caller leaves makes no more captions than were under way."""
    name = quiet.add(other).name
    before, gate = len(quiet.services.caption_requests), threading.Event()

    def caption(path: tuple[int, ...]) -> str:
        if len(path) > 1:
            gate.wait(10)
        return "seen"

    quiet.services.caption = caption
    stream = quiet.stub.BuildTree(pb.BuildTreeRequest(video=name))
    for _ in range(4):
        next(stream)
    stream.cancel()
    with pytest.raises(errors.Cancelled):
        next(stream)
    gate.set()
    quiet.services.caption = lambda path: f"caption of {path}"
    again = list(quiet.stub.BuildTree(pb.BuildTreeRequest(video=name, level=1)))
    assert all(each.cached for each in again)
    assert len(quiet.services.caption_requests) - before <= 4 + 2 * quiet.settings.caption_concurrency + 4


# Jobs


def test_job_is_answered(world: World, video: str) -> None:
    """A job is accepted at once, carried out, and tells everything that happened in it, in order."""
    question = pb.Question(text="  Which number?  ", options=["A. six", " B. seven "])
    job = world.stub.SubmitJob(pb.SubmitJobRequest(job=pb.Job(video=video, questions=[question])))
    assert job.state in (pb.Job.STATE_PENDING, pb.Job.STATE_RUNNING)
    events = list(world.watch(job))
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    kinds = [event.WhichOneof("event") for event in events]
    rounds = ["round_decided", "round_finished"] * 3
    assert kinds == ["episode_started", *["caption_ready"] * 4, *rounds, "episode_ended"]
    done = world.stub.GetJob(pb.GetJobRequest(name=job.name))
    assert done.state == pb.Job.STATE_SUCCEEDED
    (episode,) = done.episodes
    assert episode == events[-1].episode_ended
    assert (episode.answer, episode.choice, episode.round_count) == ("B", "B", 3)
    assert (episode.question.text, list(episode.question.options)) == ("Which number?", ["A. six", "B. seven"])
    assert [list(each.segment.path) for each in episode.evidence] == [[2, 4], [2, 4, 1]]
    assert 0 < episode.coverage.inspected_fraction < episode.coverage.opened_fraction < 1
    assert not episode.rounds
    assert not episode.transcript


def test_full_view_of_an_episode(world: World, video: str) -> None:
    """The full view has the rounds and exactly the messages that the reasoner saw; the basic view has neither."""
    name = world.finish(world.submit(video)).episodes[0].name
    seen = world.reasoner.requests[-1]["messages"]
    full = world.stub.GetEpisode(pb.GetEpisodeRequest(name=name, view=pb.EPISODE_VIEW_FULL))
    assert [step.number for step in full.rounds] == [1, 2, 3]
    assert full.rounds[1].action.video_qa.query == "What number is it?"
    assert full.rounds[1].observation.startswith("<information>(2,4,1) [")
    told = [{"role": message.role, "content": message.text} for message in full.transcript]
    assert told[:-1] == seen
    assert told[-1]["content"].endswith("<answer>B</answer>")
    basic = world.stub.GetEpisode(pb.GetEpisodeRequest(name=name))
    del full.rounds[:], full.transcript[:]
    assert basic == full
    with pytest.raises(errors.InvalidArgument, match="view is 9"):
        world.stub.GetEpisode(pb.GetEpisodeRequest(name=name, view=9))


def test_defaults_are_filled_in(world: World, video: str) -> None:
    """An accepted job says which settings and limits it has, whatever was left out."""
    job = world.submit(video)
    assert job.config == pb.TreeConfig(min_width=4, sampling=types_pb2.SAMPLING_TRAINED)
    assert (job.limits.max_rounds, job.limits.max_duration.seconds) == (30, 3600)
    given = pb.EpisodeLimits(max_rounds=2)
    given.max_duration.seconds = 24 * 3600
    config = pb.TreeConfig(min_width=3, sampling=types_pb2.SAMPLING_LIGHT, pool="h800")
    job = world.submit(video, limits=given, config=config)
    assert (job.limits, job.config) == (given, config)
    assert job.episodes[0].tree_width == 3


def options(count: int) -> list[str]:
    """Returns so many options."""
    return [f"{chr(ord('A') + number)}. option" for number in range(count)]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"text": ""}, r"job.questions\[0\].text is empty; a question has 1 to 10,000 characters"),
        ({"text": " \n\t "}, "text is empty"),
        ({"text": "x" * 10_001}, "text has 10,001 characters"),
        ({"text": "x" * 100_000}, "text has 100,000 characters"),
        ({"text": "x", "options": ["A. one"]}, "options holds 1 option; give none, or 2 to 26"),
        ({"text": "x", "options": options(60)}, "options holds 60 options"),
        ({"text": "x", "options": ["one", "two"]}, r"options\[0\] is 'one'; it must start with its letter: `A. …`"),
        ({"text": "x", "options": ["A. one", "C. two"]}, r"options\[1\] is 'C. two'; .* `B. …`, `B\) …` or `\(B\) …`"),
        ({"text": "x", "options": ["A. one", "B."]}, r"options\[1\] is 'B.'"),
        ({"text": "x", "options": ["A. one", "(B. two"]}, r"options\[1\]"),
        ({"text": "x", "options": ["A. one", "B. " + "x" * 2000]}, r"options\[1\] has 2,003 characters"),
    ],
)
def test_bad_questions(world: World, video: str, question: dict[str, Any], message: str) -> None:
    """A question or option that breaks its limits is refused with the field, the value and the fix."""
    with pytest.raises(errors.InvalidArgument, match=message):
        world.stub.SubmitJob(pb.SubmitJobRequest(job=pb.Job(video=video, questions=[pb.Question(**question)])))


@pytest.mark.parametrize(
    "given", [["A. one", "B. two"], ["A) one", "B) two"], ["(A) one", "(B) two"], ["A.one", "B)two"], options(26)]
)
def test_options_of_every_shape(world: World, video: str, given: list[str]) -> None:
    """Options may write their letters in three ways."""
    question = pb.Question(text="x", options=given)
    job = world.stub.SubmitJob(pb.SubmitJobRequest(job=pb.Job(video=video, questions=[question])))
    assert list(job.episodes[0].question.options) == given


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_rounds": -1}, "job.limits.max_rounds is -1; give 1 to 100, or 0 for 30"),
        ({"max_rounds": 101}, "max_rounds is 101"),
        ({"max_duration": {"seconds": 0}}, "job.limits.max_duration is 0 s; it must be above 0"),
        ({"max_duration": {"seconds": -5}}, "max_duration is -5 s"),
        ({"max_duration": {"seconds": 24 * 3600, "nanos": 1}}, "at most 86,400 s"),
    ],
)
def test_bad_limits(world: World, video: str, limits: dict[str, Any], message: str) -> None:
    """Limits out of range are refused with the field, the value and the fix."""
    with pytest.raises(errors.InvalidArgument, match=message):
        world.submit(video, limits=pb.EpisodeLimits(**limits))


def test_labels(world: World, video: str) -> None:
    """A job keeps its label without the space around it; one that is too long or not printable is refused."""
    job = world.submit(video, label="  données 2 ")
    assert job.label == "données 2"
    assert world.stub.ListJobs(pb.ListJobsRequest(page_size=1)).jobs[0].label == "données 2"
    assert world.submit(video, label="x" * 63).label == "x" * 63
    for label in ("x" * 64, "a\nb", "a\0b", "\u202eabc"):
        with pytest.raises(errors.InvalidArgument, match=r"job.label is .*; it must have at most 63 characters"):
            world.submit(video, label=label)


def test_bad_jobs(world: World, video: str) -> None:
    """A job without questions, with too many, or too large is refused."""
    asked = [pb.Question(text="x")]
    for questions, message in (
        ([], "job.questions holds 0 questions; give 1 to 1,000"),
        (asked * 1001, "holds 1001 questions"),
        ([pb.Question(text="x" * 9000)] * 300, "bytes; it may have 2,097,152. Split it"),
    ):
        with pytest.raises(errors.InvalidArgument, match=message):
            world.stub.SubmitJob(pb.SubmitJobRequest(job=pb.Job(video=video, questions=questions)))


@pytest.mark.parametrize("request_id", ["1", "x" * 36, str(uuid.uuid1()), uuid.uuid4().hex, f"{{{uuid.uuid4()}}}"])
def test_bad_request_ids(world: World, video: str, request_id: str) -> None:
    """A request id that is not a UUID4 is refused."""
    job = pb.Job(video=video, questions=[pb.Question(text="x")])
    with pytest.raises(errors.InvalidArgument, match=r"request_id is .*; it must be a UUID4 such as"):
        world.stub.SubmitJob(pb.SubmitJobRequest(job=job, request_id=request_id))


def test_same_request_again(world: World, video: str) -> None:
    """Submitting again with one request id returns the first job; with another question it is refused."""
    request_id = str(uuid.uuid4())

    def submit(text: str, name: str = request_id) -> pb.Job:
        job = pb.Job(video=video, questions=[pb.Question(text=text)])
        return world.stub.SubmitJob(pb.SubmitJobRequest(job=job, request_id=name))

    with ThreadPoolExecutor(4) as pool:
        names = {job.name for job in pool.map(submit, ["x"] * 4)}
    assert len(names) == 1
    assert submit("x", request_id.upper()).name in names
    with pytest.raises(errors.AlreadyExists, match="was used for another job") as caught:
        submit("y")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_pages_of_jobs(world: World, video: str, other: Path) -> None:
    """Jobs are listed newest first and without their episodes; a video's token fits that video alone."""
    name = world.add(other).name
    jobs = [world.submit(name).name for _ in range(3)]
    world.submit(video)
    first = world.stub.ListJobs(pb.ListJobsRequest(video=name, page_size=2))
    assert [job.name for job in first.jobs] == jobs[:0:-1]
    assert not any(job.episodes for job in first.jobs)
    rest = world.stub.ListJobs(pb.ListJobsRequest(video=name, page_token=first.next_page_token))
    assert [job.name for job in rest.jobs] == jobs[:1]
    assert rest.next_page_token == ""
    with pytest.raises(errors.InvalidArgument, match="page_token"):
        world.stub.ListJobs(pb.ListJobsRequest(video=video, page_token=first.next_page_token))
    assert len(world.stub.ListJobs(pb.ListJobsRequest(page_size=1)).jobs) == 1


def test_watch_goes_on_where_it_was_left(world: World, video: str) -> None:
    """A watch from a position gives exactly what came after it, also when the job has long ended."""
    job = world.submit(video, "one?", "two?")
    seen: list[pb.JobEvent] = []
    while not (seen and sum(event.WhichOneof("event") == "episode_ended" for event in seen) == 2):
        stream = world.watch(job, seen[-1].position if seen else 0)
        seen += [event for event, _ in zip(stream, range(3), strict=False)]
        stream.cancel()
    assert list(world.watch(job)) == seen
    assert list(world.watch(job, seen[-1].position)) == []
    assert list(world.watch(job, 10_000)) == []
    with pytest.raises(errors.InvalidArgument, match="position is -1"):
        list(world.watch(job, -1))


def test_watch_keeps_its_deadline(world: World, video: str) -> None:
    """A watch of a job that does not end raises at its deadline, and ends at once when its caller leaves."""
    gate = Gate(0)
    world.reason, script = gate, world.reason
    try:
        job = world.submit(video)
        assert gate.reached.wait(10)
        with pytest.raises(errors.DeadlineExceeded):
            list(world.watch(job, timeout=0.3))
        streams = [world.watch(job, timeout=20) for _ in range(4)]
        for stream in streams:
            next(stream)
        with pytest.raises(errors.ResourceExhausted, match="4 callers are watching") as caught:
            next(world.watch(job))
        assert caught.value.reason == "TOO_MANY_WATCHERS"
        streams[0].cancel()
        assert _first_event(world, job) == 1
        for stream in streams[1:]:
            stream.cancel()
    finally:
        world.reason = script
        gate.opened.set()
    _first_event(world, job)


def _first_event(world: World, job: pb.Job) -> int:
    """Returns the position of a job's first event as soon as there is room for another watcher."""
    for _ in range(200):
        stream = world.watch(job)
        try:
            return next(stream).position
        except errors.ResourceExhausted:
            threading.Event().wait(0.02)
        finally:
            stream.cancel()
    raise AssertionError("the watcher that left still takes a place")


def exported(world: World, **fields: Any) -> list[pb.LedgerEntry]:
    """Returns what the ledger holds."""
    responses = world.stub.ExportUsage(pb.ExportUsageRequest(**fields), timeout=30)
    return [entry for response in responses for entry in response.entries]


def test_ledger(quiet: World, path: Path) -> None:
    """The ledger holds every call of jobs and tree builds once, oldest first, with what it was for."""
    video = quiet.add(path).name
    job = quiet.finish(quiet.submit(video, label="boats"))
    list(quiet.stub.BuildTree(pb.BuildTreeRequest(video=video, level=2)))
    entries = exported(quiet)
    listed = quiet.stub.ListModelCalls(pb.ListModelCallsRequest(parent=job.name, page_size=1000)).model_calls
    of_job = [entry for entry in entries if entry.job == job.name]
    assert [entry.call for entry in of_job] == list(listed)
    assert {(entry.episode, entry.label, entry.video, entry.tenant) for entry in of_job} == {
        (1, "boats", video, "default")
    }
    asked = [entry for entry in of_job if entry.call.role == types_pb2.ROLE_REASON]
    assert [entry.round for entry in asked] == [1, 2, 3]
    assert all(entry.call.HasField("prefill_duration") for entry in asked)
    built = [entry for entry in entries if not entry.job and entry.video == video]
    assert len(built) == 4 + 16 - len([entry for entry in of_job if entry.call.role == types_pb2.ROLE_CAPTION])
    starts = [entry.call.start_time.ToNanoseconds() for entry in entries]
    assert starts == sorted(starts)


def test_range_of_the_ledger(quiet: World) -> None:
    """An export is of what was sent from its start to before its end, through however many pages that goes."""
    made = [
        Call("qa", "m", "u", "h", 1, 10.0 + number // 7, 0.5, "ok", id=f"range{number:05}") for number in range(2500)
    ]
    quiet.database.calls.record(made, Purpose("default", "ab" * 32))

    def between(start: int, end: int) -> list[str]:
        times = {"start_time": {"seconds": start}, "end_time": {"seconds": end}}
        return [entry.call.id for entry in exported(quiet, **times)]

    assert between(0, 1000) == [call.id for call in made]
    assert between(11, 13) == [call.id for call in made[7:21]]
    assert between(13, 13) == []
    with pytest.raises(errors.InvalidArgument, match="start_time is 1970-01-01T00:00:14Z, which is after the end"):
        between(14, 13)
    with pytest.raises(errors.InvalidArgument, match="end_time has 0 seconds and -1 nanos, which is no time"):
        exported(quiet, end_time={"nanos": -1})


def test_many_exports(quiet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More exports than there are places are told when to come again; one that ends makes a place."""
    monkeypatch.setattr("orchestrator.api.ledger._PAGE", 1)
    call = Call("qa", "m", "u", "h", 1, 10.0, 0.5, "ok")
    many = [replace(call, id=f"many{number}", detail="x" * 60_000) for number in range(100)]
    quiet.database.calls.record(many, Purpose("default", "ab" * 32))
    with ExitStack() as stack:
        for _ in range(MAX_EXPORTS):
            stream = quiet.stub.ExportUsage(pb.ExportUsageRequest(), timeout=30)
            stack.callback(stream.cancel)
            next(iter(stream))  # and then reads no further
        with pytest.raises(errors.ResourceExhausted, match="4 exports are under way") as caught:
            exported(quiet)
        assert (caught.value.reason, caught.value.retry_after) == ("TOO_MANY_EXPORTS", 10.0)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert len(exported(quiet)) >= 100
            return
        except errors.ResourceExhausted:
            threading.Event().wait(0.02)
    raise AssertionError("the exports that were given up still take their places")


def test_usage_and_calls(quiet: World, path: Path) -> None:
    """Every model call of a job is listed once and summed by role, model and pool."""
    job = quiet.finish(quiet.submit(quiet.add(path).name))
    usage = quiet.stub.GetUsage(pb.GetUsageRequest(name=job.name))
    rows = {types_pb2.Role.Name(row.role): row for row in usage.rows}
    counts = {role: (row.call_count, row.failed_call_count) for role, row in rows.items()}
    assert counts == {"ROLE_CAPTION": (5, 0), "ROLE_QA": (1, 0), "ROLE_REASON": (3, 0)}
    assert rows["ROLE_REASON"].pool == "h800"
    assert rows["ROLE_CAPTION"].model_duration.ToMilliseconds() == 2500
    assert rows["ROLE_CAPTION"].isolated_duration.ToMilliseconds() == 2500
    assert quiet.stub.GetUsage(pb.GetUsageRequest(name=job.episodes[0].name)) == usage
    calls, token = [], ""
    while True:
        page = quiet.stub.ListModelCalls(pb.ListModelCallsRequest(parent=job.name, page_size=4, page_token=token))
        calls += page.model_calls
        token = page.next_page_token
        if not token:
            break
    assert len({call.id for call in calls}) == 9
    starts = [call.start_time.ToNanoseconds() for call in calls]
    assert starts == sorted(starts)
    with pytest.raises(errors.InvalidArgument, match="page_size is -2"):
        quiet.stub.ListModelCalls(pb.ListModelCallsRequest(parent=job.name, page_size=-2))
