"""What the scripted models say and how long they take: the sizes and seconds of the method's own inputs."""

from __future__ import annotations

import random
from dataclasses import dataclass

ROUNDS = 10
WIDTH = 8
"""The children of a segment: a video of two hours and a quarter has as many."""
SECONDS = 8192.0

THOUGHT_WORDS, CAPTION_WORDS, CLIP_WORDS = 500, 400, 150
"""With eight high-level captions, ten rounds come to 16,000 tokens."""

_TEXT = """the a camera person table window shows then slowly turns while another market street of in with red large
small standing holding speaking towards behind between afternoon building several children reading yellow document"""


def prose(words: int, seed: int) -> str:
    """Returns so many words, others for another seed."""
    return " ".join(random.Random(seed).choices(_TEXT.split(), k=words))


@dataclass(frozen=True)
class Latency:
    """How long a model takes: `mean` seconds, each time half as much less or more at most."""

    mean: float

    def seconds(self, scale: float) -> float:
        """Returns the seconds of one call, times `scale`."""
        return self.mean * random.uniform(0.5, 1.5) * scale


REASON, CAPTION, CLIP = Latency(2.5), Latency(7.0), Latency(2.7)


def is_clip(number: int) -> bool:
    """Tells whether round `number` (from 1) asks about a clip; the others read a caption."""
    return number % 3 == 0


def reply(number: int) -> str:
    """Returns what the reasoner says in round `number`: each opens something that was not open yet."""
    thought = prose(THOUGHT_WORDS, number)
    high, medium = number % WIDTH + 1, number // WIDTH + 1
    if number >= ROUNDS:
        action = "<answer>B</answer>"
    elif is_clip(number):
        action = f"<tool>video_qa(({high},{medium},1), What is written on the yellow document?)</tool>"
    else:
        action = f"<tool>get_caption(({high},{medium}))</tool>"
    return f"<think>{thought}</think>\n{action}"


def expected_seconds(scale: float) -> float:
    """Returns the model seconds on an episode's critical path, on average."""
    # The longest of WIDTH captions made at one time; the seconds are spread evenly from a half to one and a half.
    opening = CAPTION.mean * (0.5 + WIDTH / (WIDTH + 1))
    clips = sum(is_clip(number) for number in range(1, ROUNDS))
    tools = clips * CLIP.mean + (ROUNDS - 1 - clips) * CAPTION.mean
    return (opening + ROUNDS * REASON.mean + tools) * scale
