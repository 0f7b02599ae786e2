"""`longvideo cluster`: the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from client import document, exits
from client.cluster import findings
from client.cluster.access import Kubernetes, Which, has_access, open_kubernetes
from client.options import spread
from client.screen import Screen
from longvideo.errors import (
    BadSettings,
    FailedPrecondition,
    InvalidArgument,
    LongVideoError,
    NotFound,
    PermissionDenied,
)

app = typer.Typer(
    no_args_is_help=True, help="What an operator asks of a release on Kubernetes.", rich_markup_mode="markdown"
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

OUTSIDE = ("release", "kubernetes", "definitions", "secrets", "parts", "models", "nodes", "clocks")
"""The doctor's checks through the API of Kubernetes."""

INSIDE = ("settings", "dns", "database", "broker", "storage", "services", "answers", "question")
"""Its checks with the settings of a process."""

CHECKS = (*OUTSIDE, *INSIDE)


@app.command()
@spread
def status(as_json: AsJson = False, *, which: Which) -> None:
    """Shows the models of a release in their pools, and its parts: replicas, queues, and where they are.

    The queue is what the models say at their port for metrics, asked through the API of Kubernetes.

    Examples:
    - `longvideo cluster status -n longvideo`

    - `longvideo cluster status -n longvideo --json | jq '.models[] | select(.ready | not)'`
    """
    from client.cluster import overview, release  # noqa: PLC0415  # what only this needs

    kubernetes = open_kubernetes(which)
    found = overview.gather(kubernetes, release.find(kubernetes, which.release))
    if as_json:
        print(document.dump(found))
    else:
        overview.show(Screen(sys.stdout), found)


@app.command()
@spread
def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help=f"Make only this check. Repeat for each: {', '.join(CHECKS)}."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long a model may take to answer.")
    ] = 120,
    ask: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Also upload a small film to the API at this HOST:PORT, ask about it, and check the answer.",
        ),
    ] = "",
    ask_name: Annotated[
        str, typer.Option(metavar="NAME", help="A name on the API's certificate, when the address is none.")
    ] = "",
    as_json: AsJson = False,
    *,
    which: Which,
) -> None:
    """Looks at all that a release needs, and says what is not as it must be, and what mends it.

    Where a cluster can be reached it looks at what the API of Kubernetes shows. In a pod of a release, or wherever the
    settings name model servers, it looks at what the settings name, too: database, broker, storage, services, and a
    real request to each model. `helm test` does that in a pod that may reach all of them.

    Exits with 0 when all is well, and with 1 when something is not.

    Examples:
    - `longvideo cluster doctor -n longvideo`

    - `kubectl -n longvideo exec deploy/longvideo-worker -- python -m client cluster doctor --only database`
    """
    if unknown := sorted(set(only or ()) - set(CHECKS)):
        raise InvalidArgument(f"There is no check {unknown[0]}; there are {', '.join(CHECKS)}.", field="only")
    screen = Screen(sys.stdout, quiet=as_json)
    found = []
    for finding in _examined(which, only or [], _Asked(timeout, ask, ask_name)):
        findings.show(screen, finding)
        found.append(finding)
    count = findings.failed(found)
    if as_json:
        print(document.dump(findings.document(found)))
    screen.plain()
    screen.plain(f"{count} of {len(found)} things must be mended." if count else f"All {len(found)} things are well.")
    raise typer.Exit(exits.NO_ANSWER if count else exits.OK)


@app.command()
@spread
def scale(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="A model, or api, worker, caption, qa.", show_default=False)
    ],
    replicas: Annotated[int, typer.Argument(min=0, metavar="REPLICAS", help="How many.", show_default=False)],
    pool: Annotated[str, typer.Option(metavar="NAME", help="The pool, where a model runs in several.")] = "",
    *,
    which: Which,
) -> None:
    """Sets the number of replicas of a model in a pool, or of a part, where it is a fixed one.

    Where KEDA scales, it is refused: KEDA would undo it.

    Examples:
    - `longvideo cluster scale reasoner 3 --pool h800 -n longvideo`

    - `longvideo cluster scale worker 5 -n longvideo`
    """
    from client.cluster import release, scaling  # noqa: PLC0415  # what only this needs

    kubernetes = open_kubernetes(which)
    print(scaling.scale(kubernetes, release.find(kubernetes, which.release), what, pool, replicas))


@app.command()
@spread
def warm(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Which. Default: all.", show_default=False)
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long it may take, all together.")
    ] = 3600,
    *,
    which: Which,
) -> None:
    """Wakes models before the work comes, and waits until they answer.

    Through the API of Kubernetes: models that KEDA has scaled to zero get a replica, and it waits until all are ready.
    In a pod, or wherever the settings name model servers: each is sent a real request until it answers.

    Examples:
    - `longvideo cluster warm -n longvideo`

    - `longvideo cluster warm reasoner -n longvideo --timeout 900`
    """
    from client.cluster import release, warming  # noqa: PLC0415  # what only this needs
    from longvideo import settings  # noqa: PLC0415

    screen = Screen(sys.stdout)
    configured = settings.load()
    if has_access(which):
        kubernetes = open_kubernetes(which)
        warming.wake(kubernetes, release.find(kubernetes, which.release), screen, models or [], timeout)
    elif configured.endpoints:
        warming.ask(configured, screen, models or [], timeout)
    else:
        raise _nothing_to_look_at()


@dataclass(frozen=True)
class _Asked:
    """What is asked of models: how many seconds they have, and at which address of the API a question is asked."""

    seconds: float
    api: str
    name: str


def _examined(which: Which, only: Sequence[str], asked: _Asked) -> Iterator[findings.Finding]:
    """Yields what the API of Kubernetes shows, where there is one, and then what the settings do."""
    wanted = set(only or CHECKS)
    outside = bool(wanted & set(OUTSIDE)) and (has_access(which) or not wanted & set(INSIDE))
    if outside:
        yield from _seen_from_outside(open_kubernetes(which), which.release, only)
    if wanted & set(INSIDE):
        yield from _seen_from_inside(only, asked, needed=not outside)


def _seen_from_inside(only: Sequence[str], asked: _Asked, *, needed: bool) -> Iterator[findings.Finding]:
    from longvideo import settings  # noqa: PLC0415  # pydantic, which --help does without

    try:
        configured = settings.load()
    except LongVideoError as error:
        yield findings.Finding("settings", "failed", error.message)
        return
    if not configured.endpoints:
        if needed:
            raise _nothing_to_look_at()
        return
    from client.cluster import question, services  # noqa: PLC0415  # the database, Celery and more

    checks = dict(services.checks(configured, asked.seconds))
    if asked.api:
        checks["question"] = lambda: question.check(configured, asked.api, asked.name, asked.seconds)
    yield from findings.examine(checks, only)


def _seen_from_outside(kubernetes: Kubernetes, name: str, only: Sequence[str]) -> Iterator[findings.Finding]:
    from client.cluster import objects, release  # noqa: PLC0415  # what only this needs

    try:
        found = release.find(kubernetes, name)
    except (NotFound, FailedPrecondition, PermissionDenied) as error:
        # What the cluster is like can be told without a release too: before it is installed.
        yield from findings.examine({"release": _raising(error)}, ())
        nothing = release.Release("", kubernetes.namespace, [], [], {})
        all_checks = objects.checks(kubernetes, nothing)
        cluster = {check: all_checks[check] for check in ("kubernetes", "definitions", "clocks")}
        yield from findings.examine(cluster, only)
        return
    yield from findings.examine(objects.checks(kubernetes, found), only)


def _raising(error: LongVideoError) -> findings.Check:
    def check() -> Iterator[findings.Finding]:
        raise error

    return check


def _nothing_to_look_at() -> LongVideoError:
    return BadSettings(
        "There is no cluster to talk to (no --kubeconfig, no ~/.kube/config, no token of a pod), and the settings name "
        "no model servers. Give --kubeconfig FILE, or run this in a pod of a release: "
        "kubectl exec deploy/longvideo-worker -- python -m client cluster doctor",
        reason="NO_CLUSTER",
    )
