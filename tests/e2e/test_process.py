"""What only a process of its own shows: signals, a terminal, a pipe that closes, and two of them on one directory."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from longvideo.testing import Reply, ScriptedModelServer
from tests.e2e.conftest import Run, Script, flags, start


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    """Reads lines of stdout up to the one that holds `text`."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"it ended without {text!r}: {seen}{process.stderr.read() if process.stderr else ''}")


def _wait_for(script: Script, calls: int) -> None:
    deadline = time.monotonic() + 60
    while script.calls < calls and time.monotonic() < deadline:
        time.sleep(0.01)
    assert script.calls >= calls


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_question_says_what_is_kept(
    talk: Path, data: Path, script: Script, models: ScriptedModelServer, number: int, code: int
) -> None:
    """A signal in the middle of a model call ends the process at once; the next question starts from the captions."""
    script.broken, script.break_after = Reply.silence(), 4
    process = start("ask", talk, "Which?", "--data-dir", data, *flags(models))
    _wait_for(script, 5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "Stopped. Kept: the video's index and 4 captions; ask again to go on from there.\n"
    script.broken = None
    again = start("ask", talk, "Which?", "--data-dir", data, *flags(models))
    out, _ = again.communicate(timeout=60)
    assert "all known already" in out
    assert "Answer    It is 42." in out


def test_a_killed_question_goes_on_where_it_was(
    run: Run, talk: Path, data: Path, script: Script, models: ScriptedModelServer
) -> None:
    """After a kill in the middle of an episode no finished call is made again."""
    script.broken, script.break_after = Reply.silence(), 6
    process = start("ask", talk, "Which?", "--data-dir", data, *flags(models))
    _wait_for(script, 7)
    process.kill()
    process.communicate()
    script.broken = None
    name = run("jobs", "list", "--json").out.split('"job": "')[1].split('"')[0]
    ran = run("jobs", "watch", name, *flags(models))
    assert (ran.code, "Answer    It is 42." in ran.out) == (0, True)
    # Seven were begun and the last was lost; it and the last two rounds' are all that is left to do.
    assert script.calls == 7 + 3


def test_a_build_can_be_stopped_and_goes_on(
    run: Run, talk: Path, data: Path, script: Script, models: ScriptedModelServer
) -> None:
    """A stopped build keeps its captions, and the next one makes the others."""
    script.broken, script.break_after = Reply.silence(), 10
    process = start("tree", "build", talk, "--level", "medium", "--data-dir", data, *flags(models))
    _read_until(process, "10 of 20")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "Stopped. Kept: 10 captions of 20; run it again to go on.\n"
    script.broken = None
    assert "20 of 20 known, 10 made now" in run("tree", "build", talk, "--level", "medium", *flags(models)).out


@pytest.fixture
def server(data: Path, models: ScriptedModelServer) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`longvideo up` in a process of its own, and its address."""
    process = start("up", "--port", "0", "--data-dir", data, *flags(models))
    said = _read_until(process, "ready")
    yield process, said.split("api")[1].split()[0]
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_a_server_is_asked_by_others(
    server: tuple[subprocess.Popen[str], str], run: Run, talk: Path, data: Path
) -> None:
    """A second process is told who has the data directory, gets its answers with --server, and SIGTERM ends it."""
    process, address = server
    refused = run("videos", "list")
    assert refused.code == 2
    assert f"process {process.pid} (longvideo up, {address})" in refused.err
    asked = start("ask", talk, "Which?", "--quiet", "--server", address)
    assert asked.communicate(timeout=60) == ("It is 42.\n", "")
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert "talk.mp4" in run("videos", "list").out


def test_a_server_tells_its_metrics(
    talk: Path, data: Path, models: ScriptedModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the settings say so, `longvideo up` tells what all its services did, and prints where."""
    monkeypatch.setenv("LONGVIDEO_METRICS_LISTEN", "127.0.0.1:0")
    process = start("up", "--port", "0", "--data-dir", data, *flags(models))
    try:
        said = _read_until(process, "ready")
        address, metrics = (said.split(what)[1].split()[0] for what in ("api", "metrics"))
        assert start("ask", talk, "Which?", "--quiet", "--server", address).communicate(timeout=60)[0] == "It is 42.\n"
        with urllib.request.urlopen(metrics, timeout=60) as response:
            text = response.read().decode()
    finally:
        process.kill()
        process.communicate()
    calls = 'longvideo_model_calls_total{model="scripted",outcome="ok",pool="default",role='
    assert {f'{calls}"reason"}} 3.0', f'{calls}"qa"}} 1.0', f'{calls}"caption"}} 5.0'} <= set(text.splitlines())
    assert 'longvideo_episodes_waiting{priority="interactive"} 0.0' in text


def test_a_terminal_gets_live_progress(talk: Path, data: Path, models: ScriptedModelServer) -> None:
    """On a terminal the run is coloured and shows what it is waiting for."""
    shown = _in_terminal("ask", talk, "Which?", "--data-dir", data, *flags(models))
    assert "\x1b[" in shown
    assert "high-level captions: 4 of 4" in shown
    assert "It is 42." in shown


def test_a_session_in_a_terminal_ends_with_ctrl_c(
    run: Run, talk: Path, data: Path, models: ScriptedModelServer
) -> None:
    """A session asks for a question, answers it, asks for the next, and Ctrl-C leaves it and frees the directory."""
    typed = [("Question: ", "Which number?\n"), ("Enter to ask: ", "\n"), ("Total", "\x03")]
    shown = _in_terminal("ask", talk, "--data-dir", data, *flags(models), typed=typed)
    assert "It is 42." in shown
    assert "Stopped." in shown
    assert run("videos", "list").code == 0


def _in_terminal(*argv: str | Path, typed: Sequence[tuple[str, str]] = ()) -> str:
    """Returns what a terminal shows. `typed` is what to wait for, and what to type then."""
    terminal, other = pty.openpty()
    waiting = list(typed)
    with subprocess.Popen(
        [sys.executable, "-m", "client", *map(str, argv)],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        start_new_session=True,
        # Ctrl-C goes to the process whose terminal it is.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    ) as process:
        os.close(other)
        shown, seen = b"", 0
        while select.select([terminal], [], [], 60)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # the other side has closed
                break
            if waiting and waiting[0][0].encode() in shown[seen:]:
                seen = len(shown)
                os.write(terminal, waiting.pop(0)[1].encode())
        process.wait()
    os.close(terminal)
    return shown.decode()


def test_a_reader_that_leaves_ends_the_command(talk: Path, data: Path, models: ScriptedModelServer) -> None:
    """Piping into `head` makes no traceback."""
    process = start("ask", talk, "Which?", "--data-dir", data, *flags(models))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert "Traceback" not in err


def test_help_is_quick_and_teaches() -> None:
    """--help loads no heavy module, and shows examples; so does every sub-command's."""
    script = "import sys; from client.app import app; "
    script += "heavy = {'av', 'openai', 'sqlalchemy', 'celery', 'onnxruntime', 'cv2'} & sys.modules.keys(); "
    script += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", script], check=True)
    out, _ = start("ask", "--help").communicate(timeout=60)
    assert "Examples" in out
    assert "--reason-url" in out


def test_shells_can_complete_it() -> None:
    """The command prints its completion for a shell."""
    process = subprocess.run(
        [sys.executable, "-m", "client", "--show-completion", "bash"], capture_output=True, text=True, check=False,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )  # fmt: skip
    assert process.returncode == 0
    assert "_LONGVIDEO_COMPLETE" in process.stdout
