"""One run from its beginning to its table."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.audit import Findings, audit
from tests.chaos.faults import Faults
from tests.chaos.models import Brain
from tests.chaos.questions import make_films, make_question
from tests.chaos.stack import Stack
from tests.chaos.tenants import Tenant

TENANTS = ("red", "green", "blue")

# Hours become seconds, so that a dead worker's episodes go on while the run lasts.
TIMING = {"lease_seconds": "6", "model_timeout": "5", "episode_concurrency": "16"}


@dataclass(frozen=True)
class Plan:
    """How large a run is. Times in seconds: submissions are spread over `spread`, and `limit` ends the run."""

    seed: int
    episodes: int
    spread: float
    pause: float
    limit: float
    films: int = 6
    workers: int = 3
    pace: float = 0.05
    kinds: tuple[str, ...] | None = None
    keep: bool = False


@dataclass(frozen=True)
class Result:
    """What a run did and found."""

    plan: Plan
    injected: dict[str, int]
    exits: dict[str, int]
    findings: Findings
    seconds: float
    retries: int


def run(plan: Plan) -> Result:
    """Carries a run out, and returns what it found."""
    began = time.monotonic()
    with contextlib.ExitStack() as cleanup:
        directory = Path(tempfile.mkdtemp(prefix=f"chaos-{plan.seed}-"))
        if not plan.keep:
            cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        print(f"seed {plan.seed}, {plan.episodes} episodes, logs in {directory}", flush=True)
        films = make_films(directory, plan.films)
        choose = random.Random(plan.seed)
        questions = [make_question(number, choose.choice(films), choose) for number in range(1, plan.episodes + 1)]
        brain = Brain({question.id: question for question in questions}, plan.seed, plan.pace)
        stack = Stack(directory, brain, TIMING, TENANTS, workers=plan.workers)
        cleanup.callback(stack.close)
        tenants = [
            Tenant(stack, name, questions[number :: len(TENANTS)], plan.seed, plan.spread)
            for number, name in enumerate(TENANTS)
        ]
        faults = Faults(stack, brain, plan.seed, pause=plan.pause, kinds=plan.kinds)
        for tenant in tenants:
            tenant.thread.start()
        faults.start()
        for tenant in tenants:
            tenant.thread.join(max(0.0, began + plan.limit - time.monotonic()))
        faults.stop()
        for tenant in tenants:
            tenant.stop()
        exits = stack.stop_processes()
        jobs = [job for tenant in tenants for job in tenant.jobs]
        findings = audit(stack, brain, jobs, faults.downtimes)
        findings.wrong += [f"{name} exited with {code}" for name, code in exits.items() if code]
        return Result(
            plan,
            dict(faults.injected),
            exits,
            findings,
            time.monotonic() - began,
            sum(tenant.retries for tenant in tenants),
        )


def table(result: Result) -> str:
    """Returns what people read."""
    found = result.findings
    rows: list[tuple[str, object]] = [*sorted(result.injected.items())]
    rows.append(("faults", sum(result.injected.values())))
    rows += [
        ("episodes", found.episodes),
        ("recovered (taken up again)", found.recovered),
        ("API calls tried again", result.retries),
        ("model calls answered", found.answered),
        ("model calls recorded, failed ones too", found.recorded),
        ("repeated calls", found.repeated),
        ("unknown calls", f"{found.unknown} (at most {found.most_unknown} can be)"),
        ("finished work done twice", len(found.done_twice)),
        ("answered calls that are not recorded", len(found.unrecorded)),
        ("jobs whose spending is not their calls'", len(found.miscounted)),
        ("left behind", len(found.left)),
        ("lost", len(found.lost)),
        ("wrong", len(found.wrong)),
    ]
    lines = [f"{name:<40} {value}" for name, value in rows]
    for name in ("lost", "wrong", "done_twice", "unrecorded", "miscounted", "left"):
        lines += [f"{name}: {text}" for text in getattr(found, name)[:20]]
    lines.append(f"seed {result.plan.seed}, {result.seconds:.0f} s: {'well' if found.is_well else 'NOT WELL'}")
    return "\n".join(lines)
