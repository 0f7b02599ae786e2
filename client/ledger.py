"""Model calls as rows of a file: CSV, JSON lines or Parquet, written as they come."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Final

from client import words
from longvideo.errors import FailedPrecondition
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

COLUMNS: Final[dict[str, type]] = {
    "time": datetime,
    "tenant": str,
    "job": str,
    "episode": int,
    "round": int,
    "video": str,
    "label": str,
    "role": str,
    "model": str,
    "endpoint": str,
    "pool": str,
    "gpus": int,
    "attempt": int,
    "outcome": str,
    "seconds": float,
    "queue_seconds": float,
    "prefill_seconds": float,
    "decode_seconds": float,
    "prompt_tokens": int,
    "cached_tokens": int,
    "completion_tokens": int,
    "images": int,
    "detail": str,
    "call": str,
}
"""The columns of every format, in order. What is not known is empty: null in JSON lines and Parquet."""

# Rows that are read together out of a Parquet file, and held in memory until they are written.
_GROUP = 20_000


def row(entry: pb.LedgerEntry) -> dict[str, Any]:
    """Returns a call as the values of the columns."""
    call = entry.call
    return {
        "time": datetime.fromtimestamp(call.start_time.ToNanoseconds() / 1e9, UTC),
        "tenant": entry.tenant,
        "job": entry.job or None,
        "episode": entry.episode or None,
        "round": entry.round or None,
        "video": entry.video or None,
        "label": entry.label or None,
        "role": words.role(call.role),
        "model": call.model,
        "endpoint": call.endpoint,
        "pool": call.pool,
        "gpus": call.gpu_count,
        "attempt": call.attempt,
        "outcome": words.outcome(call.outcome),
        "seconds": words.seconds(call.duration),
        "queue_seconds": _seconds(call, "queue_duration"),
        "prefill_seconds": _seconds(call, "prefill_duration"),
        "decode_seconds": _seconds(call, "decode_duration"),
        "prompt_tokens": call.prompt_token_count,
        "cached_tokens": call.cached_token_count,
        "completion_tokens": call.completion_token_count,
        "images": call.image_count,
        "detail": call.detail or None,
        "call": call.id,
    }


def _seconds(call: types_pb2.ModelCall, field: Any) -> float | None:
    return words.seconds(getattr(call, field)) if call.HasField(field) else None


Pages = Iterable[Sequence[pb.LedgerEntry]]
Write = Callable[[Pages, IO[bytes]], int]
"""Writes all calls to a file, in memory that does not grow with them, and returns their number."""


def write_csv(pages: Pages, file: IO[bytes]) -> int:
    """Writes a table with a head line. Times are in ISO 8601, in UTC."""
    count = 0
    lines = csv.writer(_Encoded(file), lineterminator="\n")
    lines.writerow(COLUMNS)
    for values in _rows(pages):
        lines.writerow(_plain(values).values())
        count += 1
    return count


def write_json_lines(pages: Pages, file: IO[bytes]) -> int:
    """Writes one JSON object on each line. Times are in ISO 8601, in UTC."""
    count = 0
    for values in _rows(pages):
        file.write(json.dumps(_plain(values), ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def write_parquet(pages: Pages, file: IO[bytes]) -> int:
    """Writes a Parquet file, group by group. Raises FailedPrecondition without pyarrow."""
    arrow, parquet = _arrow()
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), datetime: arrow.timestamp("us", tz="UTC")}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    count, group = 0, list[dict[str, Any]]()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for values in _rows(pages):
            group.append(values)
            count += 1
            if len(group) == _GROUP:
                writer.write_table(arrow.Table.from_pylist(group, schema=schema))
                group.clear()
        if group:
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
    return count


def check_parquet() -> None:
    """Raises FailedPrecondition where no Parquet file can be written."""
    _arrow()


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise FailedPrecondition(
            "Writing Parquet needs pyarrow, which is not installed: pip install 'longvideo[parquet]', or choose "
            "--format csv or jsonl.",
            reason="PYARROW_MISSING",
        ) from None


class _Encoded:
    """Takes text for a file of bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Writes the text in UTF-8."""
        return self._file.write(text.encode())


def _rows(pages: Pages) -> Iterator[dict[str, Any]]:
    for page in pages:
        yield from map(row, page)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "time": values["time"].isoformat(timespec="microseconds")}
