"""Each model in each pool: as its callers see it, and as vLLM tells of itself."""

from __future__ import annotations

from monitoring.board import BAD, WARN, board, lines, quantiles, stat_panel, table_panel
from monitoring.queries import CHOSEN, part

_PREFIX_CACHE = (
    "sum by (model, pool) (rate(vllm:prefix_cache_hits_total{models}[$__rate_interval]))"
    " / sum by (model, pool) (rate(vllm:prefix_cache_queries_total{models}[$__rate_interval]))"
)

NOW = (
    stat_panel(
        "Calls",
        "short",
        "sum(increase(longvideo_model_calls_total{models}[$__range]))",
        "Requests to models in the chosen time, each attempt one.",
    ),
    stat_panel(
        "Failed",
        "percentunit",
        part("longvideo_model_calls_total", 'models,outcome=~"error|timeout"', "models", over=CHOSEN),
        "The share of them that failed or timed out.",
        steps=[(0.01, WARN), (0.05, BAD)],
    ),
    stat_panel(
        "Not usable",
        "percentunit",
        part("longvideo_model_calls_total", 'models,outcome="invalid"', "models", over=CHOSEN),
        "The share of them that were answered with something that cannot be used, and were made again.",
        steps=[(0.05, WARN), (0.2, BAD)],
    ),
    stat_panel(
        "In flight",
        "short",
        "sum(longvideo_model_calls_in_flight{pools})",
        "Answers that are waited for now, in the chosen pools.",
    ),
    stat_panel(
        "Servers that failed last",
        "short",
        "count(max by (role, pool, endpoint) (longvideo_model_endpoint_healthy{pools}) == 0) or vector(0)",
        "Model servers whose last request failed, for every process that asks them.",
        steps=[(1, BAD)],
    ),
    stat_panel(
        "Replicas",
        "short",
        "sum by (model, pool) (longvideo:model_replicas_ready:count{models})",
        "Pods of vLLM that answer.",
        legend="{{model}}, {{pool}}",
    ),
)

CALLS = (
    lines(
        "Calls",
        "reqps",
        [
            (
                "sum by (role, model, pool) (rate(longvideo_model_calls_total{models}[$__rate_interval]))",
                "{{role}}: {{model}}, {{pool}}",
            )
        ],
        "Requests to models per second.",
        stacked=True,
    ),
    lines(
        "How long calls take",
        "s",
        quantiles("longvideo_model_call_seconds", "models", by="role, pool", legend="{{role}}, {{pool}}"),
        "From sending a request to having read the answer: half of them, and 95 %, took no longer. Waiting in the "
        "model server is part of it.",
    ),
    lines(
        "How calls end",
        "reqps",
        [("sum by (outcome) (rate(longvideo_model_calls_total{models}[$__rate_interval]))", "{{outcome}}")],
        "`ok`; `invalid`, when the reply cannot be used; `error` and `timeout`, which are tried again; `cancelled`, "
        "when nobody wanted the answer any more.",
        stacked=True,
    ),
    lines(
        "In flight",
        "short",
        [("sum by (role, pool) (longvideo_model_calls_in_flight{pools})", "{{role}}, {{pool}}")],
        "Answers that are waited for, pauses between attempts included; known also while no server is up.",
    ),
    lines(
        "Tokens",
        "short",
        [("sum by (kind) (rate(longvideo_model_tokens_total{models}[$__rate_interval]))", "{{kind}}")],
        "Tokens per second as the servers count them. Of the prompt's tokens, some are served from the prefix cache.",
    ),
    table_panel(
        "Servers",
        "short",
        "min by (role, pool, endpoint) (longvideo_model_endpoint_healthy{pools})",
        {"role": "Role", "pool": "Pool", "endpoint": "Server"},
        "1 where the last request went well for all processes that ask a server, and 0 where it failed for one.",
        width=8,
    ),
)

VLLM = (
    lines(
        "Running and waiting in vLLM",
        "short",
        [
            ("sum by (model, pool) (vllm:num_requests_running{models})", "{{model}}, {{pool}}: running"),
            ("sum by (model, pool) (vllm:num_requests_waiting{models})", "{{model}}, {{pool}}: waiting"),
        ],
        "Requests that the engines work on, and that wait in them.",
    ),
    lines(
        "KV cache in use",
        "percentunit",
        [("max by (model, pool) (vllm:kv_cache_usage_perc{models})", "{{model}}, {{pool}}")],
        "The share of the KV cache that is in use, in the replica where it is most. Near 100 %, requests wait or are "
        "put off.",
        top=1,
    ),
    lines(
        "Prefix cache",
        "percentunit",
        [(_PREFIX_CACHE, "{{model}}, {{pool}}")],
        "The share of the prompts' tokens that were computed before. The reasoner's should be high: its prompts only "
        "grow at their end.",
        top=1,
    ),
    lines(
        "To the first token",
        "s",
        quantiles("vllm:time_to_first_token_seconds", "models", by="model, pool", legend="{{model}}, {{pool}}"),
        "From a request's arrival in vLLM to its first token, waiting included.",
    ),
    lines(
        "Waiting in vLLM",
        "s",
        quantiles("vllm:request_queue_time_seconds", "models", by="model, pool", legend="{{model}}, {{pool}}"),
        "How long requests wait in the engine's queue. This, not the GPU's load, tells that a model needs replicas.",
    ),
    lines(
        "Between tokens",
        "s",
        quantiles("vllm:inter_token_latency_seconds", "models", by="model, pool", legend="{{model}}, {{pool}}"),
        "The pause between two tokens of an answer.",
    ),
    lines(
        "Tokens in vLLM",
        "short",
        [
            (
                "sum by (model, pool) (rate(vllm:prompt_tokens_total{models}[$__rate_interval]))",
                "{{model}}, {{pool}}: prompt",
            ),
            (
                "sum by (model, pool) (rate(vllm:generation_tokens_total{models}[$__rate_interval]))",
                "{{model}}, {{pool}}: generated",
            ),
        ],
        "Tokens per second, read and written.",
    ),
    lines(
        "Put off for want of memory",
        "cps",
        [("sum by (model, pool) (rate(vllm:num_preemptions_total{models}[$__rate_interval]))", "{{model}}, {{pool}}")],
        "Requests that were taken out of the KV cache and begun again. More than now and then: too many at one time.",
    ),
    lines(
        "Replicas",
        "short",
        [
            ("sum by (model, pool) (longvideo:model_replicas_ready:count{models})", "{{model}}, {{pool}}: ready"),
            ("sum by (model, pool) (longvideo:model_replicas:count{models})", "{{model}}, {{pool}}: all"),
        ],
        "Pods that answer, and all pods, those that are still loading included.",
    ),
)


def dashboard() -> str:
    """Returns the dashboard."""
    return board(
        "Models",
        "Each model in each pool: calls, latency, queues, caches and replicas.",
        [("Now", NOW), ("As their callers see them", CALLS), ("As vLLM tells of itself", VLLM)],
        by_model=True,
    )
