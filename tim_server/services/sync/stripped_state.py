"""The stripped state of rooms that the user is invited to or knocks on, as it was at that event.

Spec: https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from collections.abc import Collection, Sequence

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.events.client_format import stripped_event
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section
from tim_server.services.sync.sources import Sources
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.sync_queries import load_marks, load_stripped_state

STRIPPED_TYPES = (
    "m.room.create",
    "m.room.join_rules",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.canonical_alias",
    "m.room.encryption",
)


async def load_stripped_states(
    tx: Connection, sources: Sources, user_id: UserId, plans: Sequence[RoomPlan], ignored: Collection[str]
) -> dict[int, list[bytes]]:
    """The stripped events of each room that the user is invited to or knocks on, by nid: what lets them know the room,
    who invites them, and their own membership. Invites by ignored users are left out."""
    pending = {p.room.event_nid: p for p in plans if p.section in (Section.INVITE, Section.KNOCK)}
    if not pending:
        return {}
    loaded = await sources.rows.load(tx, await load_marks(tx, pending))
    own = {
        row.room_nid: row
        for row in loaded.values()
        if not (pending[row.nid].section is Section.INVITE and row.sender in ignored)
    }
    snapshots = await sources.snapshots.load(tx, {row.snapshot for row in own.values() if row.snapshot is not None})
    nids = {nid for row in own.values() if row.snapshot is not None for nid in snapshots.get(row.snapshot, ())}
    rows = await load_stripped_state(
        tx, sources.codec, nids, types=STRIPPED_TYPES, members={row.sender for row in own.values()}
    )
    told: dict[int, list[EventRow]] = {room_nid: [] for room_nid in own}
    for row in rows:
        if _is_told(row, own[row.room_nid], user_id):
            told[row.room_nid].append(row)
    versions = {plan.room_nid: room_version(plan.room.room_version) for plan in pending.values()}
    return {
        room_nid: [stripped_event(row, versions[room_nid]) for row in (*told[room_nid], own[room_nid])]
        for room_nid in own
    }


def _is_told(row: EventRow, own: EventRow, user_id: UserId) -> bool:
    """Whether an event of the state before the user's own is told: of members only the inviter."""
    if row.type != "m.room.member":
        return True
    return row.state_key == own.sender and row.state_key != user_id
