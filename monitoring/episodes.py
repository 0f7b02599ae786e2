"""What episodes do: rounds, tools, endings, and how much of the video they look at."""

from __future__ import annotations

from monitoring.board import board, lines, quantiles, stat_panel
from monitoring.queries import CHOSEN, mean, part
from monitoring.slos import UNCOUNTED_ENDINGS

_COUNTED = f'ending!~"{UNCOUNTED_ENDINGS}"'
_ANSWERED = 'ending="answered"'

NOW = (
    stat_panel(
        "Ended",
        "short",
        f"sum(increase(longvideo_episodes_total{{{_COUNTED}}}[$__range]))",
        "Episodes that ended in the chosen time and were not cancelled.",
    ),
    stat_panel(
        "Answered",
        "percentunit",
        part("longvideo_episodes_total", _ANSWERED, _COUNTED, over=CHOSEN),
        "The share of them that gave an answer.",
    ),
    stat_panel(
        "Rounds",
        "short",
        mean("longvideo_episode_rounds", _ANSWERED, over=CHOSEN),
        "How many rounds an answer took, on average.",
    ),
    stat_panel(
        "Looked at closely",
        "percentunit",
        mean("longvideo_episode_coverage_ratio", 'share="low"', over=CHOSEN),
        "The share of the video that episodes looked at at the lowest level, on average. The rest is what skimming "
        "saves against captioning every low segment.",
    ),
    stat_panel(
        "Captions that were there",
        "percentunit",
        part("longvideo_captions_total", 'result="cached"', over=CHOSEN),
        "The share of the captions asked for that somebody had asked for before.",
    ),
    stat_panel(
        "Replies sent back",
        "percentunit",
        part(
            "longvideo_model_calls_total",
            'role="reason",outcome="invalid"',
            'role="reason",outcome=~"ok|invalid"',
            over=CHOSEN,
        ),
        "The share of the reasoner's replies that could not be used, and were sent back with a word on what is wrong.",
    ),
)

ENDINGS = (
    lines(
        "How episodes end",
        "short",
        [("sum by (ending) (increase(longvideo_episodes_total{}[$__rate_interval])) > 0", "{{ending}}")],
        "Episodes that ended, by their ending.",
        stacked=True,
    ),
    lines(
        "How long episodes take",
        "s",
        quantiles("longvideo_episode_seconds", _ANSWERED, legend="answered"),
        "From when an episode was first taken up to its answer: half of them, and 95 %, took no longer.",
    ),
    lines(
        "Waiting to be taken up",
        "s",
        quantiles("longvideo_episode_wait_seconds", by="priority", legend="{{priority}}"),
        "From when an episode was accepted until a worker took it up first.",
    ),
)

ROUNDS = (
    lines(
        "Rounds",
        "short",
        quantiles("longvideo_episode_rounds", _ANSWERED, legend="answered"),
        "How many rounds answers took: half of them, and 95 %, no more.",
    ),
    lines(
        "Tools",
        "cps",
        [("sum by (action) (rate(longvideo_episode_actions_total{}[$__rate_interval]))", "{{action}}")],
        "What the reasoner did: read a `medium` or `low` caption, asked about a clip, did again what it had done "
        "before, or answered.",
        stacked=True,
    ),
    lines(
        "How much is looked at",
        "percentunit",
        [(mean("longvideo_episode_coverage_ratio", by="share"), "{{share}}")],
        "The share of the video that episodes had `opened` at all by their end, seen at the `low` level, and had "
        "`inspected` by the model that answers questions about clips; on average.",
        top=1,
    ),
    lines(
        "Captions",
        "cps",
        [("sum by (level, result) (rate(longvideo_captions_total{}[$__rate_interval]))", "{{level}}: {{result}}")],
        "Captions asked for, by level, and whether they were there already (`cached`), were `made`, or `failed`.",
        stacked=True,
        width=12,
    ),
    lines(
        "Captions that were there, by level",
        "percentunit",
        [(part("longvideo_captions_total", 'result="cached"', by="level"), "{{level}}")],
        "The share of the captions asked for that were there already. High ones are shared by all questions about a "
        "video.",
        top=1,
        width=12,
    ),
)


def dashboard() -> str:
    """Returns the dashboard."""
    return board(
        "Episodes",
        "What episodes do: rounds, tools, endings, and how much of the video they look at.",
        [("In the chosen time", NOW), ("Endings", ENDINGS), ("Rounds", ROUNDS)],
        since="now-24h",
    )
