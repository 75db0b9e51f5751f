"""Whose short-lived data about a room is taken in: that of the origin's own users who are joined there, unless the
room's access control list denies the origin.

Spec: https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls
"""

from collections.abc import Collection
from dataclasses import dataclass

from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.matrix.server_acls import is_allowed_by_acl
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.storage.database import Database
from tim_server.storage.room_servers import JoinedMember, find_joined

RoomAndUser = tuple[RoomId, UserId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Finds out who may say something about a room."""

    database: Database
    parsed: ParsedEvents

    async def rooms_of(self, origin: ServerName, wanted: Collection[RoomAndUser]) -> dict[RoomAndUser, int]:
        """The nid of the room, for those of the pairs that are admitted. Two queries, however many there are."""
        own = [(room_id, user_id) for room_id, user_id in wanted if user_id.server_name == origin]
        if not own:
            return {}
        async with self.database.connection() as connection:
            members = await find_joined(connection, own)
        denied = await self._denied(origin, members)
        return {(m.room_id, m.user_id): m.room_nid for m in members if m.room_nid not in denied}

    async def _denied(self, origin: ServerName, members: Collection[JoinedMember]) -> set[int]:
        """The rooms whose access control list denies the origin."""
        by_version: dict[str, dict[int, int]] = {}
        for member in members:
            if member.acl_nid is not None:
                by_version.setdefault(member.room_version, {})[member.room_nid] = member.acl_nid
        denied: set[int] = set()
        for version, acls in by_version.items():
            events = await self.parsed.load(acls.values(), room_version(version))
            denied |= {room for room, nid in acls.items() if not is_allowed_by_acl(events[nid].content, origin)}
        return denied


def room_and_user(room_id: object, user_id: object) -> RoomAndUser | None:
    """The identifiers in what a server sent; None for what are none."""
    if not isinstance(room_id, str) or not isinstance(user_id, str):
        return None
    try:
        return RoomId.parse(room_id), UserId.parse(user_id)
    except InvalidIdentifier:
        return None
