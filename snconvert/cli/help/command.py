"""The command `help`: topics, and the help of other commands."""

from __future__ import annotations

from typing import Annotated

import typer

from snconvert.cli import completion
from snconvert.cli.help.usage import meant


def show(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="A topic, or a command. Default: list the topics.",
            autocompletion=completion.topics,
        ),
    ] = None,
) -> None:
    """Explain a topic, as modes or files, or a command."""
    from snconvert.cli.help.topics import TOPICS

    program = context.find_root()
    commands = program.command.commands  # type: ignore[attr-defined]
    if topic is None:
        width = max(map(len, TOPICS))
        print("`snconvert help TOPIC` explains one of these:\n")
        for name, each in TOPICS.items():
            print(f"  {name:{width}}  {each.title}")
        print("\n`snconvert help COMMAND` is `snconvert COMMAND --help`.")
    elif topic in TOPICS:
        print(f"{topic}: {TOPICS[topic].title}\n\n{TOPICS[topic].text}", end="")
    elif topic in commands:
        with commands[topic].make_context(topic, [], program, resilient_parsing=True) as about:
            print(about.get_help())
    else:
        raise typer.BadParameter(
            f"{topic!r} is no topic and no command.{meant(topic, [*TOPICS, *commands])}"
            " See `snconvert help`."
        )
