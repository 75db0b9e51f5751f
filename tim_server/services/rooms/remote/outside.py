"""Memberships of local users in rooms that this server is not in, and those which a room's own state no longer bears.

What is stored here is not part of the room's graph: it says what the user was told, such as an invite, and what they
have answered. As soon as the server is in the room, its state decides.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import Forbidden, LimitExceeded, NotFound, Unavailable
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.push_rules import NotifyLevel
from tim_server.services.rooms.decide import membership_of
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.kept_out import SHUT
from tim_server.storage.blocked_rooms import is_shut
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import MEMBERSHIPS
from tim_server.storage.database import Connection
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.notifications import insert_notification
from tim_server.storage.outside_memberships import (
    OutsideMembership,
    OutsideRow,
    count_pending_invites,
    is_known_outside,
    load_outside_of_users,
    put_outside_membership,
)
from tim_server.storage.rooms import insert_room_without_state, load_head_version
from tim_server.storage.store import Store

ATTEMPTS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideChange:
    """A member event of a local user. `instead_of` lists the memberships that it may take the place of, None for none.

    `via` is a server that is in the room; `stripped_state` a JSON array; `level` what the event means to the user;
    `answers` the event that this one puts an end to.
    """

    event: Event
    instead_of: Collection[str | None]
    via: ServerName | None = None
    stripped_state: bytes | None = None
    level: NotifyLevel = NotifyLevel.NONE
    answers: EventId | None = None

    @property
    def user_id(self) -> UserId:
        """Whose membership it is."""
        return UserId(self.event.state_key or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideMemberships:
    """Stores and finds them. `invites_max` bounds the invites of a user that are not answered."""

    server_name: ServerName
    store: Store
    heads: RoomHeads
    invites_max: int = 1_000

    async def is_inside(self, room_id: RoomId) -> bool:
        """Whether this server is in the room."""
        head = await self.heads.get(room_id)
        return head is not None and head.joined_servers.get(self.server_name, 0) > 0

    async def find(self, room_id: RoomId, users: Collection[UserId]) -> dict[UserId, OutsideRow]:
        """The memberships of these users, as far as the newest is one that is known from outside of the room."""
        async with self.store.database.connection() as connection:
            return await load_outside_of_users(connection, self.store.codec, room_id, users)

    async def put(self, change: OutsideChange) -> bool:
        """Store the membership of a room that this server is not in; False where it is in the room, which then decides.
        An event that came before, and may have been answered since, changes nothing.

        Raises `Forbidden` where the user's membership is none of `instead_of`, `LimitExceeded` for too many invites.
        """
        for _ in range(ATTEMPTS_MAX):
            head = await self.heads.get(change.event.room_id)
            if head is not None and head.joined_servers.get(self.server_name, 0) > 0:
                return False
            if await self._write(change, None if head is None else head.head_version):
                return True
            self.heads.forget(change.event.room_id)
        raise Unavailable("The room is changing too quickly; try again")

    async def force(self, change: OutsideChange) -> None:
        """Store the membership though the server may be in the room, whose state says otherwise; for users who leave a
        room that can't be left in order. Raises `Forbidden` where the membership is none of `instead_of`."""
        for _ in range(ATTEMPTS_MAX):
            head = await self.heads.get(change.event.room_id)
            if head is None:
                raise NotFound("Unknown room")
            if await self._write(change, head.head_version, reset=head.nid):
                return
            self.heads.forget(change.event.room_id)
        raise Unavailable("The room is changing too quickly; try again")

    async def _write(self, change: OutsideChange, head_version: int | None, *, reset: int | None = None) -> bool:
        room_nid, event_nid = await self.store.writer.take_nids(2)
        event = change.event
        return await self.store.writer.write(
            _PutOutside(
                users=(change.user_id,),
                codec=self.store.codec,
                room_id=event.room_id,
                room_nid=room_nid,
                head_version=head_version,
                instead_of=frozenset(change.instead_of),
                invites_max=self.invites_max,
                level=change.level,
                resets=() if reset is None else (reset,),
                membership=OutsideMembership(
                    event_nid=event_nid,
                    user_id=change.user_id,
                    membership=membership_of(event),
                    room_version=event.room_version.identifier,
                    event_id=event.event_id,
                    sender=event.sender,
                    origin_server_ts=event.origin_server_ts,
                    body=encode_relaxed(event.pdu),
                    answers=change.answers,
                    via=change.via,
                    stripped_state=change.stripped_state,
                ),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _PutOutside:
    """`room_nid` is that of the room if it is not known yet, `head_version` that of the head which was looked at. All
    who write wait for the clock, which is held here: what is read stays so until this is committed."""

    users: tuple[UserId, ...]
    codec: Codec
    room_id: RoomId
    room_nid: int
    head_version: int | None
    instead_of: frozenset[str | None]
    invites_max: int
    level: NotifyLevel
    membership: OutsideMembership
    resets: tuple[int, ...] = ()
    streams: tuple[str, ...] = (MEMBERSHIPS,)

    async def store(self, tx: Connection, position: int) -> bool:
        room = await find_room_for_user(tx, self.room_id, self.users[0])
        room_nid = self.room_nid if room is None else room.room_nid
        if (None if room is None else await load_head_version(tx, room_nid)) != self.head_version:
            return False
        if room is not None and await is_known_outside(tx, room_nid, self.users[0], self.membership.event_id):
            return True
        if (None if room is None else room.membership) not in self.instead_of:
            raise Forbidden("The user's membership of the room does not allow this")
        if self.membership.membership not in ("leave", "ban") and await is_shut(tx, self.room_id):
            raise Forbidden(SHUT)
        is_invite = self.membership.membership == "invite"
        if is_invite and await count_pending_invites(tx, self.users[0]) >= self.invites_max:
            raise LimitExceeded("The user has too many invites that are not answered")
        if room is None:
            await insert_room_without_state(
                tx,
                nid=room_nid,
                room_id=self.room_id,
                room_version=self.membership.room_version,
                position=position,
            )
        await put_outside_membership(tx, self.codec, room_nid, self.membership, position)
        if self.level is not NotifyLevel.NONE:
            await insert_notification(tx, self.users[0], room_nid, position, self.level)
        return True
