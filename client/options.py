"""Options that several commands share, as dataclasses; `spread` gives a command their fields as options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from longvideo.errors import BadSettings, InvalidArgument
from longvideo.segments import MAX_WIDTH, MIN_WIDTH
from longvideo.usage import ROLES, Role
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

_SERVER_PANEL = "Where it runs"
_SERVER = (
    "Use this server, HOST:PORT or https://HOST:PORT (see `longvideo up`). "
    "Its token: LONGVIDEO_TOKEN or LONGVIDEO_TOKEN_FILE; its authority: LONGVIDEO_TLS_CA."
)
_MODELS_PANEL = "Models (API keys: LONGVIDEO_API_KEY, LONGVIDEO_REASON_API_KEY, …)"


class Sampling(StrEnum):
    """How many frames and words a caption gets."""

    TRAINED = "trained"
    LIGHT = "light"


@dataclass(frozen=True)
class Where:
    """Which orchestrator a command talks to: a server's, or one of its own on a data directory."""

    server: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help=_SERVER, rich_help_panel=_SERVER_PANEL),
    ] = ""
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep videos, captions and jobs here. Default: $LONGVIDEO_DATA_DIR, or ~/.local/share/longvideo.",
            rich_help_panel=_SERVER_PANEL,
        ),
    ] = None

    def overrides(self) -> dict[str, Any]:
        """Returns what the options change in the settings. Raises BadSettings when they contradict each other."""
        if self.server and self.data_dir:
            raise BadSettings("Give --server or --data-dir, not both: the server has a data directory of its own.")
        return {"data_dir": self.data_dir.expanduser() if self.data_dir else None}

    def command(self, *arguments: str) -> str:
        """Returns what to type for another command that talks to the same orchestrator."""
        program = "longvideo"
        if shutil.which(program) is None:  # an environment that is not activated
            beside = Path(sys.executable).with_name(program)
            program = str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
        place = (
            ["--server", self.server] if self.server else ["--data-dir", str(self.data_dir)] if self.data_dir else []
        )
        return shlex.join([program, *arguments, *place])


@dataclass(frozen=True)
class Models(Where):
    """Where a command runs, and which models it uses when it runs on its own."""

    reason_url: Annotated[
        str,
        typer.Option(metavar="URL", help="The reasoner's OpenAI-compatible server.", rich_help_panel=_MODELS_PANEL),
    ] = ""
    caption_url: Annotated[
        str,
        typer.Option(metavar="URL", help="The caption model's server.", rich_help_panel=_MODELS_PANEL),
    ] = ""
    qa_url: Annotated[
        str,
        typer.Option(metavar="URL", help="The qa model's server.", rich_help_panel=_MODELS_PANEL),
    ] = ""
    reason_model: Annotated[
        str,
        typer.Option(metavar="NAME", help="Default: the first that its server lists.", rich_help_panel=_MODELS_PANEL),
    ] = ""
    caption_model: Annotated[str, typer.Option(metavar="NAME", help="The same.", rich_help_panel=_MODELS_PANEL)] = ""
    qa_model: Annotated[str, typer.Option(metavar="NAME", help="The same.", rich_help_panel=_MODELS_PANEL)] = ""
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A prompt pack (see `longvideo prompts`).", rich_help_panel=_MODELS_PANEL),
    ] = None

    def given(self, role: Role) -> tuple[str, str]:
        """Returns the URL and the model given for a role."""
        return getattr(self, f"{role}_url"), getattr(self, f"{role}_model")

    def overrides(self) -> dict[str, Any]:
        """Returns what the options change in the settings. Raises BadSettings when they contradict each other."""
        for role in ROLES:
            url, model = self.given(role)
            if self.server and (url or model):
                raise BadSettings(
                    f"--{role}-{'url' if url else 'model'} does not go with --server, which has its models."
                )
            if model and not url:
                raise BadSettings(f"--{role}-model {model} needs --{role}-url, the server that has this model.")
        if self.server and self.prompts:
            raise BadSettings("--prompts does not go with --server, which has its own.")
        return {**super().overrides(), "prompt_pack": self.prompts}


@dataclass(frozen=True)
class Cut:
    """How a video is cut and captioned."""

    min_width: Annotated[
        int | None,
        typer.Option(
            min=MIN_WIDTH,
            max=MAX_WIDTH,
            show_default=False,
            help="The least number of parts that each part of the video is cut into. Default: 4.",
        ),
    ] = None
    sampling: Annotated[
        Sampling | None,
        typer.Option(help="How many frames and words a caption gets; light costs half. Default: trained."),
    ] = None
    pool: Annotated[str, typer.Option(metavar="NAME", help="Use only model servers of this pool.")] = ""

    def config(self) -> pb.TreeConfig:
        """Returns the settings as they are sent."""
        sampling = types_pb2.SAMPLING_UNSPECIFIED
        if self.sampling:
            sampling = types_pb2.Sampling.Value(f"SAMPLING_{self.sampling.upper()}")
        return pb.TreeConfig(min_width=self.min_width or 0, sampling=sampling, pool=self.pool)


@dataclass(frozen=True)
class Spend:
    """What the model calls of a job may take."""

    max_cost: Annotated[
        float | None,
        typer.Option(
            metavar="AMOUNT",
            show_default=False,
            help="What the model calls may cost, in the price book's currency; the server needs one. When this is "
            "nearly spent, the reasoner gives its answer.",
        ),
    ] = None
    max_gpu_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            show_default=False,
            help="The same in GPU-seconds: the seconds of each call times its GPUs. Models without a GPU take none.",
        ),
    ] = None

    def budget(self) -> pb.Budget | None:
        """Returns the budget as it is sent, or None for none. Raises InvalidArgument."""
        for name in ("max_cost", "max_gpu_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                option = f"--{name.replace('_', '-')}"
                raise InvalidArgument(f"{option} is {value:g}; give a number above 0.", field=name)
        if self.max_cost is None and self.max_gpu_seconds is None:
            return None
        return pb.Budget(max_cost=self.max_cost or 0.0, max_gpu_seconds=self.max_gpu_seconds or 0.0)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the fields of its dataclass parameters as options, so that each is described once."""
    signature = inspect.signature(command, eval_str=True)
    kinds = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    groups: dict[str, Any] = {name: kind for name, kind in kinds.items() if dataclasses.is_dataclass(kind)}
    parameters = []
    for name, parameter in signature.parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in dataclasses.fields(groups[name])
        ]

    @functools.wraps(command)
    def spread_command(**values: Any) -> None:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**values, **made)

    spread_command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return spread_command
