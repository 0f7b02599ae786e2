"""The configuration of every process. The only module that reads the environment.

Each field can be set as `LONGVIDEO_<FIELD>` in the environment, for example `LONGVIDEO_MIN_WIDTH=3`. API keys come
from `LONGVIDEO_API_KEY`, or per role from `LONGVIDEO_REASON_API_KEY`, `LONGVIDEO_CAPTION_API_KEY` and
`LONGVIDEO_QA_API_KEY`; they are never taken from a command line, where other users of the machine could read them.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from longvideo.addresses import check_address
from longvideo.cache import CACHE_BYTES
from longvideo.errors import BadSettings
from longvideo.inference import Endpoint
from longvideo.segments import DEFAULT_MIN_WIDTH, MAX_WIDTH, MIN_WIDTH
from longvideo.tls import Identity
from longvideo.usage import ROLES, Role

PREFIX = "LONGVIDEO_"
Address = Annotated[str, AfterValidator(check_address)]
_KEYS = {f"{PREFIX}API_KEY", *(f"{PREFIX}{role.upper()}_API_KEY" for role in ROLES)}
# Read by the project's own checks, not by a process.
_OTHERS = {f"{PREFIX}TINY_VLLM", f"{PREFIX}TEST_S3_URL"}


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "longvideo"


class Settings(BaseSettings):
    """What a process needs to know. Unset fields have the defaults that the embedded stack uses."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(default_factory=_default_data_dir)
    """Where videos, captions and the database are kept."""

    object_store: str = ""
    """Where videos and captions are kept instead, `s3://bucket/prefix?endpoint=https://host:9000&region=eu-west-1`.

    Without an endpoint that is AWS. Where clients reach the server by another address than the services do, a
    `public_endpoint=https://…` says so. The credentials are `LONGVIDEO_S3_ACCESS_KEY` and `LONGVIDEO_S3_SECRET_KEY`,
    and for temporary ones `LONGVIDEO_S3_SESSION_TOKEN`; without them requests are not signed.
    """

    s3_access_key: SecretStr | None = None
    """The access key of the object store."""

    s3_secret_key: SecretStr | None = None
    """The secret key of the object store."""

    s3_session_token: SecretStr | None = None
    """The token that belongs to temporary keys."""

    database_url: str = ""
    """A SQLAlchemy URL. Empty means a SQLite file in `data_dir`."""

    broker_url: str = "memory://"
    """Celery's broker."""

    api_listen: Address = "127.0.0.1:7700"
    """Where the orchestrator's API listens, `host:port`; port 0 takes any free one."""

    caption_listen: Address = "127.0.0.1:7701"
    """Where the caption service listens."""

    caption_address: Address = "127.0.0.1:7701"
    """Where the orchestrator finds the caption service. A name of several addresses: calls go to all in turn."""

    qa_listen: Address = "127.0.0.1:7702"
    """Where the video question service listens."""

    qa_address: Address = "127.0.0.1:7702"
    """Where the orchestrator finds the video question service, as with `caption_address`."""

    tls_cert: Path | None = None
    """The PEM file of the process's certificate chain: what the services show to each other, callers too."""

    tls_key: Path | None = None
    """The PEM file of the key of `tls_cert`, not encrypted."""

    tls_ca: Path | None = None
    """The PEM file of the authorities whose certificates the services believe."""

    api_tls_cert: Path | None = None
    """The PEM file of the certificate chain that the API shows to clients. Without one it shows `tls_cert`."""

    api_tls_key: Path | None = None
    """The PEM file of the key of `api_tls_cert`, not encrypted."""

    insecure: bool = False
    """Whether a port that other machines can reach may do without TLS and without tokens."""

    auth: Literal["none", "tokens"] = "none"
    """Whether the orchestrator's API asks every caller for a token."""

    endpoints: tuple[Endpoint, ...] = ()
    """The model servers, as a JSON list of `{"url", "model", "roles", "pool", "gpus"}`."""

    prompt_pack: Path | None = None
    """A prompt pack file; without one, the pack that comes with longvideo."""

    sampling: Literal["trained", "light"] = "trained"
    """How many frames and words a caption gets when a request does not say."""

    frame_selection: Literal["keyframe", "exact"] = "keyframe"
    """Whether high and medium captions take a keyframe where one lies close to a sampled frame, or exactly that."""

    min_width: int = Field(DEFAULT_MIN_WIDTH, ge=MIN_WIDTH, le=MAX_WIDTH)
    """The least number of children of a segment when a request does not say."""

    cache_bytes: int = Field(CACHE_BYTES, ge=0)
    """How many bytes of indexes, subtitles and decoded pictures a service process keeps in memory."""

    episode_concurrency: int = Field(16, ge=1, le=1024)
    """How many episodes one worker process has in flight."""

    caption_concurrency: int = Field(8, ge=1, le=256)
    """How many captions are made at one time for one episode or one tree build."""

    unavailable_patience: float = Field(3600.0, ge=0)
    """How many seconds an episode waits for models or storage that do not answer before it fails."""

    def identity(self) -> Identity | None:
        """Returns the files of what the services show to each other, or None where they talk in the open."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return Identity(self.tls_cert, self.tls_key, self.tls_ca)

    def api_identity(self) -> Identity | None:
        """Returns the files of what the API shows to clients, or None where it talks in the open."""
        if self.api_tls_cert is not None and self.api_tls_key is not None:
            return Identity(self.api_tls_cert, self.api_tls_key, setting="api_tls")
        return Identity(self.tls_cert, self.tls_key) if self.tls_cert is not None and self.tls_key is not None else None

    def s3_keys(self) -> tuple[str, str, str]:
        """Returns the access key, the secret key and the session token of the object store; empty where not set."""
        keys = (self.s3_access_key, self.s3_secret_key, self.s3_session_token)
        access, secret, token = (key.get_secret_value() if key is not None else "" for key in keys)
        return access, secret, token


def load(**overrides: Any) -> Settings:
    """Returns the settings: `overrides` that are not None first, then the environment, then the defaults.

    Raises BadSettings, naming the setting, its value and the fix, for a value that does not fit and for a variable
    `LONGVIDEO_…` that means nothing.
    """
    names = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | _KEYS | _OTHERS
    for name in os.environ:
        if name.startswith(PREFIX) and name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise BadSettings(f"There is no setting {name}{hint}", setting=name)
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadSettings(f"The setting {where} is wrong: {first['msg']}", setting=where) from None
    except SettingsError as error:
        raise BadSettings(f"A setting cannot be read: {error}") from None
    _check_together(settings)
    return settings.model_copy(update={"endpoints": tuple(map(_with_key, settings.endpoints))})


# Each of these is worth nothing without the others.
_TOGETHER = (("s3_access_key", "s3_secret_key"), ("tls_cert", "tls_key", "tls_ca"), ("api_tls_cert", "api_tls_key"))


def _check_together(settings: Settings) -> None:
    for group in _TOGETHER:
        missing = [name for name in group if getattr(settings, name) is None]
        if missing and len(missing) < len(group):
            given = next(name for name in group if name not in missing)
            raise BadSettings(
                f"{given} is set, but not {' and '.join(missing)}; {', '.join(group)} belong together: set all or none",
                setting=missing[0],
            )


def _with_key(endpoint: Endpoint) -> Endpoint:
    keys = {key for role in endpoint.roles if (key := api_key(role))}
    if len(keys) > 1:
        raise BadSettings(
            f"{endpoint.url} serves the roles {', '.join(sorted(endpoint.roles))}, and their API keys differ; "
            f"give one key, or one endpoint for each role",
            setting="endpoints",
        )
    return endpoint.model_copy(update={"api_key": SecretStr(keys.pop())}) if keys else endpoint


def api_key(role: Role) -> str | None:
    """Returns the API key for the servers of a role, or None."""
    return os.environ.get(f"{PREFIX}{role.upper()}_API_KEY") or os.environ.get(f"{PREFIX}API_KEY") or None
