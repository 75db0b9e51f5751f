"""The stripped state of rooms that the user is invited to or knocks on, as it was at that event: of rooms that this
server is in from the state before the event, of others what another server told.

Spec: https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import room_version
from tim_server.matrix.stripped_state import MEMBER, STRIPPED_TYPES
from tim_server.services.events.client_format import stripped_event
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section
from tim_server.services.sync.sources import Sources
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.outside_memberships import load_outside
from tim_server.storage.state import load_current_state_of_keys
from tim_server.storage.sync_queries import load_marks, load_stripped_state


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """The user's own member event of a room. `told`: the stripped state as another server told it, JSON members of an
    array; None where this server has state of its own to tell."""

    row: EventRow
    told: bytes | None = None


async def load_stripped_states(
    tx: Connection, sources: Sources, user_id: UserId, plans: Sequence[RoomPlan], ignored: Collection[str]
) -> dict[int, list[bytes]]:
    """The stripped events of each room that the user is invited to or knocks on, by nid: what lets them know the room,
    who invites them, and their own membership. Invites by ignored users are left out."""
    pending = {p.room.event_nid: p for p in plans if p.section in (Section.INVITE, Section.KNOCK)}
    if not pending:
        return {}
    own = {
        of_room.row.room_nid: of_room
        for of_room in await _load_own(tx, sources, pending)
        if not (pending[of_room.row.nid].section is Section.INVITE and of_room.row.sender in ignored)
    }
    nids = await _load_state_nids(tx, sources, [of_room.row for of_room in own.values() if of_room.told is None])
    senders = {of_room.row.sender for of_room in own.values()}
    rows = await load_stripped_state(tx, sources.codec, nids, types=STRIPPED_TYPES, members=senders) if nids else []
    told: dict[int, list[EventRow]] = {room_nid: [] for room_nid in own}
    for row in rows:
        if _is_told(row, own[row.room_nid].row, user_id):
            told[row.room_nid].append(row)
    versions = {plan.room_nid: room_version(plan.room.room_version) for plan in pending.values()}
    return {
        room_nid: [
            *((of_room.told,) if of_room.told else ()),
            *(stripped_event(row, versions[room_nid]) for row in (*told[room_nid], of_room.row)),
        ]
        for room_nid, of_room in own.items()
    }


async def _load_own(tx: Connection, sources: Sources, pending: Mapping[int, RoomPlan]) -> list[_Own]:
    """The user's own member events."""
    loaded = await sources.rows.load(tx, await load_marks(tx, pending))
    outside = await load_outside(tx, sources.codec, pending.keys() - loaded.keys())
    own = [_Own(row=row) for row in loaded.values()]
    return own + [_Own(row=row.event, told=(row.stripped_state or b"[]")[1:-1]) for row in outside.values()]


async def _load_state_nids(tx: Connection, sources: Sources, own: Iterable[EventRow]) -> set[int]:
    """What may be told of the state before these events; of the state as it is now where an event was only fetched with
    the state of a room that this server has joined."""
    placed = [row.snapshot for row in own if row.snapshot is not None]
    fetched = [row for row in own if row.snapshot is None]
    snapshots = await sources.snapshots.load(tx, set(placed))
    nids = {nid for snapshot in placed for nid in snapshots.get(snapshot, ())}
    if fetched:
        keys = [(row.room_nid, event_type, "") for row in fetched for event_type in STRIPPED_TYPES]
        keys += [(row.room_nid, MEMBER, row.sender) for row in fetched]
        nids |= {*(await load_current_state_of_keys(tx, keys)).values()}
    return nids


def _is_told(row: EventRow, own: EventRow, user_id: UserId) -> bool:
    """Whether an event of the state before the user's own is told: of members only the inviter."""
    if row.type != MEMBER:
        return True
    return row.state_key == own.sender and row.state_key != user_id
