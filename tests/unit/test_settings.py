"""The configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from longvideo import settings, settings_page
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


def write(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes a settings file and names it in the environment."""
    path.write_text(text)
    monkeypatch.setenv("LONGVIDEO_SETTINGS_FILE", str(path))
    return path


def test_a_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A TOML file sets fields by their names, secrets too; the environment comes before it."""
    text = 'min_width = 3\ncaption_concurrency = 5\napi_key = "of-the-file"\n\n'
    text += '[[endpoints]]\nurl = "http://gpu1:8000"\nroles = ["reason"]\n'
    write(tmp_path / "longvideo.toml", text, monkeypatch)
    monkeypatch.setenv("LONGVIDEO_MIN_WIDTH", "6")
    loaded = settings.load(episode_concurrency=2)

    assert (loaded.min_width, loaded.caption_concurrency, loaded.episode_concurrency) == (6, 5, 2)
    assert loaded.endpoints[0].api_key is not None
    assert loaded.endpoints[0].api_key.get_secret_value() == "of-the-file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_widht = 3", "min_widht; did you mean min_width"),
        ('settings_file = "another.toml"', "no setting settings_file"),
        ("[tls]\ncert = 1", "no setting tls"),
        ("min_width = ", "which is not TOML"),
        ("min_width = 12", "min_width is wrong"),
        ('api_listen = "7700"', "api_listen is wrong: .*must look like"),
        ("endpoints = '[{}]'", "endpoints is wrong: it must be a list; in the settings file as TOML"),
    ],
)
def test_a_file_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str) -> None:
    """A file with a name that means nothing, a wrong value, or no TOML in it is refused."""
    write(tmp_path / "longvideo.toml", text, monkeypatch)

    with pytest.raises(BadSettings, match=said):
        settings.load()


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A settings file that cannot be read stops the process and is named."""
    monkeypatch.setenv("LONGVIDEO_SETTINGS_FILE", str(tmp_path / "nowhere.toml"))

    with pytest.raises(BadSettings, match=r"LONGVIDEO_SETTINGS_FILE is .*nowhere\.toml, which cannot be read"):
        settings.load()


@pytest.mark.parametrize("name", settings.SECRETS)
def test_a_secret_can_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Every secret may be the content of a file, without the line's end; never twice, never empty, and never shown."""
    for other in ("s3_access_key", "s3_secret_key"):
        if name.startswith("s3_") and name != other:
            monkeypatch.setenv(f"LONGVIDEO_{other.upper()}", "needed too")
    path = tmp_path / "secret"
    secret = {"broker_url": "redis://:hush-hush@redis", "otlp_headers": "key=hush-hush"}.get(name, "hush-hush")
    path.write_text(f"{secret}\n")
    monkeypatch.setenv(f"LONGVIDEO_{name.upper()}_FILE", str(path))
    loaded = settings.load()
    value = getattr(loaded, name)

    assert (value if isinstance(value, str) else value.get_secret_value()) == secret
    assert "hush" not in repr(loaded)
    monkeypatch.setenv(f"LONGVIDEO_{name.upper()}", "hush-hush too")
    with pytest.raises(BadSettings, match="both set") as caught:
        settings.load()
    monkeypatch.delenv(f"LONGVIDEO_{name.upper()}")
    path.write_text("\n")
    with pytest.raises(BadSettings, match="which is empty"):
        settings.load()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_cert": "a"}, "tls_cert is set, but not tls_key and tls_ca"),
        ({"tls_cert": "a", "tls_key": "b"}, "tls_cert is set, but not tls_ca"),
        ({"api_tls_key": "a"}, "api_tls_key is set, but not api_tls_cert"),
        ({"s3_session_token": "a"}, "s3_session_token is set, but not s3_access_key and s3_secret_key"),
    ],
)
def test_what_belongs_together_comes_together(given: dict[str, str], said: str) -> None:
    """A setting that is worth nothing without another is refused, and both are named."""
    with pytest.raises(BadSettings, match=said):
        settings.load(**given)


@pytest.mark.parametrize("address", ["7700", ":7700", "host:", "host:65536", "::1:7700", "host:7x", "[]:1"])
def test_an_address_is_host_and_port(address: str) -> None:
    """What is no host and port is refused; a host by name or by either kind of number is fine."""
    with pytest.raises(BadSettings, match="must look like"):
        settings.load(caption_address=address)
    for good in ("caption:7701", "10.0.0.1:0", "[::1]:65535"):
        assert settings.load(caption_address=good).caption_address == good


def test_the_page_shows_every_setting_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page has a line with a meaning for each field, whatever is set; the values leave secrets out."""
    monkeypatch.setenv("LONGVIDEO_API_KEY", "hush-hush")
    monkeypatch.setenv("LONGVIDEO_BROKER_URL", "redis://:hush-hush@redis")
    monkeypatch.setenv("LONGVIDEO_ENDPOINTS", json.dumps([REASON]))
    assert settings_page.main([]) == 0
    shown = capsys.readouterr().out
    for name in settings.Settings.model_fields:
        line = next(line for line in shown.splitlines() if line.startswith(f"| `{name}` |"))
        assert len(line.split("|")[4]) > 10
    assert settings_page.main(["--values"]) == 0
    values = capsys.readouterr().out
    assert "api_key = set\n" in values
    assert "insecure = false\nauth" in values
    assert "hush" not in shown + values


def test_endpoints_are_shown_as_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown of the model servers can be set again, but for the keys."""
    given = [{"url": "http://a:8000/v1", "roles": ["caption", "qa"], "pool": "h800", "gpus": 2}]
    monkeypatch.setenv("LONGVIDEO_ENDPOINTS", json.dumps(given))

    line = next(line for line in settings_page.values().splitlines() if line.startswith("endpoints = "))

    assert json.loads(line.removeprefix("endpoints = ")) == given


def test_a_broker_that_nobody_speaks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another broker than Redis is refused, without its password."""
    monkeypatch.setenv("LONGVIDEO_BROKER_URL", "amqp://longvideo:hush@broker")

    with pytest.raises(BadSettings, match=r"broker_url is not .*; give redis://") as caught:
        settings.load()
    assert "hush" not in str(caught.value)
