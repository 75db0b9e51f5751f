"""How an authority stands: for people on a terminal a table, in a pipe lines with tabs."""

import sys
from collections.abc import Iterator
from datetime import datetime

import typer
from rich.console import Console
from rich.table import Table

from tim_server.services.directory_authority.overview import ListedMember, Overview
from tim_server.services.directory_authority.state import Issued, format_serial
from tim_server.trust.directory import Organisation

COLUMNS = ("id", "organisation", "servers", "directory", "certificates")


def print_overview(overview: Overview, now: datetime) -> None:
    """Print the authority and its members on standard output."""
    for line in _lines(overview, now):
        typer.echo(line)
    rows = [_row(member) for member in overview.members]
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _lines(overview: Overview, now: datetime) -> Iterator[str]:
    yield f"{overview.state.name}, at {overview.state.url}"
    yield f"root certificate (SHA-256) {overview.root_sha256}"
    published = overview.published
    if published is None:
        yield "no directory is signed yet"
    else:
        yield f"directory version {published.version}, {_until(published.expires, now)}"
    if overview.crl_expires is not None:
        yield f"revocation list {_until(overview.crl_expires, now)}"
    if overview.has_unsigned_changes:
        yield "there are changes that members don't see yet: tim-server trust authority sign"


def _until(end: datetime, now: datetime) -> str:
    return f"valid until {end.isoformat()}" if end >= now else f"EXPIRED at {end.isoformat()}: sign or serve it"


def _row(member: ListedMember) -> tuple[str, ...]:
    organisation = member.organisation
    servers = ", ".join(organisation.server_names)
    return (organisation.id, organisation.name, servers, member.standing.value, _known_by(organisation, member.issued))


def _known_by(organisation: Organisation, issued: tuple[Issued, ...]) -> str:
    found = [f"{each.server_name} {format_serial(each.serial)} until {each.expires.date()}" for each in issued]
    pins = len(organisation.certificates)
    if pins:
        found.append(f"{pins} pinned")
    return ", ".join(found) or "none issued here"
