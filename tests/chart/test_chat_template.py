"""The reasoner's chat template."""

from __future__ import annotations

import jinja2
import jinja2.sandbox

from tests.chart.rendering import CHART

TURNS = [
    {"role": "system", "content": "You navigate a video."},
    {"role": "user", "content": "What is written on the door?"},
    {"role": "assistant", "content": "<think>first\n\nthe start</think>\n<tool>get_caption((1,2))</tool>"},
    {"role": "user", "content": "A door with {{ braces }} and <|odd|> words."},
    {"role": "assistant", "content": "<think>closer</think>\n<tool>get_caption((1,2,3))</tool>"},
    {"role": "user", "content": "A sign."},
]


def prompt(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """Returns the prompt, made with the options that model servers render chat templates with."""
    world = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = world.from_string((CHART / "files" / "reasoner.jinja").read_text("utf-8"))
    return template.render(messages=messages, add_generation_prompt=add_generation_prompt)


def test_each_turn_stands_between_its_marks() -> None:
    """A prompt is nothing but the turns as they are, and the beginning of the answer."""
    expected = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in TURNS)

    assert prompt(TURNS) == f"{expected}<|im_start|>assistant\n"
    assert prompt(TURNS, add_generation_prompt=False) == expected


def test_earlier_thinking_stays() -> None:
    """What the reasoner thought in earlier rounds is in the prompt of later ones."""
    assert "<think>first\n\nthe start</think>" in prompt(TURNS)
    assert "<think>closer</think>" in prompt(TURNS)


def test_each_prompt_begins_with_the_one_before() -> None:
    """A round's prompt begins with all of the last round's prompt and answer, so that a server's cache holds them."""
    for end in (2, 4):
        answered = prompt(TURNS[:end]) + TURNS[end]["content"]
        assert prompt(TURNS[: end + 2]).startswith(answered)
