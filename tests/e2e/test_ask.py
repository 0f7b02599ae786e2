"""`longvideo ask` on the embedded stack, with scripted models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import cli
from longvideo.testing import ScriptedModelServer
from tests.e2e.conftest import Run, Script, flags
from tests.media import cut, make_video


def test_a_question_is_answered(run: Run, talk: Path, models: ScriptedModelServer) -> None:
    """The whole path works: index, captions, rounds, answer, evidence, usage."""
    ran = run("ask", talk, "Which number?", "--json", *flags(models))
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["answer"] == "It is 42."
    assert [step["action"]["type"] for step in document["rounds"]] == ["get_caption", "video_qa", "answer"]
    assert document["rounds"][1]["observation"].endswith("The number 42.</information>")
    assert [item["path"] for item in document["evidence"]] == [[2, 4], [2, 4, 1]]
    assert {row["role"]: row["calls"] for row in document["usage"]} == {"reason": 3, "caption": 5, "qa": 1}
    assert 0 < document["coverage"]["inspected"] < document["coverage"]["opened"] < 0.1
    assert document["video"]["frame_count"] == 80


def test_captions_are_made_once(run: Run, talk: Path, models: ScriptedModelServer, script: Script) -> None:
    """A second question, from another process's point of view, pays for no caption again."""
    run("ask", talk, "Which number?", *flags(models))
    before = script.calls
    ran = run("ask", talk, "And again?", *flags(models))
    assert "4 high-level captions, all known already" in ran.out
    assert script.calls - before == 4


def test_multiple_choice_gives_the_letter(run: Run, talk: Path, models: ScriptedModelServer, script: Script) -> None:
    """The chosen option is printed, and the letter is in the document."""
    script.steps = ["<think>easy</think><answer>The answer is B</answer>"]
    options = ["--option", "A. 41", "--option", "B. 42"]
    ran = run("ask", talk, "Which?", *options, "--json", *flags(models))
    assert json.loads(ran.out)["choice"] == "B"
    assert run("ask", talk, "Which?", *options, "--quiet", *flags(models)).out == "B\n"


def test_rounds_can_run_out(run: Run, talk: Path, models: ScriptedModelServer, script: Script) -> None:
    """An episode that never answers ends with exit code 1 and the way on."""
    script.steps = [script.steps[0]]
    ran = run("ask", talk, "Which?", "--max-rounds", "2", *flags(models))
    assert ran.code == 1
    assert "No answer" in ran.out


def test_useless_replies_end_with_their_reason(
    run: Run, talk: Path, models: ScriptedModelServer, script: Script
) -> None:
    """A reasoner that never follows the protocol ends the question with exit code 1."""
    script.steps = ["I have no idea."]
    ran = run("ask", talk, "Which?", *flags(models))
    assert ran.code == 1
    assert "No answer" in ran.out


def test_a_truncated_file_is_used_as_far_as_it_goes(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer
) -> None:
    """A file that ends too early is used, with a warning that says how much of it can be read."""
    video = cut(make_video(tmp_path / "short.mkv", seconds=8, fps=10, gop=5), 0.6)
    ran = run("ask", video, "Which?", *flags(models))
    assert ran.code == 0, ran.err
    assert ran.err == "Warning: The file is truncated: 4.4 s of 8.0 s can be read.\n"


def test_the_tree_is_shown_and_built(run: Run, talk: Path, models: ScriptedModelServer, script: Script) -> None:
    """A build makes the missing captions, goes on where it stopped, and the tree shows them."""
    run("ask", talk, "Which number?", *flags(models))
    built = run("tree", "build", talk, "--level", "medium", *flags(models))
    assert "20 of 20 known, 15 made now with 15 calls" in built.out
    calls = script.calls
    assert "0 made now" in run("tree", "build", talk, "--level", "medium", *flags(models)).out
    assert script.calls == calls
    shown = run("tree", "show", talk, "2", *flags(models))
    assert "(2,4) 0:03.5–0:04.0  A grid of cells." in shown.out


def test_jobs_wait_for_somebody_to_work_on_them(run: Run, talk: Path, models: ScriptedModelServer) -> None:
    """Without a server a submitted job waits, and watching it carries it out."""
    name = run("jobs", "submit", talk, "Which number?").out.strip()
    assert "pending" in run("jobs", "list").out
    watched = run("jobs", "watch", name, *flags(models))
    assert (watched.code, "Answer    It is 42." in watched.out) == (0, True)
    assert "succeeded" in run("jobs", "show", name).out


def test_right_answers_are_counted(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer, script: Script
) -> None:
    """A file of questions with their right answers tells how many were given, and no model is told any of them."""
    script.steps = ["<think>easy</think><answer>The answer is B</answer>"]
    asked = [{"question": "Which?", "options": ["A. 41", "B. 42"], "truth": letter} for letter in "AB"]
    asked.append({"question": "Who?", "truth": "an axolotl"})
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(map(json.dumps, asked)))
    name = run("jobs", "submit", talk, "--questions", questions).out.strip()
    assert "Right     1 of 2 right" in run("jobs", "watch", name, *flags(models)).out
    shown = run("jobs", "show", name).out
    assert all(line in shown for line in ("1 of 2 right", "Truth     A: wrong", "Truth     B: right", "an axolotl"))
    (listed,) = json.loads(run("jobs", "list", "--json").out)["jobs"]
    assert (listed["correct_count"], listed["judged_count"]) == (1, 2)
    assert "axolotl" not in str(models.requests)
    assert len(models.requests) == 4 + 3


def test_a_question_within_its_means(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question whose budget is spent ends without an answer and says so; without a price no cost can be bounded."""
    endpoint = {"url": models.url, "roles": ["reason", "caption", "qa"], "pool": "here", "gpus": 2}
    monkeypatch.setenv("LONGVIDEO_ENDPOINTS", json.dumps([endpoint]))
    refused = run("ask", talk, "Which number?", "--max-cost", "1")
    assert (refused.code, len(models.requests)) == (2, 0)
    assert "job.budget.max_cost is 1, and the server has no price book" in refused.err
    book = tmp_path / "prices.toml"
    book.write_text(
        'currency = "EUR"\n[[prices]]\npool = "here"\ngpu_hour = 3600\nvalid_from = 2020-01-01\nsource = "x"'
    )
    monkeypatch.setenv("LONGVIDEO_PRICE_BOOK", str(book))
    assert run("ask", talk, "Which number?", "--max-cost", "1000").code == 0
    calls = len(models.requests)
    ran = run("ask", talk, "Which number?", "--max-cost", "0.000001")
    assert (ran.code, len(models.requests)) == (1, calls + 1), "the captions were known, and one reply was had"
    assert "No answer Nothing is left of the job's budget: its model calls took" in ran.out
    assert "of 1e-06 in the price book's currency" in ran.out


def test_what_was_spent_is_told(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server, `longvideo costs` tells what questions took in this directory, and what a second one saved."""
    endpoint = {"url": models.url, "roles": ["reason", "caption", "qa"], "pool": "here", "gpus": 2}
    monkeypatch.setenv("LONGVIDEO_ENDPOINTS", json.dumps([endpoint]))
    book = tmp_path / "prices.toml"
    book.write_text(
        'currency = "EUR"\nprices = [{pool = "here", gpu_hour = 3600, valid_from = 2020-01-01, source = "x"}]'
    )
    monkeypatch.setenv("LONGVIDEO_PRICE_BOOK", str(book))
    assert [run("ask", talk, "Which number?").code for _ in range(2)] == [0, 0]
    ran = run("costs", "--by", "role")
    assert (ran.code, "in EUR" in ran.out, "Questions 2 ended, 2 answered" in ran.out) == (0, True, True)
    assert "Saved     5 captions that existed" in ran.out
    assert "Note      The server knows no Prometheus" in ran.out
    found = json.loads(run("costs", "--by", "episode,role", "--json").out)
    assert (len(found["rows"]), found["total"]["calls"], found["total"]["questions"]) == (5, len(models.requests), 2)
    assert found["total"]["attributed_cost"] == pytest.approx(found["total"]["attributed_gpu_seconds"])
    assert found["total"]["attributed_gpu_seconds"] == pytest.approx(
        sum(row["attributed_gpu_seconds"] for row in found["rows"])
    )
    job = found["rows"][0]["episode"].partition("/episodes/")[0]
    (row,) = json.loads(run("costs", "--job", job, "--by", "job", "--json").out)["rows"]
    assert (row["job"], row["questions"]) == (job, 1)


def test_a_job_can_be_cancelled_before_it_starts(run: Run, talk: Path, models: ScriptedModelServer) -> None:
    """A cancelled job ends without an answer, and nobody works on it."""
    name = run("jobs", "submit", talk, "Which number?").out.strip()
    assert "cancelled" in run("jobs", "cancel", name).out
    assert run("jobs", "watch", name, *flags(models)).code == 1
    assert models.requests == []


def test_imported_prompts_are_used(run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer) -> None:
    """A checkpoint's own prompts, imported from its script, reach the models."""
    source = tmp_path / "theirs.py"
    names = ("SYSTEM_PROMPT", "VIDEO_QA_SYSTEM_PROMPT", "CAPTION_SYSTEM_PROMPT", "CAPTION_SYSTEM_PROMPT_LOW")
    source.write_text("\n".join(f"{name} = 'their own {name}'" for name in names))
    pack = tmp_path / "theirs.toml"
    assert cli.run(["prompts", "import", str(source), "-o", str(pack)]) == 0
    assert run("ask", talk, "Which number?", "--prompts", pack, *flags(models)).code == 0
    system = {request["messages"][0]["content"] for request in models.requests}
    assert "their own SYSTEM_PROMPT" in system
