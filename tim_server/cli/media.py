"""`tim-server media`: commands about files."""

from typing import Annotated

import typer

from tim_server.cli.options import ConfigOption, ServerNameOption

media = typer.Typer(name="media", help="Check files against the database.", no_args_is_help=True)


@media.callback()
def _media() -> None:
    """A group, although it has one command."""


@media.command("check")
def check_media(
    *,
    config: ConfigOption,
    read: Annotated[
        bool, typer.Option("--read", help="Also read every file, and see whether it is what was written.")
    ] = False,
    remove_orphans: Annotated[
        bool, typer.Option("--remove-orphans", help="Remove what nothing refers to. It can't be had back.")
    ] = False,
    remove_most: Annotated[
        bool, typer.Option("--remove-most", help="With --remove-orphans: also where nothing refers to most of them.")
    ] = False,
    forget_lost: Annotated[
        bool,
        typer.Option(
            "--forget-lost",
            help="Forget thumbnails, copies of other servers' files and pictures of web pages that are lost, so that "
            "they are made and fetched anew. What users have uploaded is not forgotten.",
        ),
    ] = False,
    server_name: ServerNameOption = None,
) -> None:
    """Hold the files in the folder or bucket against the database, as after a restore: what is lost, and what nothing
    refers to. The server may run. Exit code 1 where something is lost."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.media_check import CheckOrder
    from tim_server.cli.media_check import check_media as check

    order = CheckOrder(reads=read, removes_orphans=remove_orphans, removes_most=remove_most, forgets=forget_lost)
    with failures_told():
        is_fine = check(config, order, server_name=server_name)
    if not is_fine:
        raise typer.Exit(1)
