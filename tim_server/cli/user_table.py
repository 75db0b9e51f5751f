"""Accounts as a table: for people on a terminal, as lines with tabs in a pipe."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from tim_server.storage.users import User

COLUMNS = ("user id", "created", "what it is")


def print_users(users: Iterable[User]) -> None:
    """Print the accounts on standard output."""
    rows = [(user.user_id, _day(user.created_ts), ", ".join(_properties(user))) for user in users]
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(row) + "\n")
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _day(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).date().isoformat()


def _properties(user: User) -> Iterable[str]:
    if user.is_admin:
        yield "administrator"
    if user.is_guest:
        yield "guest"
    if user.user_type:
        yield user.user_type
    for name, since in (
        ("locked", user.locked_ts),
        ("suspended", user.suspended_ts),
        ("deactivated", user.deactivated_ts),
    ):
        if since is not None:
            yield f"{name} {_day(since)}"
