"""What a user may look at in a room: the room as it is now, or as it was when they left.

Spec: https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden
from tim_server.matrix.history_visibility import HistoryVisibility, history_visibility_of
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import Reader
from tim_server.services.events.membership_history import NO_HISTORY, MembershipHistory
from tim_server.services.events.visibility import load_histories
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.state import (
    MembershipRow,
    SnapshotCache,
    load_current_state_of_keys,
    load_state_keys,
)

StateKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomView:
    """A room as a user may see it. `left`: the change with which they left, None for the room as it is now."""

    room_nid: int
    room_id: RoomId
    version: RoomVersion
    membership: str
    history: MembershipHistory
    left: MembershipRow | None

    @property
    def histories(self) -> dict[int, MembershipHistory]:
        """The user's history in this room, by room nid."""
        return {self.room_nid: self.history}


def reader_of(requester: Requester) -> Reader:
    """The requester as one who reads events."""
    return Reader(user_id=requester.user_id, device_id=requester.device_id)


async def view_room(tx: Connection, codec: Codec, user_id: UserId, room_id: RoomId) -> RoomView:
    """The user's view of a room. Raises `Forbidden` for those who have never joined, or have forgotten it, unless its
    history is world-readable; and for unknown rooms, which are not told from others."""
    room = await find_room_for_user(tx, room_id, user_id)
    if room is None:
        raise Forbidden("You aren't a member of the room")
    histories = await load_histories(tx, user_id, [room.room_nid])
    history = NO_HISTORY if room.forgotten else histories.get(room.room_nid, NO_HISTORY)
    left = None
    if room.membership != "join" and not await is_world_readable(tx, codec, room.room_nid):
        left = history.leaving
        if left is None:
            raise Forbidden("You aren't a member of the room and weren't previously a member of the room")
    return RoomView(
        room_nid=room.room_nid,
        room_id=room_id,
        version=room_version(room.room_version),
        membership=room.membership or "leave",
        history=history,
        left=left,
    )


async def is_world_readable(tx: Connection, codec: Codec, room_nid: int) -> bool:
    """Whether the room's history visibility is `world_readable` now."""
    key = ("m.room.history_visibility", "")
    row = (await load_current_events(tx, codec, room_nid, [key])).get(key)
    if row is None:
        return False
    return history_visibility_of(decode_lenient(row.body)["content"]) is HistoryVisibility.WORLD_READABLE


async def load_current_events(
    tx: Connection, codec: Codec, room_nid: int, keys: Iterable[StateKey]
) -> dict[StateKey, EventRow]:
    """The current state events of these keys; those that are not set are left out."""
    nids = await load_current_state_of_keys(tx, [(room_nid, *key) for key in keys])
    rows = await load_events(tx, codec, nids.values())
    return {(event_type, state_key): rows[nid] for (_, event_type, state_key), nid in nids.items() if nid in rows}


async def state_after(tx: Connection, snapshots: SnapshotCache, row: EventRow) -> frozenset[int]:
    """The nids of the state once `row` has had its effect."""
    assert row.snapshot is not None
    before = (await snapshots.load(tx, [row.snapshot])).get(row.snapshot, frozenset())
    if row.state_key is None:
        return before
    if row.replaces is None:
        return before | {row.nid}
    if row.replaces in before:
        return (before - {row.replaces}) | {row.nid}
    keys = await load_state_keys(tx, before)
    return frozenset({*keys.values()} - {keys.get((row.type, row.state_key))} | {row.nid})
