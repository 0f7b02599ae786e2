"""`longvideo prompts`: the words that the models are given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from client.screen import Screen
from longvideo.errors import InvalidArgument, StorageUnavailable

app = typer.Typer(no_args_is_help=True, help="The words that the models are given.", rich_markup_mode="markdown")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A template, for example reason_system. Default: all.")] = "",
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prompt pack. Default: the one that comes with longvideo.")
    ] = None,
) -> None:
    """Shows a prompt pack, or one of its templates.

    Examples:
    - `longvideo prompts show`

    - `longvideo prompts show reason_system --prompts mine.toml`
    """
    from longvideo.prompts import load_pack  # noqa: PLC0415  # the template engine

    pack = load_pack(prompts)
    if name and name not in pack.templates:
        raise InvalidArgument(f"There is no template {name!r}; there are {', '.join(pack.templates)}.", field="name")
    screen = Screen(sys.stdout)
    if name:
        screen.plain(pack.templates[name].rstrip("\n"))
        return
    screen.plain(f"{pack.name}, digest {pack.digest}", "bold")
    for template, text in pack.templates.items():
        screen.plain()
        screen.plain(f"[{template}]", "bold")
        screen.plain(text.rstrip("\n"))


@app.command("import")
def import_prompts(
    path: Annotated[Path, typer.Argument(help="The Python file that holds the prompts.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the prompt pack.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> None:
    """Makes a prompt pack from the prompts that a checkpoint was trained with.

    Reads the string constants SYSTEM_PROMPT, VIDEO_QA_SYSTEM_PROMPT, CAPTION_SYSTEM_PROMPT and
    CAPTION_SYSTEM_PROMPT_LOW out of a Python file. The file is never run.

    Example:
    - `longvideo prompts import LongVideo-R1/cli.py -o longvideo-r1.toml`, then
      `longvideo ask film.mp4 "…" --prompts longvideo-r1.toml --reason-url …`
    """
    from longvideo.prompts import import_pack  # noqa: PLC0415  # the template engine

    pack = import_pack(path)
    if output.exists() and not force:
        raise InvalidArgument(f"{output} exists already; give another file, or --force.", field="output")
    try:
        output.write_text(pack.to_toml(), encoding="utf-8")
    except OSError as error:
        raise StorageUnavailable(f"{output} cannot be written: {error.strerror}.") from None
    print(f"Wrote {output}: {pack.name}, digest {pack.digest}. Use it with --prompts {output}")
