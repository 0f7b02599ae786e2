"""The command line: puts the sub-commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from client import admin, jobs, prompts, tree, usage, videos
from client.ask import ask
from client.cluster import command as cluster
from client.costs import costs
from client.demo import demo
from client.report.command import report
from client.up import up
from longvideo import __version__

app = typer.Typer(
    name="longvideo",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"longvideo {__version__}")
        raise typer.Exit


@app.callback()
def longvideo(
    version: Annotated[  # the callback of the option does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Answers questions about long videos: skims a tree of captions, and looks closely only where it matters.

    Examples:
    - `longvideo demo` shows it on a sample video that it makes itself

    - `longvideo ask talk.mp4 "What is the speaker's phone number?"`

    - `longvideo ask talk.mp4` opens a session: ask one question after the other

    - `longvideo up`, and elsewhere `longvideo ask talk.mp4 "…" --server 127.0.0.1:7700`

    Without model servers of yours (`--reason-url`, `--caption-url`, `--qa-url`) small offline models do the work: they
    read the text on screen and the subtitles, and need no GPU and no network.
    """


app.command()(ask)
app.command()(demo)
app.command()(report)
app.command()(costs)
app.command()(up)
app.add_typer(videos.app, name="videos")
app.add_typer(tree.app, name="tree")
app.add_typer(jobs.app, name="jobs")
app.add_typer(usage.app, name="usage")
app.add_typer(prompts.app, name="prompts")
app.add_typer(admin.app, name="admin")
app.add_typer(cluster.app, name="cluster")
