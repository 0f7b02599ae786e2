"""The metrics as a page: `python -m longvideo.metrics` prints all of them, with their labels and what they mean."""

from __future__ import annotations

from longvideo.declared import DECLARED, PARTS, Declared
from longvideo.metrics import MAX_NAMES

_HEAD = f"""# Metrics

Where `metrics_listen` says so, a process answers `GET /metrics` over plain HTTP, for Prometheus. Each process has its
own: {", ".join(f"`{part}`" for part in PARTS)} is the API, a worker, the clock, the caption service and the question
service. An API with the broker in memory carries episodes out itself, and has what a worker has; `longvideo up` has all
but the clock's.

There is nothing of any tenant, video, job or question in them. They do tell the addresses of the model servers and how
much is going on, so let nobody but Prometheus reach that port. At most {MAX_NAMES} names of models are told apart, and
all others are `other`. Beside these, each process has `process_…`, its memory and processor time, as Prometheus's
client measures them. A process that starts anew counts from 0, as Prometheus expects; what must add up to the last call
is in the ledger: `longvideo usage export`.

This page is the output of `python -m longvideo.metrics`.

| Metric | Kind | Labels | Process | Meaning |
| --- | --- | --- | --- | --- |
"""


def page() -> str:
    """Returns every metric as a table in Markdown."""
    return _HEAD + "".join(map(_row, DECLARED.values()))


def _row(metric: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    parts = ", ".join(part for part in PARTS if part in metric.parts)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {parts} | {metric.meaning} |\n"
