"""Our own processes: their calls, errors and latency, reading videos, storage, processor and memory."""

from __future__ import annotations

from monitoring.board import BAD, WARN, board, lines, quantiles, stat_panel, table_panel
from monitoring.queries import CHOSEN, part, quantile

_NOT_WELL = 'sum by (method, code) (rate(longvideo_rpcs_total{code!="OK"}[$__rate_interval]))'

NOW = (
    stat_panel(
        "Calls",
        "reqps",
        "sum(rate(longvideo_rpcs_total{}[5m]))",
        "Calls of the API and of both services per second, over the last five minutes.",
    ),
    stat_panel(
        "Refused or failed",
        "percentunit",
        part("longvideo_rpcs_total", 'code!="OK"', over=CHOSEN),
        "The share of calls that did not end well, bad requests included.",
        steps=[(0.05, WARN), (0.2, BAD)],
    ),
    stat_panel(
        "Unforeseen errors",
        "short",
        'sum(increase(longvideo_rpcs_total{code="INTERNAL"}[$__range]))',
        "Calls that ended with an error that nobody foresaw. Each has a traceback in the log.",
        steps=[(1, BAD)],
    ),
    stat_panel(
        "Storage failures",
        "short",
        "sum by (storage) (increase(longvideo_storage_failures_total{}[$__range]))",
        "Uses of the database, and of the storage of videos and captions, that failed after all attempts.",
        legend="{{storage}}",
        steps=[(1, BAD)],
    ),
    stat_panel(
        "Videos that could not be read",
        "percentunit",
        part("longvideo_media_tasks_total", 'outcome!="ok"', over=CHOSEN) + " or vector(0)",
        "The share of the processes that read a video and did not end well.",
        steps=[(0.05, WARN), (0.2, BAD)],
    ),
    stat_panel(
        "Messages of the clock",
        "short",
        "sum by (result) (increase(longvideo_beat_messages_total{}[5m]))",
        "What the clock had to send in the last five minutes: `sent`, `held` while nobody reads, or `failed`.",
        legend="{{result}}",
    ),
)

RPCS = (
    lines(
        "Calls",
        "reqps",
        [("sum by (service, method) (rate(longvideo_rpcs_total{}[$__rate_interval])) > 0", "{{method}}")],
        "Calls per second, by method.",
        stacked=True,
        width=12,
    ),
    lines(
        "Calls that did not end well",
        "reqps",
        [(f"{_NOT_WELL} > 0", "{{method}}: {{code}}")],
        "Calls per second that were refused or failed, by method and code. RESOURCE_EXHAUSTED means: come again later.",
        width=12,
    ),
    lines(
        "How long calls take",
        "s",
        [(quantile(0.95, "longvideo_rpc_seconds", 'method!~"Watch.*|Export.*"', by="method"), "{{method}}")],
        "95 % of the calls of a method took no longer. Streams, which last as long as somebody listens, are left out.",
        width=12,
    ),
    lines(
        "Calls in flight",
        "short",
        [("sum by (service) (longvideo_rpcs_in_flight{})", "{{service}}")],
        "Calls that are being answered now. Those of the caption and the video question service say how many pods of "
        "each are needed.",
        width=12,
    ),
)

MEDIA = (
    lines(
        "Frames shown to models",
        "cps",
        [("sum by (source) (rate(longvideo_frames_total{}[$__rate_interval]))", "{{source}}")],
        "Frames per second, `read` from a video or still in `memory`.",
        stacked=True,
    ),
    lines(
        "Reading videos",
        "s",
        quantiles("longvideo_media_task_seconds", by="task", legend="{{task}}"),
        "How long processes took that index a video or read frames of it: half of them, and 95 %, no longer.",
    ),
    lines(
        "Bytes of videos",
        "binBps",
        [("sum by (task) (rate(longvideo_media_read_bytes_total{}[$__rate_interval]))", "{{task}}")],
        "What such processes were given of videos.",
    ),
    table_panel(
        "What was wrong with videos",
        "short",
        "sum by (task, outcome) (increase(longvideo_media_tasks_total{}[$__range])) > 0",
        {"task": "Task", "outcome": "Outcome"},
        "How such processes ended in the chosen time. `given_up`: nobody wanted the result any more.",
        width=12,
    ),
    lines(
        "Storage failures",
        "cps",
        [
            (
                "sum by (storage, reason) (rate(longvideo_storage_failures_total{}[$__rate_interval]))",
                "{{storage}}: {{reason}}",
            )
        ],
        "Uses of the database (`database`) and of the storage of videos and captions (`objects`) that failed.",
        width=12,
    ),
)

PROCESSES = (
    lines(
        "Processor",
        "short",
        [('sum by (part) (rate(process_cpu_seconds_total{part!=""}[$__rate_interval]))', "{{part}}")],
        "Cores that processes keep busy, by part; those that read videos for them are not counted.",
        stacked=True,
    ),
    lines(
        "Memory",
        "bytes",
        [('max by (part) (process_resident_memory_bytes{part!=""})', "{{part}}")],
        "The memory of the largest process of each part.",
    ),
    lines(
        "Processes that answer",
        "short",
        [('sum by (part) (up{part!=""})', "{{part}}")],
        "Processes that answer Prometheus, by part.",
    ),
)


def dashboard() -> str:
    """Returns the dashboard."""
    return board(
        "Services",
        "The processes of longvideo: calls, errors, latency, reading videos, storage, processor and memory.",
        [("Now", NOW), ("Calls", RPCS), ("Videos and storage", MEDIA), ("Processes", PROCESSES)],
    )
