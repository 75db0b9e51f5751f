"""The audit log: who did what to what, and whether it was done; appended in the transaction of its cause.

Rows name identifiers only, never content, tokens or keys.
"""

from dataclasses import dataclass
from typing import Literal

from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="audit_log",
        owner="storage.audit_log",
        bound="one row an administrative act, or a refused one within its rate limit",
        reaper="none: it is kept",
    ),
)


REGISTRATION = "registration"
SHARED_SECRET = "shared secret"
COMMAND_LINE = "command line"
"""Actors that are no users: whoever may register, knows the secret, or has the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`actor` is a user id or one of the actors above; `action` a dotted name such as `user.create`; `object` whom or
    what it was done to."""

    actor: str
    action: str
    object: str
    outcome: Literal["done", "refused"] = "done"


APPEND_AUDIT = "INSERT INTO audit_log (actor, action, object, outcome) VALUES ($1, $2, $3, $4)"


async def append_audit(tx: Connection, entry: AuditEntry) -> None:
    """Append the entry; it is there exactly if what it tells of is."""
    await tx.execute(APPEND_AUDIT, entry.actor, entry.action, entry.object, entry.outcome)
