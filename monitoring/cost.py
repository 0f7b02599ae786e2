"""What the models cost, by what can be told without naming anybody; the rest stands in `longvideo costs`."""

from __future__ import annotations

from monitoring.board import BAD, WARN, board, lines, stat_panel, table_panel, words
from monitoring.queries import CHOSEN, part

# A mean over the chosen time would leave out the time in which there was no replica at all.
_GPUS = "sum by (currency) (sum_over_time(longvideo:model_gpus:cost_per_hour{models}[$__range:1m])) / 60"
_KEPT = "sum(rate(longvideo_caption_saved_gpu_seconds_total{models}[$__rate_interval]))"
_MADE = 'sum(rate(longvideo_model_gpu_seconds_total{models,role="caption"}[$__rate_interval]))'
_ANSWERS = 'sum(increase(longvideo_episodes_total{ending="answered"}[$__range]))'

NOW = (
    stat_panel(
        "All GPUs",
        "none",
        _GPUS,
        "What the models' GPUs cost in the chosen time, busy or not: replicas × GPUs × the price of an hour. This is "
        "what has to be paid. Without a price book, or without a pool's price, there is nothing here.",
        legend="{{currency}}",
    ),
    stat_panel(
        "All GPUs, for each answer",
        "none",
        f"({_GPUS}) / on () group_left () {_ANSWERS}",
        "The same, divided by the questions that were answered in the chosen time, whatever models are chosen.",
        legend="{{currency}}",
    ),
    stat_panel(
        "Calls",
        "none",
        "sum by (currency) (increase(longvideo_model_cost_total{models}[$__range]))",
        "What the calls cost: seconds × GPUs × price. What an engine does for several calls at one time counts in full "
        "for each, so that this is the most that they can have cost. `longvideo costs` knows each call's share.",
        legend="{{currency}}",
    ),
    stat_panel(
        "GPU-hours",
        "short",
        "sum(sum_over_time(longvideo:model_gpus:sum{models}[$__range:1m])) / 60",
        "The GPU-hours that the models had in the chosen time, busy or not.",
    ),
    stat_panel(
        "Busy",
        "percentunit",
        "sum(sum_over_time(longvideo:model_gpus_busy:sum{models}[$__range:1m]))"
        " / sum(sum_over_time(longvideo:model_gpus:sum{models}[$__range:1m]))",
        "The share of these in which at least one request was being worked on. The rest is idle, or loads a model.",
    ),
    stat_panel(
        "Calls in vain",
        "percentunit",
        part("longvideo_model_calls_total", 'models,outcome!="ok"', "models", over=CHOSEN),
        "The share of the calls that failed, timed out, were given up, or were answered with something unusable.",
        steps=[(0.05, WARN), (0.2, BAD)],
    ),
)

SPENT = (
    lines(
        "All GPUs, per hour",
        "none",
        [("longvideo:model_gpus:cost_per_hour{models}", "{{model}}, {{pool}} ({{currency}})")],
        "What the GPUs of each model cost for an hour, busy or not.",
        stacked=True,
    ),
    lines(
        "GPUs",
        "short",
        [
            ("sum by (pool) (longvideo:model_gpus:sum{models})", "{{pool}}: all"),
            ("sum by (pool) (longvideo:model_gpus_busy:sum{models})", "{{pool}}: busy"),
        ],
        "GPUs that the models have, and those of replicas that work on at least one request.",
    ),
    lines(
        "Calls, per hour",
        "none",
        [
            (
                "sum by (role, pool, currency) (rate(longvideo_model_cost_total{models}[$__rate_interval])) * 3600",
                "{{role}}, {{pool}} ({{currency}})",
            )
        ],
        "What calls cost per hour by role and pool, each counted in full.",
        stacked=True,
    ),
    table_panel(
        "GPU-hours of calls",
        "short",
        "sum by (role, model, pool) (increase(longvideo_model_gpu_seconds_total{models}[$__range])) / 3600",
        {"role": "Role", "model": "Model", "pool": "Pool"},
        "Seconds × GPUs of the calls in the chosen time, each counted in full.",
    ),
    table_panel(
        "Cost of calls",
        "none",
        "sum by (role, model, pool, currency) (increase(longvideo_model_cost_total{models}[$__range]))",
        {"role": "Role", "model": "Model", "pool": "Pool", "currency": "Currency"},
        "What these cost by the price book.",
    ),
)

SAVED = (
    lines(
        "Captions that were there",
        "percentunit",
        [(f"{_KEPT} / ({_KEPT} + {_MADE})", "saved")],
        "The share of the caption model's GPU-seconds that was saved because the caption was there: what it had taken "
        "to make it, against what was taken now.",
        top=1,
    ),
    lines(
        "Prompts that were there",
        "percentunit",
        [(part("longvideo_model_tokens_total", 'models,kind="cached"', 'models,kind="prompt"', by="role"), "{{role}}")],
        "The share of the prompts' tokens that the prefix cache served.",
        top=1,
    ),
    lines(
        "Calls in vain",
        "percentunit",
        [(part("longvideo_model_calls_total", 'models,outcome!="ok"', "models", by="role"), "{{role}}")],
        "The share of the calls whose answer was no use.",
        top=1,
    ),
)

MORE = (
    words(
        "By tenant, job, label, video, day, and for each right answer",
        "No metric names a tenant, a job, a label or a video. `longvideo costs` does: from the ledger, exactly, on "
        "three bases side by side, with what idle GPUs cost and what caches and early answers saved.",
        "Where to find what these panels cannot tell.",
    ),
)


def dashboard() -> str:
    """Returns the dashboard."""
    return board(
        "Cost",
        "What the models cost, by model and pool, for each answer, and what was saved.",
        [("In the chosen time", NOW), ("Spent", SPENT), ("Saved and wasted", SAVED), ("More", MORE)],
        since="now-7d",
        by_model=True,
    )
