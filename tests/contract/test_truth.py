"""Right answers that are known: who is judged by them, who sees them, and who never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from longvideo import errors
from longvideo.resources import JobName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.tables import EpisodeRow
from tests.contract.database import VIDEO, add_video
from tests.contract.orchestrator_world import SCRIPT, Gate, World

OPTIONS = ["A. seven", "B. nine"]


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Returns what makes an orchestrator with a ready video, whose reasoner answers B."""
    made = []

    def make(**options: Any) -> World:
        world = World(tmp_path, **options)
        made.append(world)
        add_video(world.database)
        return world

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """An orchestrator with a ready video."""
    return worlds()


def ask(world: World, *questions: pb.Question, **fields: Any) -> pb.Job:
    """Submits a job with these questions."""
    job = pb.Job(video=str(VIDEO), questions=questions, **fields)
    return world.stub.SubmitJob(pb.SubmitJobRequest(job=job))


def judged(job: pb.Job) -> list[bool | None]:
    """Returns what is said of each answer."""
    return [episode.correct if episode.HasField("correct") else None for episode in job.episodes]


def test_answers_are_judged(world: World) -> None:
    """A choice is right when it is the truth; other questions are not judged, and the job counts."""
    choices = [pb.Question(text="Which?", options=OPTIONS, truth=truth) for truth in ("B", "a", " b\n", "")]
    opened = pb.Question(text="Which?", truth="  It is the ninth.  ")
    submitted = ask(world, *choices, opened)
    assert [episode.question.truth for episode in submitted.episodes] == ["B", "A", "B", "", "It is the ninth."]
    assert judged(submitted) == [None] * 5
    done = world.finish(submitted)
    assert judged(done) == [True, False, True, None, None]
    assert (done.judged_count, done.correct_count) == (3, 2)
    assert [question.truth for question in done.questions] == ["B", "A", "B", "", "It is the ninth."]
    (listed,) = world.stub.ListJobs(pb.ListJobsRequest()).jobs
    assert (listed.judged_count, listed.correct_count) == (3, 2)
    ended = [event.episode_ended for event in world.watch(done) if event.WhichOneof("event") == "episode_ended"]
    assert sorted((each.name, each.HasField("correct"), each.correct) for each in ended) == sorted(
        (each.name, each.HasField("correct"), each.correct) for each in done.episodes
    )
    with world.database.engine.read() as session:
        count = sa.select(sa.func.count()).where(
            EpisodeRow.correct, EpisodeRow.job_id == JobName.parse(done.name).job_id
        )
        assert session.scalar(count) == 2


def test_no_answer_is_not_right(world: World) -> None:
    """An episode that ends without an answer, or fails, did not give the right one; a choice of nothing neither."""
    question = pb.Question(text="Which?", options=OPTIONS, truth="B")
    world.reasoner.owned_by = "a server that holds no reply to a pattern"
    world.reason = lambda _: "<think>hm</think>\n<answer>neither</answer>"
    (answered,) = (done := world.finish(ask(world, question))).episodes
    assert (answered.state, answered.choice, answered.correct) == (pb.Episode.STATE_ANSWERED, "", False)
    assert (done.judged_count, done.correct_count) == (1, 0)
    world.reason = lambda _: SCRIPT[0]
    (unanswered,) = world.finish(ask(world, question, limits=pb.EpisodeLimits(max_rounds=2))).episodes
    assert unanswered.ending == pb.Episode.ENDING_ROUNDS_EXHAUSTED
    assert judged(pb.Job(episodes=[unanswered])) == [False]

    def fail(path: tuple[int, ...]) -> str:
        raise errors.InvalidArgument(f"no caption of {path}")

    world.services.caption = fail
    world.services.made.clear()
    (failed,) = world.finish(ask(world, question)).episodes
    assert (failed.state, judged(pb.Job(episodes=[failed]))) == (pb.Episode.STATE_FAILED, [False])


def test_cancelled_episodes_are_not_judged(world: World) -> None:
    """Nobody is judged who was not let finish."""
    world.reason = gate = Gate(1)
    job = ask(world, pb.Question(text="Which?", options=OPTIONS, truth="B"))
    gate.reached.wait(30)
    world.stub.CancelJob(pb.CancelJobRequest(name=job.name))
    done = world.finish(job)
    gate.opened.set()
    assert (done.state, judged(done), done.judged_count) == (pb.Job.STATE_CANCELLED, [None], 0)


def test_no_model_is_told(worlds: Callable[..., World]) -> None:
    """What is sent to models and kept in transcripts is the same with the truth and without, and holds none of it."""
    world = worlds()
    secret = "quetzalcoatlus"

    def sent(*questions: pb.Question) -> tuple[list[Any], list[bytes], list[bytes]]:
        world.reasoner.requests.clear()
        world.services.caption_requests.clear()
        world.services.qa_requests.clear()
        done = world.finish(ask(world, *questions))
        transcripts = []
        for episode in done.episodes:
            view = pb.GetEpisodeRequest(name=episode.name, view=pb.EPISODE_VIEW_FULL)
            full = world.stub.GetEpisode(view)
            transcripts += [each.SerializeToString() for each in (*full.transcript, *full.rounds)]
            assert full.transcript
        asked = [*world.services.caption_requests, *world.services.qa_requests]
        assert asked
        assert world.reasoner.requests
        assert secret not in str(world.reasoner.requests) + str(asked) + str(transcripts)
        return (
            [request["messages"] for request in world.reasoner.requests],
            [message.SerializeToString() for message in world.services.qa_requests],
            [each.text.encode() for each in full.transcript],
        )

    without = [pb.Question(text="Which?", options=OPTIONS), pb.Question(text="What?")]
    told = [pb.Question(text="Which?", options=OPTIONS, truth="A"), pb.Question(text="What?", truth=f"a {secret}")]
    for plain, known in zip(without, told, strict=True):
        assert sent(plain) == sent(known)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"options": OPTIONS, "truth": "C"}, r"job.questions\[0\].truth is 'C'; .* letter of the right option, A to B"),
        ({"options": OPTIONS, "truth": "B. nine"}, "truth is 'B. nine'"),
        ({"options": OPTIONS, "truth": "AB"}, "truth is 'AB'"),
        ({"truth": "x" * 10_001}, "truth has 10,001 characters; it may have 10,000"),
    ],
)
def test_truths_that_can_be_none(world: World, question: dict[str, Any], message: str) -> None:
    """A truth that is no option's letter, or too long, is refused with the field, the value and the fix."""
    with pytest.raises(errors.InvalidArgument, match=message):
        ask(world, pb.Question(text="Which?", **question))
