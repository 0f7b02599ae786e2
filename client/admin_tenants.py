"""`longvideo admin tenant` and `longvideo admin token`: who may use a server, and how much of it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client import amounts, document, words
from client.options import spread
from client.screen import Screen
from longvideo.auth import TENANT_ROLES
from longvideo.errors import InvalidArgument

if TYPE_CHECKING:
    from orchestrator.store import Database
    from orchestrator.tables import TenantRow, TokenRow

tenants = typer.Typer(no_args_is_help=True, help="Whose videos and jobs a server has.", rich_markup_mode="markdown")
tokens = typer.Typer(no_args_is_help=True, help="What tenants call a server with.", rich_markup_mode="markdown")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NameOption = Annotated[str | None, typer.Option(metavar="TEXT", help="What people call it.")]


@dataclass(frozen=True)
class Limits:
    """What a tenant may use; `none` takes a limit away."""

    max_running: Annotated[str | None, typer.Option(metavar="N", help="Questions that are worked on at one time.")] = (
        None
    )
    max_open: Annotated[str | None, typer.Option(metavar="N", help="Questions that have not ended.")] = None
    max_stored: Annotated[str | None, typer.Option(metavar="SIZE", help="All its videos together: 500GB.")] = None
    max_daily: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time in models within any 24 hours, summed over calls: 50h.")
    ] = None

    def columns(self) -> dict[str, float | None]:
        """Returns the limits that were given, by their columns. Raises InvalidArgument."""
        given = {
            "max_running_episodes": (self.max_running, amounts.count, "--max-running"),
            "max_open_episodes": (self.max_open, amounts.count, "--max-open"),
            "max_stored_bytes": (self.max_stored, amounts.size, "--max-stored"),
            "max_daily_model_seconds": (self.max_daily, amounts.seconds, "--max-daily"),
        }
        return {
            column: None if text == amounts.NONE else parse(text, option)
            for column, (text, parse, option) in given.items()
            if text is not None
        }


@contextlib.contextmanager
def open_database() -> Iterator[Database]:
    """Opens the database that the settings name, while the block runs."""
    from longvideo import settings  # noqa: PLC0415  # loaded when needed, as the database is
    from orchestrator import wiring  # noqa: PLC0415

    with contextlib.closing(wiring.open_database(settings.load())) as database:
        yield database


@tenants.command()
@spread
def create(tenant: TenantArgument, name: NameOption = None, *, limits: Limits) -> None:
    """Makes a tenant. Where no limit is given there is none.

    Example:
    - `longvideo admin tenant create vision-lab --name "Vision lab" --max-running 50 --max-daily 100h`
    """
    columns = limits.columns()
    with open_database() as database:
        database.tenants.create(tenant, name or "", columns)
    print(f"Made the tenant {tenant}. Make a token for it: longvideo admin token create {tenant}")


@tenants.command("set")
@spread
def change(tenant: TenantArgument, name: NameOption = None, *, limits: Limits) -> None:
    """Changes what is given of a tenant; `none` takes a limit away. Takes effect at once.

    Example:
    - `longvideo admin tenant set vision-lab --max-running 100 --max-daily none`
    """
    changes: dict[str, Any] = {**limits.columns(), **({} if name is None else {"display_name": name})}
    if not changes:
        raise InvalidArgument("Give what to change: --name, --max-running, --max-open, --max-stored or --max-daily.")
    with open_database() as database:
        database.tenants.change(tenant, changes)
        _show(Screen(sys.stdout), database.tenants.get(tenant))


@tenants.command()
def disable(tenant: TenantArgument) -> None:
    """Refuses a tenant's tokens from now on. What it has stays, and what it submitted goes on."""
    with open_database() as database:
        database.tenants.change(tenant, {"disable_time": time.time()})
    print(f"The tenant {tenant} is disabled; its tokens are refused within seconds.")


@tenants.command()
def enable(tenant: TenantArgument) -> None:
    """Lets a tenant's tokens work again."""
    with open_database() as database:
        database.tenants.change(tenant, {"disable_time": None})
    print(f"The tenant {tenant} is enabled.")


@tenants.command()
def show(tenant: TenantArgument, as_json: AsJson = False) -> None:
    """Shows a tenant and its limits."""
    with open_database() as database:
        found = database.tenants.get(tenant)
    if as_json:
        print(document.dump(_tenant(found)))
    else:
        _show(Screen(sys.stdout), found)


@tenants.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """Lists the tenants."""
    with open_database() as database:
        found = database.tenants.all()
    if as_json:
        print(document.dump({"tenants": [_tenant(row) for row in found]}))
        return
    rows = [[row.id, words.one_line(row.display_name, 40), *_limits(row), _state(row)] for row in found]
    numbers = ("running", "open", "stored", "daily")
    Screen(sys.stdout).table(("tenant", "name", *numbers, "state"), rows, right=numbers)


@tokens.command("create")
def create_token(
    tenant: TenantArgument,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="read, submit or admin. Repeat for each. Default: read and submit."),
    ] = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="After how long it expires: 90d.")] = None,
) -> None:
    """Makes a token and prints it, this once: only its hash is kept.

    `read` lists and shows what the tenant has, `submit` adds videos, asks and cancels, `admin` may do all of that and
    reads and cancels what any tenant has.

    Examples:
    - `longvideo admin token create vision-lab --name "the notebook" --expires 90d`

    - `longvideo admin token create vision-lab --role read > dashboard.token`
    """
    from orchestrator.tokens import make  # noqa: PLC0415

    roles = [known for known in TENANT_ROLES if known in (role or ("read", "submit"))]
    if unknown := set(role or ()) - set(TENANT_ROLES):
        raise InvalidArgument(f"There is no role {min(unknown)}; give {', '.join(TENANT_ROLES)}.", field="role")
    until = None if expires is None else time.time() + amounts.seconds(expires, "--expires")
    row, text = make(tenant, roles, name=name, expire_time=until)
    with open_database() as database:
        database.tenants.add_token(row)
        print(f"Made the token {row.id} for {tenant}. It is shown only now:", file=sys.stderr)
    print(text)


@tokens.command("list")
def list_tokens(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", help="Only this tenant's.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Lists the tokens, without their secrets, which nobody has."""
    with open_database() as database:
        found = database.tenants.tokens(tenant)
    if as_json:
        print(document.dump({"tokens": [_token(row) for row in found]}))
        return
    rows = [
        (row.id, row.tenant_id, ", ".join(row.roles), words.one_line(row.name, 40), _time(row.create_time), _fate(row))
        for row in found
    ]
    Screen(sys.stdout).table(("token", "tenant", "roles", "name", "made", "state"), rows)


@tokens.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, or all of it.", show_default=False)],
) -> None:
    """Makes a token useless, within seconds."""
    token_id = token.split("_")[1] if token.count("_") == 2 else token
    with open_database() as database:
        database.tenants.revoke(token_id)
    print(f"The token {token_id} is revoked.")


def _tenant(row: TenantRow) -> dict[str, Any]:
    names = ("id", "display_name", "create_time", "disable_time", "max_running_episodes", "max_open_episodes")
    return {name: getattr(row, name) for name in (*names, "max_stored_bytes", "max_daily_model_seconds")}


def _token(row: TokenRow) -> dict[str, Any]:
    names = ("id", "tenant_id", "roles", "name", "create_time", "expire_time", "revoke_time")
    return {name: getattr(row, name) for name in names}


def _show(screen: Screen, row: TenantRow) -> None:
    running, opened, stored, daily = _limits(row)
    screen.line("Tenant", row.id)
    screen.line("Name", words.one_line(row.display_name, 80))
    screen.line("State", _state(row))
    screen.line("Made", _time(row.create_time))
    screen.line("Running", f"{running} (questions at one time)")
    screen.line("Open", f"{opened} (questions that have not ended)")
    screen.line("Stored", f"{stored} (videos)")
    screen.line("Daily", f"{daily} (in models)")


def _limits(row: TenantRow) -> Sequence[str]:
    """Returns the limits in words: running and open questions, stored bytes, and time in models a day."""
    no = "no limit"
    return (
        no if row.max_running_episodes is None else f"{row.max_running_episodes:,}",
        no if row.max_open_episodes is None else f"{row.max_open_episodes:,}",
        no if row.max_stored_bytes is None else words.size(row.max_stored_bytes),
        no if row.max_daily_model_seconds is None else f"{row.max_daily_model_seconds:,.0f} s",
    )


def _state(row: TenantRow) -> str:
    return "enabled" if row.disable_time is None else f"disabled since {_time(row.disable_time)}"


def _fate(row: TokenRow) -> str:
    if row.revoke_time is not None:
        return f"revoked {_time(row.revoke_time)}"
    if row.expire_time is None:
        return "valid"
    return f"{'valid until' if row.expire_time > time.time() else 'expired'} {_time(row.expire_time)}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
