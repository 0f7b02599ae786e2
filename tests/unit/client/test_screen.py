"""Writing to a terminal and to a pipe."""

from __future__ import annotations

import io

from client.screen import Screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_plain_unwrapped_lines() -> None:
    """A long line stays one line, further lines are indented, and nothing moves a cursor."""
    stream = io.StringIO()
    screen = Screen(stream)
    screen.line("Answer", "long " * 100 + "end\nsecond", "bold")
    with screen.working("Reading") as advance, screen.waiting() as waiting:
        advance(1, 2)
        waiting("thinking")
    assert stream.getvalue() == f"Answer    {'long ' * 100}end\n          second\n"


def test_a_pipe_gets_aligned_tables_without_trailing_blanks() -> None:
    """Numbers are to the right, words to the left."""
    stream = io.StringIO()
    Screen(stream).table(("model", "calls"), [("a", "1"), ("longer", "1,000")], right=("calls",))
    assert stream.getvalue() == "model   calls\na           1\nlonger  1,000\n"


def test_a_terminal_gets_colours_and_live_progress() -> None:
    """A terminal shows what is going on, and the words of a model are not taken for markup."""
    stream = Terminal()
    screen = Screen(stream)
    with screen.working("Reading the file") as advance:
        advance(5, 10, "Still reading")
        screen.line("Video", "[red]talk.mp4[/red]")
    assert "\x1b[" in stream.getvalue()
    assert "[red]talk.mp4[/red]" in stream.getvalue()


def test_a_quiet_screen_writes_nothing() -> None:
    """Quiet means quiet, on a terminal too."""
    stream = Terminal()
    screen = Screen(stream, quiet=True)
    screen.line("Video", "talk.mp4")
    screen.plain("x")
    screen.table(("a",), [("b",)])
    with screen.working("Reading") as advance:
        advance(1, 2)
    assert stream.getvalue() == ""
