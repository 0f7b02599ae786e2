"""Rows as messages and as the loop's data."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longvideo.segments import Segment
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages, timeline
from orchestrator.messages import EpisodeWriter, clean
from orchestrator.protocol import Answer, GetCaption, VideoQA
from orchestrator.tables import RoundRow, VideoRow
from orchestrator.transcript import Round

ids = st.integers(1, 4)
segments = st.tuples(ids, ids, ids).map(Segment)
texts = st.text().map(clean)
rounds = st.builds(
    Round,
    number=st.integers(1, 100),
    thought=texts,
    action=st.builds(GetCaption, segments) | st.builds(VideoQA, segments, texts) | st.builds(Answer, texts),
    observation=texts,
    notice=texts,
    repeated=st.booleans(),
    cached=st.booleans(),
    corrections=st.lists(texts, max_size=3),
    start_time=st.floats(0, 4e9),
    end_time=st.none() | st.floats(0, 4e9),
)


def writer() -> EpisodeWriter:
    """Returns what writes the episodes of a video of 64 s."""
    video = VideoRow(id="a" * 64, frame_count=640, duration=64.0)
    return EpisodeWriter(video, timeline.pack(np.arange(640) * 0.1, 64.0), 4)


@given(rounds)
def test_row_holds_the_whole_round(step: Round) -> None:
    """A round comes back from its row as it went in."""
    assert messages.round_of(RoundRow(**messages.round_values(step))) == step


@given(rounds)
def test_message_of_a_round(step: Round) -> None:
    """A round goes over the wire with exactly one action and its words."""
    message = pb.Round.FromString(writer().round(step).SerializeToString())
    kinds = {GetCaption: "get_caption", VideoQA: "video_qa", Answer: "answer"}
    assert message.action.WhichOneof("action") == kinds[type(step.action)]
    assert (message.thought, message.observation) == (step.thought, step.observation)
    assert list(message.corrections) == step.corrections
    assert message.HasField("end_time") == step.finished


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_can_be_stored(text: str) -> None:
    """Any text becomes one that UTF-8 and databases can hold; one that is fine stays as it is."""
    cleaned = clean(text)
    assert "\0" not in cleaned
    cleaned.encode()
    assert clean(cleaned) == cleaned
    if "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text):
        assert cleaned == text


def test_every_state_has_a_name() -> None:
    """Each state and ending of the wire has a name in the database, and each name its own number."""
    for names, enum in (
        (messages.JOB_STATES, pb.Job.State),
        (messages.EPISODE_STATES, pb.Episode.State),
        (messages.ENDINGS, pb.Episode.Ending),
    ):
        assert len(set(names.values())) == len(names)
        assert set(names.values()) | {0} == set(enum.values())
