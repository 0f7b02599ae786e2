"""`longvideo ask` against a scripted orchestrator."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import grpc
import pytest

from longvideo.errors import BadMedia, ModelRejected
from longvideo.v1 import orchestrator_pb2 as pb
from tests.contract.client.conftest import Run
from tests.contract.client.fake_orchestrator import FakeOrchestrator


def test_everything_is_shown_on_plain_lines(run: Run, talk: Path) -> None:
    """A piped run shows the rounds, the answer, the evidence, the share looked at and the usage, without controls."""
    ran = run("ask", talk, "Which boat?")
    assert ran.code == 0
    for line in (
        "Video     talk.mp4 · 10:00 · 1280×720 · h264 · 25 frames/s",
        "Captions  4 high-level captions, 3 made now",
        "thinks: The harbour is in the second part.",
        "          opens (2,4) 4:22–5:00",
        "          is told: boats leave.",
        "          looks at (2,4,1) 4:22.5–4:31.8 and asks: Which boat?",
        "          is told: the red boat",
        "Answer    The red boat",
        "(2,4)     4:22–5:00       caption, round 1",
        "(2,4,1)   4:22.5–4:31.8   clip, round 2",
        "Looked at 6.2 % of the video",
        "caption  seer     h800      5    20.00",
        "total                       8    21.50  62,345  10,000       1,221       22.80 s",
        "1 call of these failed",
    ):
        assert line in ran.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.out)
    assert ran.err == ""


def test_quiet_prints_the_answer_alone(run: Run, talk: Path) -> None:
    """With --quiet the answer is all that is written."""
    ran = run("ask", talk, "Which boat?", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "The red boat\n", "")


def test_json_is_one_document(run: Run, talk: Path) -> None:
    """With --json stdout is one document with everything, and the progress is on stderr."""
    ran = run("ask", talk, "Which boat?", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert document["answer"] == "The red boat"
    assert document["state"] == document["ending"] == "answered"
    assert document["video"]["duration"] == 600
    assert document["evidence"][0] == {
        "path": [2, 4],
        "start": 262.5,
        "end": 300.0,
        "round": 1,
        "captioned": True,
        "inspected": False,
    }
    assert [step["action"]["type"] for step in document["rounds"]] == ["get_caption", "video_qa", "answer"]
    assert document["rounds"][1]["action"]["query"] == "Which boat?"
    assert document["usage"][1]["failed_calls"] == 1
    assert document["coverage"]["opened"] == 0.0625
    assert set(document["timings"]) == {"hash", "add", "question", "total"}
    assert "Round 1" in ran.err


def test_multiple_choice_travels(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """Options, limits and the way of cutting reach the server, and the chosen option is shown in full."""
    orchestrator.episode.answer = orchestrator.episode.choice = "B"
    ran = run(
        "ask", talk, "Which?", "--option", "A. blue", "--option", "B. red", "--max-rounds", "7",
        "--max-seconds", "90", "--max-gpu-seconds", "40", "--min-width", "3", "--sampling", "light", "--pool", "h800",
    )  # fmt: skip
    request = next(request for request in orchestrator.requests if isinstance(request, pb.SubmitJobRequest))
    assert list(request.job.questions[0].options) == ["A. blue", "B. red"]
    assert request.job.limits.max_rounds == 7
    assert request.job.limits.max_duration.seconds == 90
    assert request.job.budget == pb.Budget(max_gpu_seconds=40)
    assert "Budget    spent 0.0 of 40 GPU-seconds; models that are not said to use a GPU take nothing" in ran.out
    assert (request.job.config.min_width, request.job.config.sampling, request.job.config.pool) == (3, 2, "h800")
    assert "Answer    B. red" in ran.out


def test_a_known_file_is_not_sent_again(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """Asking twice about a file uploads and indexes it once."""
    run("ask", talk, "Which boat?")
    run("ask", talk, "Which boat?")
    assert sum(isinstance(request, pb.CompleteVideoRequest) for request in orchestrator.requests) == 1


def test_a_file_is_handed_over_by_a_link(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """Handing a file to a server on this machine copies nothing."""
    run("ask", talk, "Which boat?")
    handed = next(orchestrator.uploads.glob("*/*"))
    assert handed.samefile(talk)
    assert list(handed.parent.iterdir()) == [handed]


@pytest.mark.parametrize(
    ("ending", "reason", "shown"),
    [
        (pb.Episode.ENDING_ROUNDS_EXHAUSTED, "", "--max-rounds"),
        (pb.Episode.ENDING_TIME_EXHAUSTED, "", "--max-seconds"),
        (pb.Episode.ENDING_INVALID_OUTPUT, "three replies could not be used", "Three replies could not be used."),
    ],
)
def test_no_answer_exits_with_1(
    run: Run,
    talk: Path,
    orchestrator: FakeOrchestrator,
    ending: pb.Episode.Ending.ValueType,
    reason: str,
    shown: str,
) -> None:
    """A question that ends without an answer says why and exits with 1."""
    orchestrator.episode.state = pb.Episode.STATE_UNANSWERED
    orchestrator.episode.ending = ending
    orchestrator.episode.error.message = reason
    ran = run("ask", talk, "Which boat?")
    assert ran.code == 1
    assert "No answer" in ran.out
    assert shown in ran.out
    quiet = run("ask", talk, "Which boat?", "-q")
    assert (quiet.code, quiet.out) == (1, "")
    assert shown in quiet.err


@pytest.mark.parametrize(("status", "code"), [("UNAVAILABLE", 2), ("FAILED_PRECONDITION", 2), ("INTERNAL", 1)])
def test_what_the_user_can_mend_exits_with_2(
    run: Run, talk: Path, orchestrator: FakeOrchestrator, status: str, code: int
) -> None:
    """An episode that failed for a reason the user can mend exits with 2, for any other with 1."""
    orchestrator.episode.state = pb.Episode.STATE_FAILED
    orchestrator.episode.ending = pb.Episode.ENDING_ERROR
    orchestrator.episode.error.code = grpc.StatusCode[status].value[0]
    orchestrator.episode.error.message = "the model server at http://gpu:8000/v1 refused the key"
    ran = run("ask", talk, "Which boat?")
    assert ran.code == code
    assert "refused the key" in ran.out


def test_errors_are_short_and_exit_with_2(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """What the server refuses comes out as one line on stderr; with --json also as a document."""
    orchestrator.fail["CompleteVideo"] = BadMedia("talk.mp4 holds no video", reason="MEDIA_NO_VIDEO_STREAM")
    ran = run("ask", talk, "Which boat?", "--json")
    assert ran.code == 2
    assert ran.err == "Error: talk.mp4 holds no video\n"
    assert json.loads(ran.out)["error"] == {
        "code": "INVALID_ARGUMENT",
        "reason": "MEDIA_NO_VIDEO_STREAM",
        "message": "talk.mp4 holds no video",
    }


def test_a_watch_goes_on_after_the_server_was_away(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """A watch that loses its server takes up where it was, and shows nothing twice."""
    orchestrator.drop_watch_after = 6
    ran = run("ask", talk, "Which boat?")
    assert ran.code == 0
    assert orchestrator.watched_from == [0, 6]
    assert ran.out.count("opens (2,4)") == 1


def test_subtitles_are_sent(run: Run, talk: Path, orchestrator: FakeOrchestrator, tmp_path: Path) -> None:
    """--subtitles sends the file, and what the server says about it is shown."""
    subtitles = tmp_path / "s.vtt"
    subtitles.write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n")
    ran = run("ask", talk, "Which boat?", "--subtitles", subtitles)
    sent = next(request for request in orchestrator.requests if isinstance(request, pb.CreateSubtitlesRequest))
    assert sent.content == subtitles.read_bytes()
    assert "with subtitles" in ran.out
    assert "Warning: 1 cue lies past the end" in ran.err


def test_a_sidecar_is_found(run: Run, talk: Path, orchestrator: FakeOrchestrator, tmp_path: Path) -> None:
    """Subtitles beside the video are used by themselves."""
    video = tmp_path / "film.mp4"
    video.write_bytes(talk.read_bytes())
    video.with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    assert "with subtitles" in run("ask", video, "Which boat?").out


def test_text_from_a_video_cannot_control_the_terminal(run: Run, talk: Path, orchestrator: FakeOrchestrator) -> None:
    """Escape sequences in captions, thoughts and answers are not written."""
    evil = "\x1b[2J\x1b]0;owned\x07red\u202e\x9b1m [bold]boat[/bold]"
    orchestrator.episode.answer = evil
    orchestrator.episode.rounds[0].thought = orchestrator.episode.rounds[0].observation = evil
    ran = run("ask", talk, "Which boat?", "--verbose")
    assert not set(ran.out) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "[bold]boat[/bold]" in ran.out


def test_a_session_asks_one_question_after_the_other(
    run: Run, talk: Path, orchestrator: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a question the questions come from stdin, with their options on further lines."""
    monkeypatch.setattr("sys.stdin", io.StringIO("Which boat?\n\nWho?\nA. me\nB. you\n\nexit\nnever asked\n"))
    ran = run("ask", talk)
    asked = [request.job.questions[0] for request in orchestrator.requests if isinstance(request, pb.SubmitJobRequest)]
    assert [(question.text, list(question.options)) for question in asked] == [
        ("Which boat?", []),
        ("Who?", ["A. me", "B. you"]),
    ]
    assert ran.code == 0
    assert ran.out.count("Answer    The red boat") == 2


def test_a_session_survives_a_bad_question(
    run: Run, talk: Path, orchestrator: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that cannot be asked gets its message, and the session goes on."""
    orchestrator.fail["SubmitJob"] = ModelRejected("the key is wrong")
    monkeypatch.setattr("sys.stdin", io.StringIO("Which boat?\nA. lonely option\n\nAgain?\n"))
    ran = run("ask", talk)
    assert ran.code == 0
    assert "from 2 to 26" in ran.err
    assert "the key is wrong" in ran.err
