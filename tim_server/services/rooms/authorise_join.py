"""Restricted joins: whether a user fulfils a room's conditions, and which local member may say so.

Spec: https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.member_content import MEMBER, membership_in
from tim_server.services.rooms.view import load_current_events
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.memberships import (
    count_joined_by_server,
    find_any_joined,
    find_joined,
    is_joined_to_any,
)
from tim_server.storage.room_servers import find_room_ids_with
from tim_server.storage.rooms import RoomRow

CREATE = ("m.room.create", "")
JOIN_RULES = ("m.room.join_rules", "")
POWER_LEVELS = ("m.room.power_levels", "")
RESTRICTED = ("restricted", "knock_restricted")  # no set: what a room says need not be hashable


async def authorising_user(
    tx: Connection, codec: Codec, room: RoomRow, version: RoomVersion, *, joining: UserId, server_name: ServerName
) -> UserId | None:
    """The local member who authorises the join of `joining`; None where the join needs nobody.

    Raises `Forbidden` where the user fulfils no condition, `UnableToAuthoriseJoin` where this server can't tell that of
    another's user, `UnableToGrantJoin` where no local member may invite.
    """
    member = (MEMBER, joining)
    state = await _load_state(tx, codec, room, version, [CREATE, JOIN_RULES, POWER_LEVELS, member])
    rules = state.get(JOIN_RULES)
    if not version.restricted_join_rule or rules is None or rules.content.get("join_rule") not in RESTRICTED:
        return None
    if member in state and membership_in(state[member].content) in ("join", "invite", "ban"):
        return None
    await _check_condition(tx, joining, allowed_rooms(rules.content), server_name)
    found = await _who_may_invite(tx, room, PowerLevels.of(state.get(POWER_LEVELS), state.get(CREATE)), server_name)
    if found is None:
        raise UnableToGrantJoin()
    return found


async def _check_condition(tx: Connection, joining: UserId, allowed: Sequence[RoomId], server_name: ServerName) -> None:
    """Whether the user is joined to one of the rooms. In which rooms its own users are, a server always knows."""
    if await is_joined_to_any(tx, joining, allowed):
        return
    if joining.server_name != server_name and set(allowed) - await find_room_ids_with(tx, server_name, allowed):
        raise UnableToAuthoriseJoin("This server is not in all of the rooms whose members may join")
    raise Forbidden("You are in none of the rooms whose members may join this one")


async def servers_that_may_grant(
    tx: Connection, codec: Codec, room: RoomRow, version: RoomVersion, *, server_name: ServerName
) -> list[ServerName]:
    """Servers other than this one of which a joined member may authorise restricted joins, by the members' levels."""
    state = await _load_state(tx, codec, room, version, [CREATE, POWER_LEVELS])
    power = PowerLevels.of(state.get(POWER_LEVELS), state.get(CREATE))
    named = {user_id for user_id in power.users.keys() | power.infinite if power.user_level(user_id) >= power.invite}
    joined = await find_joined(tx, room.nid, named)
    servers = [user_id.server_name for user_id in sorted(joined, key=power.user_level, reverse=True)]
    if power.users_default >= power.invite:
        servers += map(ServerName, await count_joined_by_server(tx, room.nid))
    return [server for server in dict.fromkeys(servers) if server != server_name]


async def _load_state(
    tx: Connection, codec: Codec, room: RoomRow, version: RoomVersion, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Event]:
    rows = await load_current_events(tx, codec, room.nid, keys)
    return {key: read_stored_pdu(decode_lenient(row.body), version, row.event_id) for key, row in rows.items()}


async def _who_may_invite(tx: Connection, room: RoomRow, power: PowerLevels, server_name: ServerName) -> UserId | None:
    """The joined member of this server with the highest level, if that is enough to invite. Of who has no level of
    their own any will do, so that large rooms are not read."""
    named = power.users.keys() | power.infinite
    may_invite = [user_id for user_id in named if power.user_level(user_id) >= power.invite]
    joined = await find_joined(tx, room.nid, [user_id for user_id in may_invite if user_id.endswith(f":{server_name}")])
    if joined:
        return max(joined, key=lambda user_id: (power.user_level(user_id), user_id))
    if power.users_default < power.invite:
        return None
    return await find_any_joined(tx, room.nid, server_name, besides=named)


def allowed_rooms(content: Mapping[str, Any]) -> list[RoomId]:
    """The rooms whose members a restricted join rule lets in."""
    conditions = content.get("allow")
    rooms = []
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, dict) and condition.get("type") == "m.room_membership":
            try:
                rooms.append(RoomId.parse(condition.get("room_id", "")))
            except (InvalidIdentifier, AttributeError, TypeError):
                continue
    return rooms
