"""The settings as a page: `python -m longvideo.settings` prints all of them, with their defaults and what they mean.

With `--values` it prints what this process would use instead, and of secrets only whether they are set.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from longvideo import settings
from longvideo.endpoint import Endpoint
from longvideo.errors import BadSettings
from longvideo.settings import PREFIX, SECRETS, Settings

_HEAD = f"""# Settings

Every process reads the same settings. Each can be given in the environment as `{PREFIX}<NAME>`, or under its name in
the TOML file that `{PREFIX}SETTINGS_FILE` names; the environment wins. Those marked *secret* can also be in a file of
their own, `{PREFIX}<NAME>_FILE`, as Kubernetes mounts them. A name that means nothing stops the process.

This page is the output of `python -m longvideo.settings`; `--values` shows what a process would use here.

| Setting | Kind | Default | Meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """Returns every setting as a table in Markdown."""
    return _HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    kind = _kind(field.annotation) + (", *secret*" if name in SECRETS else "")
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {kind} | {_default(field)} | {meaning} |\n"


def _kind(annotation: Any) -> str:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        annotation = next(one for one in typing.get_args(annotation) if one is not type(None))
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    kinds = {str: "text", SecretStr: "text", Path: "path", int: "whole number", float: "number", bool: "true or false"}
    return kinds.get(annotation, "list")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:  # the data directory, which depends on the user
        return "`~/.local/share/longvideo`"
    if field.default is None or field.default in {"", ()}:
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def values() -> str:
    """Returns what a process would use here, a line for each setting. Raises BadSettings."""
    loaded = settings.load()
    lines = []
    for name in Settings.model_fields:
        value = getattr(loaded, name)
        shown = ("set" if value else "") if name in SECRETS else _shown(value)
        lines.append(f"{name} = {shown}".rstrip() + "\n")
    return "".join(lines)


def _shown(value: Any) -> str:
    """Returns a value as it is written in the environment."""
    if isinstance(value, tuple):
        return json.dumps([_fields(one) if isinstance(one, Endpoint) else one for one in value])
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _fields(endpoint: Endpoint) -> dict[str, Any]:
    given = endpoint.model_dump(mode="json", exclude_defaults=True)
    return given | {"roles": sorted(endpoint.roles)}


def main(argv: Sequence[str]) -> int:
    """Prints the page, or the values. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m longvideo.settings", description="Prints every setting.")
    parser.add_argument("--values", action="store_true", help="print what a process would use here instead")
    options = parser.parse_args(argv)
    try:
        sys.stdout.write(values() if options.values else page())
    except BadSettings as error:
        print(error.message, file=sys.stderr)
        return 2
    return 0
