"""The method: one question about one video, navigated.

The reasoner reads the high-level captions, then goes round: it thinks and acts, the action is carried out, and it is
told the result; until it answers, or something else ends the episode. Every ending that is not an error is an
`Ending`. Each step is in the journal before the next one begins, so that whoever takes the episode up again repeats
no finished model call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from longvideo import errors, metrics, priorities, telemetry
from longvideo.segments import Segment, Tree
from longvideo.usage import Call
from orchestrator import protocol, transcript
from orchestrator.protocol import Answer, GetCaption, Reply, Unusable, VideoQA
from orchestrator.reasoner import OBSERVATION, OPENING, REPLY, Reasoner
from orchestrator.spec import (
    Answered,
    Ending,
    EpisodeSpec,
    InvalidOutput,
    Journal,
    RoundsExhausted,
    Services,
    TimeExhausted,
)
from orchestrator.tools import Captioned, Tools
from orchestrator.transcript import Message, Round

MAX_UNUSABLE_REPLIES = 3


def navigate(spec: EpisodeSpec, services: Services, journal: Journal) -> Ending:
    """Carries an episode out, from wherever its journal stands, and returns how it ended.

    Raises `longvideo.errors` for what kept it from being carried out, and what the journal's checks raise.
    """
    episode: Episode | None = None
    try:
        episode = Episode(spec, services, journal, journal.rounds())
        episode.open()
        while True:
            journal.check_between_rounds()
            with telemetry.span("round", attributes={"longvideo.round": episode.number}):
                episode.step()
    except Ending as ending:
        return ending
    except errors.LongVideoError as error:
        journal.failed_calls(episode.number if episode else 0, error.calls)
        if isinstance(error, errors.DeadlineExceeded) and time.time() > spec.deadline - 1:
            return TimeExhausted("The time allowed passed before there was an answer.")
        raise


class Episode:
    """One episode under way. `rounds` grows as it goes."""

    def __init__(self, spec: EpisodeSpec, services: Services, journal: Journal, rounds: list[Round]) -> None:
        self.spec, self.pack, self.journal, self.rounds = spec, services.pack, journal, rounds
        self.tree = Tree(spec.frame_count, spec.place.tree_width)
        deadline = time.monotonic() + spec.deadline - time.time()
        self.tools = Tools(
            spec.place,
            services.captions,
            services.video_qa,
            requester=spec.name,
            deadline=deadline,
            checker=journal,
        )
        self.reasoner = Reasoner(
            services.reasoner,
            session=spec.name,
            pool=spec.place.pool,
            deadline=deadline,
            check=journal.check,
            priority=priorities.rank(spec.place.priority),
        )
        self.first: list[Message] = []

    @property
    def number(self) -> int:
        """The round that is under way, from 1; 0 before the conversation begins."""
        under_way = bool(self.rounds) and not self.rounds[-1].finished
        return len(self.rounds) + (not under_way) if self.first else 0

    def open(self) -> None:
        """Reads every high-level caption, all at one time; or takes up the conversation that began before."""
        self.first = self.journal.opening()
        if self.first:
            return
        self.journal.check_budget()
        segments = list(self.tree.segments(1))
        captions: dict[Segment, Captioned] = {}
        with telemetry.span("opening", attributes={"longvideo.captions": len(segments)}) as span:
            for caption in self.tools.captions(segments):
                captions[caption.text.segment] = caption
                self.journal.opened(caption, len(captions), len(segments))
            span.set_attribute("longvideo.cached_captions", sum(caption.cached for caption in captions.values()))
        texts = [captions[segment].text for segment in segments]
        self.first = transcript.opening(
            self.pack,
            self.spec.question,
            [replace(text, text=self.reasoner.clip(text.text, OPENING / len(texts))) for text in texts],
            duration=self.spec.duration,
            width=self.tree.width,
            max_rounds=self.spec.max_rounds,
        )
        self.journal.began(self.first)

    def step(self) -> None:
        """Does one round, or the rest of one; or takes note that the last one gave the answer."""
        last = self.rounds[-1] if self.rounds else None
        if last is not None and isinstance(last.action, Answer):
            self.act(last)
            return
        has_room = self.journal.check_budget()
        if last is not None and not last.finished:
            self.act(last)
            return
        if last is not None and not has_room and not last.notice:
            last.notice = self.pack.render("last_round")
            self.journal.noticed(last)
        self.act(self.decide())

    def decide(self) -> Round:
        """Asks the reasoner what to do; a reply that cannot be used is sent back with a word on what is wrong."""
        number = self.number
        must_answer = number == self.spec.max_rounds or bool(self.rounds and self.rounds[-1].notice)
        started, corrections = time.time(), list[str]()
        conversation = transcript.messages(self.first, self.rounds)
        while len(corrections) < MAX_UNUSABLE_REPLIES:
            completion = self.reasoner.reply(conversation, self.tree.width, must_answer=must_answer)
            try:
                reply = protocol.parse(completion.text, self.tree.width, cut=completion.finish_reason == "length")
                self.allow(reply, must_answer)
            except Unusable as problem:
                corrections.append(str(problem))
                calls = _invalid(completion.calls)
                metrics.count_calls(calls)
                self.journal.corrected(number, str(problem), calls)
                self.journal.check()
                said = self.reasoner.clip(completion.text, REPLY / 2) or "(nothing)"
                correction = self.pack.render("correction", problem=str(problem), width=self.tree.width)
                conversation += [{"role": "assistant", "content": said}, {"role": "user", "content": correction}]
            else:
                step = Round(number, reply.thought, reply.action, corrections=corrections, start_time=started)
                metrics.count_calls(completion.calls)
                self.journal.decided(step, completion.calls)
                self.rounds.append(step)
                return step
        if must_answer:
            raise RoundsExhausted(f"There was no answer in the last round, which was round {number}.")
        raise InvalidOutput(f"{len(corrections)} replies in a row could not be used. The last: {corrections[-1]}")

    def allow(self, reply: Reply, must_answer: bool) -> None:
        """Raises Unusable for an action that is legal but cannot be carried out now."""
        if isinstance(reply.action, Answer):
            return
        if must_answer:
            raise Unusable("No tool can be called any more. Answer now, between <answer> and </answer>.")
        if not len(self.tree.span(reply.action.segment)):
            raise Unusable(f"The video is so short that {reply.action.segment} holds no frame. Choose another segment.")

    def act(self, step: Round) -> None:
        """Carries the action of a round out, and tells the reasoner the result."""
        calls: tuple[Call, ...] = ()
        earlier = next((past for past in self.rounds[: step.number - 1] if past.action == step.action), None)
        match step.action:
            case Answer(text):
                if not step.finished:
                    step.end_time = time.time()
                    self.journal.finished(step, ())
                    metrics.EPISODE_ACTIONS.labels("answer").inc()
                raise Answered(text, protocol.choice(text, self.spec.question.options))
            case GetCaption(segment) | VideoQA(segment) if earlier is not None:
                step.repeated = True
                step.observation = self.pack.render("repeated", segment=str(segment))
            case GetCaption(segment):
                caption = self.tools.caption(segment)
                clipped = replace(caption.text, text=self.reasoner.clip(caption.text.text, OBSERVATION))
                step.observation, step.cached, calls = (
                    transcript.caption_observation(clipped),
                    caption.cached,
                    caption.calls,
                )
            case VideoQA(segment, query):
                clip = self.tools.ask(segment, query)
                answer = self.reasoner.clip(clip.answer, OBSERVATION)
                step.observation = transcript.clip_observation(segment, clip.start, clip.end, answer)
                calls = clip.calls
        step.end_time = time.time()
        step.notice = self.notice(step)
        self.journal.finished(step, calls)
        metrics.EPISODE_ACTIONS.labels(_done(step)).inc()

    def notice(self, step: Round) -> str:
        """Returns what else to tell after a round: that the next one is the last, or must be."""
        if step.number + 1 >= self.spec.max_rounds:
            return self.pack.render("last_round")
        slowest = max((past.end_time or past.start_time) - past.start_time for past in self.rounds)
        late = self.spec.deadline - time.time() < 2 * slowest
        if late or not self.reasoner.has_room(transcript.messages(self.first, self.rounds)):
            return self.pack.render("conclude")
        return ""


def _done(step: Round) -> str:
    """Returns the name under which a finished round that gave no answer is counted."""
    if step.repeated:
        return "repeated"
    return step.action.segment.level_name if isinstance(step.action, GetCaption) else "video_qa"


def _invalid(calls: Sequence[Call]) -> tuple[Call, ...]:
    """Returns the calls with the last one, which gave the reply, counted as invalid."""
    return (*calls[:-1], replace(calls[-1], outcome="invalid"))
