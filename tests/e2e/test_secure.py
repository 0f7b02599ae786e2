"""A server that others can reach: TLS, tokens, and what it refuses to be without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import cli
from longvideo.testing import ScriptedModelServer
from tests.certificates import Authority
from tests.e2e.conftest import Run, flags, start


def test_a_server_asks_for_tokens(
    talk: Path,
    data: Path,
    tmp_path: Path,
    models: ScriptedModelServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An operator makes a token; with it a question is answered over TLS, and without it nobody gets in."""
    data.mkdir()
    monkeypatch.setenv("LONGVIDEO_DATA_DIR", str(data))
    assert cli.run(["admin", "token", "create", "default"]) == 0
    token = tmp_path / "token"
    token.write_text(next(word for word in capsys.readouterr().out.split() if word.startswith("lv_")))
    identity = Authority().issue(tmp_path / "certificates")
    with monkeypatch.context() as served:
        served.setenv("LONGVIDEO_API_TLS_CERT", str(identity.cert))
        served.setenv("LONGVIDEO_API_TLS_KEY", str(identity.key))
        served.setenv("LONGVIDEO_AUTH", "tokens")
        process = start("up", "--host", "0.0.0.0", "--port", "0", *flags(models))
    assert process.stdout is not None
    port = process.stdout.readline().rpartition(":")[2].strip()
    try:
        while "ready" not in process.stdout.readline():
            assert process.poll() is None
        monkeypatch.delenv("LONGVIDEO_DATA_DIR")
        monkeypatch.setenv("LONGVIDEO_TLS_CA", str(identity.ca))
        server = f"https://localhost:{port}"
        refused = start("ask", talk, "Which?", "--server", server)
        out, err = refused.communicate(timeout=100)
        assert (refused.returncode, out) == (2, "")
        assert "asks for a token" in err
        monkeypatch.setenv("LONGVIDEO_TOKEN_FILE", str(token))
        asked = start("ask", talk, "Which?", "--quiet", "--server", server)
        assert asked.communicate(timeout=100) == ("It is 42.\n", "")
    finally:
        process.kill()
        process.communicate()


def test_a_server_for_others_is_guarded(run: Run) -> None:
    """`longvideo up` on an address that others can reach does not start without TLS and tokens, and names both ways."""
    ran = run("up", "--host", "0.0.0.0", "--port", "0")
    assert ran.code == 2
    assert "api_listen is 0.0.0.0:0" in ran.err
    assert "set api_tls_cert and api_tls_key, or insecure=true" in ran.err
