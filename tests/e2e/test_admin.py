"""What an operator types."""

from __future__ import annotations

import pytest

from client import cli


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
