"""The alerts. Each has a section in docs/operations.md: what it means, what a user sees, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from monitoring.slos import FAST, SLOS, SLOW, Slo

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Alert:
    """An alert, which fires when `query` has found something for as long as `lasts`."""

    name: str
    query: str
    lasts: str
    severity: Severity
    summary: str
    description: str


_WAITING = "sum by (namespace) (max by (namespace, priority) (longvideo_episodes_waiting{}))"
_OPEN = f"{_WAITING} + sum by (namespace) (max by (namespace, priority) (longvideo_episodes_running{{}}))"
# Whoever finds no server waits, and then nothing is in flight.
_WANTED = (
    "(sum by (namespace, role{pool}) (max_over_time(longvideo_model_calls_in_flight{{}}[10m])) > 0)"
    " or (sum by (namespace, role{pool}) (increase(longvideo_model_unserved_total{{}}[10m])) > 0)"
)


def _nobody(part: str, work: str, what: str) -> Alert:
    return Alert(
        {"worker": "LongvideoNoWorkers", "caption": "LongvideoNoCaptions", "qa": "LongvideoNoClipQuestions"}[part],
        f'({work} > 0) unless on (namespace) (sum by (namespace) (up{{part="{part}"}}) > 0)',
        "5m",
        "critical",
        f"There is work, and no {what} runs",
        "{{ $value | humanize }} episodes are open.",
    )


_PROCESSES: Final = (
    Alert(
        "LongvideoApiDown",
        '(sum by (namespace) (up{part="api"}) == 0) or absent(up{part="api"})',
        "2m",
        "critical",
        "No process of the API answers",
        "Nobody can submit, watch or cancel anything. Episodes that run go on.",
    ),
    _nobody("worker", _WAITING, "worker"),
    _nobody("caption", _OPEN, "caption service"),
    _nobody("qa", _OPEN, "video question service"),
    Alert(
        "LongvideoProcessDown",
        'up{part!=""} == 0',
        "10m",
        "warning",
        "A process of the part {{ $labels.part }} does not answer Prometheus",
        "{{ $labels.instance }} has said nothing for ten minutes; others of its kind may do its work.",
    ),
    Alert(
        "LongvideoBeatSilent",
        '(sum by (namespace) (increase(longvideo_beat_messages_total{result=~"sent|held"}[10m])) == 0)'
        " or absent(longvideo_beat_messages_total{})",
        "5m",
        "warning",
        "The clock sends nothing",
        "What a dead worker held, and what a lost message was about, is not taken up again.",
    ),
    Alert(
        "LongvideoReplicasMissing",
        'max by (namespace, deployment) (kube_deployment_spec_replicas{deployment!~".+-predictor"})'
        " > max by (namespace, deployment) (kube_deployment_status_replicas_available{})",
        "15m",
        "warning",
        "{{ $labels.deployment }} has fewer pods than it should",
        "It should have {{ $value }}. The others carry the load.",
    ),
)

_WORK: Final = (
    Alert(
        "LongvideoOldestWaiting",
        "(max by (namespace, priority) "
        '(longvideo_oldest_waiting_episode_seconds{priority="interactive"}) > 300)'
        ' or (max by (namespace, priority) (longvideo_oldest_waiting_episode_seconds{priority="batch"}) > 21600)',
        "5m",
        "warning",
        "An episode of the priority {{ $labels.priority }} has waited for {{ $value | humanizeDuration }}",
        "It waits for a worker, for its tenant's turn, or for models that do not answer.",
    ),
    Alert(
        "LongvideoInternalErrors",
        'sum by (namespace, service, method) (increase(longvideo_rpcs_total{code="INTERNAL"}[15m])) > 0',
        "0m",
        "warning",
        "{{ $labels.method }} fails in a way that was not foreseen",
        "Calls of {{ $labels.service }} ended with an error that says nothing to their callers.",
    ),
    Alert(
        "LongvideoStorageFailing",
        "sum by (namespace, storage, reason) (rate(longvideo_storage_failures_total{}[5m])) > 0",
        "5m",
        "critical",
        "The {{ $labels.storage }} storage is {{ $labels.reason }}",
        "Uses of it have been failing for ten minutes, after all attempts.",
    ),
    Alert(
        "LongvideoMediaFailures",
        "sum by (namespace, task) "
        '(increase(longvideo_media_tasks_total{outcome!="ok"}[30m])) > 5'
        " and sum by (namespace, task) "
        '(rate(longvideo_media_tasks_total{outcome!="ok"}[30m]))'
        " / sum by (namespace, task) (rate(longvideo_media_tasks_total{}[30m])) > 0.2",
        "5m",
        "warning",
        "Reading videos fails: {{ $labels.task }}",
        "{{ $value | humanize }} attempts within half an hour, and more than a fifth of all.",
    ),
)

_MODELS: Final = (
    Alert(
        "LongvideoNoModel",
        "(max by (namespace, role) (longvideo_model_endpoint_healthy{}) == 0)"
        f" and on (namespace, role) ({_WANTED.format(pool='')})",
        "15m",  # one at zero replicas has to load first
        "critical",
        "No model server with the role {{ $labels.role }} answers",
        "Episodes wait for it until their own time is over.",
    ),
    Alert(
        "LongvideoModelEndpointDown",
        "(max by (namespace, role, pool, endpoint) (longvideo_model_endpoint_healthy{}) == 0)"
        f" and on (namespace, role, pool) ({_WANTED.format(pool=', pool')})",
        "10m",
        "warning",
        "The model server {{ $labels.endpoint }} does not answer",
        "Every process that asks it ({{ $labels.role }} in {{ $labels.pool }}) is refused; other servers do its work.",
    ),
    Alert(
        "LongvideoModelReplicasMissing",
        '(count by (namespace, model, pool) (up{model!=""} == 0))'
        " or label_replace("
        '(max by (namespace, deployment) (kube_deployment_spec_replicas{deployment=~".+-predictor"})'
        " > max by (namespace, deployment) (kube_deployment_status_replicas_available{})),"
        ' "model", "$1", "deployment", "(.+)-predictor")',
        "1h",
        "warning",
        "Replicas of the model {{ $labels.model }} have not been ready for an hour",
        "They load, wait for a node, or fail again and again.",
    ),
    Alert(
        "LongvideoKvCacheFull",
        "(avg by (namespace, model, pool) (vllm:kv_cache_usage_perc{}) > 0.95)"
        " and (sum by (namespace, model, pool) (vllm:num_requests_waiting{}) > 0)",
        "10m",
        "warning",
        "The KV cache of {{ $labels.model }} in {{ $labels.pool }} is full",
        "{{ $value | humanizePercentage }} of it is in use, and requests wait for room.",
    ),
    Alert(
        "LongvideoInvalidReplies",
        'sum by (namespace, role, model) (increase(longvideo_model_calls_total{outcome="invalid"}[30m])) > 5'
        " and sum by (namespace, role, model) "
        '(rate(longvideo_model_calls_total{outcome="invalid"}[30m]))'
        " / sum by (namespace, role, model) (rate(longvideo_model_calls_total{}[30m])) > 0.2",
        "10m",
        "warning",
        "Replies of {{ $labels.model }} cannot be used",
        "{{ $value | humanize }} replies within half an hour, and more than a fifth of all: "
        "a chat template, a reasoning parser or a prompt pack may be the wrong one.",
    ),
)


def _burning(slo: Slo, speed: str) -> Alert:
    pairs = FAST if speed == "Fast" else SLOW
    # A quotient of floating point numbers would be shown with all its digits.
    query = "\nor\n".join(
        f"({slo.record(long)}{{}} > {round(factor * slo.allowed, 6):g}"
        f" and {slo.record(short)}{{}} > {round(factor * slo.allowed, 6):g}"
        f" and {slo.count(long)} > {slo.few})"
        for long, short, factor in pairs
    )
    return Alert(
        f"{slo.alert}{speed}",
        query,
        "2m" if speed == "Fast" else "15m",
        "critical" if speed == "Fast" else "warning",
        f"Too many {slo.what}",
        f"{{{{ $value | humanizePercentage }}}} lately; {slo.allowed:.0%} is allowed over a month.",
    )


ALERTS: Final = (*_PROCESSES, *_WORK, *_MODELS, *(_burning(slo, speed) for slo in SLOS for speed in ("Fast", "Slow")))
