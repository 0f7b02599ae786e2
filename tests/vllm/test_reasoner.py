"""The reasoner as the chart serves it, on the genuine vLLM: its chat template, its cache, and every flag."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from typing import Any

import pytest

from longvideo.inference import ModelClient
from tests.chart.rendering import of_kind
from tests.contract.model_server import Served, soon

if "TINY_VLLM_TEXT_URL" not in os.environ:
    pytest.skip("needs the genuine vLLM server: run `make test-vllm`", allow_module_level=True)

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

BLOCK = 32
"""How many tokens the server caches together: nothing shorter is found again."""

ROUNDS = 5
THOUGHT = "<think>\nThe captions speak of a kitchen,\n\nso look closer.\n</think>\n<tool>get_caption(({},2))</tool>"
TURNS = [
    {"role": "system", "content": "You find your way through a video."},
    {"role": "user", "content": "What is written on the door?"},
    {"role": "assistant", "content": THOUGHT.format(1)},
    {"role": "user", "content": "A door, {{ braces }} and {% odd %} words."},
]


def told(served: Served, path: str, **body: Any) -> dict[str, Any]:
    """Asks something that is no completion."""
    request = urllib.request.Request(
        served.url.removesuffix("/v1") + path,
        json.dumps({"model": served.model, **body}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {served.api_key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def hits(served: Served) -> float:
    """Returns how many tokens the server has found in its cache so far, by its own metrics."""
    with urllib.request.urlopen(served.url.removesuffix("/v1") + "/metrics", timeout=10) as response:
        text = response.read().decode()
    return sum(map(float, re.findall(r"^vllm:prefix_cache_hits_total\{.*\} (\S+)$", text, re.MULTILINE)))


def test_the_prompt_is_the_turns_as_they_are(text_server: Served) -> None:
    """The server's prompt keeps what was thought in earlier rounds, to the letter, and adds nothing of its own."""
    tokens = told(text_server, "/tokenize", messages=TURNS, add_generation_prompt=True)["tokens"]
    prompt = told(text_server, "/detokenize", tokens=tokens)["prompt"]

    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in TURNS)
    assert prompt == f"{turns}<|im_start|>assistant\n"


def reply(client: ModelClient, messages: list[dict[str, Any]], number: int) -> tuple[str, int, int, int]:
    """Asks for a round, and returns its text, and the prompt's, the cached and the answer's tokens."""
    pattern = f"<think>[a-z ]{{40,60}}</think>\\n<tool>get_caption\\(\\({number},[1-4]\\)\\)</tool>"
    done = client.complete(messages, max_tokens=200, deadline=soon(), regex=pattern)
    call = done.calls[-1]
    return done.text, call.prompt_tokens, call.cached_tokens, call.completion_tokens


def test_each_round_finds_the_earlier_ones_in_the_cache(text_server: Served) -> None:
    """Round by round the server's prefix cache serves all that was there before, answers and thoughts included."""
    client = text_server.client()
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": f"You find your way through video {os.urandom(8).hex()}. " + "Be brief. " * 30},
        {"role": "user", "content": "What is written on the door?"},
    ]
    before, known = hits(text_server), 0
    served_from_cache = []
    for number in range(1, ROUNDS + 1):
        text, prompt, cached, answer = reply(client, messages, number)
        served_from_cache.append(cached)
        assert cached > known - 2 * BLOCK
        assert cached < prompt
        known = prompt + answer
        messages += [
            {"role": "assistant", "content": text},
            {"role": "user", "content": f"Caption {number}: " + "a hall with a door and a sign. " * 8},
        ]
    client.close()

    assert served_from_cache[0] < BLOCK
    assert served_from_cache == sorted(set(served_from_cache))
    assert hits(text_server) - before == sum(served_from_cache)


def flags() -> dict[str, list[str]]:
    """Returns the arguments with which the chart starts each of its models."""
    found = {}
    for case in ("qwen3", "qwen2.5-autoscaled"):
        (runtime,) = of_kind(case, "ServingRuntime")
        (container,) = runtime["spec"]["containers"]
        for service in of_kind(case, "InferenceService"):
            predictor = service["spec"]["predictor"]
            found[predictor["labels"]["longvideo/model"]] = [*container["args"], *predictor["model"]["args"]]
    return found


@pytest.mark.parametrize("model", flags())
def test_every_flag_of_the_chart_is_one_of_vllms(model: str) -> None:
    """Of all of the chart's flags and one that there is not, vLLM refuses that one only."""
    arguments = flags()[model]
    done = subprocess.run(
        [os.environ["TINY_VLLM_COMMAND"], "serve", *arguments, "--no-such-flag"],
        env={**os.environ, "PYTHONPATH": os.environ["TINY_VLLM_SHIM"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.rstrip().splitlines()[-1].endswith("unrecognized arguments: --no-such-flag")
