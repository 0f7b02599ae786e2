"""The other sub-commands against a scripted orchestrator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import cli
from client.api import file_digest
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from tests.contract.client.conftest import Run
from tests.contract.client.fake_orchestrator import FakeOrchestrator


def test_videos_are_added_listed_and_shown(run: Run, talk: Path) -> None:
    """A video that was added is in the list, and is found by file, name and the start of its digest."""
    digest = file_digest(talk)
    added = run("videos", "add", talk)
    assert added.code == 0
    assert f"Name      videos/{digest}" in added.out
    listed = run("videos", "list")
    assert digest[:12] in listed.out
    assert "talk.mp4" in listed.out
    for named in (talk, f"videos/{digest}", digest[:6]):
        assert "1280×720" in run("videos", "show", named).out
    assert json.loads(run("videos", "show", talk, "--json").out)["name"] == f"videos/{digest}"
    assert len(json.loads(run("videos", "list", "--json").out)["videos"]) == 1


def test_every_page_is_listed(run: Run, orchestrator: FakeOrchestrator) -> None:
    """A list longer than a page is shown whole."""
    for number in range(5):
        name = f"videos/{number:064x}"
        orchestrator.videos[name] = types_pb2.Video(name=name, display_name=f"film-{number}.mp4")
    assert all(f"film-{number}.mp4" in run("videos", "list").out for number in range(5))


def test_a_digest_that_fits_two_videos_is_refused(run: Run, orchestrator: FakeOrchestrator) -> None:
    """The start of a digest must name one video."""
    for number in range(2):
        name = f"videos/{number:064x}"
        orchestrator.videos[name] = types_pb2.Video(name=name)
    ran = run("videos", "show", "000000")
    assert ran.code == 2
    assert "stands for 2 videos" in ran.err


def test_an_unknown_video_is_refused(run: Run, talk: Path) -> None:
    """A file that was never added, and a name that nobody has, get a message with the way on."""
    unknown = run("videos", "show", talk)
    assert (unknown.code, "longvideo videos add" in unknown.err) == (2, True)
    assert run("tree", "show", "abcdef").code == 2
    assert "neither a file nor" in run("videos", "show", "zz").err


def test_a_tree_is_shown_with_times(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """The captions that exist are shown as a tree with times; --all shows the places of the others too."""
    run("videos", "add", talk)
    ran = run("tree", "show", talk)
    assert ran.code == 0
    assert "Width 4; 3 of 20 captions known" in ran.out
    assert "\n  (2) 2:30–5:00  A harbour at dawn.\n    (2,4) 4:22–5:00  Boats leave.\n" in ran.out
    assert "(no caption yet)" not in ran.out
    assert "(no caption yet)" in run("tree", "show", talk, "--all").out
    below = run("tree", "show", talk, "(2,4)")
    assert next(r for r in reversed(orchestrator.requests) if isinstance(r, pb.GetTreeRequest)).path == [2, 4]
    assert "\n  (2,4) 4:22–5:00  Boats leave.\n" in below.out
    shown = json.loads(run("tree", "show", talk, "--json").out)
    assert [made["path"] for made in shown["captions"]] == [[1], [2], [2, 4]]


@pytest.mark.parametrize("segment", ["a", "1,2,3,4", "1,,2", "1.5"])
def test_a_segment_that_is_none_is_refused(run: Run, talk: Path, segment: str) -> None:
    """A segment is one to three whole numbers."""
    ran = run("tree", "show", talk, segment)
    assert ran.code == 2
    assert "must look like" in ran.err


def test_a_tree_is_built(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """A build adds the video, shows each caption that it makes, and says what is known in the end."""
    ran = run("tree", "build", talk, "--level", "medium", "--sampling", "light")
    assert ran.code == 0
    request = next(r for r in orchestrator.requests if isinstance(r, pb.BuildTreeRequest))
    assert (request.level, request.config.sampling) == (2, types_pb2.SAMPLING_LIGHT)
    assert "4 of 4  (4) 7:30–10:00  A harbour at dawn." in ran.out
    assert "1 of 4" not in ran.out
    assert "Captions  4 of 4 known, 3 made now with 3 calls" in ran.out


def test_a_job_is_submitted_watched_shown_listed_and_cancelled(run: Run, talk: Path, tmp_path: Path) -> None:
    """A job with two questions from a file goes through every sub-command."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"question": "Which boat?"}\n\n{"question": "Who?", "options": ["A. me", "B. you"]}\n', encoding="utf-8"
    )
    submitted = run("jobs", "submit", talk, "--questions", questions, "--label", "boats")
    assert (submitted.code, submitted.out) == (0, "jobs/j1\n")
    watched = run("jobs", "watch", "jobs/j1")
    assert watched.code == 0
    assert "Question 2 of 2" in watched.out
    assert watched.out.count("Answer    The red boat") == 2
    shown = run("jobs", "show", "j1")
    assert "State     running" in shown.out
    assert "Label     boats" in shown.out
    assert "B. you" in shown.out
    assert len(json.loads(run("jobs", "show", "j1", "--json").out)["episodes"]) == 2
    assert "Which boat?" in run("jobs", "list").out
    assert run("jobs", "cancel", "j1").out == "jobs/j1 cancelled\n"


def test_right_answers_are_told(run: Run, talk: Path, tmp_path: Path, orchestrator: FakeOrchestrator) -> None:
    """The truth in a file of questions is sent and shown, and how many answers are right once that is known."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"question": "Who?", "options": ["A. me", "B. you"], "truth": "b"}\n'
        '{"question": "Why?", "truth": "because"}\n',
        encoding="utf-8",
    )
    run("jobs", "submit", talk, "--questions", questions)
    job = orchestrator.jobs["jobs/j1"]
    assert [question.truth for question in job.questions] == ["b", "because"]
    assert "right" not in run("jobs", "show", "j1").out
    job.judged_count, job.correct_count, job.episodes[0].correct = 15, 12, False
    shown = run("jobs", "show", "j1").out
    assert "Right     12 of 15 right" in shown
    assert "Truth     b: wrong" in shown
    assert "Truth     because\n" in shown
    assert "12 of 15 right" in run("jobs", "watch", "j1").out
    assert "12 of 15 right" in run("jobs", "list").out
    (listed,) = json.loads(run("jobs", "list", "--json").out)["jobs"]
    assert (listed["judged_count"], listed["correct_count"]) == (15, 12)
    assert [question["truth"] for question in listed["questions"]] == ["b", "because"]
    assert [(each["truth"], each["correct"]) for each in listed["episodes"]] == [("b", False), ("because", None)]


def test_a_job_has_a_budget(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """What a job may take is sent, and shown beside what it took; what is no amount is refused before anything."""
    run("jobs", "submit", talk, "Which boat?", "--max-cost", "2.5", "--max-gpu-seconds", "100")
    job = orchestrator.jobs["jobs/j1"]
    assert job.budget == pb.Budget(max_cost=2.5, max_gpu_seconds=100)
    assert "Budget    spent 0.0 of 100 GPU-seconds and an unknown part of 2.5" in run("jobs", "show", "j1").out
    job.spending.gpu_seconds, job.spending.cost = 31.5, 1.25
    shown = run("jobs", "show", "j1").out
    assert "Budget    spent 31.5 of 100 GPU-seconds and 1.25 of 2.5 in the price book's currency\n" in shown
    told = json.loads(run("jobs", "show", "j1", "--json").out)
    assert told["budget"] == {"max_cost": 2.5, "max_gpu_seconds": 100}
    assert told["spending"] == {"gpu_seconds": 31.5, "cost": 1.25}
    run("jobs", "submit", talk, "Which boat?")
    assert "Budget" not in run("jobs", "show", "j2").out
    for amount in ("0", "-1", "nan"):
        ran = run("jobs", "submit", talk, "Which boat?", "--max-gpu-seconds", amount)
        assert (ran.code, len(orchestrator.jobs)) == (2, 2)
        assert f"--max-gpu-seconds is {amount}; give a number above 0" in ran.err


def test_a_watch_starts_where_it_is_told(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """--position leaves out what was seen already."""
    run("jobs", "submit", talk, "Which boat?")
    ran = run("jobs", "watch", "jobs/j1", "--position", "9")
    assert orchestrator.watched_from == [9]
    assert "opens (2,4)" not in ran.out


def test_a_job_that_nobody_knows_is_refused(run: Run) -> None:
    """A name that no job has gets the server's message."""
    ran = run("jobs", "show", "jobs/nope")
    assert ran.code == 2
    assert ran.err == "Error: there is no job jobs/nope\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has 0 questions"),
        ("not json", "line 1: not JSON"),
        ('{"question": "a?"}\n{"text": "b?"}', "line 2: it must look like"),
        ('{"question": "a?", "options": ["x", "y"]}', "must start with its letter"),
        ('{"question": " "}', "question is empty"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"question": "a?", "options": ["A. x", "B. y"], "truth": "C"}', "must be the letter of the right option"),
        ('{"question": "a?", "truth": 3}', "line 1: it must look like"),
    ],
)
def test_a_bad_file_of_questions_is_refused(run: Run, talk: Path, tmp_path: Path, content: str, message: str) -> None:
    """A file of questions is checked line by line before anything is sent."""
    path = tmp_path / "questions.jsonl"
    path.write_text(content, encoding="utf-8")
    ran = run("jobs", "submit", talk, "--questions", path)
    assert ran.code == 2
    assert message in ran.err


def test_a_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that does not answer gets a message with both ways on."""
    assert cli.run(["videos", "list", "--server", "127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert "127.0.0.1:1" in error
    assert "longvideo up" in error


@pytest.mark.parametrize("address", ["nonsense", "host:", ":7700", "host:99999", "host:http"])
def test_a_server_needs_host_and_port(capsys: pytest.CaptureFixture[str], address: str) -> None:
    """--server must look like HOST:PORT."""
    assert cli.run(["videos", "list", "--server", address]) == 2
    assert "127.0.0.1:7700" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        ["--data-dir", "/tmp/x"],
        ["--reason-url", "http://gpu:8000"],
        ["--qa-model", "m"],
        ["--prompts", "p.toml"],
    ],
)
def test_a_server_brings_its_own_models_and_data(run: Run, talk: Path, more: list[str]) -> None:
    """Options for a stack of one's own contradict --server."""
    ran = run("ask", talk, "Which boat?", *more)
    assert ran.code == 2
    assert "--server" in ran.err
