"""Read the members of a room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import orjson

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import RoomId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.client_format import content_json
from tim_server.services.events.tokens import place_of
from tim_server.services.rooms.view import RoomView, reader_of, view_room
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import load_events
from tim_server.storage.memberships import (
    MemberBody,
    find_room_for_user,
    load_joined_bodies,
    load_joined_room_ids,
    load_member_events,
    load_members_at,
)
from tim_server.storage.state import MembershipRow
from tim_server.storage.timeline import load_newest_at

MEMBERSHIPS = ("join", "invite", "leave", "ban", "knock")


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersQuery:
    """Which members: `at` a token; those whose membership is `membership`, or is not `not_membership`."""

    at: str | None = None
    membership: str | None = None
    not_membership: str | None = None

    def includes(self, membership: str) -> bool:
        """Whether a member with this membership is asked for; both conditions together form an "or"."""
        if self.membership is None and self.not_membership is None:
            return True
        is_not = self.not_membership is not None and membership != self.not_membership
        return membership == self.membership or is_not


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomMembers:
    """Reads members, and the rooms of a member."""

    database: Database
    codec: Codec
    client_events: ClientEvents

    async def events(self, requester: Requester, room_id: RoomId, query: MembersQuery) -> list[bytes]:
        """The member events, now, at a token, or when the user left. Raises `Forbidden` for who was never joined, or
        may not see the room as it was at the token."""
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            if query.at is None and view.left is None:
                rows = await load_member_events(tx, self.codec, view.room_nid, [*filter(query.includes, MEMBERSHIPS)])
            else:
                members = await self._members_at(tx, requester, view, query.at)
                nids = [member.event_nid for member in members if query.includes(member.membership)]
                rows = [*(await load_events(tx, self.codec, nids)).values()]
            surroundings = await self.client_events.load_surroundings(tx, reader_of(requester), rows, view.histories)
        event = self.client_events.event
        return [event(row, view.version, surroundings, room_id=room_id) async for row in in_turns(rows)]

    async def joined(self, requester: Requester, room_id: RoomId) -> bytes:
        """A JSON object: by user id the display name and avatar of each joined member, as far as the member event has
        them. Raises `Forbidden` for who is not joined."""
        async with self.database.read() as tx:
            room = await find_room_for_user(tx, room_id, requester.user_id)
            if room is None or room.membership != "join":
                raise Forbidden("You aren't a member of the room")
            members = await load_joined_bodies(tx, self.codec, room.room_nid)
        version = room_version(room.room_version)
        return b"{" + b",".join([_named_member(member, version) async for member in in_turns(members)]) + b"}"

    async def joined_rooms(self, requester: Requester) -> list[RoomId]:
        """The rooms that the user is joined to."""
        async with self.database.connection() as connection:
            return await load_joined_room_ids(connection, requester.user_id)

    async def _members_at(
        self, tx: Connection, requester: Requester, view: RoomView, at: str | None
    ) -> Sequence[MembershipRow]:
        """Everybody's membership at a token, or when the user left."""
        place = (sys.maxsize, 0) if at is None else place_of(at)
        if view.left is not None and place >= (view.left.position, 0):
            return await load_members_at(tx, view.room_nid, view.left.position)
        if view.history.after(place) != "join":
            newest = await load_newest_at(tx, self.codec, view.room_nid, place)
            visible = self.client_events.visibility.visible
            if newest is not None and not await visible(tx, requester.user_id, [newest], view.histories):
                raise Forbidden("You can't see the room as it was then")
        return await load_members_at(tx, view.room_nid, place[0] if place[1] >= 0 else place[0] - 1)


class _Names(msgspec.Struct):
    """What of a member event's content is told."""

    displayname: msgspec.Raw = msgspec.Raw()
    avatar_url: msgspec.Raw = msgspec.Raw()


_read_names = msgspec.json.Decoder(_Names).decode


def _named_member(member: MemberBody, version: RoomVersion) -> bytes:
    """The member of the JSON object that tells of this user. Values that are no strings are left out."""
    names = _read_names(content_json(member, version))
    told = ((b'"display_name":', names.displayname), (b'"avatar_url":', names.avatar_url))
    parts = [key + text for key, value in told if (text := bytes(value)).startswith(b'"')]
    return orjson.dumps(member.user_id) + b":{" + b",".join(parts) + b"}"
