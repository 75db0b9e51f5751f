"""What administrators see of other servers, and what they can do when sending fails. Callers have checked that the
requester is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.database import Connection, Database
from tim_server.storage.destinations import HEARD, DestinationStatus, find_destination, list_destinations
from tim_server.storage.writer import Writer

LIMIT_MAX = 500
"""How many servers one page holds at most."""
COUNTED_MAX = 10_000
"""Up to how many waiting events are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationReview:
    """Reads the state of sending, and has servers tried again."""

    database: Database
    writer: Writer

    async def page(self, *, after: str, failing_only: bool, limit: int) -> tuple[Sequence[DestinationStatus], bool]:
        """Servers after one in the order of their names, at most `LIMIT_MAX`, and whether there are others."""
        limit = min(limit, LIMIT_MAX)
        async with self.database.connection() as connection:
            found = await list_destinations(
                connection, after=after, failing_only=failing_only, limit=limit + 1, counted_max=COUNTED_MAX
            )
        return found[:limit], len(found) > limit

    async def read(self, destination: ServerName) -> DestinationStatus:
        """One server; raises `NotFound` where nothing was ever sent to it."""
        async with self.database.connection() as connection:
            found = await find_destination(connection, destination, counted_max=COUNTED_MAX)
        if found is None:
            raise NotFound("Nothing was ever sent to this server")
        return found

    async def retry(self, admin: Requester, destination: ServerName) -> None:
        """Have the server tried now, if sending fails; raises `NotFound`."""
        await self.read(destination)
        entry = AuditEntry(actor=admin.user_id, action="destination.retry", object=destination)
        await self.writer.write(_Retry(destination=destination, audit=entry))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retry:
    destination: ServerName
    audit: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> dict[ServerName, frozenset[str]]:
        return {self.destination: frozenset({HEARD})}

    async def store(self, tx: Connection, position: int) -> None:
        await append_audit(tx, self.audit)
