"""Invites of local users by users of other servers: checked, signed, and kept where this server is not in the room.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.federation.keys import KeyRing
from tim_server.matrix.errors import (
    BadJson,
    BadSignature,
    EventRejected,
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
)
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.hashes import verify_content_hash
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import sign_event, verify_event_signature
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, ServerName, UserId
from tim_server.matrix.push_rules import NotifyLevel, PushContext, default_rules, evaluate, level_of, pushed_event
from tim_server.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from tim_server.services.account_data.ignored import load_ignored_users
from tim_server.services.push_rules.known import KnownRules
from tim_server.services.rooms.decide import membership_of
from tim_server.services.rooms.invite_permission import check_take_invites
from tim_server.services.rooms.kept_out import SHUT
from tim_server.services.rooms.remote.outside import OutsideChange, OutsideMemberships
from tim_server.services.rooms.remote.told_state import ToldState
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.blocked_rooms import is_shut
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.users import find_user

MEMBER = "m.room.member"
KEYS_TRIED_MAX = 10
_NOT_JOINED = (None, "invite", "knock", "leave", "ban")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInvite:
    """What a request says; nothing of it is checked."""

    room_id: RoomId
    event_id: EventId
    room_version: str
    event: Mapping[str, Any]
    invite_room_state: Sequence[Any] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteReceipt:
    """Takes invites."""

    author: Author
    keys: KeyRing
    gate: TrustGate
    participation: Participation
    outside: OutsideMemberships
    told_state: ToldState
    rules: KnownRules

    async def receive(self, origin: ServerName, invite: ReceivedInvite) -> dict[str, Any]:
        """The invite, with the signature of this server added. Where this server is in the room, the event becomes part
        of it when it comes with a transaction, as it does to all others.

        Raises `BadJson` and `InvalidParam` for what is no invite of a local user, `Forbidden` also where it is not sent
        and signed by the origin; `IncompatibleRoomVersion`, `InviteBlocked`, `LimitExceeded`.
        """
        version = ROOM_VERSIONS.get(invite.room_version)
        if version is None:
            raise IncompatibleRoomVersion(
                "This server does not support the version of the room", room_version=invite.room_version
            )
        event = _read(invite, version)
        invitee = self._check(event, origin, invite)
        await self._verify(event, origin)
        await self.gate.require(ChokePoint.MEMBERSHIP, [origin])
        is_inside = await self._check_room(event, origin)
        told = await self.told_state.read_invited(invite.invite_room_state, version, event.room_id, invitee)
        await self._check_may_be_invited(event, invitee)
        if not is_inside:
            change = OutsideChange(
                event=self._signed(event),
                instead_of=_NOT_JOINED,
                via=origin,
                stripped_state=told,
                level=await self._level(event, invitee),
            )
            await self.outside.put(change)
        return sign_event(invite.event, version, self.author.server_name, self.author.key)

    def _check(self, event: Event, origin: ServerName, invite: ReceivedInvite) -> UserId:
        """ "Servers MUST apply certain validation to ensure they don't accidentally sign non-invite events from a
        malicious server." The invited user."""
        if event.event_id != invite.event_id or event.room_id != invite.room_id:
            raise InvalidParam("The event is not the one of the path")
        if event.type != MEMBER or membership_of(event) != "invite":
            raise InvalidParam("The event is no invite")
        if event.sender.server_name != origin:
            raise Forbidden("The sender is not a user of your server")
        try:
            invitee = UserId.parse(event.state_key or "")
        except InvalidIdentifier:
            raise InvalidParam("The state_key is not a user ID") from None
        if invitee.server_name != self.author.server_name:
            raise InvalidParam("The invited user is not one of this server")
        return invitee

    async def _check_room(self, event: Event, origin: ServerName) -> bool:
        """What this server knows of the room must not be against the invite. Whether this server is in the room."""
        head = await self.outside.heads.get(event.room_id)
        if head is not None and head.extremities and head.version is not event.room_version:
            raise InvalidParam("The room has another version")
        is_inside = await self.outside.is_inside(event.room_id)
        if is_inside:
            await self.participation.check_acl(event.room_id, origin)
        return is_inside

    async def _verify(self, event: Event, origin: ServerName) -> None:
        try:
            verify_content_hash(event.pdu, event.room_version)
        except BadSignature as error:
            raise Forbidden(f"The invite does not verify: {error}") from None
        refused = (await self.keys.unverified([event])).get(event.event_id)
        if refused is None and not await self._is_signed_by(event, origin):  # as third-party invites need not be
            refused = f"it is not signed by {origin}"
        if refused is not None:
            raise Forbidden(f"The invite does not verify: {refused}")

    async def _is_signed_by(self, event: Event, server_name: ServerName) -> bool:
        key_ids = [*event.pdu["signatures"].get(server_name, {})][:KEYS_TRIED_MAX]
        keys = await self.keys.keys_of(server_name, key_ids, valid_at_ms=event.origin_server_ts)
        for key_id, key in keys.items():
            try:
                verify_event_signature(event.pdu, event.room_version, server_name, key_id, key)
            except BadSignature:
                continue
            return True
        return False

    async def _check_may_be_invited(self, event: Event, invitee: UserId) -> None:
        store = self.outside.store
        async with store.database.read() as tx:
            user = await find_user(tx, invitee)
            room = await find_room_for_user(tx, event.room_id, invitee)
            await check_take_invites(tx, store.codec, [invitee])
            is_room_shut = await is_shut(tx, event.room_id)
        if is_room_shut:
            raise Forbidden(SHUT)
        if user is None or user.deactivated_ts is not None:
            raise Forbidden("The user can't be invited")
        if room is not None and room.membership == "join":
            raise Forbidden("The user is already in the room")

    def _signed(self, event: Event) -> Event:
        pdu = sign_event(event.pdu, event.room_version, self.author.server_name, self.author.key)
        return read_pdu(pdu, event.room_version)

    async def _level(self, event: Event, invitee: UserId) -> NotifyLevel:
        """What the invite means to the user, by their push rules."""
        store = self.outside.store
        async with store.database.connection() as connection:
            ignored = await load_ignored_users(connection, store.codec, invitee)
        if event.sender in ignored:
            return NotifyLevel.NONE
        rules = (await self.rules.load([invitee]))[invitee]
        context = PushContext(room_member_count=0, sender_power_level=0, notification_levels={})
        return level_of(evaluate(rules or default_rules(invitee), pushed_event(event), context))


def _read(invite: ReceivedInvite, version: RoomVersion) -> Event:
    if version.room_id_is_create_hash is (":" in invite.room_id):
        raise InvalidParam("The room id is not one of the room's version")
    try:
        return read_pdu(invite.event, version)
    except EventRejected as error:
        raise BadJson(f"The invite is not valid: {error}") from error
