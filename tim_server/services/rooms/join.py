"""Join rooms, here or through other servers.

Spec: https://spec.matrix.org/v1.19/client-server-api/#joining-rooms
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, GuestAccessForbidden, NotFound, UnableToGrantJoin
from tim_server.matrix.identifiers import EventId, RoomAlias, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.authorise_join import authorising_user, servers_that_may_grant
from tim_server.services.rooms.carry_over import CarryOver
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.guest_access import rooms_open_to_guests
from tim_server.services.rooms.kept_out import SHUT
from tim_server.services.rooms.member_content import (
    AUTHORISED_VIA,
    MEMBER,
    load_names,
    membership_in,
    with_names,
)
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.join import RemoteJoin, WantedJoin
from tim_server.services.servers.resolve_alias import AliasResolution
from tim_server.storage.blocked_rooms import is_shut
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import is_joined_to_any
from tim_server.storage.room_directory import find_alias
from tim_server.storage.rooms import RoomRow, load_room


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """The room, the content of the member event, and whether the user is joined already."""

    room_id: RoomId
    content: dict[str, Any]
    was_joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomJoin:
    """Brings the requester into rooms: those that this server is in, or `remote` ones."""

    server_name: ServerName
    database: Database
    codec: Codec
    queues: RoomQueues
    carry_over: CarryOver
    remote: RemoteJoin
    aliases: AliasResolution

    async def join(
        self,
        requester: Requester,
        room: RoomId | RoomAlias,
        custom: Mapping[str, Any],
        servers: Sequence[ServerName] = (),
    ) -> RoomId:
        """Join; who is joined already stays so. The id of the room. `custom` goes into the member event's content,
        such as a `reason`; `servers` are said to be in the room, where this one is not.

        Raises `NotFound` for an unknown room or alias, `Forbidden` where the join rules or a ban are against it,
        `UnableToGrantJoin` where no member may authorise a restricted join, `GuestAccessForbidden` for guests, and
        what `RemoteJoin.join` raises.
        """
        check_may_act(requester)
        room_id, servers = await self.resolve(room, servers)
        is_here = await self.remote.servers.is_here(room_id)
        if not is_here and await self._join_elsewhere(requester, room_id, custom, servers):
            return room_id
        try:
            prepared = await self._prepare(requester, room_id, custom)
        except UnableToGrantJoin:
            granting = await self._servers_that_may_grant(room_id)
            if not granting:
                raise
            await self._join_elsewhere(requester, room_id, custom, granting, although_here=True)
            return room_id

        def is_in_place(_sender: UserId, present: Mapping[str, Any]) -> bool:
            return membership_in(present) == "join"

        await self._join(requester, prepared, is_in_place)
        return room_id

    async def _join_elsewhere(
        self,
        requester: Requester,
        room_id: RoomId,
        custom: Mapping[str, Any],
        servers: Sequence[ServerName],
        *,
        although_here: bool = False,
    ) -> bool:
        """Join through another server; False where this one has come into the room meanwhile."""
        if requester.is_guest:
            raise GuestAccessForbidden("Guests may not join rooms of other servers")
        async with self.database.connection() as connection:
            names = await load_names(connection, self.codec, [requester.user_id])
        event_id = await self.remote.join(
            WantedJoin(
                user_id=requester.user_id,
                room_id=room_id,
                content=_content(custom, names.get(requester.user_id, {})),
                servers=servers,
                although_here=although_here,
            )
        )
        if event_id is not None:
            await self.carry_over.into(requester.user_id, room_id)
        return event_id is not None

    async def join_as(self, requester: Requester, room_id: RoomId, custom: Mapping[str, Any]) -> EventId:
        """Join, or change how one is joined: the member event with this content, where it is not there already. Raises
        what `join` raises."""
        check_may_act(requester)
        prepared = await self._prepare(requester, room_id, custom)

        def is_in_place(_sender: UserId, present: Mapping[str, Any]) -> bool:
            return present == prepared.content

        return await self._join(requester, prepared, is_in_place)

    async def _join(
        self, requester: Requester, prepared: _Prepared, is_in_place: Callable[[UserId, dict[str, Any]], bool]
    ) -> EventId:
        event_id = await self._submit(requester, prepared.room_id, prepared.content, is_in_place)
        if not prepared.was_joined:  # else what they have changed since would be undone
            await self.carry_over.into(requester.user_id, prepared.room_id)
        return event_id

    async def _prepare(self, requester: Requester, room_id: RoomId, custom: Mapping[str, Any]) -> _Prepared:
        async with self.database.read() as tx:
            found = await self._find(tx, room_id)
            version = room_version(found.room_version)
            if requester.is_guest:
                await self._check_guest(tx, found)
            was_joined = await is_joined_to_any(tx, requester.user_id, [found.room_id])
            if not was_joined and await is_shut(tx, found.room_id):
                raise Forbidden(SHUT)
            names = await load_names(tx, self.codec, [requester.user_id])
            authorised_by = await authorising_user(
                tx, self.codec, found, version, joining=requester.user_id, server_name=self.server_name
            )
        content = _content(custom, names.get(requester.user_id, {}))
        if authorised_by is not None:
            content[AUTHORISED_VIA] = authorised_by
        return _Prepared(room_id=found.room_id, content=content, was_joined=was_joined)

    async def resolve(
        self, room: RoomId | RoomAlias, servers: Sequence[ServerName]
    ) -> tuple[RoomId, Sequence[ServerName]]:
        """The room, and servers that are said to be in it."""
        if not isinstance(room, RoomAlias):
            return room, servers
        found = await self.aliases.resolve(room, is_fresh=True)
        return found.room_id, (*servers, *found.servers)

    async def _servers_that_may_grant(self, room_id: RoomId) -> Sequence[ServerName]:
        async with self.database.read() as tx:
            found = await self._find(tx, room_id)
            version = room_version(found.room_version)
            return await servers_that_may_grant(tx, self.codec, found, version, server_name=self.server_name)

    async def _find(self, tx: Connection, room: RoomId | RoomAlias) -> RoomRow:
        if isinstance(room, RoomAlias):
            target = await find_alias(tx, room)
            if target is None:
                raise NotFound("There is no such room alias")
            room = target[1]
        found = await load_room(tx, room)
        if found is None:
            raise NotFound("No server is known that is in this room")
        return found

    async def _check_guest(self, tx: Connection, room: RoomRow) -> None:
        if not await rooms_open_to_guests(tx, self.codec, {room.nid: room.room_version}):
            raise GuestAccessForbidden("Guests may not join this room")

    async def _submit(
        self,
        requester: Requester,
        room_id: RoomId,
        content: dict[str, Any],
        is_in_place: Callable[[UserId, dict[str, Any]], bool],
    ) -> EventId:
        draft = Draft(type=MEMBER, state_key=requester.user_id, sender=requester.user_id, content=content)
        (event_id,) = await self.queues.submit(room_id, DraftGroup(drafts=(draft,), unless=is_in_place))
        return event_id


def _content(custom: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the member event. A client may not say that somebody let it in."""
    content = with_names(custom, names) | {"membership": "join"}
    content.pop(AUTHORISED_VIA, None)
    return content
