"""The configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from longvideo import settings
from longvideo.errors import BadSettings

REASON = {"url": "http://127.0.0.1:1/v1", "roles": ["reason"]}
TOOLS = {"url": "http://127.0.0.1:2/v1", "roles": ["caption", "qa"], "pool": "a800", "gpus": 2}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes what the developer's own environment sets."""
    for name in list(os.environ):
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)


def test_defaults_need_no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any setting, data goes where the XDG specification puts it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert settings.load().data_dir == tmp_path / "longvideo"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable LONGVIDEO_… sets the field of that name."""
    monkeypatch.setenv("LONGVIDEO_MIN_WIDTH", "3")
    monkeypatch.setenv("LONGVIDEO_ENDPOINTS", json.dumps([REASON, TOOLS]))
    loaded = settings.load()

    assert loaded.min_width == 3
    assert [endpoint.pool for endpoint in loaded.endpoints] == ["default", "a800"]


def test_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command line gives comes before the environment; what it leaves out does not."""
    monkeypatch.setenv("LONGVIDEO_MIN_WIDTH", "3")

    assert settings.load(min_width=5).min_width == 5
    assert settings.load(min_width=None).min_width == 3


def test_an_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that means nothing stops the process and suggests the one that was meant."""
    monkeypatch.setenv("LONGVIDEO_MIN_WIDHT", "3")

    with pytest.raises(BadSettings, match="LONGVIDEO_MIN_WIDHT; did you mean LONGVIDEO_MIN_WIDTH"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("MIN_WIDTH", "9"), ("SAMPLING", "dense"), ("ENDPOINTS", "not json"), ("ENDPOINTS", '[{"u": 1}]')],
)
def test_a_value_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value out of range or of the wrong shape names its setting."""
    monkeypatch.setenv(f"LONGVIDEO_{name}", value)

    with pytest.raises(BadSettings, match=f"(?i){name}"):
        settings.load()


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role's own key comes before the common one, and no key is ever shown."""
    monkeypatch.setenv("LONGVIDEO_API_KEY", "common-key")
    monkeypatch.setenv("LONGVIDEO_REASON_API_KEY", "reason-key")
    loaded = settings.load(endpoints=[REASON, TOOLS])
    keys = [endpoint.api_key.get_secret_value() for endpoint in loaded.endpoints if endpoint.api_key]

    assert keys == ["reason-key", "common-key"]
    assert "-key" not in repr(loaded)


def test_one_server_cannot_have_two_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint of two roles with different keys is a contradiction."""
    monkeypatch.setenv("LONGVIDEO_CAPTION_API_KEY", "one")
    monkeypatch.setenv("LONGVIDEO_QA_API_KEY", "other")

    with pytest.raises(BadSettings, match="API keys differ"):
        settings.load(endpoints=[TOOLS])


def test_keys_of_the_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys come from the environment, are never shown, and come together."""
    assert settings.load().s3_keys() == ("", "", "")
    monkeypatch.setenv("LONGVIDEO_S3_ACCESS_KEY", "an-access-key")
    with pytest.raises(BadSettings, match="belong together"):
        settings.load()
    monkeypatch.setenv("LONGVIDEO_S3_SECRET_KEY", "a-secret-key")
    loaded = settings.load()
    assert loaded.s3_keys() == ("an-access-key", "a-secret-key", "")
    assert "-key" not in repr(loaded)
