"""Where the short-lived data (EDUs) of outgoing transactions comes from.

What a destination is owed is worked out when a transaction is put together: each source keeps no rows of its own but
reads what has changed since the destination's cursor, so that nothing is lost in a crash and nothing piles up while a
server is away.

Spec: https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.database import Connection

EDUS_MAX = 100
"""How many EDUs a transaction may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edu:
    """One EDU: its type and content."""

    edu_type: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueEdus:
    """EDUs for a destination, and the source's cursor once they are acknowledged. `more`: others are due after them."""

    edus: Sequence[Edu]
    cursor: int
    more: bool = False


class EduSource(Protocol):
    """Something that destinations are told of."""

    @property
    def name(self) -> str:
        """Names the source's cursor in storage, such as `receipts`."""

    async def due(self, tx: Connection, destination: ServerName, *, after: int, up_to: int, limit: int) -> DueEdus:
        """At most `limit` EDUs for what changed after the cursor and up to the clock's position; the same when it is
        asked again, unless something newer has replaced it. More than `limit` where one commit is the cause of more:
        they take several transactions then, and count as acknowledged with the last."""
        ...

    async def acknowledge(self, destination: ServerName, due: DueEdus) -> None:
        """The destination has them: remove what waited for that, where anything did."""
        ...
