"""The parts of an answer beside timelines, state and account data: each knows one kind of thing, such as receipts or
messages to devices, and says what of it a client is to be told.

A part is asked either with the commit log's tail, or with a transaction on the database. Whoever adds a part says here
what it does in both cases; `from_memory` and `from_database` know none of them by name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan
from tim_server.services.sync.tokens import SyncToken
from tim_server.services.sync.window import Window
from tim_server.storage.database import Connection
from tim_server.storage.to_device import MessagePlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """JSON members that a part adds to the answer, or to a room's object, such as `"typing":{…}`. `is_news`: a client
    that waits is answered for their sake. `to_device_up_to`: messages to the device beyond this place were left out."""

    members: Sequence[bytes] = ()
    is_news: bool = False
    to_device_up_to: MessagePlace | None = None


NOTHING = Told()


def token_after(position: int, of_user: Iterable[Told]) -> SyncToken:
    """The token of an answer up to a position with these parts about the user."""
    left_out = [part.to_device_up_to for part in of_user if part.to_device_up_to is not None]
    return SyncToken(position=position, to_device=left_out[0] if left_out else None)


class UserPart(Protocol):
    """A part about the user or their devices: members of the answer itself."""

    async def from_tail(self, reading: Reading, window: Window) -> Told | None:
        """What the tail says, which may be nothing; None where the database must be asked."""

    async def from_database(self, tx: Connection, reading: Reading, up_to: int) -> Told:
        """What there is after `reading.since` (None: from the start) and up to a position."""


class RoomPart(Protocol):
    """A part about rooms that the user is in: members of each room's object."""

    async def from_tail(self, reading: Reading, window: Window) -> Mapping[int, Told] | None:
        """What the tail says of each room of the window by nid; None where the database must be asked."""

    async def find_changed(self, tx: Connection, reading: Reading, up_to: int) -> Collection[int]:
        """The nids of rooms of which something must be told, though nothing else may have happened there."""

    async def from_database(
        self, tx: Connection, reading: Reading, plans: Sequence[RoomPlan], up_to: int
    ) -> Mapping[int, Told]:
        """What there is of the joined rooms among `plans` by nid: all of it where a plan has no `base`, else what has
        changed after `reading.since`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerParts:
    """All parts of answers, in the order in which they appear."""

    of_user: Sequence[UserPart] = ()
    of_rooms: Sequence[RoomPart] = ()
