"""The loop, against a scripted reasoner and scripted services over real HTTP and gRPC."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from longvideo import errors, rpc
from longvideo.inference import Endpoint, ModelClient
from longvideo.prompts import load_pack
from longvideo.segments import Segment
from longvideo.testing import Reply, ScriptedModelServer, ScriptedServices
from longvideo.usage import Call
from longvideo.v1 import types_pb2
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.v1.video_qa_pb2_grpc import VideoQAServiceStub
from orchestrator.episode import navigate
from orchestrator.protocol import Answer, GetCaption, VideoQA
from orchestrator.spec import BudgetExhausted, Ending, EpisodeSpec, Services
from orchestrator.tools import Captioned, Place
from orchestrator.transcript import Message, Question, Round

VIDEO = "videos/" + "a" * 64
CAPTION_2_4 = "<think>the second part</think>\n<tool>get_caption((2,4))</tool>"
CAPTION_2_4_1 = "<think>its first part</think>\n<tool>get_caption((2,4,1))</tool>"
ASK = "<think>look closely</think>\n<tool>video_qa((2,4,1), What number is it?)</tool>"
ANSWER = "<think>that settles it</think>\n<answer>B</answer>"
GARBAGE = "I do not know what to do."


@dataclass
class MemoryJournal:
    """A journal that keeps everything, and ends the episode when told to."""

    kept: list[Round] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    first: list[Message] = field(default_factory=list)
    opened_count: int = 0
    problems: list[str] = field(default_factory=list)
    stop: Exception | None = None
    stop_after_decisions: int | None = None
    failed_in: list[int] = field(default_factory=list)
    room: list[bool] = field(default_factory=list)
    notices: list[int] = field(default_factory=list)
    stray_calls: list[types_pb2.StrayCall] = field(default_factory=list)

    def rounds(self) -> list[Round]:
        return [replace(step) for step in self.kept]

    def check(self) -> None:
        if self.stop:
            raise self.stop

    def check_between_rounds(self) -> None:
        self.check()

    def check_budget(self) -> bool:
        """Says in turn whether there is room, and then that nothing is left."""
        if not self.room:
            raise BudgetExhausted("Nothing is left.")
        return self.room.pop(0)

    def noticed(self, step: Round) -> None:
        self.kept[step.number - 1].notice = step.notice
        self.notices.append(step.number)

    def opening(self) -> list[Message]:
        return self.first

    def began(self, opening: list[Message]) -> None:
        self.first = [dict(message) for message in opening]

    def opened(self, caption: Captioned, done: int, total: int) -> None:
        self.opened_count += 1
        self.calls += caption.calls
        assert done <= total

    def corrected(self, number: int, problem: str, calls: Sequence[Call]) -> None:
        self.problems.append(problem)
        self.calls += calls

    def decided(self, step: Round, calls: Sequence[Call]) -> None:
        self.kept.append(replace(step))
        self.calls += calls
        if self.stop_after_decisions == len(self.kept):
            raise KeyboardInterrupt

    def finished(self, step: Round, calls: Sequence[Call]) -> None:
        self.kept[-1] = replace(step)
        self.calls += calls

    def strays(self, strays: Sequence[types_pb2.StrayCall]) -> None:
        self.stray_calls += strays

    def failed_calls(self, number: int, calls: Sequence[Call]) -> None:
        self.failed_in += [number] * len(calls)
        self.calls += calls


class World:
    """A reasoner that says its lines in turn, the services, and a way to run an episode on them."""

    def __init__(self) -> None:
        self.lines: list[Reply | str] = []
        self.services = ScriptedServices()
        self.reasoner = ScriptedModelServer(self.say)
        self.server = self.services.serve()
        self.journal = MemoryJournal(room=[True] * 100)
        self.client = ModelClient("reason", [Endpoint(url=self.reasoner.url, roles=frozenset({"reason"}))])

    def say(self, _: dict[str, Any]) -> Reply | str:
        return self.lines.pop(0)

    def run(self, *lines: Reply | str, **changes: Any) -> Ending:
        self.lines = list(lines)
        channel = rpc.connect(self.server.address)
        services = Services(self.client, CaptionServiceStub(channel), VideoQAServiceStub(channel), load_pack())
        place = Place(VIDEO, 4, types_pb2.SAMPLING_TRAINED, "", "")
        spec = EpisodeSpec(
            name="jobs/j1/episodes/1",
            question=Question("Which colour?", ("A. red", "B. blue")),
            place=place,
            duration=400.0,
            frame_count=10_000,
            max_rounds=30,
            deadline=time.time() + 60,
        )
        return navigate(replace(spec, **changes), services, self.journal)

    def prompts(self) -> list[list[dict[str, str]]]:
        return [request["messages"] for request in self.reasoner.requests]

    def close(self) -> None:
        self.client.close()
        self.reasoner.close()
        self.server.stop(0)


@pytest.fixture
def world() -> Iterator[World]:
    """A fresh world."""
    made = World()
    # A server that does not bind its output: the scripted lines are not always legal.
    made.reasoner.owned_by = "someone"
    yield made
    made.close()


def test_an_episode_reads_looks_and_answers(world: World) -> None:
    """The reasoner goes down the tree, asks about a clip, and its letter is extracted from the answer."""
    ending = world.run(CAPTION_2_4, CAPTION_2_4_1, ASK, ANSWER)

    assert (ending.kind, ending.answer, ending.choice) == ("answered", "B", "B")
    assert [step.action for step in world.journal.kept] == [
        GetCaption(Segment((2, 4))),
        GetCaption(Segment((2, 4, 1))),
        VideoQA(Segment((2, 4, 1)), "What number is it?"),
        Answer("B"),
    ]
    assert [step.observation for step in world.journal.kept] == [
        "Medium-level caption of (2,4) [175.0s - 200.0s]: caption of (2, 4)",
        "Low-level caption of (2,4,1) [175.0s - 181.2s]: caption of (2, 4, 1)",
        "<information>(2,4,1) [175.0s - 181.2s]: answer to What number is it?</information>",
        "",
    ]


def test_every_model_call_is_recorded_once(world: World) -> None:
    """Four high captions, four replies, two finer captions and one clip answer make eleven calls."""
    world.run(CAPTION_2_4, CAPTION_2_4_1, ASK, ANSWER)
    roles = [call.role for call in world.journal.calls]

    assert (roles.count("caption"), roles.count("reason"), roles.count("qa")) == (6, 4, 1)
    assert len({call.id for call in world.journal.calls}) == 11
    assert all(call.outcome == "ok" for call in world.journal.calls)


def test_messages_only_grow_at_the_end(world: World) -> None:
    """Each request's messages begin with all messages of the request before, thoughts included."""
    world.run(CAPTION_2_4, CAPTION_2_4_1, ASK, ANSWER)
    prompts = world.prompts()

    assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(prompts))
    assert CAPTION_2_4 in [message["content"] for message in prompts[-1]]


def test_the_first_turn_holds_question_options_duration_and_captions(world: World) -> None:
    """The reasoner starts from the question, its options, the duration and every high-level caption in order."""
    world.run(ANSWER)
    first = world.prompts()[0][1]["content"]

    assert first.startswith("Question: Which colour?\nOptions:\nA. red\nB. blue\nDuration: 400.0 seconds\n")
    assert "\n(1) [0.0s - 100.0s]: caption of (1,)\n(2) [100.0s - 200.0s]: caption of (2,)\n" in first


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (GARBAGE, "neither called a tool"),
        ("<think>t</think><tool>zoom((1,1))</tool>", "no tool 'zoom'"),
        ("<think>t</think><tool>get_caption((9,1))</tool>", "does not exist"),
        ("", "neither called a tool"),
        ("x" * 100_000, "cut off"),
    ],
)
def test_a_mistake_is_answered_with_what_was_wrong(world: World, bad: str, says: str) -> None:
    """A reply that cannot be used is sent back with its own mistake, counted, and forgotten by later rounds."""
    ending = world.run(bad, CAPTION_2_4, ANSWER)
    corrected, later = world.prompts()[1], world.prompts()[2]

    assert ending.kind == "answered"
    assert says in corrected[-1]["content"]
    assert world.journal.kept[0].corrections == world.journal.problems
    assert [call.outcome for call in world.journal.calls if call.role == "reason"] == ["invalid", "ok", "ok"]
    assert not any(says in message["content"] for message in later)


def test_three_mistakes_in_one_round_end_the_episode(world: World) -> None:
    """After the third unusable reply in a row the episode ends with that reason and no fourth call."""
    ending = world.run(CAPTION_2_4, GARBAGE, GARBAGE, GARBAGE)

    assert ending.kind == "invalid_output"
    assert "neither called a tool" in ending.message
    assert len(world.reasoner.requests) == 4


def test_asking_again_costs_no_call(world: World) -> None:
    """A caption or clip asked for twice is pointed out, and no service is called."""
    world.run(CAPTION_2_4, CAPTION_2_4, ASK, ASK, ANSWER)
    steps = world.journal.kept

    assert [step.repeated for step in steps] == [False, True, False, True, False]
    assert "already read" in steps[1].observation
    assert len(world.services.caption_requests) == 4 + 1
    assert len(world.services.qa_requests) == 1


def test_the_last_round_is_announced_and_calls_no_tool(world: World) -> None:
    """Before its last round the reasoner is told so; a tool call in it is sent back, not carried out."""
    ending = world.run(CAPTION_2_4, CAPTION_2_4_1, ANSWER, max_rounds=2)

    assert "last round" in world.prompts()[1][-1]["content"]
    assert ending.kind == "answered"
    assert len(world.services.caption_requests) == 4 + 1


def test_an_only_round_is_announced_in_the_first_turn(world: World) -> None:
    """With one round the first turn already says that it is the last."""
    assert world.run(ANSWER, max_rounds=1).kind == "answered"
    assert "last round" in world.prompts()[0][1]["content"]


def test_rounds_can_run_out(world: World) -> None:
    """A reasoner that will not answer in its last round ends without an answer."""
    ending = world.run(CAPTION_2_4, CAPTION_2_4_1, CAPTION_2_4_1, CAPTION_2_4_1, max_rounds=2)

    assert (ending.kind, ending.answer) == ("rounds_exhausted", "")


def test_a_crash_after_a_decision_repeats_no_reply(world: World) -> None:
    """An episode that is taken up between decision and result carries out the decision without asking again."""
    world.journal.stop_after_decisions = 2
    with pytest.raises(KeyboardInterrupt):
        world.run(CAPTION_2_4, CAPTION_2_4_1, ASK, ANSWER)
    world.journal.stop_after_decisions = None
    ending = world.run(ASK, ANSWER)

    assert ending.kind == "answered"
    assert len(world.reasoner.requests) == 4
    assert [step.number for step in world.journal.kept] == [1, 2, 3, 4]


def test_a_resumed_episode_sees_the_same_messages(world: World) -> None:
    """The conversation after a crash begins exactly as it was before, so the prefix cache still serves it."""
    world.journal.stop_after_decisions = 3
    with pytest.raises(KeyboardInterrupt):
        world.run(CAPTION_2_4, CAPTION_2_4_1, ASK)
    before = world.prompts()[-1]
    world.journal.stop_after_decisions = None
    world.run(ANSWER)

    assert world.prompts()[-1][: len(before)] == before


def test_time_can_run_out(world: World) -> None:
    """A reasoner that is silent beyond the deadline ends the episode for time, and its call is counted."""
    ending = world.run(Reply.silence(), deadline=time.time() + 1.0)

    assert ending.kind == "time_exhausted"
    assert [call.outcome for call in world.journal.calls if call.role == "reason"] == ["timeout"]


def test_little_time_makes_the_reasoner_conclude(world: World) -> None:
    """When another round like the slowest would not fit in the time, the reasoner is told to answer now."""
    slow = Reply(CAPTION_2_4, delay=1.0)
    ending = world.run(slow, ANSWER, deadline=time.time() + 2.8)

    assert ending.kind == "answered"
    assert "no tool can be called" in world.prompts()[1][-1]["content"]


def test_a_full_context_makes_the_reasoner_conclude(world: World) -> None:
    """A small context leaves room for one round, and then the reasoner is told to answer; no request is too long."""
    world.reasoner.max_model_len = 6_000
    world.services.caption = lambda path: "word " * 5_000
    ending = world.run(CAPTION_2_4, ANSWER)

    assert ending.kind == "answered"
    assert "no tool can be called" in world.prompts()[1][-1]["content"]


def test_cancelling_stops_a_call_under_way(world: World) -> None:
    """A cancelled episode lets go of the model call that it waits for."""

    def cancel(_: dict[str, Any]) -> Reply:
        world.journal.stop = errors.Cancelled("the job was cancelled")
        return Reply.silence()

    world.reasoner.handler = cancel
    with pytest.raises(errors.Cancelled):
        world.run()

    assert [call.outcome for call in world.journal.calls if call.role == "reason"] == ["cancelled"]


def test_cancelling_stops_a_caption_under_way(world: World) -> None:
    """A cancelled episode lets go of the caption that it waits for."""

    def caption(path: tuple[int, ...]) -> str:
        if len(path) > 1:
            world.journal.stop = errors.Cancelled("the job was cancelled")
            time.sleep(1.5)
        return "a caption"

    world.services.caption = caption
    with pytest.raises(errors.Cancelled, match="the job was cancelled"):
        world.run(CAPTION_2_4)


def test_a_failing_service_fails_the_episode_and_counts_its_calls(world: World) -> None:
    """An error of the caption service is raised as it is, and the calls that it made are recorded for their round."""
    failed = Call("caption", "m", "http://x/v1", "h800", 2, 1e9, 1.0, "error")

    def caption(path: tuple[int, ...]) -> str:
        if len(path) == 1:
            return "a caption"
        error = errors.ModelRejected("no such model", reason="MODEL_NOT_FOUND")
        error.calls = (failed,)
        raise error

    world.services.caption = caption
    with pytest.raises(errors.ModelRejected, match="no such model"):
        world.run(CAPTION_2_4)

    assert failed in world.journal.calls
    assert world.journal.failed_in == [1]


def test_a_failing_caption_loses_no_call_of_the_others(world: World) -> None:
    """When one of the captions that are made at one time fails, what the others took is counted all the same."""

    def caption(path: tuple[int, ...]) -> str:
        if path == (1,):
            raise errors.ModelUnavailable("the model is down")
        time.sleep(0.2)
        return "a caption"

    world.services.caption = caption
    with pytest.raises(errors.ModelUnavailable):
        world.run(CAPTION_2_4)

    assert len([call for call in world.journal.calls if call.role == "caption"]) == 3


def test_high_captions_are_asked_for_at_one_time(world: World) -> None:
    """All high-level captions are under way together: each waits until it has seen the others."""
    together = threading.Barrier(4, timeout=5)
    world.services.caption = lambda path: f"{together.wait()}" if len(path) == 1 else "finer"

    assert world.run(ANSWER).kind == "answered"


def test_a_vllm_server_is_held_to_legal_replies(world: World) -> None:
    """A server that can be held to a pattern gets one for this tree's width, and stops after the action."""
    world.reasoner.owned_by = "vllm"
    world.client = ModelClient("reason", [Endpoint(url=world.reasoner.url, roles=frozenset({"reason"}))])
    world.run(CAPTION_2_4, ANSWER)
    request = world.reasoner.requests[0]

    assert "[1-4]" in request["structured_outputs"]["regex"]
    assert request["stop"] == ["</tool>", "</answer>"]
    assert request["include_stop_str_in_output"] is True


def test_segments_without_a_frame_are_refused_in_words(world: World) -> None:
    """In a video of very few frames the reasoner is told which segments do not exist."""
    world.run("<think>t</think><tool>get_caption((1,4))</tool>", ANSWER, frame_count=4)

    assert "(1,4) holds no frame" in world.prompts()[1][-1]["content"]


def test_a_clean_ending_is_not_an_error(world: World) -> None:
    """Saying that it cannot be determined is an answer; it names no option."""
    ending = world.run("<think>t</think>\n<answer>It cannot be determined from the video.</answer>")

    assert (ending.kind, ending.choice) == ("answered", "")


def test_budget_that_is_nearly_spent(world: World) -> None:
    """When there is no room for another round, the reasoner is told that the next is its last, and answers in it."""
    world.journal.room = [True, True, True, False]
    ending = world.run(CAPTION_2_4, CAPTION_2_4_1, ASK, ASK, ASK)
    assert (ending.kind, len(world.journal.kept), world.journal.notices) == ("rounds_exhausted", 2, [2])
    assert "last round" not in world.prompts()[1][-1]["content"]
    assert "last round" in world.prompts()[2][-1]["content"]
    world.reasoner.requests.clear()
    world.journal.room = [False]
    assert world.run(ANSWER).kind == "answered"
    assert world.journal.notices == [2], "it is told once"
    assert world.prompts()[0][-1]["content"].count("last round") == 1


@pytest.mark.parametrize("looks", [0, 1, 2, 3])
def test_budget_of_which_nothing_is_left(world: World, looks: int) -> None:
    """When nothing is left, no model is called any more: before the captions, before the first round, and later."""
    world.journal.room = [True] * looks
    ending = world.run(CAPTION_2_4, CAPTION_2_4_1, ASK, ANSWER)
    assert (ending.kind, ending.message) == ("budget_exhausted", "Nothing is left.")
    assert len(world.prompts()) == max(0, looks - 1)
    assert len(world.services.caption_requests) == (0, 4, 5, 6)[looks]


def test_answer_that_is_paid_for(world: World) -> None:
    """An answer that was given before its worker died is the answer, whatever is left; an action is not begun."""
    world.journal.stop_after_decisions = 1
    with pytest.raises(KeyboardInterrupt):
        world.run(ANSWER)
    world.journal.room = []
    ending = world.run()
    assert (ending.kind, ending.choice) == ("answered", "B")
    world.journal.kept, world.journal.room = [], [True]
    with pytest.raises(KeyboardInterrupt):
        world.run(CAPTION_2_4)
    assert world.run().kind == "budget_exhausted"
    assert len(world.services.caption_requests) == 4
