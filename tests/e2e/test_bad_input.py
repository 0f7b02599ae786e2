"""Every bad input: a clear message on stderr, exit code 2, no traceback, and nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from longvideo.testing import Reply, ScriptedModelServer
from tests.e2e.conftest import Run, Script, flags, start
from tests.media import make_sound, make_video

SRT = "1\n00:00:01,000 --> 00:00:02,000\nHello\n"


def _text(path: Path) -> None:
    path.write_text("this is no video")


def _playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n")


def _concat(path: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile '/etc/passwd'\n")


def _image(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 64)


def _sound(path: Path) -> None:
    make_sound(path)


def _headless(path: Path) -> None:
    make_video(path, seconds=1)
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "There is no file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.touch(), "is empty"),
        (_text, "no video"),
        (_playlist, "no video"),
        (_concat, "no video"),
        (_image, "no video"),
        (_sound, "video"),
        (_headless, "talk.mp4"),
    ],
    ids=["missing", "directory", "empty", "text", "playlist", "concat", "image", "sound", "headless"],
)
def test_what_is_no_video_is_refused(
    run: Run, tmp_path: Path, data: Path, make: Callable[[Path], None], message: str, models: ScriptedModelServer
) -> None:
    """Each kind of file that is no video is named for what it is, and leaves no trace."""
    path = tmp_path / "talk.mp4"
    make(path)
    ran = run("ask", path, "Which?", *flags(models))
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.startswith("Error: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    assert not [kept for kept in data.rglob("objects/*/*/*") if kept.is_file()]
    assert models.requests == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([""], "question is empty"),
        (["x" * 100_000], "100,000 characters"),
        (["Which?", "--option", "A. one"], "from 2 to 26"),
        (["Which?", *[part for n in range(60) for part in ("--option", f"{n}. x")]], "Got 60 options"),
        (["Which?", "--option", "red", "--option", "blue"], "must start with its letter"),
        (["Which?", "--max-rounds", "0"], "--max-rounds"),
        (["Which?", "--max-rounds", "101"], "--max-rounds"),
        (["Which?", "--max-seconds", "-1"], "--max-seconds"),
        (["Which?", "--min-width", "9"], "--min-width"),
        (["Which?", "--sampling", "all"], "--sampling"),
        (["Which?", "--subtitles", "/nowhere.srt"], "There is no file /nowhere.srt"),
        (["Which?", "--subtitles", "/etc/passwd"], "passwd"),
        (["Which?", "--reason-model", "m"], "needs --reason-url"),
        (["Which?", "--reason-url", "gpu:8000"], "--reason-url is 'gpu:8000'"),
        (["Which?", "--qa-url", "http://me:secret@gpu/v1"], "may not hold a user or password"),
        (["Which?", "--prompts", "/nowhere.toml"], "/nowhere.toml"),
        (["--option", "A. x"], "needs a QUESTION"),
        (["--json"], "needs a QUESTION"),
    ],
)
def test_bad_usage_is_told_at_once(run: Run, talk: Path, data: Path, more: list[str], message: str) -> None:
    """Wrong options get their message before anything is read or started."""
    ran = run("ask", talk, *more)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not data.exists()


def test_a_misspelt_setting_is_named(run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that means nothing is not ignored."""
    monkeypatch.setenv("LONGVIDEO_MIN_WITH", "3")
    ran = run("videos", "list")
    assert (ran.code, "did you mean LONGVIDEO_MIN_WIDTH" in ran.err) == (2, True)


@pytest.mark.parametrize("time", ["01:00:00,000 --> 01:00:02,000"])
def test_subtitles_past_the_end_are_refused(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer, time: str
) -> None:
    """Subtitles of which none lies within the video belong to another one."""
    subtitles = tmp_path / "other.srt"
    subtitles.write_text(f"1\n{time}\nHello\n")
    ran = run("ask", talk, "Which?", "--subtitles", subtitles, *flags(models))
    assert ran.code == 2
    assert "other.srt" in ran.err


def test_a_sidecar_that_is_no_subtitles_is_left_out(
    run: Run, talk: Path, tmp_path: Path, models: ScriptedModelServer
) -> None:
    """A bad file that merely lies beside the video is a warning."""
    video = tmp_path / "film.mp4"
    shutil.copy(talk, video)
    video.with_suffix(".srt").write_text("no cue in here")
    ran = run("ask", video, "Which?", *flags(models))
    assert ran.code == 0
    assert "film.srt" in ran.err


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Reply.html(), "http://127.0.0.1"),
        (Reply.error(400, "no images please"), "no images please"),
        (Reply.error(401, "who are you"), "LONGVIDEO_"),
        (Reply.error(429), "429"),
        (Reply.error(500), "500"),
        (Reply.error(503), "503"),
        (Reply.cut(), "http://127.0.0.1"),
    ],
    ids=["html", "400", "401", "429", "500", "503", "cut"],
)
def test_an_endpoint_that_fails_is_named(
    run: Run, talk: Path, script: Script, models: ScriptedModelServer, broken: Reply, message: str
) -> None:
    """Whatever a model server does wrong, the user reads which server and what, and the exit code is 2."""
    script.broken = broken
    ran = run("ask", talk, "Which?", "--json", *flags(models))
    assert ran.code == 2
    assert message in json.loads(ran.out)["error"]["message"]
    assert "127.0.0.1" in ran.err
    assert "Traceback" not in ran.err


def test_an_endpoint_that_is_down_is_told_before_anything_else(run: Run, talk: Path, data: Path) -> None:
    """A refused connection is found out before the video is read."""
    ran = run("ask", talk, "Which?", *flags("http://127.0.0.1:9/v1"))
    assert ran.code == 2
    assert "127.0.0.1:9" in ran.err
    assert ran.out == ""


def test_a_refused_key_is_told_before_anything_else(run: Run, talk: Path, script: Script) -> None:
    """A server that wants another key says so before the video is read, and the key is not repeated."""
    with ScriptedModelServer(script, api_key="right") as server:
        ran = run("ask", talk, "Which?", *flags(server))
    assert ran.code == 2
    assert ran.out == ""
    assert "KEY" in ran.err


def test_a_wrong_model_name_lists_the_right_ones(run: Run, talk: Path, models: ScriptedModelServer) -> None:
    """A model that the server does not have is named, with those that it has."""
    ran = run("ask", talk, "Which?", *flags(models), "--caption-model", "gpt-17")
    assert ran.code == 2
    assert "gpt-17" in ran.out
    assert "scripted" in ran.out


def test_an_endpoint_that_hangs_ends_with_the_time(
    run: Run, talk: Path, script: Script, models: ScriptedModelServer
) -> None:
    """A model that never answers costs no more than the time allowed."""
    script.broken = Reply.silence()
    ran = run("ask", talk, "Which?", "--max-seconds", "1", *flags(models))
    assert ran.code == 1
    assert "No answer" in ran.out


def test_a_data_directory_must_be_a_directory(run: Run, talk: Path, data: Path) -> None:
    """A file in the place of the data directory is refused."""
    data.write_text("a file")
    ran = run("videos", "list")
    assert (ran.code, "not a directory" in ran.err) == (2, True)


def test_a_bucket_is_not_silently_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that this command cannot follow is refused by name."""
    monkeypatch.setenv("LONGVIDEO_OBJECT_STORE", "s3://videos")
    ran = run("videos", "list")
    assert (ran.code, "LONGVIDEO_OBJECT_STORE is set" in ran.err) == (2, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_data_directory_is_named(run: Run, data: Path) -> None:
    """A directory that may not be written is refused with the fix."""
    data.mkdir(mode=0o555)
    ran = run("videos", "list")
    assert (ran.code, "permissions" in ran.err) == (2, True)


def test_a_full_disk_is_named(talk: Path, data: Path) -> None:
    """When the disk takes no byte any more the message says so, and the exit code is 2."""
    process = start(
        "videos", "add", talk, "--data-dir", data,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "disk" in err or "space" in err
    assert "Traceback" not in err
