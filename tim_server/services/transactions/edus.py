"""Where the short-lived data (EDUs) of outgoing transactions comes from.

What a destination is owed is worked out when a transaction is put together: a source keeps no rows for that but tells
what has changed since the destination's cursor, so that nothing is lost in a crash and nothing piles up while a server
is away. Messages to devices are the only ones with rows of their own.

The commit log says when there may be something: `EduSource.concerned` names who may be owed anything because of a
commit. Where the log's tail in memory suffices, no query is needed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection

EDUS_MAX = 100
"""How many EDUs a transaction may hold."""
DIRECT_TO_DEVICE = "m.direct_to_device"
"""The type of EDUs that hold messages to devices."""
EDU_BYTES_MAX = 500_000
"""About how many bytes the EDUs of a transaction may take together."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Concerned:
    """Who may be owed something: the servers in these rooms, those that share a room with these users, and these."""

    rooms: Collection[int] = ()
    users: Collection[UserId] = ()
    servers: Collection[ServerName] = ()


NOBODY = Concerned()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a source is asked for: what changed after a position, `after`, and up to another; `limit` EDUs at most, of
    about `bytes_max` bytes.

    `rooms` are those, all shared with the destination, that the source has named as concerned since `after`; None where
    that is not known, as after a failure or a start. In the rooms of `whole` the destination is told everything, not
    only what changed: it has just come in, or is told again. `after` is 0 for a destination that never had anything.
    `cursor` is that of the source: the last one that was acknowledged, or 0.
    """

    destination: ServerName
    cursor: int
    after: int
    up_to: int
    limit: int = EDUS_MAX
    bytes_max: int = EDU_BYTES_MAX
    rooms: frozenset[int] | None = None
    whole: frozenset[int] = frozenset()


class EduSource(Protocol):
    """Something that destinations are told of. Sources inherit from this; what they leave out does nothing."""

    @property
    def name(self) -> str:
        """Names the source's cursor in storage, such as `receipts`."""
        ...

    def first_cursor(self, position: int) -> int:
        """The cursor of a destination to which nothing is owed that is from before this position."""
        return position

    def concerned(self, entry: CommitEntry) -> Concerned:
        """Who may be owed something because of this commit. Called for every commit: a look at the entry, no more."""
        ...

    async def from_tail(self, asked: Asked, entries: Sequence[CommitEntry]) -> DueEdus | None:
        """What is due, where the commits after `asked.after` tell all of it; None where the database must be asked."""
        return None

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        """What is due; the same when it is asked again, unless something newer has replaced it. More than `asked.limit`
        where one commit is the cause of more: they take several transactions then, and count as acknowledged with the
        last."""
        ...

    async def acknowledged(self, tx: Connection, cursors: Mapping[ServerName, int]) -> None:
        """These destinations have all up to their cursor: remove what waited for that, where anything did."""
        return

    async def waiting(self, tx: Connection) -> Collection[ServerName]:
        """Destinations for which something waits that must not wait for something else to be sent: asked once, when
        sending begins, since nobody has looked at the commits before that."""
        return ()
