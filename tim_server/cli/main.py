"""The command line: what commands and options there are. What they do stands in the other modules, imported when used.

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 a database or port cannot be had, 78 the configuration is wrong.
"""

from pathlib import Path
from typing import Annotated

import typer

from tim_server import __version__
from tim_server.cli.media import media
from tim_server.cli.options import ConfigOption, ServerNameOption
from tim_server.cli.trust import trust

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong usage, 69 a database or port cannot be had, 78 wrong configuration."

cli = typer.Typer(
    name="tim-server",
    help="A Matrix homeserver for hospitals.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
user = typer.Typer(name="user", help="Make and list accounts, reset passwords.", no_args_is_help=True)
cli.add_typer(user)
keys = typer.Typer(name="keys", help="Replace the key that signs, and those that seal files.", no_args_is_help=True)
cli.add_typer(keys)
cli.add_typer(media)
cli.add_typer(trust)

PasswordFileOption = Annotated[
    Path | None,
    typer.Option("--password-file", help="Take the password from the first line of this file; - for standard input."),
]


def run() -> None:
    """Run the command that the arguments name, and end the process with its exit code."""
    cli()


def _show_version(*, is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"tim-server {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _show_version(is_wanted=value), is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """A Matrix homeserver for hospitals."""


@cli.command()
def serve(
    config: ConfigOption,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many processes share the ports (as configured).")
    ] = None,
) -> None:
    """Run the server, until SIGTERM or Ctrl-C. Databases are migrated first."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.serve import serve as serve_configuration

    with failures_told():
        serve_configuration(config, workers=workers)


@cli.command()
def demo(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the data goes, and stays. Without, nothing is left at the end.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End after the last act; the exit code tells how it went.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The first hospital's port for clients (8008, or a free one).")
    ] = None,
) -> None:
    """Show two hospitals that trust each other by a signed directory, and a server that it does not list: an encrypted
    conversation, and what becomes of the third server's attempts. Then leave it running for clients to try."""
    from tim_server.cli.demo import run_demo
    from tim_server.cli.failures import failures_told

    with failures_told():
        run_demo(data_dir, once=once, port=port)


@cli.command()
def migrate(
    *,
    config: ConfigOption,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell what is missing; exit code 1 if anything is.")
    ] = False,
) -> None:
    """Bring the databases to the form that this release needs. `serve` does the same when it starts."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.migrate import run_migrations

    with failures_told():
        found = run_migrations(config, only_check=check)
    for server_name, names in found.items():
        for name in names:
            typer.echo(f"{server_name}: {'missing' if check else 'applied'} {name}")
        if not names:
            typer.echo(f"{server_name}: up to date")
    if check and any(found.values()):
        raise typer.Exit(1)


@cli.command()
def check_config(
    file: Annotated[Path | None, typer.Argument(help="The configuration file (YAML).")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The same.")] = None,
) -> None:
    """Say what is wrong with a configuration: file, line, key and reason."""
    from tim_server.cli.check_config import check_config as check
    from tim_server.cli.failures import failures_told

    path = file or config
    if path is None:
        raise typer.BadParameter("name the configuration file")
    with failures_told():
        typer.echo(check(path))


@cli.command()
def generate_config(
    *,
    server_name: Annotated[str | None, typer.Option(help="The part of user ids after the colon.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where keys and the embedded PostgreSQL are kept.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="For clients and servers, on loopback.")] = 8008,
    health_port: Annotated[int, typer.Option(min=1, max=65535, help="For health and metrics, on loopback.")] = 8070,
    all_options: Annotated[
        bool, typer.Option("--all-options", help="Print every option with its description and default instead.")
    ] = False,
) -> None:
    """Print a configuration that `serve --config` runs unchanged."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.generate_config import generate_config as generate

    if all_options:
        from tim_server.config.describe import render_all_options

        typer.echo(render_all_options(), nl=False)
        return
    if server_name is None or data_dir is None:
        raise typer.BadParameter("--server-name and --data-dir are needed")
    with failures_told():
        text = generate(server_name=server_name, data_dir=data_dir, port=port, health_port=health_port)
        typer.echo(text, nl=False)


@cli.command()
def rebuild_derived(config: ConfigOption) -> None:
    """Make the tables that are derived from the event log anew. A running server waits meanwhile."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.rebuild_derived import rebuild

    with failures_told():
        for line in rebuild(config):
            typer.echo(line)


@keys.command("rotate")
def rotate_keys(*, config: ConfigOption, server_name: ServerNameOption = None) -> None:
    """Make a new signing key, which counts from the next start on. What was signed with the former one stays valid, and
    other servers are told of both."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.rotate_keys import rotate

    with failures_told():
        typer.echo(rotate(config, server_name=server_name))


@keys.command("rotate-media")
def rotate_media_key(*, config: ConfigOption, server_name: ServerNameOption = None) -> None:
    """Make a new key that seals the keys of files, which counts from the next start on. Older files still open."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.rotate_media_keys import rotate_media_key as rotate

    with failures_told():
        typer.echo(rotate(config, server_name=server_name))


@keys.command("rotate-master")
def rotate_master_key(config: ConfigOption) -> None:
    """Make a new master key of files, where it is in data_dir, and seal with it what the former one has sealed. The
    server may run meanwhile."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.rotate_media_keys import rotate_master_key as rotate

    with failures_told():
        typer.echo(rotate(config))


@user.command("create")
def create_user(
    *,
    name: Annotated[str, typer.Argument(help="The part before the colon, or a whole user id.")],
    config: ConfigOption,
    admin: Annotated[bool, typer.Option("--admin", help="Make it an administrator of the server.")] = False,
    password_file: PasswordFileOption = None,
    server_name: ServerNameOption = None,
) -> None:
    """Make an account. Asks for the password unless --password-file is given."""
    from tim_server.cli import user_accounts
    from tim_server.cli.failures import failures_told

    with failures_told():
        password = _password(password_file)
        user_id = user_accounts.create_user(config, name, password, is_admin=admin, server_name=server_name)
    typer.echo(f"{user_id} created{' as an administrator' if admin else ''}")


@user.command("reset-password")
def reset_password(
    *,
    name: Annotated[str, typer.Argument(help="The part before the colon, or a whole user id.")],
    config: ConfigOption,
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Leave the account's devices logged in.")
    ] = False,
    password_file: PasswordFileOption = None,
    server_name: ServerNameOption = None,
) -> None:
    """Set a new password and log all devices out. Asks for the password unless --password-file is given."""
    from tim_server.cli import user_accounts
    from tim_server.cli.failures import failures_told

    with failures_told():
        password = _password(password_file)
        user_id = user_accounts.reset_password(
            config, name, password, logout=not keep_sessions, server_name=server_name
        )
    typer.echo(f"{user_id} has a new password")


@user.command("list")
def list_users(config: ConfigOption, server_name: ServerNameOption = None) -> None:
    """List all accounts."""
    from tim_server.cli import user_accounts
    from tim_server.cli.failures import failures_told
    from tim_server.cli.user_table import print_users

    with failures_told():
        users = user_accounts.list_users(config, server_name=server_name)
    print_users(users)


def _password(file: Path | None) -> str:
    """The password from `file`, or asked for twice."""
    from tim_server.cli.failures import CommandFailed

    if file is None:
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return answer
    try:
        text = typer.get_text_stream("stdin").readline() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise CommandFailed(f"{file} cannot be read: {reason}") from None
    return text.splitlines()[0] if text else ""
