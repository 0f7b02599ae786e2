"""A model server as data: what a process is told about it."""

from __future__ import annotations

import urllib.parse

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from longvideo.usage import Role


class Endpoint(BaseModel):
    """One model server that speaks OpenAI's protocol. Settings list these; nothing here comes from a request."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    """The address that `/chat/completions` is appended to; ends in `/v1` when it was given without a path."""
    model: str = ""
    """The model's name at its server. Empty: the first one that the server lists."""
    roles: frozenset[Role]
    """What the model is used for."""
    pool: str = "default"
    """The kind of GPU node behind it, for example `h800`."""
    gpus: int = 0
    """How many GPUs serve one replica; 0 where none does."""
    weight: float = Field(default=1.0, ge=0, le=1000)
    """How many requests it gets, in proportion to others of its role; with 0, only those that name its pool."""
    api_key: SecretStr | None = None
    """From the environment only, never from a command line."""
    context_length: int | None = None
    """Tokens that prompt and answer may have together. None: as the server says."""
    structured_output: bool | None = None
    """Whether the server binds answers to a grammar. None: as can be told from `GET /models`."""
    priority: bool = False
    """Whether the server serves urgent requests first: vLLM with `--scheduling-policy priority`, others refuse them."""

    @field_validator("url")
    @classmethod
    def _normalise(cls, url: str) -> str:
        try:
            parts = urllib.parse.urlsplit(url.strip())
            _ = parts.port  # looked at only now
        except ValueError:
            raise ValueError(
                "the URL of a model server has a bad host or port; it must look like http://host:8000/v1"
            ) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the URL of a model server must look like http://host:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "the URL of a model server may not hold a user or password: give the key in LONGVIDEO_API_KEY"
            )
        if parts.query or parts.fragment:
            raise ValueError("the URL of a model server may not hold a query or a fragment")
        path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/") or "/v1"
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.lower(), path, "", ""))
