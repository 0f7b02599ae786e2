"""The configuration of every process. The only module that reads the environment.

Each field can be set as `LONGVIDEO_<FIELD>` in the environment, for example `LONGVIDEO_MIN_WIDTH=3`, or as `<field>` in
the TOML file that `LONGVIDEO_SETTINGS_FILE` names; the environment wins. A secret can also be in a file of its own,
`LONGVIDEO_<FIELD>_FILE`. Secrets are never taken from a command line, where other users of the machine could read them.
`python -m longvideo.settings` prints every field.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from longvideo import settings_checks
from longvideo.addresses import check_address, check_collector
from longvideo.cache import CACHE_BYTES
from longvideo.endpoint import Endpoint
from longvideo.errors import BadSettings
from longvideo.media import LEAST_MEMORY_BYTES, MEMORY_BYTES, SECONDS, MediaLimits
from longvideo.rpc.limits import DEFAULT_CONCURRENCY
from longvideo.segments import DEFAULT_MIN_WIDTH, MAX_WIDTH, MIN_WIDTH
from longvideo.tls import Identity
from longvideo.usage import ROLES, Role

PREFIX = "LONGVIDEO_"
Address = Annotated[str, AfterValidator(check_address)]
Collector = Annotated[str, AfterValidator(check_collector)]
OptionalAddress = Annotated[str, AfterValidator(lambda address: address and check_address(address))]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
SECRETS: Final = (
    *("database_url", "broker_url", "s3_access_key", "s3_secret_key", "s3_session_token", "token", "api_key"),
    "otlp_headers",
    *(f"{role}_api_key" for role in ROLES),
)
"""The fields that may be in files of their own, and that are shown to nobody."""

_HEADER: Final = re.compile(r"[a-z0-9._-]+")

# Read by the project's own checks, not by a process.
_OTHERS = {f"{PREFIX}TINY_VLLM", f"{PREFIX}TEST_S3_URL"}


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "longvideo"


class Settings(BaseSettings):
    """What a process needs to know. Unset fields have the defaults that the embedded stack uses."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    settings_file: Path | None = None
    """A TOML file with settings. Only the environment can name it."""

    data_dir: Path = Field(default_factory=_default_data_dir)
    """Where videos, captions and the database are kept."""

    object_store: str = ""
    """Where videos and captions are kept instead, `s3://bucket/prefix?endpoint=https://host:9000&region=eu-west-1`.

    Without an endpoint that is AWS. Where clients reach the server by another address than the services do, a
    `public_endpoint=https://…` says so. Without `s3_access_key` and `s3_secret_key` requests are not signed.
    """

    s3_access_key: SecretStr | None = None
    """The access key of the object store."""

    s3_secret_key: SecretStr | None = None
    """The secret key of the object store."""

    s3_session_token: SecretStr | None = None
    """The token that belongs to temporary keys."""

    import_buckets: tuple[BucketName, ...] = ()
    """The buckets on the same storage that videos may be taken from by `s3://bucket/key`.

    The bucket of `object_store` may not be one of them.
    """

    upload_parts_above: int = Field(64 << 20, ge=0, le=5 << 30)
    """Files with more bytes than this are uploaded to the object store in parts, several at one time."""

    upload_part_bytes: int = Field(64 << 20, ge=5 << 20, le=5 << 30)
    """How long a part is. Where a file would have more than 1,000 of them, they are longer."""

    upload_url_seconds: float = Field(6 * 3600.0, ge=60, le=7 * 24 * 3600)
    """How long a URL that a client was given for an upload can be used. The client asks for new ones by itself."""

    upload_expiry: float = Field(24 * 3600.0, ge=60)
    """After how many seconds without a word from its client an unfinished upload is removed.

    Not less than `upload_url_seconds`.
    """

    verification_concurrency: int = Field(2, ge=1, le=64)
    """How many uploaded videos one process of the API checks and indexes at one time."""

    verification_queue: int = Field(16, ge=0, le=1024)
    """How many more may wait for that; further ones are told to come again."""

    database_url: str = Field("", repr=False)
    """A SQLAlchemy URL. Empty means a SQLite file in `data_dir`."""

    broker_url: str = Field("memory://", repr=False)
    """Celery's broker. The one in memory reaches only the orchestrator's own process, which then does all the work."""

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

    health_listen: OptionalAddress = ""
    """Where a process without a service of its own, such as a worker, answers health checks; empty for nowhere."""

    metrics_listen: OptionalAddress = ""
    """Where a process answers `GET /metrics`, over plain HTTP, for Prometheus; empty for nowhere."""

    tls_cert: Path | None = None
    """The PEM file of the process's certificate chain: what the services show to each other, callers too."""

    tls_key: Path | None = None
    """The PEM file of the key of `tls_cert`, not encrypted."""

    tls_ca: Path | None = None
    """The PEM file of the authorities whose certificates the services believe, and the `longvideo` command."""

    api_tls_cert: Path | None = None
    """The PEM file of the certificate chain that the API shows to clients. Without one it shows `tls_cert`."""

    api_tls_key: Path | None = None
    """The PEM file of the key of `api_tls_cert`, not encrypted."""

    insecure: bool = False
    """Whether a port that other machines can reach may do without TLS and without tokens."""

    auth: Literal["none", "tokens"] = "none"
    """Whether the orchestrator's API asks every caller for a token."""

    token: SecretStr | None = None
    """The token that the `longvideo` command shows to `--server`."""

    endpoints: tuple[Endpoint, ...] = ()
    """The model servers, a list of `{"url", "model", "roles", "pool", "gpus", "weight"}`; in the environment as JSON.

    Requests are spread in proportion to `weight`, 1 unless it is given; with 0 only those come that name the pool.
    """

    api_key: SecretStr | None = None
    """The key for all model servers."""

    reason_api_key: SecretStr | None = None
    """The key for the reasoner's servers, instead of `api_key`."""

    caption_api_key: SecretStr | None = None
    """The key for the caption model's servers, instead of `api_key`."""

    qa_api_key: SecretStr | None = None
    """The key for the qa model's servers, instead of `api_key`."""

    prompt_pack: Path | None = None
    """A prompt pack file; without one, the pack that comes with longvideo."""

    price_book: Path | None = None
    """The price book: a TOML file that says what a GPU-hour costs in each pool. Without one no cost is known."""

    prometheus_url: str = Field("", pattern=r"^(https?://[^\s/]+\S*)?$")
    """The Prometheus server that scrapes the models, `http://host:9090`: it tells reports of cost what was provided.

    Without it they do not know what GPUs cost while they stood idle.
    """

    prometheus_namespace: str = Field("", pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$")
    """The Kubernetes namespace of the models, where Prometheus knows others too. Empty for all that it knows."""

    sampling: Literal["trained", "light"] = "trained"
    """How many frames and words a caption gets when a request does not say."""

    frame_selection: Literal["keyframe", "exact"] = "keyframe"
    """Whether high and medium captions take a keyframe where one lies close to a sampled frame, or exactly that."""

    min_width: int = Field(DEFAULT_MIN_WIDTH, ge=MIN_WIDTH, le=MAX_WIDTH)
    """The least number of children of a segment when a request does not say."""

    cache_bytes: int = Field(CACHE_BYTES, ge=0)
    """How many bytes of indexes, subtitles and decoded pictures a service process keeps in memory."""

    media_memory_bytes: int = Field(MEMORY_BYTES, ge=LEAST_MEMORY_BYTES)
    """How many bytes of memory a process that reads a video may take."""

    media_seconds: float = Field(SECONDS, ge=1)
    """How many seconds reading a video's packets, or one set of its frames, may take besides waiting for storage."""

    media_processes: int = Field(0, ge=0, le=1024)
    """How many videos are read at once by one service process; 0 means one for each processor, from 2 to 8."""

    episode_concurrency: int = Field(16, ge=1, le=1024)
    """How many episodes one worker process has in flight."""

    lease_seconds: float = Field(60.0, ge=3, le=3600)
    """How long after its last sign of life a worker's episodes are taken over by others.

    Workers give a sign, and dead ones are looked for, six times as often. An episode that waits for something which
    does not answer tries again after a twelfth of it at first, and as often as this in the end.
    """

    grace_seconds: float = Field(25.0, ge=0)
    """How many seconds a process that is told to stop gives to calls in flight, and to the rounds of its episodes."""

    database_connections: int = Field(20, ge=1, le=1000)
    """How many connections to the database one process has at most. They are shared, and used for moments."""

    caption_concurrency: int = Field(8, ge=1, le=256)
    """How many captions are made at one time for one episode or one tree build."""

    rpc_concurrency: int = Field(DEFAULT_CONCURRENCY, ge=1, le=4096)
    """How many calls a service process answers at one time; more are turned away at once, to come again."""

    model_timeout: float = Field(300.0, ge=1)
    """How many seconds one attempt of a model call may take before another is made, on another server."""

    unavailable_patience: float | None = Field(None, ge=0)
    """How many seconds an episode waits for models or storage that do not answer before it fails.

    Unset: for as long as its job allows it to take.
    """

    otlp_endpoint: Collector = ""
    """Where traces are sent, by OTLP over gRPC: `https://host:4317`, or `http://host:4317` without TLS.

    Empty: no traces are made.
    """

    otlp_headers: SecretStr | None = None
    """What goes along with them, such as a key: `name=value,name=value`, as in `OTEL_EXPORTER_OTLP_HEADERS`."""

    otlp_ca: Path | None = None
    """The PEM file of the authorities whose certificates are believed there; unset, those that gRPC brings along."""

    otlp_cert: Path | None = None
    """The PEM file of the certificate chain that is shown there."""

    otlp_key: Path | None = None
    """The PEM file of the key of `otlp_cert`, not encrypted."""

    trace_sample_ratio: float = Field(1.0, ge=0, le=1)
    """Which share of the traces is sent. Of the others, those parts are sent in which something failed."""

    trace_content: bool = False
    """Whether traces hold prompts, questions, captions and answers too."""

    log_format: Literal["json", "text"] = "json"
    """Whether the service processes log a JSON object on each line, or text for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What the service processes log at least; `info` has a line for each call."""

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

    def media_limits(self) -> MediaLimits:
        """Returns what reading videos may take."""
        return MediaLimits(self.media_memory_bytes, self.media_seconds, self.media_processes)

    def secrets(self) -> set[str]:
        """Returns every secret in here, for those who see to it that none is shown."""
        found = {endpoint.api_key.get_secret_value() for endpoint in self.endpoints if endpoint.api_key}
        for name in SECRETS:
            value = getattr(self, name)
            text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
            # Only the password of a URL is one, as it stands there and as it is meant.
            password = urlsplit(text).password or "" if "://" in text else text
            found |= {password, unquote(password)}
        found |= {value for _, value in self.otlp_metadata()}
        return found - {""}

    def otlp_metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns what goes along with traces, by name. Raises ValueError when it does not look like that."""
        given = self.otlp_headers.get_secret_value() if self.otlp_headers else ""
        pairs = [pair.partition("=") for pair in given.split(",") if pair.strip()]
        found = tuple((name.strip().lower(), unquote(value.strip())) for name, _, value in pairs)
        for name, value in found:
            if not _HEADER.fullmatch(name) or not value or not (value.isascii() and value.isprintable()):
                raise ValueError
        return found

    def s3_keys(self) -> tuple[str, str, str]:
        """Returns the access key, the secret key and the session token of the object store; empty where not set."""
        keys = (self.s3_access_key, self.s3_secret_key, self.s3_session_token)
        access, secret, token = (key.get_secret_value() if key is not None else "" for key in keys)
        return access, secret, token


def load(**overrides: Any) -> Settings:
    """Returns the settings: `overrides` that are not None first, then the environment, the file, and the defaults.

    Raises BadSettings, naming the setting, its value and the fix, for a value that does not fit, for a variable
    `LONGVIDEO_…` or a line of the file that means nothing, and for settings that contradict each other.
    """
    fields = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    secret_files = {f"{PREFIX}{name.upper()}_FILE": name for name in SECRETS}
    _check_names((name for name in os.environ if name.startswith(PREFIX)), {*fields, *secret_files, *_OTHERS})
    given = {name: value for name, value in _from_file().items() if f"{PREFIX}{name.upper()}" not in os.environ}
    for variable, name in secret_files.items():
        if path := os.environ.get(variable):
            given[name] = _secret(variable, name, Path(path))
    given |= {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"]
        if first["type"] == "tuple_type":
            said = "it must be a list; in the settings file as TOML writes one, not as a text that holds JSON"
        raise BadSettings(f"The setting {where} is wrong: {said}", setting=where) from None
    except SettingsError as error:
        raise BadSettings(f"A setting cannot be read: {error}") from None
    settings_checks.check(settings)
    return settings.model_copy(update={"endpoints": tuple(_with_key(settings, one) for one in settings.endpoints)})


def _check_names(given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    known = sorted(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise BadSettings(f"There is no setting {name}{hint}{where}", setting=name)


def _from_file() -> Mapping[str, Any]:
    """Returns what is in the settings file."""
    variable = f"{PREFIX}SETTINGS_FILE"
    path = os.environ.get(variable)
    if not path:
        return {}
    try:
        read = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise BadSettings(f"{variable} is {path}, which cannot be read: {error.strerror}", setting=variable) from None
    except ValueError as error:  # no TOML, or no text at all
        raise BadSettings(f"{variable} is {path}, which is not TOML: {error}", setting=variable) from None
    _check_names(read, Settings.model_fields.keys() - {"settings_file"}, f" (in {path})")
    return read


def _secret(variable: str, name: str, path: Path) -> str:
    """Returns the secret that is in a file."""
    if f"{PREFIX}{name.upper()}" in os.environ:
        raise BadSettings(f"{variable} and {PREFIX}{name.upper()} are both set; set one of them", setting=name)
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise BadSettings(f"{variable} is {path}, which cannot be read: {error.strerror}", setting=name) from None
    except ValueError:
        raise BadSettings(f"{variable} is {path}, which holds no text", setting=name) from None
    if not secret:
        raise BadSettings(f"{variable} is {path}, which is empty", setting=name)
    return secret


def _with_key(settings: Settings, endpoint: Endpoint) -> Endpoint:
    keys = {key for role in endpoint.roles if (key := _key_for(settings, role))}
    if len(keys) > 1:
        raise BadSettings(
            f"{endpoint.url} serves the roles {', '.join(sorted(endpoint.roles))}, and their API keys differ; "
            f"give one key, or one endpoint for each role",
            setting="endpoints",
        )
    return endpoint.model_copy(update={"api_key": SecretStr(keys.pop())}) if keys else endpoint


def _key_for(settings: Settings, role: Role) -> str | None:
    for key in (getattr(settings, f"{role}_api_key"), settings.api_key):
        if key is not None and (text := key.get_secret_value()):
            return str(text)
    return None


if __name__ == "__main__":
    sys.modules["longvideo.settings"] = sys.modules[__name__]  # or else the page would be that of a second copy
    from longvideo.settings_page import main

    sys.exit(main(sys.argv[1:]))
