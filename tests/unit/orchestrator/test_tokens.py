"""Tokens: what they look like, and how soon a change of one is noticed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from longvideo.auth import Caller
from longvideo.errors import InvalidArgument, Unauthenticated
from orchestrator import tokens
from orchestrator.db import sqlite_url
from orchestrator.store import Database
from orchestrator.tables import TokenRow


class Clock:
    """Says what time it is, as a test wants it."""

    now = 0.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with the tenant `default`."""
    made = Database(sqlite_url(tmp_path / "longvideo.db"))
    yield made
    made.close()


def add(database: Database, **options: Any) -> str:
    """Returns the text of a new token."""
    row, text = tokens.make("default", ["read"], **options)
    database.tenants.add_token(row)
    return text


def test_token_holds_no_secret() -> None:
    """Of the text of a token, what is kept gives nothing away but its id."""
    row, text = tokens.make("default", ["submit", "read"], name="a name")
    assert re.fullmatch(r"lv_[0-9a-f]{16}_[0-9a-f]{64}", text)
    kept = " ".join(str(getattr(row, column.key)) for column in TokenRow.__table__.columns)
    assert text.split("_")[2] not in kept
    assert (row.roles, row.id) == (["read", "submit"], text.split("_")[1])
    assert tokens.make("default", ["read"])[1] != text


@pytest.mark.parametrize(("roles", "until"), [([], None), (["read"], 1.0)])
def test_useless_tokens(roles: list[Any], until: float | None) -> None:
    """A token that could do nothing is not made."""
    with pytest.raises(InvalidArgument):
        tokens.make("default", roles, expire_time=until)


def test_known_token_asks_no_database(database: Database) -> None:
    """A token is looked up again only after a while, so a revocation works within seconds."""
    clock, asked = Clock(), list[str]()
    authenticate = tokens.Authenticator(database.tenants, clock=clock)
    text = add(database)
    sa.event.listen(database.engine.sqlalchemy, "before_cursor_execute", lambda *given: asked.append(given[2]))
    for _ in range(10):
        assert authenticate(text) == Caller("default", frozenset({"read"}))
    assert sum("tokens" in statement for statement in asked) == 1
    database.tenants.revoke(text.split("_")[1])
    clock.now = tokens.KNOWN_SECONDS / 2
    assert authenticate(text).tenant == "default"
    clock.now = tokens.KNOWN_SECONDS
    with pytest.raises(Unauthenticated, match="was revoked"):
        authenticate(text)


def test_expired_token(database: Database) -> None:
    """A token expires at its time, also when it was used a moment ago."""
    authenticate = tokens.Authenticator(database.tenants)
    text = add(database, expire_time=time.time() + 3600)
    authenticate(text)
    with database.engine.write() as session:
        session.execute(sa.update(TokenRow).values(expire_time=time.time() - 1))
    with pytest.raises(Unauthenticated, match="has expired") as caught:
        tokens.Authenticator(database.tenants)(text)
    assert caught.value.reason == "TOKEN_EXPIRED"


def test_nothing_is_told_without_the_secret(database: Database) -> None:
    """Who has only the id of a token hears the same, whether it is valid, revoked, or was never made."""
    valid, revoked = add(database), add(database)
    database.tenants.revoke(revoked.split("_")[1])
    said = set()
    for token_id in (valid.split("_")[1], revoked.split("_")[1], "0" * 16):
        with pytest.raises(Unauthenticated) as caught:
            tokens.Authenticator(database.tenants)(f"lv_{token_id}_{'0' * 64}")
        said.add((caught.value.reason, caught.value.message, tuple(caught.value.metadata)))
    assert len(said) == 1


@pytest.mark.parametrize("text", ["x", "lv__", "lv_0123456789abcdef_", "LV_" + "0" * 16 + "_" + "0" * 64, "lv_é_" * 9])
def test_what_is_no_token(database: Database, text: str) -> None:
    """A text that is no token is refused like one that was never made."""
    with pytest.raises(Unauthenticated) as caught:
        tokens.Authenticator(database.tenants)(text)
    assert caught.value.reason == "TOKEN_INVALID"
    assert text not in caught.value.message or len(text) == 1
