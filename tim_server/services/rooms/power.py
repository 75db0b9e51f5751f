"""Whether a member has the power to set a kind of state, for checks outside of events."""

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.member_content import MEMBER, membership_in
from tim_server.services.rooms.view import load_current_events
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.rooms import load_room_ids

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")


async def may_send_state(tx: Connection, codec: Codec, room_nid: int, user_id: UserId, event_type: str) -> bool:
    """Whether the user is joined and has the power level that state of this type requires."""
    power = await _power_where_joined(tx, codec, room_nid, user_id)
    return power is not None and power.user_level(user_id) >= power.event_level(event_type, is_state=True)


async def may_invite(tx: Connection, codec: Codec, room_nid: int, user_id: UserId) -> bool:
    """Whether the user is joined and has the power to invite."""
    power = await _power_where_joined(tx, codec, room_nid, user_id)
    return power is not None and power.user_level(user_id) >= power.invite


async def _power_where_joined(tx: Connection, codec: Codec, room_nid: int, user_id: UserId) -> PowerLevels | None:
    """The room's power levels; None where the user is not joined."""
    member = (MEMBER, str(user_id))
    rows = await load_current_events(tx, codec, room_nid, [CREATE, POWER_LEVELS, member])
    version = room_version((await load_room_ids(tx, [room_nid]))[room_nid][1])
    state = {key: read_stored_pdu(decode_lenient(row.body), version, row.event_id) for key, row in rows.items()}
    if member not in state or membership_in(state[member].content) != "join":
        return None
    return PowerLevels.of(state.get(POWER_LEVELS), state.get(CREATE))
