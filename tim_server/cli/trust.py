"""`tim-server trust`: the commands about whom a homeserver talks to, and what they print."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tim_server.cli.options import ConfigOption, ServerNameOption
from tim_server.cli.trust_authority import authority

if TYPE_CHECKING:
    from tim_server.cli.trust_state import Shown
    from tim_server.services.trust.explain import Step
    from tim_server.services.trust.review import DirectoryStatus, Member

trust = typer.Typer(
    name="trust", help="Whom this server talks to, and why: the directory and certificates.", no_args_is_help=True
)
trust.add_typer(authority)

_COLUMNS = ("server", "organisation", "certificate", "valid until", "last verified")


@trust.command("show")
def show_trust(
    *,
    config: ConfigOption,
    servers: Annotated[
        bool, typer.Option("--servers", help="Also list the servers of the directory, with their certificates.")
    ] = False,
    server_name: ServerNameOption = None,
) -> None:
    """Show the profile, the directory in force and how old it is. Exit code 1 where somebody must act: the directory is
    missing, has expired, or could not be refreshed for a day."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_state import show

    with failures_told():
        shown = show(config, server_name=server_name)
    for line in _status_lines(shown):
        typer.echo(line)
    if servers:
        _print_members(shown.members)
    directory = shown.status.directory
    if directory is not None and directory.health.needs_somebody:
        raise typer.Exit(1)


@trust.command("verify")
def verify_trust(
    *,
    file: Annotated[
        Path | None, typer.Argument(help="A directory's document (compact JWS). Without, what is published is fetched.")
    ] = None,
    config: ConfigOption,
    server_name: ServerNameOption = None,
) -> None:
    """Verify a directory as this server would, and say what would change. Changes nothing. Exit code 1 where it would
    not be put in force."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_state import verify

    with failures_told():
        verified = verify(config, file, server_name=server_name)
    for line in verified.lines:
        typer.echo(line)
    if not verified.is_accepted:
        raise typer.Exit(1)


@trust.command("refresh")
def refresh_trust(
    *,
    config: ConfigOption,
    allow_rollback: Annotated[
        bool,
        typer.Option(
            "--allow-rollback",
            help="Put the published directory in force even where it is older than the one in force, as after the "
            "directory was restored from a backup. It is written to the audit log.",
        ),
    ] = False,
    server_name: ServerNameOption = None,
) -> None:
    """Fetch the directory now and put it in force. A running server follows within seconds."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_state import refresh

    with failures_told():
        typer.echo(refresh(config, server_name=server_name, allow_rollback=allow_rollback))


@trust.command("explain")
def explain_trust(
    *,
    server: Annotated[str, typer.Argument(help="The other server's name.")],
    config: ConfigOption,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also connect to it, so that it shows its certificate now.")
    ] = False,
    server_name: ServerNameOption = None,
) -> None:
    """Say why a server may or may not talk to this one, step by step. Exit code 0 where it may, 1 where not."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_state import explain

    with failures_told():
        explained = explain(config, server, server_name=server_name, connect=connect)
    for step in explained.steps:
        typer.echo(_step_line(step))
    verdict = explained.verdict
    typer.echo(f"{explained.server_name} {'may' if verdict.is_allowed else 'may not'} talk to us: {verdict.reason}")
    if not verdict.is_allowed:
        raise typer.Exit(1)


def _step_line(step: "Step") -> str:
    sign = {True: "yes", False: "no", None: "-"}[step.is_fine]
    return f"{step.looked_at:<12}{sign:<5}{step.found}"


def _status_lines(shown: "Shown") -> Iterator[str]:
    status = shown.status
    yield f"{'homeserver':<12}{shown.server_name}"
    yield f"{'profile':<12}{status.profile}"
    directory = status.directory
    if directory is None:
        yield f"{'':<12}any server that TLS verifies is talked to"
        return
    if directory.version is not None:
        yield from _directory_lines(directory)
    yield f"{'source':<12}last asked {_time(directory.source.attempted_ts)}"
    if directory.source.problem is not None:
        yield f"{'':<12}which failed: {directory.source.problem}"
    yield f"{'state':<12}{directory.health.state}"
    if directory.health.alarm is not None:
        yield f"{'':<12}{directory.health.alarm}"


def _directory_lines(directory: "DirectoryStatus") -> Iterator[str]:
    assert directory.issued is not None and directory.expires is not None
    yield f"{'directory':<12}version {directory.version}"
    yield f"{'':<12}issued {directory.issued.isoformat()}, expires {directory.expires.isoformat()}"
    yield f"{'':<12}signed with certificate {directory.signer_sha256}"
    yield f"{'':<12}accepted {_time(directory.fetched_ts)}, last found current {_time(directory.source.checked_ts)}"
    yield f"{'':<12}{directory.server_count} servers of {directory.organisation_count} organisations"


def _print_members(members: "list[Member]") -> None:
    """For people a table, in a pipe lines with tabs."""
    rows = [_row(member) for member in members]
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*_COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _row(member: "Member") -> tuple[str, ...]:
    certificate = member.certificate
    proved = ("none seen yet", "", "")
    if certificate is not None:
        proved = (certificate.serial, _time(certificate.not_after_ts), _time(certificate.verified_ts))
    return (member.server_name, f"{member.organisation.name} ({member.organisation.id})", *proved)


def _time(ts: int | None) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="seconds") if ts else "never"
