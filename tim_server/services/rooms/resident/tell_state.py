"""What this server tells of a room to users of others who are invited to it, or knock: whole events, from which their
server makes stripped state.

Spec: https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.stripped_state import MEMBER, STRIPPED_TYPES
from tim_server.services.events.client_format import visible_pdu
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.view import load_current_events
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database

Pdu = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTelling:
    """Tells it of rooms that this server is in."""

    database: Database
    codec: Codec

    async def tell(self, head: RoomHead, inviter: UserId | None = None) -> list[Pdu]:
        """The PDUs, redacted where they are; with the member event of who invites."""
        keys = [(event_type, "") for event_type in STRIPPED_TYPES]
        keys += [] if inviter is None else [(MEMBER, inviter)]
        async with self.database.read() as tx:
            rows = await load_current_events(tx, self.codec, head.nid, keys)
        return [decode_lenient(visible_pdu(rows[key], head.version)) for key in keys if key in rows]


def told_of_new_room(events: Sequence[Event]) -> list[Pdu]:
    """The same of a room that begins with these events."""
    founder = events[0].sender
    wanted = {*((event_type, "") for event_type in STRIPPED_TYPES), (MEMBER, founder)}
    return [event.pdu for event in events if (event.type, event.state_key) in wanted]
