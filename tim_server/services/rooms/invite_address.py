"""Invite somebody of whom only an address is known: as the user who has it, or else until somebody does.

Spec: https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.federation.identity_servers import StoredInvite
from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.identity_servers import IdentityServers, InvitedAddress
from tim_server.services.rooms.kept_out import NOT_IN_ROOM
from tim_server.services.rooms.member_content import load_names
from tim_server.services.rooms.moderate import Moderation
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.power import may_invite
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.third_party_invite import THIRD_PARTY_INVITE
from tim_server.services.rooms.view import load_current_events
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.rooms import load_room

StateKey = tuple[str, str]

_TOLD_OF_ROOM: Mapping[StateKey, tuple[str, str]] = {
    ("m.room.name", ""): ("name", "room_name"),
    ("m.room.avatar", ""): ("url", "room_avatar_url"),
    ("m.room.join_rules", ""): ("join_rule", "room_join_rules"),
    ("m.room.canonical_alias", ""): ("alias", "room_alias"),
    ("m.room.create", ""): ("type", "room_type"),
}
_TOLD_OF_SENDER = {"displayname": "sender_display_name", "avatar_url": "sender_avatar_url"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressInvites:
    """Invites people by their addresses."""

    database: Database
    codec: Codec
    queues: RoomQueues
    moderation: Moderation
    identity: IdentityServers

    async def invite(self, requester: Requester, room_id: RoomId, invited: InvitedAddress) -> None:
        """Invite whoever has the address. Raises `Forbidden` for who may not invite, before an identity server is told
        of anything; then what `IdentityServers` raises, and of a user who has the address what `Moderation.invite`
        raises."""
        check_may_act(requester)
        await self.identity.check([invited.account.server_name])
        about = await self._about(requester.user_id, room_id)
        users = await self.identity.find([invited])
        if invited in users:
            await self.moderation.invite(requester, room_id, users[invited], None)
            return
        (stored,) = await self.identity.store([invited], about)
        await self.queues.submit(room_id, DraftGroup(drafts=(draft_of(stored, requester.user_id),)))

    async def _about(self, sender: UserId, room_id: RoomId) -> dict[str, str]:
        """What identity servers are told of the invite."""
        async with self.database.read() as tx:
            room = await load_room(tx, room_id)
            if room is None:
                raise NotFound(NOT_IN_ROOM)
            if not await may_invite(tx, self.codec, room.nid, sender):
                raise Forbidden("You cannot invite into this room")
            rows = await load_current_events(tx, self.codec, room.nid, _TOLD_OF_ROOM)
            names = (await load_names(tx, self.codec, [sender])).get(sender, {})
        contents = {key: decode_lenient(row.body)["content"] for key, row in rows.items()}
        return told_of_invite(room_id, sender, contents, names)


def told_of_invite(
    room_id: RoomId, sender: UserId, contents: Mapping[StateKey, Mapping[str, Any]], names: Mapping[str, Any]
) -> dict[str, str]:
    """What an identity server is told so that it can write to whom is invited: "Optional fields in the request should
    be populated to the best of the server's ability". `names` are those of the sender's profile.

    Spec: https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2store-invite
    """
    of_room = {told: contents.get(key, {}).get(member) for key, (member, told) in _TOLD_OF_ROOM.items()}
    of_sender = {told: names.get(member) for member, told in _TOLD_OF_SENDER.items()}
    told = {key: value for key, value in (of_room | of_sender).items() if isinstance(value, str)}
    return {**told, "room_id": room_id, "sender": sender}


def draft_of(stored: StoredInvite, sender: UserId) -> Draft:
    """The event that tells the room of an invite which an identity server keeps."""
    return Draft(type=THIRD_PARTY_INVITE, state_key=stored.token, sender=sender, content=stored.content)
