"""What is running, how long people wait, and whether they get their answers."""

from __future__ import annotations

from monitoring.board import BAD, GOOD, WARN, board, lines, quantiles, stat_panel
from monitoring.queries import CHOSEN, part, quantile
from monitoring.slos import EPISODES, FAILED_ENDINGS, MODEL_CALLS, UNCOUNTED_ENDINGS, WAITING, Slo


def _left(slo: Slo) -> str:
    """Returns the query of the share of an allowance that is left."""
    return f"1 - ({slo.ratio('$__range')}) / {slo.allowed:g}"


_LEFT = ((-1000.0, BAD), (0.0, WARN), (0.25, GOOD))

NOW = (
    stat_panel(
        "Alerts",
        "short",
        'sum(ALERTS{alertname=~"Longvideo.*",alertstate="firing"}) or vector(0)',
        "Alerts that are firing. Each has a section in the operations page, which its annotation names.",
        steps=[(1, BAD)],
        width=3,
    ),
    stat_panel(
        "Episodes running",
        "short",
        "sum(max by (priority) (longvideo_episodes_running{}))",
        "Episodes that a worker has: questions that are being answered now.",
        width=3,
    ),
    stat_panel(
        "Episodes waiting",
        "short",
        "max by (priority) (longvideo_episodes_waiting{})",
        "Episodes that nobody works on now, those that wait for models or for their tenant's turn among them.",
        legend="{{priority}}",
        width=4,
    ),
    stat_panel(
        "Oldest that waits",
        "s",
        "max(longvideo_oldest_waiting_episode_seconds{})",
        "How long ago the oldest of the waiting episodes was accepted.",
        steps=[(300, WARN), (3600, BAD)],
        width=4,
    ),
    stat_panel(
        "Answered",
        "percentunit",
        part("longvideo_episodes_total", 'ending="answered"', f'ending!~"{UNCOUNTED_ENDINGS}"', over=CHOSEN),
        "The share of the episodes that ended in the chosen time with an answer; cancelled ones do not count.",
        steps=[(0, BAD), (0.9, WARN), (0.97, GOOD)],
        width=4,
    ),
    stat_panel(
        "Time to an answer",
        "s",
        quantile(0.5, "longvideo_episode_seconds", 'ending="answered"', over=CHOSEN),
        "Half of the answers took no longer than this, from when a worker took the episode up.",
        width=3,
    ),
    stat_panel(
        "Processes",
        "short",
        'sum by (part) (up{part!=""})',
        "Processes that answer Prometheus, by their part.",
        legend="{{part}}",
        width=3,
    ),
)

QUESTIONS = (
    lines(
        "Episodes that ended",
        "short",
        [("sum by (ending) (increase(longvideo_episodes_total{}[$__rate_interval])) > 0", "{{ending}}")],
        "How many episodes ended, and how: `answered`; without an answer for want of rounds, context or time; for the "
        "reasoner's replies could not be used; cancelled; or by an error.",
        stacked=True,
    ),
    lines(
        "Episodes at work",
        "short",
        [
            ("max by (priority) (longvideo_episodes_running{})", "running, {{priority}}"),
            ("max by (priority) (longvideo_episodes_waiting{})", "waiting, {{priority}}"),
        ],
        "Episodes that run and that wait, by priority. Every process of the API tells the same.",
    ),
    lines(
        "How long people wait",
        "s",
        [
            (quantile(0.95, "longvideo_episode_wait_seconds", by="priority"), "until taken up, {{priority}}, 95 %"),
            *quantiles("longvideo_episode_seconds", 'ending="answered"', legend="then until answered"),
        ],
        "95 % of the episodes were taken up within this time of being accepted; half and 95 % of the answers came "
        "within that time of being taken up.",
    ),
)

PROMISES = (
    stat_panel(
        "Allowance: episodes",
        "percentunit",
        _left(EPISODES),
        f"How much is left of what may fail in the chosen time: {EPISODES.allowed:.0%} of the episodes may fail, take "
        f"too long or get nothing usable ({FAILED_ENDINGS.replace('|', ', ')}). Below 0 %, the objective was missed.",
        steps=_LEFT,
        width=8,
    ),
    stat_panel(
        "Allowance: waiting",
        "percentunit",
        _left(WAITING),
        f"How much is left of the {WAITING.allowed:.0%} of interactive episodes that may wait for more than 30 s.",
        steps=_LEFT,
        width=8,
    ),
    stat_panel(
        "Allowance: model calls",
        "percentunit",
        f"min({_left(MODEL_CALLS)})",
        f"How much is left of the {MODEL_CALLS.allowed:.0%} of model calls that may fail or time out, in the role and "
        "pool where it is least.",
        steps=_LEFT,
        width=8,
    ),
)

MODELS = (
    lines(
        "Model calls in flight",
        "short",
        [("sum by (role, pool) (longvideo_model_calls_in_flight{})", "{{role}}, {{pool}}")],
        "Answers of models that are waited for, as those who wait see it: what there is to do for a pool, also when "
        "none of its servers is up.",
    ),
    lines(
        "Model calls that failed",
        "percentunit",
        [(MODEL_CALLS.ratio("$__rate_interval"), "{{role}}, {{pool}}")],
        "The share of the requests to models that failed or timed out. They are tried again; many mean waiting.",
        top=1,
    ),
    lines(
        "Model replicas",
        "short",
        [
            ("sum by (model, pool) (longvideo:model_replicas_ready:count{})", "{{model}}, {{pool}}: ready"),
            (
                "sum by (model, pool) (longvideo:model_replicas:count{})",
                "{{model}}, {{pool}}: all",
            ),
        ],
        "Pods of models, those that are still loading included, and those that answer.",
    ),
)


def dashboard() -> str:
    """Returns the dashboard."""
    return board(
        "Overview",
        "What is running, how long people wait, and whether they get their answers.",
        [("Now", NOW), ("Questions", QUESTIONS), ("Promises", PROMISES), ("Models", MODELS)],
    )
