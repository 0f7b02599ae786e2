"""`longvideo costs`: what was spent, on three bases side by side."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from client import amounts, cost_tables, document
from client.connection import open_client
from client.jobs import AsJson, job_name
from client.options import Where, spread
from client.screen import Screen
from longvideo.errors import InvalidArgument
from longvideo.v1 import orchestrator_pb2 as pb

_PREFIX: Final = "COST_DIMENSION_"
_DIMENSIONS: Final = {name.removeprefix(_PREFIX).lower(): value for name, value in pb.CostDimension.items() if value}


@spread
def costs(
    *,
    by: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help=f"What the rows are: some of {', '.join(_DIMENSIONS)}, with commas between; `none` for the total.",
        ),
    ] = "role,model,pool",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From when: 2026-03-01, 2026-03-01T14:05Z, or 7d ago. Default: all.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Until before when. Default: now.")] = "",
    tenant: Annotated[
        str, typer.Option(metavar="TENANT", help="Whose calls; `-` for everybody's. Needs the role admin.")
    ] = "",
    job: Annotated[str, typer.Option(metavar="JOB", help="Only what this job took, jobs/….")] = "",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV, with all of their numbers.")] = False,
    where: Where,
) -> None:
    """Shows what was spent, on three bases side by side, with what was wasted and what was saved.

    Isolated: calls times the mean seconds of one that is alone. Attributed: the share that each call had of its server.
    Allocated: its share of what was provided, with what stood idle apart; needs Prometheus. `docs/costs.md` has the
    formulas. Costs need a price book, which the setting `price_book` names; without one there are GPU-seconds.

    Examples:
    - `longvideo costs --since 7d --by label,role`

    - `longvideo costs --job jobs/3f9a1c… --by episode`

    - `longvideo costs --since 2026-03-01 --until 2026-04-01 --tenant - --by tenant,pool --csv > march.csv`
    """
    if as_json and as_csv:
        raise InvalidArgument("Give --json or --csv, not both.", field="csv")
    if job and tenant:
        raise InvalidArgument("Give --job or --tenant, not both: a job has one tenant.", field="tenant")
    now = time.time()
    request = pb.GetCostReportRequest(
        start_time=_timestamp(amounts.moment(since, "--since", now)) if since else None,
        end_time=_timestamp(amounts.moment(until, "--until", now)) if until else None,
        tenant=tenant,
        job=job_name(job) if job else "",
        group_by=_dimensions(by),
    )
    with (
        open_client(where, command="longvideo costs", work=False, check=False) as client,
        Screen(sys.stderr).working("Reading the ledger"),
    ):
        report = client.cost_report(request)
    names = [_name(value) for value in request.group_by]
    if as_json:
        print(document.dump(document.costs(report, names)))
    elif as_csv:
        cost_tables.write_csv(report, names, sys.stdout)
    else:
        cost_tables.show(Screen(sys.stdout), report, names)


def _dimensions(by: str) -> list[pb.CostDimension.ValueType]:
    found = []
    for name in by.split(",") if by.strip() != amounts.NONE else []:
        if name.strip() not in _DIMENSIONS:
            raise InvalidArgument(
                f"--by is {by!r}; give some of {', '.join(_DIMENSIONS)}, with commas between, or {amounts.NONE}",
                field="by",
            )
        found.append(_DIMENSIONS[name.strip()])
    return found


def _name(value: int) -> str:
    return pb.CostDimension.Name(pb.CostDimension.ValueType(value)).removeprefix(_PREFIX).lower()


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
