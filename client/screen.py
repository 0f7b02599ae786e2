"""Where a command writes: a terminal with live progress, or a pipe with plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

LABEL_WIDTH = 10
# What a pipe gets is never wrapped: whoever reads it decides.
_PIPE_WIDTH = 100_000


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, done: float, total: float, what: str = "", /) -> None:
        """Shows how much is done, of how much (0 when nobody knows), and perhaps what is being done now."""


class Screen:
    """Writes labelled lines to a stream.

    On a terminal the lines are coloured and wrapped, and work that takes a while shows a bar that vanishes when it is
    done. Anything else gets plain lines, one for each thing, without control characters. A quiet screen writes nothing.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self.live = stream.isatty() and not quiet
        self.quiet = quiet
        self._console = Console(
            file=stream,
            force_terminal=self.live,
            width=None if self.live else _PIPE_WIDTH,
            color_system="auto" if self.live else None,
            highlight=False,
            markup=False,
            emoji=False,
            quiet=quiet,
        )
        self._progress: Progress | None = None

    @property
    def width(self) -> int:
        """How many characters a line has before it is wrapped."""
        return self._console.width

    def line(self, label: str, text: str, style: str = "") -> None:
        """Writes one labelled line. A line of its own follows for every further line of `text`."""
        head, *rest = text.split("\n") if text else [""]
        self._labelled(label, head, style)
        for more in rest:
            self._labelled("", more, style)

    def _labelled(self, label: str, text: str, style: str) -> None:
        if not self.live:
            self._console.print(f"{label:<{LABEL_WIDTH}}{text}".rstrip(), soft_wrap=True)
            return
        row = Table.grid(padding=0)
        row.add_column(width=LABEL_WIDTH, no_wrap=True)
        row.add_column(ratio=1)
        row.add_row(Text(label, style="bold"), Text(text, style=style))
        self._console.print(row)

    def plain(self, text: str = "", style: str = "") -> None:
        """Writes a line without a label."""
        self._console.print(Text(text, style=style), soft_wrap=not self.live)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
        """Writes a table; the columns named in `right` hold numbers."""
        gap = 2 if self._console.width >= 100 else 1
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
        for column in columns:
            number = column in right
            table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        if self.live:
            self._console.print(table)
            return
        with self._console.capture() as captured:
            self._console.print(table)
        for text in captured.get().splitlines():
            self._console.print(text.rstrip(), soft_wrap=True)

    @contextmanager
    def working(self, what: str) -> Iterator[Advance]:
        """Shows `what` is being done while the context lasts, on a terminal only; what it gives moves the bar."""
        if not self.live or self._progress is not None:
            yield _unseen
            return
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()
        with Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=None)
            self._progress = progress

            def advance(done: float, total: float, now: str = "", /) -> None:
                progress.update(task, completed=done, total=total or None, description=now or what)

            try:
                yield advance
            finally:
                self._progress = None

    @contextmanager
    def waiting(self) -> Iterator[Callable[[str], None]]:
        """Shows what is being waited for while the context lasts, on a terminal only; what it gives changes it."""
        if not self.live:
            yield lambda _what: None
            return
        columns = SpinnerColumn(), TextColumn("{task.description}", style="dim", markup=False), TimeElapsedColumn()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=None)
            self._progress = progress

            def change(what: str) -> None:
                progress.reset(task, description=what)

            try:
                yield change
            finally:
                self._progress = None


def _unseen(_done: float, _total: float, _what: str = "", /) -> None:
    """Moves no bar: nobody would see it."""
