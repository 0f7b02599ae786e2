"""Metrics of others that the queries name, as they are called in the versions that the chart is made for."""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

VLLM_VERSION: Final = "0.33.0"
"""The version that the names were taken from; the chart's image must be of the same minor version."""

VLLM_LABELS: Final = frozenset(("model_name", "engine"))
VLLM: Final[dict[str, tuple[Kind, frozenset[str]]]] = {
    "vllm:num_requests_running": ("gauge", VLLM_LABELS),
    "vllm:num_requests_waiting": ("gauge", VLLM_LABELS),
    "vllm:kv_cache_usage_perc": ("gauge", VLLM_LABELS),
    "vllm:prefix_cache_queries_total": ("counter", VLLM_LABELS),
    "vllm:prefix_cache_hits_total": ("counter", VLLM_LABELS),
    "vllm:num_preemptions_total": ("counter", VLLM_LABELS),
    "vllm:prompt_tokens_total": ("counter", VLLM_LABELS),
    "vllm:generation_tokens_total": ("counter", VLLM_LABELS),
    "vllm:time_to_first_token_seconds": ("histogram", VLLM_LABELS),
    "vllm:inter_token_latency_seconds": ("histogram", VLLM_LABELS),
    "vllm:request_queue_time_seconds": ("histogram", VLLM_LABELS),
}
"""Of vLLM, with their kind and labels. `vllm:kv_cache_usage_perc` is a share, 0 to 1."""

KUBE: Final[dict[str, tuple[Kind, frozenset[str]]]] = {
    "kube_deployment_spec_replicas": ("gauge", frozenset(("namespace", "deployment"))),
    "kube_deployment_status_replicas_available": ("gauge", frozenset(("namespace", "deployment"))),
}
"""Of kube-state-metrics."""

PROCESS: Final[dict[str, tuple[Kind, frozenset[str]]]] = {
    "process_cpu_seconds_total": ("counter", frozenset()),
    "process_resident_memory_bytes": ("gauge", frozenset()),
}
"""Of Prometheus's client, in each of our processes."""

PROMETHEUS: Final[dict[str, tuple[Kind, frozenset[str]]]] = {
    "up": ("gauge", frozenset()),
    "ALERTS": ("gauge", frozenset(("alertname", "alertstate", "severity"))),
}
"""What Prometheus itself says of each target, and of the alerts."""

TARGET_LABELS: Final = frozenset(("namespace", "pod", "job", "instance"))
"""Labels that every series has from its target in a cluster."""
OUR_LABELS: Final = TARGET_LABELS | {"part"}
"""Those that every series of our processes has."""
MODEL_LABELS: Final = TARGET_LABELS | {"model", "pool", "gpus"}
"""Those that every series of vLLM has."""
