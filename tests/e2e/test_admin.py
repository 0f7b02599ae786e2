"""What an operator types."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client import cli
from longvideo.auth import Caller
from longvideo.errors import Unauthenticated
from longvideo.storage import DirectoryStore
from orchestrator.db import sqlite_url
from orchestrator.store import Database
from orchestrator.tokens import Authenticator
from tests.contract.database import VIDEO, add_video, submit


def test_migrate(empty_postgres_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`longvideo admin migrate` makes the tables once, and says what it did."""
    monkeypatch.setenv("LONGVIDEO_DATABASE_URL", empty_postgres_url.replace("+psycopg", ""))
    assert cli.run(["admin", "migrate"]) == 0
    assert "Brought the database from nothing to the revision" in capsys.readouterr().out
    assert cli.run(["admin", "migrate"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    monkeypatch.setenv("LONGVIDEO_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert cli.run(["admin", "migrate"]) != 0
    assert "check that it runs and can be reached" in capsys.readouterr().err


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator whose settings name a data directory of its own."""
    monkeypatch.setenv("LONGVIDEO_DATA_DIR", str(tmp_path))
    return Operator(tmp_path, capsys)


@dataclass(frozen=True)
class Operator:
    """Types `longvideo admin …`, and reads what it says."""

    directory: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Returns what a command writes to its output, and to its errors."""
        assert cli.run(["admin", *arguments]) == code, self.capsys.readouterr().err
        return self.capsys.readouterr()

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Opens the database."""
        with contextlib.closing(Database(sqlite_url(self.directory / "longvideo.db"))) as database:
            yield database


def test_tenants(operator: Operator) -> None:
    """An operator makes, limits, shows, disables and enables tenants."""
    operator("tenant", "create", "lab", "--name", "The lab", "--max-running", "5", "--max-stored", "1.5TB")
    assert "there is a tenant lab already" in operator("tenant", "create", "lab", code=2)[1]
    operator("tenant", "set", "lab", "--max-running", "none", "--max-daily", "2h", "--max-open", "100")
    shown = json.loads(operator("tenant", "show", "lab", "--json")[0])
    assert shown["display_name"] == "The lab"
    limits = {name: value for name, value in shown.items() if name.startswith("max_")}
    assert limits == {
        "max_running_episodes": None,
        "max_open_episodes": 100,
        "max_stored_bytes": 1_500_000_000_000,
        "max_daily_model_seconds": 7200.0,
    }
    operator("tenant", "disable", "lab")
    assert "disabled since" in operator("tenant", "list")[0]
    operator("tenant", "enable", "lab")
    assert "disabled" not in operator("tenant", "show", "lab")[0]
    listed = json.loads(operator("tenant", "list", "--json")[0])["tenants"]
    assert [tenant["id"] for tenant in listed] == ["default", "lab"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tenant", "create", "-"), "cannot be called so"),
        (("tenant", "create", "A"), "cannot be called so"),
        (("tenant", "create", "a", "--max-running", "many"), "--max-running is 'many'; give a whole number, or none"),
        (("tenant", "create", "a", "--max-stored", "5 elephants"), "--max-stored is '5 elephants'"),
        (("tenant", "create", "a", "--max-daily", "5"), "--max-daily is '5'; give a number with its unit"),
        (("tenant", "set", "default"), "Give what to change"),
        (("tenant", "set", "none", "--name", "x"), "there is no tenant none"),
        (("tenant", "show", "none"), "there is no tenant none"),
        (("tenant", "disable", "none"), "there is no tenant none"),
        (("token", "create", "none"), "there is no tenant none"),
        (("token", "create", "default", "--role", "king"), "There is no role king"),
        (("token", "create", "default", "--expires", "0s"), "would expire before it is used"),
        (("token", "revoke", "none"), "there is no token none"),
        (("prune", "--older-than", "soon"), "--older-than is 'soon'"),
        (("prune", "--older-than", "1d", "--tenant", "none"), "there is no tenant none"),
    ],
)
def test_what_an_operator_can_get_wrong(operator: Operator, arguments: tuple[str, ...], said: str) -> None:
    """What cannot be done is refused, with the fix."""
    assert cli.run(["admin", *arguments]) != 0
    assert said in operator.capsys.readouterr().err


def test_tokens(operator: Operator) -> None:
    """A token is shown once, tells who calls, is listed without its secret, and is useless once revoked."""
    out, err = operator("token", "create", "default", "--role", "read", "--name", "the notebook", "--expires", "30d")
    text = out.strip()
    token_id, secret = text.split("_")[1:]
    assert token_id in err
    assert secret not in err
    with operator.database() as database:
        assert Authenticator(database.tenants)(text) == Caller("default", frozenset({"read"}))
    listed = operator("token", "list")[0] + operator("token", "list", "default", "--json")[0]
    assert token_id in listed
    assert "the notebook" in listed
    assert secret not in listed
    for path in operator.directory.iterdir():
        assert secret.encode() not in path.read_bytes() if path.is_file() else True
    operator("token", "revoke", text)
    assert "revoked" in operator("token", "list")[0]
    with operator.database() as database, pytest.raises(Unauthenticated):
        Authenticator(database.tenants)(text)


def test_pruning_says_what_it_would_delete(operator: Operator) -> None:
    """Nothing is deleted without --yes, and then what was announced."""
    with operator.database() as database:
        add_video(database)
        job = submit(database, 2)
        database.jobs.cancel(job)
    store = DirectoryStore(operator.directory / "objects")
    store.put(f"{VIDEO}/source", b"x" * 2000)
    said = operator("prune", "--older-than", "0s")[0]
    for line in ("1 with 2 questions", "1 in all, 1 that nobody else has, 2 kB", "0 of 0 videos", "--yes"):
        assert line in said
    assert store.stat(f"{VIDEO}/source") is not None
    assert "0 with 0 questions" in operator("prune", "--older-than", "1h", "--kind", "jobs", "--yes")[0]
    operator("prune", "--older-than", "0s", "--yes")
    assert list(store.list("")) == []
    with operator.database() as database:
        assert database.videos.page("default", None, 10) == []
        assert database.jobs.page(None, "", None, 10) == []
