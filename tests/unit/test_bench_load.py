"""What the load bench rests on: a script that an episode can follow, and the shares of a profile."""

from __future__ import annotations

import cProfile
import json
import pstats
import random

import pytest

from bench.load import profile, script
from orchestrator import protocol
from orchestrator.protocol import Answer, GetCaption, VideoQA


def test_the_script_never_repeats_itself() -> None:
    """Every round of the script opens something new, and the last one answers."""
    actions = [protocol.parse(script.reply(number), script.WIDTH).action for number in range(1, script.ROUNDS + 1)]
    assert len(set(map(str, actions))) == script.ROUNDS
    kinds = {True: VideoQA, False: GetCaption}
    assert all(isinstance(action, kinds[script.is_clip(at)]) for at, action in enumerate(actions[:-1], start=1))
    assert isinstance(actions[-1], Answer)


def test_the_expected_seconds_are_those_that_are_drawn() -> None:
    """The mean length of a simulated episode is the one by which episodes are sent."""
    random.seed(1)

    def episode() -> float:
        opening = max(script.CAPTION.seconds(1) for _ in range(script.WIDTH))
        tools = [script.CLIP if script.is_clip(number) else script.CAPTION for number in range(1, script.ROUNDS)]
        return opening + sum(each.seconds(1) for each in [*tools, *[script.REASON] * script.ROUNDS])

    assert sum(episode() for _ in range(2000)) / 2000 == pytest.approx(script.expected_seconds(1), rel=0.02)


def test_a_library_s_time_belongs_to_its_callers() -> None:
    """The time of built-in functions is counted where they were called from; all groups make up the whole."""
    recorded = cProfile.Profile()
    recorded.runcall(lambda: json.loads(json.dumps([{"a": number} for number in range(10_000)])))
    stats = pstats.Stats(recorded)
    seconds = profile.grouped(stats)
    assert sum(seconds.values()) == pytest.approx(stats.total_tt)  # type: ignore[attr-defined]
    assert seconds["JSON"] > 0
