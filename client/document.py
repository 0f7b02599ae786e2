"""What `--json` prints: one document, in the words of the protos, with times in seconds.

    {"longvideo": version, "video": {...}, "job": name, "episode": name, "question": text, "options": [...],
     "truth": text or null, "state": "answered", "ending": "answered", "answer": text, "choice": letter or null,
     "correct": true, false or null, "error": {...} or null,
     "tree_width": n, "evidence": [...], "coverage": {...}, "rounds": [...], "usage": [...], "timings": {...}}

A command that fails before there is an episode prints `{"longvideo": version, "error": {...}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from client import cost_tables, words
from longvideo import __version__
from longvideo.errors import LongVideoError
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2


def dump(document: Mapping[str, Any]) -> str:
    """Returns a document as text. Characters that are not valid Unicode become `?`."""
    text = json.dumps({"longvideo": __version__, **document}, ensure_ascii=False, indent=2)
    return text.encode(errors="replace").decode()


def error(problem: LongVideoError) -> dict[str, Any]:
    """Returns what went wrong."""
    return {"error": {"code": problem.code.name, "reason": problem.reason, "message": problem.message}}


def answered(
    video_message: types_pb2.Video, episode: pb.Episode, usage_message: pb.Usage, timings: Mapping[str, float]
) -> dict[str, Any]:
    """Returns everything about one question: `episode` in FULL view, `timings` in seconds."""
    return {
        "video": video(video_message),
        "job": episode.name.partition("/episodes/")[0],
        **ended(episode),
        "usage": usage(usage_message),
        "timings": {name: round(value, 3) for name, value in timings.items()},
    }


def video(message: types_pb2.Video) -> dict[str, Any]:
    """Returns a video."""
    return {
        "name": message.name,
        "display_name": message.display_name,
        "state": types_pb2.Video.State.Name(message.state).removeprefix("STATE_").lower(),
        "size_bytes": message.size_bytes,
        "duration": words.seconds(message.duration),
        "frame_count": message.frame_count,
        "frame_rate": message.frame_rate,
        "width": message.width_px,
        "height": message.height_px,
        "container": message.container,
        "codec": message.codec,
        "subtitles": message.subtitles or None,
        "warnings": list(message.warnings),
        "create_time": words.instant(message.create_time),
    }


def ended(episode: pb.Episode) -> dict[str, Any]:
    """Returns an episode."""
    failure = episode.error
    return {
        "episode": episode.name,
        "question": episode.question.text,
        "options": list(episode.question.options),
        "truth": episode.question.truth or None,
        "state": words.episode_state(episode.state),
        "ending": words.ending(episode.ending) or None,
        "answer": episode.answer,
        "choice": episode.choice or None,
        "correct": episode.correct if episode.HasField("correct") else None,
        "error": {"code": failure.code, "reason": failure.reason, "message": failure.message}
        if episode.HasField("error")
        else None,
        "tree_width": episode.tree_width,
        "evidence": [
            {
                **_segment(item.segment),
                "round": item.round,
                "captioned": item.captioned,
                "inspected": item.inspected,
            }
            for item in episode.evidence
        ],
        "coverage": {
            "opened": episode.coverage.opened_fraction,
            "low": episode.coverage.low_fraction,
            "inspected": episode.coverage.inspected_fraction,
        },
        "rounds": [_round(item) for item in episode.rounds],
    }


def _round(message: pb.Round) -> dict[str, Any]:
    return {
        "number": message.number,
        "thought": message.thought,
        "action": _action(message.action),
        "observation": message.observation or None,
        "repeated": message.repeated,
        "cached": message.cached,
        "corrections": list(message.corrections),
        "seconds": round(words.instant(message.end_time) - words.instant(message.start_time), 3),
    }


def _action(action: pb.Action) -> dict[str, Any]:
    kind = action.WhichOneof("action")
    if kind == "get_caption":
        return {"type": kind, **_segment(action.get_caption.segment)}
    if kind == "video_qa":
        return {"type": kind, **_segment(action.video_qa.segment), "query": action.video_qa.query}
    return {"type": "answer", "text": action.answer.text}


def _segment(segment: types_pb2.Segment) -> dict[str, Any]:
    return {
        "path": list(segment.path),
        "start": words.seconds(segment.start_offset),
        "end": words.seconds(segment.end_offset),
    }


def caption(message: types_pb2.Caption) -> dict[str, Any]:
    """Returns a caption; its text is None when nobody has made it."""
    return {
        **_segment(message.segment),
        "level": words.level(message.segment),
        "text": message.text or None,
        "model": message.model or None,
        "frame_count": message.frame_count,
    }


def usage(message: pb.Usage) -> list[dict[str, Any]]:
    """Returns what the model calls took, one row for each role, model and pool."""
    return [
        {
            "role": words.role(row.role),
            "model": row.model,
            "pool": row.pool,
            "calls": row.call_count,
            "failed_calls": row.failed_call_count,
            "seconds": words.seconds(row.model_duration),
            "prompt_tokens": row.prompt_token_count,
            "cached_tokens": row.cached_token_count,
            "completion_tokens": row.completion_token_count,
            "isolated_seconds": words.seconds(row.isolated_duration),
        }
        for row in message.rows
    ]


def job(message: pb.Job) -> dict[str, Any]:
    """Returns a job with the episodes it carries."""
    return {
        "job": message.name,
        "video": message.video,
        "tenant": message.tenant,
        "state": words.state(message.state),
        "priority": words.priority(message.priority),
        "label": message.label,
        "waiting_reason": message.waiting_reason,
        "questions": [
            {"question": question.text, "options": list(question.options), "truth": question.truth or None}
            for question in message.questions
        ],
        "budget": {
            "max_cost": message.budget.max_cost or None,
            "max_gpu_seconds": message.budget.max_gpu_seconds or None,
        }
        if message.HasField("budget")
        else None,
        "spending": _spending(message.spending),
        "judged_count": message.judged_count,
        "correct_count": message.correct_count,
        "create_time": words.instant(message.create_time),
        "end_time": words.instant(message.end_time) or None,
        "episodes": [ended(episode) for episode in message.episodes],
    }


def costs(report: pb.CostReport, names: Sequence[str]) -> dict[str, Any]:
    """Returns a report of cost, whose rows are grouped by dimensions of these names. What is not known is null."""
    return {
        "start_time": words.instant(report.start_time),
        "end_time": words.instant(report.end_time),
        "currency": report.currency or None,
        "total": cost_tables.numbers(report.total),
        "rows": [
            {**{name: cost_tables.value(row, name) for name in names}, **cost_tables.numbers(row)}
            for row in report.rows
        ],
        "provided": [
            {
                "model": each.model,
                "pool": each.pool,
                **{name: _spending(getattr(each, name)) for name in ("provided", "used", "idle")},
            }
            for each in report.provided
        ],
        "alone": [
            {
                "role": words.role(each.role),
                "model": each.model,
                "pool": each.pool,
                "seconds": words.seconds(each.mean_duration),
                "calls": each.call_count,
            }
            for each in report.alone_times
        ],
        "wasted": [
            {"outcome": words.outcome(each.outcome), "calls": each.call_count, **_spending(each.spending)}
            for each in report.wasted
        ],
        "savings": {
            name: _saved(getattr(report.savings, name)) for name in ("caption_cache", "prefix_cache", "early_halting")
        },
        "notes": [{"reason": note.reason, "message": note.message} for note in report.notes],
    }


def _saved(saved: pb.SavedCost) -> dict[str, Any]:
    is_known = saved.HasField("model_duration")
    return {
        "count": saved.count,
        "model_seconds": words.seconds(saved.model_duration) if is_known else None,
        **(_spending(saved.spending) if is_known else {"gpu_seconds": None, "cost": None}),
    }


def _spending(spending: pb.Spending) -> dict[str, Any]:
    return {"gpu_seconds": spending.gpu_seconds, "cost": spending.cost if spending.HasField("cost") else None}
