"""`longvideo usage`: what was spent, call by call."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from client import amounts, ledger, words
from client.connection import open_client
from client.options import Where, spread
from longvideo.errors import InvalidArgument, NotFound

app = typer.Typer(no_args_is_help=True, help="What the models were used for.", rich_markup_mode="markdown")


class Format(enum.StrEnum):
    """How the calls are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_WRITERS: Final[Mapping[Format, ledger.Write]] = {
    Format.CSV: ledger.write_csv,
    Format.JSONL: ledger.write_json_lines,
    Format.PARQUET: ledger.write_parquet,
}


@app.callback()
def usage() -> None:
    """What the models were used for."""


@app.command()
@spread
def export(
    format_: Annotated[Format, typer.Option("--format", help="What is written; parquet needs longvideo[parquet].")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; without it, to the standard output."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From when: 2026-03-01, 2026-03-01T14:05Z, or 7d ago. Default: all.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Until before when. Default: now.")] = "",
    tenant: Annotated[
        str, typer.Option(metavar="TENANT", help="Whose calls; `-` for everybody's. Needs the role admin.")
    ] = "",
    *,
    where: Where,
) -> None:
    """Writes every model call of a time, one row each, failed ones too: what it was for, and what it took.

    Rows are written as they come, oldest first. A file is there only when it is complete.

    Examples:
    - `longvideo usage export --format csv --since 7d > calls.csv`

    - `longvideo usage export --format parquet --since 2026-03-01 --until 2026-04-01 --tenant - -o march.parquet`
    """
    now = time.time()
    start = _timestamp(amounts.moment(since, "--since", now)) if since else None
    end = _timestamp(amounts.moment(until, "--until", now)) if until else None
    if format_ is Format.PARQUET:
        ledger.check_parquet()
        if output is None and sys.stdout.isatty():
            raise InvalidArgument("--format parquet is nothing for a terminal; give --output FILE.", field="output")
    with open_client(where, command="longvideo usage export", work=False, check=False) as client:
        pages = client.export_usage(start, end, tenant)
        if output is None:
            count = _WRITERS[format_](pages, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            count = _to_file(output, _WRITERS[format_], pages)
    print(f"{words.plural(count, 'call')} written.", file=sys.stderr)


def _to_file(path: Path, write: ledger.Write, pages: ledger.Pages) -> int:
    part = path.with_name(f"{path.name}.part")
    try:
        with _opened(part, path) as file:
            count = write(pages, file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return count


def _opened(part: Path, path: Path) -> IO[bytes]:
    try:
        return part.open("wb")
    except OSError as error:
        raise NotFound(f"{path} cannot be written: {error.strerror}.", reason="FILE_UNWRITABLE") from None


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
