"""What a run looks like from the outside when it is over: in the database, the bucket, on the disk, at the models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from minio import Minio

from longvideo.v1 import orchestrator_pb2 as pb
from tests.chaos.models import Asked, Brain
from tests.chaos.processes import Process
from tests.chaos.stack import Stack
from tests.chaos.tenants import Accepted
from tests.parts import KEYS

# A process that was answered needs so long at most to have the call recorded, while the database answers.
RECORD_SECONDS = 2.0


@dataclass
class Findings:
    """What was found. Every list names what is wrong, and is empty when all is well."""

    episodes: int = 0
    recovered: int = 0
    """Episodes that were taken up more than once."""
    repeated: int = 0
    """Usable answers to a round that had been answered already, by a process that died before it could tell."""
    answered: int = 0
    recorded: int = 0
    unknown: int = 0
    """Answered calls of a process that was killed before it could tell."""
    most_unknown: int = 0
    """How many there may be at most: those under way when a process was killed, or just answered."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    done_twice: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    """Jobs that do not say that they spent what their calls took."""
    left: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.wrong or self.done_twice or self.unrecorded or self.miscounted or self.left)


def audit(stack: Stack, brain: Brain, jobs: Sequence[Accepted], downtimes: Sequence[tuple[float, float]]) -> Findings:
    """Looks at everything. The processes must have been stopped: what they keep in memory counts for nothing.

    `downtimes` are when the database was away.
    """
    processes = stack.processes
    findings = Findings()
    engine = sa.create_engine(stack.database_url)
    with engine.connect() as connection:
        tables = {
            name: connection.execute(sa.text(query)).mappings().all()
            for name, query in {
                "rounds": "SELECT r.*, e.question FROM rounds r JOIN episodes e "
                "ON e.job_id = r.job_id AND e.number = r.episode",
                "calls": "SELECT id FROM model_calls",
                "spending": "SELECT j.id, j.gpu_seconds, COALESCE(SUM(c.seconds * c.gpus), 0) AS took FROM jobs j "
                "LEFT JOIN model_calls c ON c.job_id = j.id GROUP BY j.id, j.gpu_seconds",
                "leases": "SELECT job_id, number FROM episodes WHERE lease_owner IS NOT NULL OR end_time IS NULL",
                "starts": "SELECT job_id, episode, count(*) AS times FROM events WHERE kind = 'episode_started' "
                "GROUP BY job_id, episode",
            }.items()
        }
    engine.dispose()
    with brain.lock:
        calls = dict(brain.calls)
    _check_answers(findings, jobs)
    findings.recovered = sum(row["times"] > 1 for row in tables["starts"])
    recorded = {row["id"] for row in tables["calls"]}
    _check_rounds(findings, tables["rounds"], calls, recorded)
    _check_calls(findings, calls, recorded, _Moments(processes, downtimes))
    findings.miscounted += [
        f"jobs/{row['id']}: {row['gpu_seconds']} GPU-seconds, not {row['took']}"
        for row in tables["spending"]
        if not math.isclose(row["gpu_seconds"], row["took"], rel_tol=1e-9, abs_tol=1e-9)
    ]
    findings.left += [f"lease of jobs/{row['job_id']}/episodes/{row['number']}" for row in tables["leases"]]
    findings.left += _left_in_bucket(stack)
    findings.left += [str(path) for process in processes for path in process.temporary.rglob("*")]
    return findings


def _check_answers(findings: Findings, jobs: Sequence[Accepted]) -> None:
    for job in jobs:
        findings.episodes += len(job.questions)
        if job.ended is None:
            findings.lost.append(job.name)
            continue
        for question, episode in zip(job.questions, job.ended.episodes, strict=True):
            if episode.answer != question.answer or episode.state != pb.Episode.STATE_ANSWERED:
                state = pb.Episode.State.Name(episode.state)
                said = f"{state} {episode.answer!r} {episode.error.reason} {episode.error.message}"
                findings.wrong.append(f"{episode.name}: {said}, not {question.answer!r}")


def _check_rounds(findings: Findings, rounds: Iterable[Any], calls: dict[str, Asked], recorded: set[str]) -> None:
    """No model is asked for a round that is finished; and of several answers to one round all but one are unknown."""
    finished = {(_id_of(row["question"]), row["number"]): row["end_time"] for row in rounds if row["end_time"]}
    answers: Counter[tuple[str, str, int]] = Counter()
    known: Counter[tuple[str, str, int]] = Counter()
    for call_id, asked in calls.items():
        if asked.role == "caption":
            continue
        end = finished.get(asked.what)
        if end is not None and asked.arrived > end:
            findings.done_twice.append(f"{asked} came after its round was finished")
        if asked.usable and asked.answered is not None:
            answers[asked.role, *asked.what] += 1
            known[asked.role, *asked.what] += call_id in recorded
    findings.repeated = sum(count - 1 for count in answers.values())
    findings.done_twice += [
        f"{key} was answered and recorded {count} times" for key, count in known.items() if count > 1
    ]


def _id_of(question: str) -> str:
    return question[question.index("[") + 1 : question.index("]")]


class _Moments:
    """When processes were killed, and when the database was away."""

    def __init__(self, processes: Sequence[Process], downtimes: Sequence[tuple[float, float]]) -> None:
        self._kills = {process.name: process.kills for process in processes}
        self._workers = [kill for name, kills in self._kills.items() if name.startswith("worker") for kill in kills]
        self._downtimes = downtimes

    def may_be_unknown(self, asked: Asked) -> bool:
        """Tells whether a call was under way, or not recorded yet, when whoever had to tell of it was killed."""
        kills = [*self._kills.get(asked.caller, ())]
        if not asked.caller.startswith("worker"):
            kills += self._workers  # which record what the services tell them
        return any(asked.arrived <= kill <= self._recorded(asked.answered or kill) for kill in kills)

    def _recorded(self, answered: float) -> float:
        until = answered + RECORD_SECONDS
        for start, end in sorted(self._downtimes):
            if start <= until <= end + RECORD_SECONDS:
                until = end + 5 * RECORD_SECONDS  # it is asked again with longer and longer pauses
        return until


def _check_calls(findings: Findings, calls: dict[str, Asked], recorded: set[str], moments: _Moments) -> None:
    """Every answered call is recorded, but for those whose maker, or its caller, was killed before it could tell."""
    findings.answered = sum(asked.answered is not None for asked in calls.values())
    findings.recorded = len(recorded)
    for call_id, asked in calls.items():
        may_be = moments.may_be_unknown(asked)
        findings.most_unknown += may_be
        if asked.answered is not None and call_id not in recorded:
            if may_be:
                findings.unknown += 1
            else:
                findings.unrecorded.append(f"{call_id} {asked}")


def _left_in_bucket(stack: Stack) -> list[str]:
    client = Minio(stack.moto.address, *KEYS[:2], secure=False, region="us-east-1")
    names = [entry.object_name or "" for entry in client.list_objects(stack.bucket, recursive=True)]
    listing = client._list_multipart_uploads(stack.bucket)
    uploads = [f"upload of {upload.object_name}" for upload in listing.uploads]
    return uploads + [name for name in names if not name.startswith(("lv/videos/", "lv/captions/"))]
